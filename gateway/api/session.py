"""SessionService: sessions on the wire (R24 to R26)."""

# ruff: noqa: N802  # methods are named by the contract

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

import grpc

from gateway.api import bounds, values
from gateway.api.current import caller
from gateway.errors import invalid
from gateway.nodes.ports import Terminal, UpstreamKind
from gateway.sessions.frames import broken
from gateway.sessions.lifecycle import Lifecycle
from gateway.sessions.model import Opening, Resuming, Session
from gateway.sessions.service import Sessions
from gateway.store.sessions import Filter
from jitgate.v1 import session_pb2, session_pb2_grpc
from jitgate.v1.common_pb2 import Scope

OPEN_SECONDS: Final = 10.0
"""How long a client may take to say what it wants."""

_KINDS: Final = {
    session_pb2.SESSION_KIND_SHELL: UpstreamKind.SHELL,
    session_pb2.SESSION_KIND_EXEC: UpstreamKind.EXEC,
}
# Generic in the stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SessionService(session_pb2_grpc.SessionServiceServicer):
    def __init__(self, lifecycle: Lifecycle, sessions: Sessions) -> None:
        self._lifecycle = lifecycle
        self._sessions = sessions

    async def Connect(  # type: ignore[override]  # it answers through the context, as fast as the client reads
        self, request_iterator: AsyncIterator[session_pb2.SessionFrame], context: _Context
    ) -> None:
        source = _CallSource(request_iterator)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                first = await source.receive()
        except TimeoutError:
            raise broken(f"no frame within {OPEN_SECONDS:g} seconds") from None
        which = None if first is None else first.WhichOneof("frame")
        if first is None or which not in ("open", "resume"):
            raise broken("the first frame must be open or resume")
        if which == "open":
            await self._lifecycle.serve(caller(), _opening(first.open), source, _CallSink(context))
        else:
            await self._lifecycle.resume(caller(), _resuming(first.resume), source, _CallSink(context))

    async def ListSessions(
        self, request: session_pb2.ListSessionsRequest, context: object
    ) -> session_pb2.ListSessionsResponse:
        size, key = values.page(request.page)
        account, region = values.scope(request.scope) if request.HasField("scope") else ("", "")
        wanted = Filter(
            live_only=request.live_only,
            user_id=request.user_id,
            node=request.node,
            request_id=request.access_request_id,
            account=account,
            region=region,
        )
        found, more = await self._sessions.find(caller(), wanted, size, values.after(key))
        token = values.page_token(*values.sort_key(found[-1].started_at, found[-1].id)) if more else ""
        return session_pb2.ListSessionsResponse(sessions=map(session_message, found), next_page_token=token)

    async def TerminateSession(
        self, request: session_pb2.TerminateSessionRequest, context: object
    ) -> session_pb2.TerminateSessionResponse:
        await self._sessions.terminate(caller(), request.session_id, request.reason.strip())
        return session_pb2.TerminateSessionResponse()


def add_to_server(service: SessionService, server: grpc.aio.Server) -> None:
    """As the generated function does it, but that the relay's frames are encoded already."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Connect": grpc.stream_stream_rpc_method_handler(
            service.Connect,
            request_deserializer=session_pb2.SessionFrame.FromString,
            response_serializer=_encoded_already,
        ),
        "ListSessions": grpc.unary_unary_rpc_method_handler(
            service.ListSessions,
            request_deserializer=session_pb2.ListSessionsRequest.FromString,
            response_serializer=session_pb2.ListSessionsResponse.SerializeToString,
        ),
        "TerminateSession": grpc.unary_unary_rpc_method_handler(
            service.TerminateSession,
            request_deserializer=session_pb2.TerminateSessionRequest.FromString,
            response_serializer=session_pb2.TerminateSessionResponse.SerializeToString,
        ),
    }
    name = session_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def session_message(session: Session) -> session_pb2.Session:
    """A session as the contract has it."""
    kind = next(number for number, kind in _KINDS.items() if kind is session.kind)
    end = f"SESSION_END_{session.end or 'UNSPECIFIED'}"
    return session_pb2.Session(
        id=session.id,
        access_request_id=session.request_id,
        scope=Scope(account=session.account, region=session.region),
        user_id=session.user_id,
        node_id=session.node_id,
        node_name=session.node_name,
        login=session.login,
        kind=kind,
        command=session.command,
        source_address=session.source_address,
        started_at=values.timestamp(session.started_at),
        ended_at=values.timestamp(session.ended_at),
        end=session_pb2.SessionEnd.Value(end),
        end_message=session.end_message,
        ends_at=values.timestamp(session.ends_at),
    )


def _opening(message: session_pb2.OpenSession) -> Opening:
    bounds.check(message)
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise invalid("open.kind", "must be a shell or an exec")
    if kind is UpstreamKind.SHELL and not message.HasField("terminal"):
        raise invalid("open.terminal", "is missing: a shell needs a terminal")
    if kind is UpstreamKind.SHELL and message.command:
        raise invalid("open.command", "belongs to an exec, not to a shell")
    if kind is UpstreamKind.EXEC and not message.command.strip():
        raise invalid("open.command", "is missing: an exec runs one")
    if "\0" in message.command:
        raise invalid("open.command", "holds a NUL character")
    terminal = message.terminal if message.HasField("terminal") else None
    return Opening(
        token=message.access_token,
        scope=values.scope(message.scope),
        node=message.node,
        kind=kind,
        credit=message.credit,
        command=message.command,
        terminal=Terminal(terminal.term or "dumb", terminal.columns, terminal.rows) if terminal else None,
        is_resumable=message.resumable,
    )


def _resuming(message: session_pb2.ResumeSession) -> Resuming:
    bounds.check(message)
    terminal = message.terminal if message.HasField("terminal") else None
    return Resuming(
        session_id=message.session_id,
        token=message.access_token,
        credit=message.credit,
        received=message.received if message.HasField("received") else None,
        terminal=(terminal.columns, terminal.rows) if terminal else None,
    )


class _CallSource:
    """The client's frames (see frames.FrameSource)."""

    def __init__(self, frames: AsyncIterator[session_pb2.SessionFrame]) -> None:
        self._frames = frames

    async def receive(self) -> session_pb2.SessionFrame | None:
        try:
            return await anext(self._frames, None)
        except (grpc.aio.BaseError, grpc.RpcError) as gone:
            raise ConnectionError(str(gone)) from gone


class _CallSink:
    """The client's end of the call (see frames.FrameSink)."""

    def __init__(self, context: _Context) -> None:
        self._write = context.write

    async def send(self, frame: bytes) -> None:
        try:
            await self._write(frame)
        except (grpc.aio.BaseError, grpc.RpcError) as gone:
            raise ConnectionError(str(gone)) from gone


def _encoded_already(frame: bytes) -> bytes:
    return frame
