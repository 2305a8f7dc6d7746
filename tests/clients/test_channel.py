"""The client's own gRPC against a stock grpc.aio server: TLS, client certificates, sizes, breaks."""

import asyncio
import socket
import ssl
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.cli import profile
from clients.cli.wire import channel as wire
from clients.cli.wire.channel import Channel, ConnectionFailed, split_address
from clients.cli.wire.failure import CallFailed
from jitgate.v1 import access_pb2, identity_pb2, recording_pb2
from tests.clients import certificates
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn, standin, write_profile

WHO_AM_I = "/jitgate.v1.IdentityService/WhoAmI"
GET_REQUEST = "/jitgate.v1.AccessService/GetAccessRequest"
EXPORT = "/jitgate.v1.RecordingService/ExportRecording"


def who_am_i(channel: Channel, timeout: float = 10) -> str:
    answer = channel.unary(WHO_AM_I, identity_pb2.WhoAmIRequest(), identity_pb2.WhoAmIResponse, timeout)
    return answer.identity.user_id


@pytest.fixture
def context(server: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    monkeypatch.setenv("JIT_HOME", str(home))
    monkeypatch.delenv("JIT_PROFILE", raising=False)
    return profile.load().context()


@pytest.fixture
def channel(server: StandIn, context: ssl.SSLContext) -> Any:
    channel = Channel(server.address, context)
    yield channel
    channel.close()


def test_many_calls_over_one_connection(channel: Channel) -> None:
    assert [who_am_i(channel) for _ in range(200)] == ["alice"] * 200


def test_a_refusal_arrives_with_its_details(channel: Channel) -> None:
    wanted = access_pb2.GetAccessRequestRequest(id="oi-000000000000")
    with pytest.raises(CallFailed) as caught:
        channel.unary(GET_REQUEST, wanted, access_pb2.GetAccessRequestResponse)
    assert caught.value.code == "NOT_FOUND"
    assert b"NO_SUCH_REQUEST" in caught.value.details
    assert who_am_i(channel) == "alice"


def test_an_unknown_method_is_unimplemented(channel: Channel) -> None:
    with pytest.raises(CallFailed) as caught:
        channel.unary("/jitgate.v1.NoService/None", identity_pb2.WhoAmIRequest(), identity_pb2.WhoAmIResponse)
    assert caught.value.code == "UNIMPLEMENTED"


@pytest.mark.parametrize("size", [0, 1, 16_384, 3 << 20])
def test_messages_of_every_size_go_there_and_back(server: StandIn, channel: Channel, size: int) -> None:
    reason = "r" * size
    made = access_pb2.AccessRequest(reason=reason)
    server.world.answers["StartAccessRequest"] = lambda _, request: access_pb2.StartAccessRequestResponse(
        request=made if request.reason == reason else None
    )
    wanted = access_pb2.StartAccessRequestRequest(reason=reason)
    path = "/jitgate.v1.AccessService/StartAccessRequest"
    assert channel.unary(path, wanted, access_pb2.StartAccessRequestResponse).request.reason == reason


def test_a_message_that_is_too_big_is_refused_and_the_connection_lives(server: StandIn, channel: Channel) -> None:
    huge = access_pb2.AccessRequest(reason="r" * (17 << 20))
    server.world.answers["GetAccessRequest"] = lambda *_: access_pb2.GetAccessRequestResponse(request=huge)
    with pytest.raises(CallFailed) as caught:
        channel.unary(GET_REQUEST, access_pb2.GetAccessRequestRequest(), access_pb2.GetAccessRequestResponse)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert who_am_i(channel) == "alice"


def test_a_slow_reader_gets_everything_in_order(server: StandIn, channel: Channel) -> None:
    async def export(*_: Any) -> Any:
        for number in range(300):
            yield recording_pb2.ExportRecordingResponse(chunk=bytes((number % 256,)) * (256 << 10))

    server.world.answers["ExportRecording"] = export
    wanted = recording_pb2.ExportRecordingRequest()
    seen = 0
    for number, answer in enumerate(channel.stream(EXPORT, wanted, recording_pb2.ExportRecordingResponse)):
        if number % 100 == 0:
            time.sleep(0.05)  # a reader that takes its time; nothing waits for it to be over
        assert answer.chunk == bytes((number % 256,)) * (256 << 10)
        seen += 1
    assert seen == 300


def test_a_stream_that_is_left_does_not_disturb_the_next_call(server: StandIn, channel: Channel) -> None:
    async def export(*_: Any) -> Any:
        while True:
            yield recording_pb2.ExportRecordingResponse(chunk=bytes(64 << 10))

    server.world.answers["ExportRecording"] = export
    chunks = channel.stream(EXPORT, recording_pb2.ExportRecordingRequest(), recording_pb2.ExportRecordingResponse)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # a generator
    assert who_am_i(channel) == "alice"


def test_a_stream_that_fails_in_the_middle_says_so_after_what_it_sent(server: StandIn, channel: Channel) -> None:
    async def export(*_: Any) -> Any:
        yield recording_pb2.ExportRecordingResponse(chunk=b"first")
        raise Refusal(grpc.StatusCode.ABORTED, "BROKEN", "the object is gone")

    server.world.answers["ExportRecording"] = export
    chunks = channel.stream(EXPORT, recording_pb2.ExportRecordingRequest(), recording_pb2.ExportRecordingResponse)
    assert next(chunks).chunk == b"first"
    with pytest.raises(CallFailed, match="ABORTED: the object is gone"):
        next(chunks)


def test_a_call_that_is_not_answered_ends_at_its_deadline(server: StandIn, channel: Channel) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    server.world.answers["WhoAmI"] = never
    began = time.monotonic()
    with pytest.raises(CallFailed, match="DEADLINE_EXCEEDED"):
        who_am_i(channel, timeout=0.3)
    assert time.monotonic() - began < 5
    del server.world.answers["WhoAmI"]
    assert who_am_i(channel) == "alice"


def test_a_server_that_dies_fails_the_call_and_the_next_one_finds_nobody(
    server: StandIn, channel: Channel
) -> None:
    async def export(*_: Any) -> Any:
        yield recording_pb2.ExportRecordingResponse(chunk=b"first")
        threading.Thread(target=server.stop).start()
        await asyncio.Event().wait()

    server.world.answers["ExportRecording"] = export
    chunks = channel.stream(EXPORT, recording_pb2.ExportRecordingRequest(), recording_pb2.ExportRecordingResponse)
    next(chunks)
    with pytest.raises(CallFailed) as caught:
        next(chunks)
    assert caught.value.code in ("UNAVAILABLE", "CANCELLED")
    with pytest.raises(ConnectionFailed):
        who_am_i(channel)


def test_after_a_graceful_stop_the_next_call_dials_again(server: StandIn, channel: Channel, home: Path) -> None:
    """GOAWAY: calls in flight end, new ones need a new connection."""
    assert who_am_i(channel) == "alice"
    port = split_address(server.address)[1]
    server.stop(grace=1)
    with standin(port=port) as again:
        write_profile(again, home, "carol", name="carol")
        channel._context = profile.Profile(home / "carol", "", again.address, "carol", time.time() + 60).context()
        deadline = time.monotonic() + 5
        while not channel._http.refuses_calls and time.monotonic() < deadline:
            channel.wait(time.monotonic() + 0.1)
        assert who_am_i(channel) == "carol"


def test_a_gateway_of_another_ca_is_not_trusted(server: StandIn, context: ssl.SSLContext, tmp_path: Path) -> None:
    with standin() as other, pytest.raises(ConnectionFailed, match="not trusted"):
        who_am_i(Channel(other.address, context))


def test_a_gateway_of_another_name_is_not_trusted(server: StandIn, context: ssl.SSLContext) -> None:
    address = server.address.replace("localhost", "127.0.0.2")
    with pytest.raises(ConnectionFailed, match=r"refused|not trusted"):
        who_am_i(Channel(address, context))


def test_a_client_without_a_certificate_is_not_served(server: StandIn, home: Path) -> None:
    bare = profile.gateway_context()
    bare.load_verify_locations(home / "default" / "ca.pem")
    with closing(Channel(server.address, bare)) as channel, pytest.raises(CallFailed) as caught:
        who_am_i(channel)
    assert caught.value.code in ("UNAVAILABLE", "UNAUTHENTICATED")


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionFailed, match="can't be reached"):
        Channel("127.0.0.1:1", profile.gateway_context())


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(ConnectionFailed, match="not known"):
        Channel("nowhere.invalid:443", profile.gateway_context())


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_address(address)


def test_a_v6_address_may_be_bracketed() -> None:
    assert split_address("[::1]:443") == ("::1", 443)


class Silent:
    """Speaks TLS as the gateway would, sends `greeting`, and then closes or says nothing more."""

    def __init__(self, server: StandIn, folder: Path, greeting: bytes, *, closes: bool) -> None:
        identity = certificates.server(server.ca)
        (folder / "server.pem").write_bytes(identity.key_pem + identity.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._listener.getsockname()[1]}"
        self.heard = b""

        def serve() -> None:
            with (
                self._listener,
                self._listener.accept()[0] as plain,
                context.wrap_socket(plain, server_side=True) as tls,
            ):
                tls.sendall(greeting)
                while not closes and (data := tls.recv(1 << 16)):
                    self.heard += data

        self.thread = threading.Thread(target=serve)
        self.thread.start()


def test_a_connection_that_ends_after_many_bytes_is_over(
    server: StandIn, context: ssl.SSLContext, tmp_path: Path
) -> None:
    settings = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    silent = Silent(server, tmp_path, settings * 1000, closes=True)
    with closing(Channel(silent.address, context)) as channel, pytest.raises(CallFailed, match="closed"):
        who_am_i(channel)
    silent.thread.join(10)


def test_a_watched_connection_that_falls_silent_is_over(
    server: StandIn, context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 0.2)
    silent = Silent(server, tmp_path, b"", closes=False)
    with closing(Channel(silent.address, context)) as channel:
        call = channel.call(WHO_AM_I, timeout=20)
        channel.watch()
        with pytest.raises(CallFailed, match="does not answer any more") as caught:
            call.receive()
    assert caught.value.may_pass
    silent.thread.join(10)
    assert bytes((0, 0, 8, 6, 0)) in silent.heard  # a PING


def test_a_watched_connection_that_answers_lives(
    channel: Channel, monkeypatch: pytest.MonkeyPatch, server: StandIn
) -> None:
    monkeypatch.setattr(wire, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 20)  # whoever answers in time lives, be the machine busy
    pings = 0
    ping = channel._http.ping

    def count() -> None:
        nonlocal pings
        pings += 1
        ping()

    monkeypatch.setattr(channel._http, "ping", count)
    release = asyncio.Event()

    async def late(*_: Any) -> Any:
        await release.wait()
        return identity_pb2.WhoAmIResponse(identity=identity_pb2.Identity(user_id="late"))

    server.world.answers["WhoAmI"] = late
    call = channel.call(WHO_AM_I, timeout=10)
    channel.watch()
    call.send(b"")
    call.finish()
    while pings < 2 or channel._asked:  # only a few: servers don't bear many in a row
        assert channel.wait(time.monotonic() + 30)
        assert call.is_open
    server.run(release.set)
    answer = call.receive()
    assert answer
    assert identity_pb2.WhoAmIResponse.FromString(answer).identity.user_id == "late"


def test_a_gateway_that_is_not_trusted_is_not_asked_again(server: StandIn, context: ssl.SSLContext) -> None:
    with standin() as other, pytest.raises(ConnectionFailed) as caught:
        who_am_i(Channel(other.address, context))
    assert not caught.value.may_pass
