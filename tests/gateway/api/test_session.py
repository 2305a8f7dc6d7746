"""SessionService over a real gRPC server, with the generated client."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.api import session as session_api
from gateway.api.interceptor import Guard
from gateway.api.permissions import required_permissions
from gateway.api.session import SessionService
from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.nodes.ports import Exited
from gateway.sessions.flow import INPUT_WINDOW
from jitgate.v1 import session_pb2 as pb
from jitgate.v1.common_pb2 import PageRequest, Scope
from jitgate.v1.session_pb2_grpc import SessionServiceStub
from policy.model import PolicyKind
from tests.gateway.access.world import AUTO, WEB, World
from tests.gateway.sessions.client import data, until, window
from tests.gateway.sessions.conftest import Rig
from tests.refusals import say


@dataclass
class Served:
    """A gateway's sessions behind a server on the loopback; `who` is whom the certificate would prove."""

    rig: Rig
    stub: Any
    who: str = "alice"
    calls: list[Any] = field(default_factory=list)

    async def authenticate(self, certificate: bytes, address: str) -> Caller:
        if not self.who:
            raise Refused(Kind.UNAUTHENTICATED, "NO_CERTIFICATE", "no certificate")
        return await self.rig.world.caller(self.who)

    async def opening(self, **changed: Any) -> pb.SessionFrame:
        """A good open frame for a new request of alice's on web-1, but for what is changed."""
        request = await self.rig.world.ask("alice", "web-1")
        values: dict[str, Any] = {
            "access_token": await self.rig.token("alice", request.life.id),
            "node": "web-1",
            "kind": pb.SESSION_KIND_SHELL,
            "terminal": pb.Terminal(term="xterm", columns=80, rows=24),
            "credit": 1 << 20,
        }
        values.update(changed)
        return pb.SessionFrame(open=pb.OpenSession(**{k: v for k, v in values.items() if v is not None}))

    def connect(self) -> Any:
        call = self.stub.Connect()
        self.calls.append(call)
        return call

    async def opened(self, **changed: Any) -> tuple[Any, pb.SessionOpened]:
        call = self.connect()
        await call.write(await self.opening(**changed))
        first = await call.read()
        assert first is not grpc.aio.EOF, await call.details()
        return call, first.opened


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    world = World(tmp_path)
    await world.build()
    await world.put(PolicyKind.AUTO, AUTO)
    rig = Rig(world, tmp_path)
    await rig.prefer()
    served = Served(rig, None)
    required = required_permissions([pb.DESCRIPTOR.services_by_name["SessionService"]])
    server = grpc.aio.server(interceptors=(Guard(required, served.authenticate),))
    session_api.add_to_server(SessionService(rig.lifecycle, rig.sessions), server)
    port = server.add_insecure_port("127.0.0.1:0")
    async with rig.running():
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            served.stub = SessionServiceStub(channel)
            yield served
            for call in served.calls:
                call.cancel()
        await server.stop(1)
    await world.database.close()


async def frames(call: Any) -> list[pb.SessionFrame]:
    """Everything that still comes."""
    received = []
    async with asyncio.timeout(30):
        while (frame := await call.read()) is not grpc.aio.EOF:
            received.append(frame)
    return received


async def reason(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a refused call ended: its status code and the reason in its details."""
    async with asyncio.timeout(30):
        code = await call.code()
        trailers = dict(await call.trailing_metadata())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return code, info.reason


@pytest.mark.rule("R24")
async def test_a_session_from_open_to_exit(served: Served) -> None:
    call, opened = await served.opened()
    assert (opened.node_id, opened.login, opened.credit) == (WEB, "deploy", INPUT_WINDOW)
    await call.write(data(b"ls\n"))
    node = served.rig.node()
    await until(lambda: node.input == b"ls\n")
    node.say(b"file\n")
    node.say(b"oops\n", stderr=True)
    node.exits(Exited(4))
    received = await frames(call)
    payloads = [(frame.data.stream, frame.data.payload) for frame in received[:-1]]
    assert payloads == [(0, b"file\n"), (1, b"oops\n")]
    assert received[-1].exit == pb.SessionExit(end=pb.SESSION_END_EXITED, status=4)
    assert await call.code() is grpc.StatusCode.OK


async def test_a_large_tail_is_never_lost(served: Served) -> None:
    for _ in range(5):
        call, _ = await served.opened(credit=16 << 20)
        served.rig.node().say(bytes(3_000_000) + b"tail")
        served.rig.node().exits(Exited(0))
        output = b"".join(frame.data.payload for frame in await frames(call))
        assert len(output) == 3_000_004
        assert output.endswith(b"tail")


@pytest.mark.rule("R26")
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"access_token": ""}, "access_token"),
        ({"access_token": "x" * 301}, "access_token"),
        ({"node": ""}, "node"),
        ({"kind": pb.SESSION_KIND_UNSPECIFIED}, "kind"),
        ({"kind": 99}, "kind"),
        ({"terminal": None}, "terminal"),
        ({"terminal": pb.Terminal(term="xterm", columns=0, rows=24)}, "columns"),
        ({"terminal": pb.Terminal(term="x\x1b[2J", columns=80, rows=24)}, "term"),
        ({"kind": pb.SESSION_KIND_EXEC, "terminal": None}, "command"),
        ({"kind": pb.SESSION_KIND_EXEC, "command": "a\0b"}, "command"),
        ({"kind": pb.SESSION_KIND_EXEC, "command": "x" * 32_769}, "command"),
        ({"command": "id"}, "command"),
        ({"credit": 0}, "credit"),
        ({"credit": 1 << 40}, "credit"),
        ({"scope": Scope(account="../..")}, "account"),
    ],
)
async def test_an_opening_that_cannot_be(served: Served, changed: dict[str, Any], field: str) -> None:
    call = served.connect()
    opening = await served.opening(**changed)
    before = await served.rig.world.rows()
    await say(call, opening)
    assert await reason(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert field in await call.details()
    assert await served.rig.world.rows() == before
    assert not served.rig.nodes.dialling.is_set()


@pytest.mark.parametrize("first", [data(b"x"), window(1), pb.SessionFrame()])
async def test_the_first_frame_must_be_open(served: Served, first: pb.SessionFrame) -> None:
    call = served.connect()
    await say(call, first)
    assert await reason(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BROKEN_FRAMES")


async def test_a_client_that_never_opens(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_api, "OPEN_SECONDS", 0.05)
    assert await reason(served.connect()) == (grpc.StatusCode.INVALID_ARGUMENT, "BROKEN_FRAMES")
    call = served.connect()
    await call.done_writing()
    assert await reason(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BROKEN_FRAMES")


@pytest.mark.rule("R24")
async def test_identity_and_token_are_both_needed(served: Served) -> None:
    opening = await served.opening()
    for who, expected in (
        ("", (grpc.StatusCode.UNAUTHENTICATED, "NO_CERTIFICATE")),
        ("mallory", (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")),
        ("bob", (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN")),
    ):
        served.who = who
        call = served.connect()
        await say(call, opening)
        code, why = await reason(call)
        assert why == expected[1], who
        if who != "bob":
            assert code is expected[0]
    assert served.rig.nodes.sessions == []


@pytest.mark.parametrize("frame", [data(b"x", 9), data(bytes(262_145)), window(1 << 30), pb.SessionFrame()])
async def test_broken_frames_end_the_call(served: Served, frame: pb.SessionFrame) -> None:
    call, opened = await served.opened()
    await say(call, frame)
    assert await reason(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BROKEN_FRAMES")
    await served.rig.ended(opened.session_id)
    assert served.rig.node().is_closed


async def test_a_client_that_goes_away(served: Served) -> None:
    call, opened = await served.opened()
    call.cancel()
    session = await served.rig.ended(opened.session_id)
    assert session.end == "CLIENT_GONE"
    assert served.rig.node().is_closed


async def test_a_client_that_only_stops_sending(served: Served) -> None:
    call, _ = await served.opened()
    await call.done_writing()
    node = served.rig.node()
    await until(lambda: node.eof)
    node.say(b"done\n")
    node.exits(Exited(0))
    received = await frames(call)
    assert [frame.WhichOneof("frame") for frame in received] == ["data", "exit"]


@pytest.mark.alone
@pytest.mark.rule("R25")
async def test_terminate_and_list_on_the_wire(served: Served) -> None:
    call, opened = await served.opened()
    listed = await served.stub.ListSessions(pb.ListSessionsRequest(live_only=True))
    (session,) = listed.sessions
    assert (session.id, session.user_id, session.node_name, session.kind, session.end) == (
        opened.session_id,
        "alice",
        "web-1",
        pb.SESSION_KIND_SHELL,
        pb.SESSION_END_UNSPECIFIED,
    )
    assert session.ends_at == opened.ends_at
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await served.stub.TerminateSession(pb.TerminateSessionRequest(session_id=opened.session_id))
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    served.who = "root"
    await served.stub.TerminateSession(
        pb.TerminateSessionRequest(session_id=opened.session_id, reason=" maintenance ")
    )
    async with asyncio.timeout(1):  # R25
        received = await frames(call)
    assert received[-1].exit.end == pb.SESSION_END_TERMINATED
    assert received[-1].exit.message == "This session was ended by root: maintenance"
    await served.rig.ended(opened.session_id)
    listed = await served.stub.ListSessions(pb.ListSessionsRequest(user_id="alice", node=WEB))
    assert [(each.end, each.end_message) for each in listed.sessions] == [
        (pb.SESSION_END_TERMINATED, "This session was ended by root: maintenance")
    ]
    served.who = "bob"
    assert not (await served.stub.ListSessions(pb.ListSessionsRequest())).sessions


async def test_pages_of_sessions(served: Served) -> None:
    ids = {(await served.opened())[1].session_id for _ in range(5)}
    found: list[str] = []
    token = ""
    while True:
        page = await served.stub.ListSessions(pb.ListSessionsRequest(page=PageRequest(size=2, token=token)))
        assert len(page.sessions) <= 2
        found += [session.id for session in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert len(found) == 5
    assert set(found) == ids
    for bad in ("bm90IGEga2V5", "WzFd", "!!"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.stub.ListSessions(pb.ListSessionsRequest(page=PageRequest(token=bad)))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.alone
@pytest.mark.rule("R25")
async def test_a_client_that_never_reads_is_cut_off_too(served: Served) -> None:
    call = served.connect()
    await call.write(await served.opening(credit=16 << 20))
    await until(lambda: served.rig.watch.live)
    session_id = served.rig.watch.live[0].session.id
    for _ in range(100):
        served.rig.node().say(bytes(100_000))
    await until(lambda: served.rig.node().is_paused)
    served.who = "root"
    await served.stub.TerminateSession(pb.TerminateSessionRequest(session_id=session_id))
    async with asyncio.timeout(1):  # R25
        assert (await served.rig.ended(session_id)).end == "TERMINATED"
    assert served.rig.node().is_closed
    assert served.rig.budget.used == 0
