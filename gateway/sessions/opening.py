"""How a session begins: admitted by the gate, its node reached, its recording opened (R24, R26, R27)."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.access.admission import Admission, Gate
from gateway.access.wrong_hands import told
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.nodes.model import Node
from gateway.nodes.ports import Connector, OpenUpstream, Upstream
from gateway.places.choosing import place_of
from gateway.places.model import OWN
from gateway.sessions import story
from gateway.sessions.ending import LastEntries
from gateway.sessions.model import End, Opening, Resuming, Session
from gateway.sessions.reasons import session_ended, terminated
from gateway.store import allowances, events, preferences, recording_places, sessions
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.preferences import Preferences, RecordingMode
from recorder.errors import RecordingFailed
from recorder.model import SessionInfo
from recorder.recording import Recording
from recorder.service import Recorder


@dataclass(frozen=True, slots=True)
class Admitted:
    """A session that may begin, and what it begins with. `displaced`: why it has no place to be recorded in."""

    session: Session
    admission: Admission
    preferences: Preferences
    connector: Connector
    displaced: str


@dataclass(frozen=True, slots=True)
class Reached:
    """The node, logged in with nothing started, and the recording with its keys wrapped.

    `recording` is None, and `problem` says why, where preferences let a session begin without one.
    """

    upstream: Upstream
    recording: Recording | None
    problem: str


class Opener:
    """Takes a session up to the moment before the node's first byte."""

    def __init__(
        self,
        database: Database,
        gate: Gate,
        connectors: Mapping[str, Connector],
        recorder: Recorder,
        last_entries: LastEntries,
        *,
        clock: Callable[[], datetime],
        changes: Changes,
        replica: str,
        organization: str,
        grace_seconds: int = 0,
        keepers: Collection[str] = (),
    ) -> None:
        """`keepers`: connectors whose nodes can keep a session, for `grace_seconds`, while nothing carries it."""
        self._database = database
        self._gate = gate
        self._connectors = connectors
        self._recorder = recorder
        self._last_entries = last_entries
        self._clock = clock
        self._changes = changes
        self._replica = replica
        self._organization = organization
        self._grace_seconds = grace_seconds
        self._keepers = keepers

    async def admit(self, caller: Caller, opening: Opening) -> Admitted:
        """Token, request and the session's row in one transaction: a revocation comes before it or after it.

        Raises Refused: what `Gate.admit` raises, NO_LOGIN, CONNECTOR_UNAVAILABLE; nothing is written then but, of
        a token in wrong hands, an event.
        """
        now = self._clock()
        async with told(self._database, caller, now), self._database.transaction() as tx:
            admission = await self._gate.admit(tx, opening.token, caller, opening.node, opening.scope, now)
            node, request = admission.node, admission.request
            wanted = await preferences.get(tx.connection, node.account, node.region)
            connector = self._connectors.get(node.connector)
            if connector is None:
                raise Refused(
                    Kind.UNAVAILABLE,
                    "CONNECTOR_UNAVAILABLE",
                    f"{node.name} is reached by the connector {node.connector!r}, which this gateway does not run",
                    "Ask an administrator to look at: jit doctor",
                )
            session = Session(
                id=f"s-{secrets.token_hex(10)}",
                request_id=request.id,
                account=node.account,
                region=node.region,
                user_id=caller.user.id,
                node_id=node.id,
                node_name=node.name,
                login=_login(admission, wanted),
                kind=opening.kind,
                command=opening.command,
                source_address=caller.source_address,
                replica=self._replica,
                started_at=now,
                ends_at=_ends_at(admission, wanted, now),
                grace_seconds=self._grace(opening, node),
            )
            await sessions.add(tx.connection, session)
            displaced = await _fix_place(tx.connection, session, wanted)
            await events.append(tx.connection, story.started(session))
            tx.after_commit(lambda: self._changes.publish(session.id))
        return Admitted(session, admission, wanted, connector, displaced)

    async def readmit(self, caller: Caller, resuming: Resuming) -> Session:
        """Whether the caller may go on with a session of this gateway: everything is checked as by `admit`.

        Raises Refused: SESSION_NOT_FOUND, SESSION_ENDED, SESSION_NOT_RESUMABLE, SESSION_ELSEWHERE,
        TOKEN_OTHER_REQUEST, and what `Gate.admit` raises.
        """
        now = self._clock()
        async with told(self._database, caller, now), self._database.transaction() as tx:
            session = await self._own(tx.connection, caller, resuming.session_id)
            scope = session.account, session.region
            admission = await self._gate.admit(tx, resuming.token, caller, session.node_id, scope, now)
            if admission.request.id != session.request_id:
                raise Refused(
                    Kind.PERMISSION_DENIED,
                    "TOKEN_OTHER_REQUEST",
                    f"The access token is of {admission.request.id}, and the session is of {session.request_id}",
                    f"Take a token of that request: jit sessions attach {session.id}",
                )
            session = await self._own(tx.connection, caller, resuming.session_id)  # as it is under the lock
        if not session.grace_seconds:
            raise Refused(
                Kind.FAILED_PRECONDITION,
                "SESSION_NOT_RESUMABLE",
                f"Session {session.id} was not opened as one that can be resumed",
                f"Open another one: jit shell {session.node_name}",
            )
        if session.replica != self._replica:
            raise Refused(
                Kind.UNAVAILABLE,
                "SESSION_ELSEWHERE",
                f"Session {session.id} is held by another gateway",
                "Try again in a moment.",
            )
        return session

    async def _own(self, connection: AsyncConnection, caller: Caller, session_id: str) -> Session:
        """The caller's session, while it goes on."""
        session = await sessions.get(connection, session_id)
        if session is None or session.user_id != caller.user.id:
            raise Refused(
                Kind.NOT_FOUND,
                "SESSION_NOT_FOUND",
                f"There is no session {session_id} of yours",
                "Look at your live sessions: jit sessions list --live",
            )
        if session.ended_at is not None:
            raise session_ended(session.id, session.end, session.end_message)
        if session.terminated_by:
            ending = terminated(session.terminated_by, session.terminate_reason)
            raise session_ended(session.id, ending.end, ending.message)
        return session

    def _grace(self, opening: Opening, node: Node) -> int:
        return self._grace_seconds if opening.is_resumable and node.connector in self._keepers else 0

    async def reach(self, admitted: Admitted, opening: Opening) -> Reached:
        """Dials the node and opens the recording, both at once; nothing is left behind when either fails.

        Raises Refused: what `Connector.open` raises, RECORDING_FAILED.
        """
        session, wanted = admitted.session, admitted.preferences
        request = OpenUpstream(
            login=session.login,
            kind=session.kind,
            user_id=session.user_id,
            session_id=session.id,
            request_id=session.request_id,
            valid_seconds=int((session.ends_at - session.started_at).total_seconds()),
            command=session.command,
            terminal=opening.terminal,
            shell_profile=wanted.shell_profile,
            grace_seconds=session.grace_seconds,
        )
        content = wanted.record_input_content
        info = _info(session, opening, content=content, organization=self._organization)
        is_strict = wanted.recording is RecordingMode.STRICT
        recording = asyncio.create_task(self._record(info, admitted.displaced, is_strict=is_strict))
        try:
            upstream = await admitted.connector.open(admitted.admission.node, request)
        except BaseException:
            self._last_entries.later(self._discard(recording))
            raise
        try:
            return Reached(upstream, *await recording)
        except BaseException:
            upstream.close()
            raise

    async def _discard(self, opened: asyncio.Task[tuple[Recording | None, str]]) -> None:
        """The node could not be reached: the recording ends before it began."""
        await asyncio.wait((opened,))
        if not opened.cancelled() and opened.exception() is None and (recording := opened.result()[0]) is not None:
            await self._last_entries.close(recording, End.NODE_GONE.value)

    async def _record(self, info: SessionInfo, displaced: str, *, is_strict: bool) -> tuple[Recording | None, str]:
        problem = displaced
        if not problem:
            try:
                return await self._recorder.open(info), ""
            except RecordingFailed as failure:
                problem = str(failure)
        if not is_strict:
            return None, problem
        raise Refused(
            Kind.UNAVAILABLE,
            "RECORDING_FAILED",
            f"The session cannot be recorded, so it does not begin: {problem}",
            "Ask an administrator to look at: jit doctor",
        )


async def _fix_place(connection: AsyncConnection, session: Session, wanted: Preferences) -> str:
    """Where the session is recorded, for good; why nowhere, if what the preferences chose is allowed no more."""
    allowed = await allowances.of(connection, session.account) if wanted.recording_place != OWN else []
    try:
        place = place_of(wanted.recording_place, session.account, allowed)
    except Refused as refused:
        return refused.message
    if place is not None:
        await recording_places.add(connection, session.id, place)
    return ""


def _login(admission: Admission, wanted: Preferences) -> str:
    """The login on the node: what the node names, else the preferences; never the client's choice (R26)."""
    node = admission.node
    login = node.endpoint.login or wanted.run_as
    if not login:
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "NO_LOGIN",
            f"{node.name} names no login, nor do the preferences of account {node.account}, Region {node.region}",
            "Ask an administrator to name one: jit preferences set --run-as LOGIN",
        )
    return login


def _ends_at(admission: Admission, wanted: Preferences, now: datetime) -> datetime:
    if not wanted.maximum_duration_minutes:
        return admission.ends_at
    return min(admission.ends_at, now + timedelta(minutes=wanted.maximum_duration_minutes))


def _info(session: Session, opening: Opening, *, content: bool, organization: str) -> SessionInfo:
    terminal = opening.terminal
    return SessionInfo(
        session_id=session.id,
        request_id=session.request_id,
        user=session.user_id,
        node=session.node_id,
        account=session.account,
        region=session.region,
        login=session.login,
        kind=session.kind.value,
        command=session.command,
        terminal=terminal.term if terminal else "",
        columns=terminal.columns if terminal else 80,
        rows=terminal.rows if terminal else 24,
        record_input_content=content,
        organization=organization,
    )
