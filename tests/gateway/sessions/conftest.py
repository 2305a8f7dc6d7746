"""Sessions with everything real but the nodes: database, gate, recorder, watch, lifecycle."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.access.tokens import IssuedToken
from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.nodes.ports import Connector, Terminal, UpstreamKind
from gateway.session_logs.service import SessionLogs
from gateway.session_logs.sinks import LogSinks
from gateway.sessions.adopting import Adoption
from gateway.sessions.deletion import Deletions
from gateway.sessions.ending import LastEntries
from gateway.sessions.flow import Budget
from gateway.sessions.library import Library
from gateway.sessions.lifecycle import Lifecycle
from gateway.sessions.live import LiveSessions
from gateway.sessions.model import Opening, Resuming, Session, SessionRecording
from gateway.sessions.opening import Opener
from gateway.sessions.recordings import RecordingIndex
from gateway.sessions.service import Sessions
from gateway.sessions.uploads import Uploads
from gateway.sessions.watch import Watch
from gateway.store import preferences, recordings, sessions, tables
from gateway.store.preferences import Preferences
from policy.model import PolicyKind
from recorder.errors import StoreUnavailable
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import Durability
from recorder.object_stores.local_folder import LocalFolder
from recorder.ports import Receipt
from recorder.service import Recorder
from recorder.session_log.ports import LogLine, LogUnavailable
from recorder.signing import LocalSigner
from tests.aws.making import TWICE
from tests.gateway.access.world import AUTO, HOME, WEB, World, manual
from tests.gateway.sessions.client import DEADLINE, Client, until
from tests.gateway.sessions.kept import KeptNodes, Process
from tests.gateway.sessions.nodes import Nodes, NodeSession

REPLICA = "r-1"
GRACE = 300
KEEPING = "agent"
"""The connector whose nodes can keep sessions."""


class Stay:
    """One session that is being served, and its client."""

    def __init__(self, rig: "Rig", caller: Caller, asked: Opening | Resuming) -> None:
        self.client = Client(asked.received or 0 if isinstance(asked, Resuming) else 0)
        if isinstance(asked, Opening):
            serving = rig.lifecycle.serve(caller, asked, self.client, self.client)
        else:
            serving = rig.lifecycle.resume(caller, asked, self.client, self.client)
        self.call = asyncio.create_task(serving)
        self.rig = rig

    async def opened(self) -> str:
        """The session's id, once it is open."""
        await until(lambda: self.client.frames or self.call.done())
        if self.call.done():
            await self.call
        return self.client.session_id

    async def over(self, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            await self.call

    async def gone(self) -> None:
        """The client vanishes; its session is kept."""
        self.client.vanish()
        await self.over()
        await until(lambda: self.rig.lifecycle.keeping.unattended)

    async def refused(self) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.over()
        return caught.value


class Objects(LocalFolder):
    """The store of recordings, which can be away for what is to be put there."""

    is_away = False

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        if self.is_away:
            raise StoreUnavailable("the store is away")
        return await super().put_if_absent(name, data, sha256)


@dataclass
class LogFile:
    """The gateway's own target of session logs; `problem` is why it takes nothing."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    async def put(self, stream: str, lines: Sequence[LogLine]) -> int:
        if self.problem:
            raise LogUnavailable(self.problem)
        self.lines += [{**json.loads(line.text), "stream_name": stream} for line in lines]
        return 0


class Rig:
    """One gateway process as far as sessions go."""

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        replica: str = REPLICA,
        kept: KeptNodes | None = None,
        durability: Durability = Durability.PROCESS,
    ) -> None:
        self.world = world
        self.folder = folder
        self.nodes = Nodes()
        self.kept = kept or KeptNodes(WEB)
        self.connectors: dict[str, Connector] = {"ssh": self.nodes, KEEPING: self.kept}
        self.store = Objects(folder / "objects")
        keys, signer = folder / "keys", folder / "signing.pem"
        self.keys = LocalKeyFile(keys) if keys.exists() else LocalKeyFile.create(keys)
        self.signer = LocalSigner.load(signer) if signer.exists() else LocalSigner.create(signer)
        clock, changes, database = world.clock, world.changes, world.database
        # Real time passes, and the test's time on top of it.
        self.steady = lambda: time.monotonic() + clock.monotonic()
        self.index = RecordingIndex(database, clock, changes, replica=replica)
        self.recorder = Recorder(
            folder / "spool",
            self.store,
            self.keys,
            self.signer,
            observer=self.index,
            clock=clock,
            durability=durability,
        )
        self.uploads = Uploads(database, self.recorder, self.index, changes, clock, replica=replica)
        self.watch = Watch(database, world.gate, clock, changes, replica=replica, steady=self.steady)
        self.last_entries = LastEntries(database, clock, changes)
        self.budget = Budget()
        opener = Opener(
            database,
            world.gate,
            self.connectors,
            self.recorder,
            self.last_entries,
            clock=clock,
            changes=changes,
            replica=replica,
            organization="acme",
            grace_seconds=GRACE,
            keepers=(KEEPING,),
        )
        self.logged = LogFile()
        self.logs = SessionLogs(database, LogSinks(self.logged, patience=TWICE), clock, last_seconds=0.2)
        live_sessions = LiveSessions(
            self.last_entries, clock=clock, steady=self.steady, budget=self.budget, logs=self.logs
        )
        self.lifecycle = Lifecycle(
            database,
            opener,
            self.watch,
            self.last_entries,
            live_sessions=live_sessions,
            clock=clock,
            steady=self.steady,
            capacity=100,
        )
        self.adoption = Adoption(
            database,
            self.watch,
            self.recorder,
            {KEEPING: self.kept},
            last_entries=self.last_entries,
            live_sessions=live_sessions,
            keeping=self.lifecycle.keeping,
            clock=clock,
            steady=self.steady,
        )
        self.lost = 0
        """Sessions that the start ended."""
        self.sessions = Sessions(database, clock, changes)
        self.deletions = Deletions(database, self.store, changes, clock, monotonic=clock.monotonic)
        self.library = Library(database, self.store, self.keys, [self.signer.public_key], clock=clock)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        await self.recorder.start(hold=await self.adoption.expect())
        self.lost = await self.lifecycle.recover()
        workers = [asyncio.create_task(self.watch.run()), asyncio.create_task(self.adoption.run())]
        try:
            yield self
        finally:
            await self.adoption.stop()
            await self.lifecycle.stop(5)
            await self.logs.stop(1)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self.recorder.stop(5)

    async def die(self) -> None:
        """As by kill -9: nothing is written any more, and only what runs on nodes goes on."""
        self.kept.gateway_died()
        self.last_entries.later = lambda work: work.close()  # type: ignore[method-assign]  # the dead write nothing
        for recording in self.recorder._live.copy().values():
            recording.abandon()
        for live in self.watch.live:
            self.watch.leave(live.session.id)
        calls = tuple(self.lifecycle._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        self.lifecycle.keeping._calls.clear()

    async def prefer(self, **changed: object) -> None:
        wanted = Preferences(**{"run_as": "deploy", **changed})  # type: ignore[arg-type]  # the test names the fields
        async with self.world.database.transaction() as tx:
            await preferences.put(tx.connection, *HOME, wanted, at=self.world.clock(), by="root")

    async def token(self, user_id: str, request_id: str) -> str:
        issued = await self.world.tokens.issue(await self.world.caller(user_id), request_id)
        assert isinstance(issued, IssuedToken)
        return issued.value

    async def stay(
        self,
        *,
        user: str = "alice",
        node: str = "web-1",
        kind: UpstreamKind = UpstreamKind.SHELL,
        command: str = "",
        credit: int = 1 << 20,
        request_id: str = "",
        token: str = "",
        resumable: bool = False,
    ) -> Stay:
        """A session of a new request (or of `request_id`) that is being opened."""
        if not token:
            request_id = request_id or (await self.world.ask(user, node)).life.id
            token = await self.token(user, request_id)
        terminal = Terminal("xterm", 80, 24) if kind is UpstreamKind.SHELL else None
        opening = Opening(token, HOME, node, kind, credit, command, terminal, resumable)
        return Stay(self, await self.world.caller(user), opening)

    async def back(
        self,
        session_id: str,
        received: int | None = None,
        *,
        user: str = "alice",
        credit: int = 1 << 20,
        token: str = "",
        terminal: tuple[int, int] | None = None,
    ) -> Stay:
        """The session is being resumed."""
        token = token or await self.token(user, (await self.session(session_id)).request_id)
        resuming = Resuming(session_id, token, credit, received, terminal)
        return Stay(self, await self.world.caller(user), resuming)

    async def session(self, session_id: str) -> Session:
        async with self.world.database.read() as connection:
            found = await sessions.get(connection, session_id)
        assert found is not None
        return found

    async def all_sessions(self) -> list[Session]:
        """Newest first."""
        scopes = frozenset({("*", "*")})
        async with self.world.database.read() as connection:
            return await sessions.find(connection, sessions.Reader("", scopes), sessions.Filter(), 1000)

    async def recording(self, session_id: str) -> SessionRecording | None:
        async with self.world.database.read() as connection:
            return await recordings.get(connection, session_id)

    async def ended(self, session_id: str) -> Session:
        """The session's row, once its end is in it."""
        async with asyncio.timeout(DEADLINE):
            while (found := await self.session(session_id)).ended_at is None:
                await asyncio.sleep(0.005)
        return found

    async def recorded(self, session_id: str) -> SessionRecording:
        """The recording, once it is complete."""
        async with asyncio.timeout(DEADLINE):
            while (found := await self.recording(session_id)) is None or found.status != "COMPLETE":
                await asyncio.sleep(0.005)
        return found

    async def with_agent(self) -> None:
        """From now on web-1 is a node that keeps its sessions."""
        async with self.world.database.transaction() as tx:
            await self.world.set(tx.connection, tables.nodes, WEB, connector=KEEPING)

    def process(self) -> Process:
        """What the latest session runs on the node that keeps it."""
        return self.kept.sessions[-1].process

    def node(self) -> NodeSession:
        """The node's end of the latest session."""
        return self.nodes.sessions[-1]


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    built = World(tmp_path, database_url)
    await built.build()
    await built.put(PolicyKind.AUTO, AUTO)
    await built.put(PolicyKind.MANUAL, manual())
    yield built
    await built.database.close()


@pytest.fixture
async def rig(world: World, tmp_path: Path) -> AsyncIterator[Rig]:
    """A gateway process that serves; alice may ask for web-1 (at once) and db-1 (with approvals)."""
    made = Rig(world, tmp_path)
    await made.prefer()
    async with made.running():
        yield made


@pytest.fixture
async def keeping(rig: Rig) -> None:
    """web-1 is a node that keeps its sessions."""
    await rig.with_agent()
