"""Frames without sockets: what a server may send, and what it must not."""

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.cli.wire.failure import CallFailed
from clients.cli.wire.http2 import (
    ACK,
    CONNECTION_WINDOW,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    LARGEST_MESSAGE,
    PADDED,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    ProtocolError,
    Stream,
)

ENCODER_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


def sent(connection: Http2) -> list[tuple[int, int, int, bytes]]:
    """The frames that the connection wants to send, taken from it."""
    out, frames = bytes(connection.out), []
    connection.out.clear()
    out = out.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while out:
        size = int.from_bytes(out[:3], "big")
        frames.append((out[3], out[4], int.from_bytes(out[5:9], "big"), out[9 : 9 + size]))
        out = out[9 + size :]
    return frames


class Server:
    """The other end, with the state that HPACK keeps."""

    def __init__(self) -> None:
        self.client = Http2()
        sent(self.client)
        self.encoder = Encoder()

    def call(self) -> Stream:
        stream = self.client.open("/a.B/C", "gate:443", None)
        sent(self.client)
        return stream

    def headers(self, stream: Stream, *fields: tuple[str, str], flags: int = END_HEADERS) -> bytes:
        return frame(HEADERS, flags, stream.number, self.encoder.encode(list(fields) or ENCODER_HEADERS))

    def trailers(self, stream: Stream, *fields: tuple[str, str]) -> bytes:
        return self.headers(stream, *fields, flags=END_HEADERS | END_STREAM)


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_call_says_what_grpc_wants_to_hear() -> None:
    client = Http2()
    stream = client.open("/jitgate.v1.NodeService/GetNode", "gate:443", 1500)
    client.send(stream, b"hello")
    client.finish(stream)
    preface, update, headers, data, end = sent(client)
    assert preface[0] == SETTINGS
    assert update[0] == WINDOW_UPDATE
    assert {str(name): str(value) for name, value in Decoder().decode(headers[3])} == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": "gate:443",
        ":path": "/jitgate.v1.NodeService/GetNode",
        "content-type": "application/grpc",
        "user-agent": "jit",
        "te": "trailers",
        "grpc-timeout": "1500m",
    }
    assert data == (DATA, 0, 1, message(b"hello"))
    assert end == (DATA, END_STREAM, 1, b"")


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 30), max_size=100))
def test_messages_arrive_whole_however_the_bytes_are_cut(contents: list[bytes], cuts: list[int]) -> None:
    server = Server()
    stream = server.call()
    body = b"".join(message(content) for content in contents)
    wire = server.headers(stream)
    for at in range(0, len(body), 7):
        wire += frame(DATA, 0, stream.number, body[at : at + 7])
    wire += server.trailers(stream, ("grpc-status", "0"))
    for cut in cuts:
        server.client.received(wire[:cut])
        wire = wire[cut:]
    server.client.received(wire)
    assert list(stream.messages) == contents
    assert stream.ended
    assert stream.failure is None


def test_a_refusal_carries_code_message_and_details(server: Server) -> None:
    stream = server.call()
    fields = (("grpc-status", "7"), ("grpc-message", "no %C3%BCmlaut"), ("grpc-status-details-bin", "CAc"))
    server.client.received(server.trailers(stream, *ENCODER_HEADERS, *fields))
    assert stream.failure
    assert (stream.failure.code, stream.failure.message) == ("PERMISSION_DENIED", "no ümlaut")
    assert stream.failure.details == b"\x08\x07"


@pytest.mark.parametrize("status", ["x", "99", "-1", ""])
def test_a_status_that_nobody_knows_is_no_success(server: Server, status: str) -> None:
    stream = server.call()
    server.client.received(server.trailers(stream, *ENCODER_HEADERS, ("grpc-status", status)))
    assert stream.failure
    assert stream.failure.code == "UNKNOWN"


def test_an_end_without_a_status_is_no_success(server: Server) -> None:
    stream = server.call()
    server.client.received(server.headers(stream) + frame(DATA, END_STREAM, stream.number))
    assert stream.failure
    assert stream.failure.code == "UNKNOWN"


def test_an_answer_that_is_not_grpc_fails_the_call(server: Server) -> None:
    stream = server.call()
    server.client.received(server.headers(stream, (":status", "503"), ("content-type", "text/html")))
    assert stream.failure
    assert stream.failure.code == "UNAVAILABLE"
    assert "503" in stream.failure.message


def test_sending_waits_for_credit_and_the_end_comes_last(server: Server) -> None:
    stream = server.call()
    body = bytes(100_000)
    server.client.send(stream, body)
    server.client.finish(stream)
    frames = sent(server.client)
    assert sum(len(payload) for *_, payload in frames) == 65_535
    assert all(len(payload) <= FRAME_SIZE for *_, payload in frames)
    server.client.received(frame(WINDOW_UPDATE, 0, stream.number, (100_000).to_bytes(4, "big")))
    assert sent(server.client) == []  # the connection as a whole has no credit yet
    server.client.received(frame(WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4, "big")))
    rest = sent(server.client)
    assert sum(len(payload) for *_, payload in rest) == len(message(body)) - 65_535
    assert [flags for _, flags, _, _ in rest] == [0] * (len(rest) - 1) + [END_STREAM]


def test_settings_change_the_credit_of_open_calls_and_are_acknowledged(server: Server) -> None:
    stream = server.call()
    values = (4).to_bytes(2, "big") + (10).to_bytes(4, "big")
    server.client.received(frame(SETTINGS, 0, 0, values))
    server.client.send(stream, bytes(100))
    frames = sent(server.client)
    assert frames[0][:3] == (SETTINGS, ACK, 0)
    assert len(frames[1][3]) == 10


def test_credit_is_granted_as_data_arrives(server: Server) -> None:
    stream = server.call()
    server.client.received(server.headers(stream))
    piece = frame(DATA, 0, stream.number, bytes(FRAME_SIZE))
    server.client.received(frame(DATA, 0, stream.number, b"\0" + (LARGEST_MESSAGE - 1).to_bytes(4, "big")))
    for _ in range(CONNECTION_WINDOW // 4 // FRAME_SIZE - 1):
        server.client.received(piece)
    granted = {number for kind, _, number, _ in sent(server.client) if kind == WINDOW_UPDATE}
    assert stream.number in granted


def test_pings_are_answered(server: Server) -> None:
    server.client.received(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"87654321"))
    assert sent(server.client) == [(PING, ACK, 0, b"12345678")]


def test_going_away_fails_what_was_not_processed_and_lets_the_rest_end(server: Server) -> None:
    first, second = server.call(), server.call()
    server.client.received(frame(GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4) + b"bye"))
    assert server.client.refuses_calls
    assert not first.ended
    assert second.failure
    assert second.failure.unsent
    server.client.received(server.headers(first) + server.trailers(first, ("grpc-status", "0")))
    assert first.ended
    assert first.failure is None


@pytest.mark.parametrize(("code", "name"), [(7, "UNAVAILABLE"), (8, "CANCELLED"), (2, "INTERNAL"), (0, "UNKNOWN")])
def test_a_reset_fails_the_call(server: Server, code: int, name: str) -> None:
    stream = server.call()
    server.client.received(frame(RST_STREAM, 0, stream.number, code.to_bytes(4, "big")))
    assert stream.failure
    assert stream.failure.code == name
    assert stream.failure.unsent == (code == 7)


def test_headers_may_be_continued(server: Server) -> None:
    stream = server.call()
    block = server.encoder.encode([*ENCODER_HEADERS, ("grpc-status", "0")])
    server.client.received(frame(HEADERS, END_STREAM, stream.number, block[:3]))
    assert not stream.ended
    server.client.received(frame(CONTINUATION, END_HEADERS, stream.number, block[3:]))
    assert stream.ended
    assert stream.failure is None


def test_padding_is_dropped(server: Server) -> None:
    stream = server.call()
    padded = b"\x03" + message(b"x") + bytes(3)
    server.client.received(server.headers(stream) + frame(DATA, PADDED, stream.number, padded))
    assert list(stream.messages) == [b"x"]


@pytest.mark.parametrize("head", [b"\1\0\0\0\1", b"\0" + (LARGEST_MESSAGE + 1).to_bytes(4, "big")])
def test_compressed_and_huge_messages_end_the_call(server: Server, head: bytes) -> None:
    stream = server.call()
    server.client.received(server.headers(stream) + frame(DATA, 0, stream.number, head))
    assert stream.failure
    assert stream.failure.code == "RESOURCE_EXHAUSTED"
    assert (RST_STREAM, stream.number) in {(kind, number) for kind, _, number, _ in sent(server.client)}


def test_what_comes_for_a_cancelled_call_is_ignored(server: Server) -> None:
    stream = server.call()
    server.client.cancel(stream)
    server.client.received(
        server.headers(stream)
        + frame(DATA, 0, stream.number, message(b"late"))
        + frame(WINDOW_UPDATE, 0, stream.number, b"\0\0\0\1")
        + server.trailers(stream, ("grpc-status", "0"))
    )
    assert not stream.messages


@pytest.mark.parametrize(
    "wire",
    [
        frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(CONTINUATION, END_HEADERS, 1),
        frame(HEADERS, 0, 1) + frame(PING, 0, 0, bytes(8)),
        frame(DATA, PADDED, 1, b"\x09x"),
        (FRAME_SIZE + 1).to_bytes(3, "big") + bytes(6),
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(FRAME_SIZE)) * 5,
    ],
    ids=["push", "headers", "continuation", "interrupted", "padding", "frame", "endless headers"],
)
def test_a_server_that_breaks_the_rules_is_left(server: Server, wire: bytes) -> None:
    server.call()
    with pytest.raises(ProtocolError):
        server.client.received(wire)


def test_a_closed_connection_fails_every_call(server: Server) -> None:
    stream = server.call()
    server.client.closed("UNAVAILABLE", "gone")
    assert isinstance(stream.failure, CallFailed)
    assert server.client.refuses_calls
