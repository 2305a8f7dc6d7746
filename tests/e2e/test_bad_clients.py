"""Clients that break the session's protocol, vanish or never read: their session ends, recorded; nobody else's."""

import base64
import contextlib
import functools
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.e2e.clock import Clock
from tests.e2e.live import Live, run
from tests.e2e.stage import Stage, refusal
from tests.processes import wait_for
from tests.reflected import ReflectedClient

BROKEN = ("INVALID_ARGUMENT", "BROKEN_FRAMES")
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def on(shared_stage: tuple[Stage, Clock]) -> Stage:
    return shared_stage[0]


@pytest.fixture(scope="module")
def token(on: Stage) -> str:
    return on.token()


def ended(on: Stage, session_id: str, seconds: float = 30) -> dict[str, Any]:
    """The session as auditors see it once it has ended and its recording is whole."""
    found: dict[str, Any] = wait_for(
        lambda: (s := on.session(session_id)) and s.get("ended_at") and s, seconds, "the end in the database"
    )
    wait_for(
        lambda: (
            on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]["status"]
            == "RECORDING_STATUS_COMPLETE"
        ),
        what="the recording",
    )
    assert on.dave.call("RecordingService/VerifyRecording", session_id=session_id)["intact"]
    return found


def recorded(on: Stage, session_id: str) -> bytes:
    answers = on.dave.client.receive(
        "RecordingService/ExportRecording", session_id=session_id, format="EXPORT_FORMAT_RAW"
    )
    return b"".join(answer.chunk for answer in answers)


def _data(offset: int, size: int, **more: Any) -> dict[str, Any]:
    return {"data": {"offset": offset, "payload": base64.b64encode(b"x" * size).decode(), **more}}


def _resize(columns: int, rows: int) -> dict[str, Any]:
    return {"resize": {"columns": columns, "rows": rows}}


WRONG_FRAMES: dict[str, list[dict[str, Any]]] = {
    "skipped offset": [_data(1, 1)],
    "huge offset": [_data(2**63, 1)],
    "repeated offset": [_data(0, 3), _data(0, 3)],
    # The node reads nothing: what sshd does not take for it is never granted again.
    "beyond the credit": [_data(n * 200_000, 200_000) for n in range(40)],
    "oversized frame": [_data(0, 262_145)],
    "input on stderr": [_data(0, 1, stream="SESSION_STREAM_STDERR")],
    "input after eof": [{"eof": {}}, _data(0, 1)],
    "no credit at all": [{"window": {"credit": 0}}],
    "credit beyond all": [{"window": {"credit": 16 * MEBIBYTE}}],
    "credit that wraps": [{"window": {"credit": 2**64 - 1}}],
    "no terminal": [_resize(0, 0)],
    "vast terminal": [_resize(10_001, 24)],
    "unknown signal": [{"signal": {"name": "STOP"}}],
    "no signal": [{"signal": {"name": ""}}],
    "a thousand resizes": [_resize(80 + n % 7, 24) for n in range(1300)],
    "a second opening": [{"open": {"access_token": "x", "node": "web-1"}}],
    "the gateway's exit": [{"exit": {"status": 0}}],
    "the gateway's notice": [{"notice": {"text": "trust me"}}],
    "nothing": [{}],
}


@pytest.mark.parametrize("frames", WRONG_FRAMES.values(), ids=WRONG_FRAMES.keys())
def test_a_client_that_breaks_the_protocol(on: Stage, token: str, frames: list[dict[str, Any]]) -> None:
    with Live(on.alice.client, token, command="echo ready; sleep 60") as live:
        live.until_output(b"ready\n")
        for frame in frames:
            live.say(**frame)
        assert live.until_over() == BROKEN
        session_id = live.id
    assert ended(on, session_id)["end"] == "SESSION_END_CLIENT_GONE"
    assert recorded(on, session_id) == b"ready\n"
    assert on.is_alive()


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        ({"kind": "SESSION_KIND_UNSPECIFIED"}, "INVALID_FIELD"),
        ({"command": ""}, "INVALID_FIELD"),
        ({"command": "echo a\0b"}, "INVALID_FIELD"),
        ({"command": "x" * 32_769}, "INVALID_FIELD"),
        ({"kind": "SESSION_KIND_SHELL"}, "INVALID_FIELD"),
        ({"credit": 0}, "INVALID_FIELD"),
        ({"credit": 16 * MEBIBYTE + 1}, "INVALID_FIELD"),
        ({"node": "x" * 129}, "INVALID_FIELD"),
        ({"terminal": {"columns": 0, "rows": 24}}, "INVALID_FIELD"),
        ({"terminal": {"term": "a b;", "columns": 80, "rows": 24}}, "INVALID_FIELD"),
    ],
)
def test_an_opening_that_cannot_be(on: Stage, token: str, opening: dict[str, Any], reason: str) -> None:
    before = on.settled_rows()
    fields = {"access_token": token, "node": "web-1", "kind": "SESSION_KIND_EXEC", "command": "id", "credit": 99}
    call = on.alice.client.session(iter([{"open": {**fields, **opening}}]))
    assert refusal(lambda: list(call)) == ("INVALID_ARGUMENT", reason)
    assert on.rows() == before


def test_a_first_frame_that_opens_nothing(on: Stage, token: str) -> None:
    before = on.settled_rows()
    first: list[list[dict[str, Any]]] = [[{"eof": {}}], [_data(0, 1)], [{}], []]
    for frames in first:
        call = on.alice.client.session(iter(frames))
        assert refusal(functools.partial(list, call)) == BROKEN
    assert on.rows() == before
    assert on.is_alive()


@pytest.mark.rule("R27")
def test_a_client_that_vanishes_mid_line(on: Stage) -> None:
    """kill -9 of jit: the node's process ends, and what it printed of its last line is recorded."""
    mark, program = f"half a line {time.monotonic_ns()}", f"sleep 4242.{os.getpid()}"
    process = on.alice.person.popen(
        *("exec", "-n", "-t", "web-1", "--reason", "to vanish", "--", f"printf '{mark}'; exec {program}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(len(mark)) == mark.encode()
    (session,) = on.alice.call("SessionService/ListSessions", live_only=True)["sessions"]
    wait_for(lambda: _runs(program), what="what it does after it printed that")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert ended(on, session["id"])["end"] == "SESSION_END_CLIENT_GONE"
    assert recorded(on, session["id"]) == mark.encode()
    wait_for(lambda: not _runs(program), what="the end on the node")


def test_a_client_that_vanishes_while_it_types(on: Stage, token: str) -> None:
    with Live(on.alice.client, token) as live:
        live.until_open().send(b"echo never entere")
        live.until_output(b"never entere")
    assert ended(on, live.id)["end"] == "SESSION_END_CLIENT_GONE"
    assert b"never entere" in recorded(on, live.id)


def test_a_client_that_grants_nothing_more(on: Stage, token: str) -> None:
    """The node waits; the gateway neither buffers nor records what nobody can be shown."""
    before = on.resident_bytes()
    with Live(on.alice.client, token, command="yes", credit=1000, grants=False) as live:
        wait_for(lambda: len(live.output) == 1000, what="what the credit was for")
        _stays_below(on, before + 48 * MEBIBYTE)
        assert len(live.output) == 1000
        assert run(on.alice.client, token, "echo others go on").output == b"others go on\n"
    assert ended(on, live.id)["end"] == "SESSION_END_CLIENT_GONE"
    assert len(recorded(on, live.id)) < 16 * MEBIBYTE


@pytest.mark.alone
def test_a_client_that_never_reads(on: Stage, token: str) -> None:
    """It grants credit and takes nothing off the connection. Ended from outside, it goes within a second."""
    before = on.resident_bytes()
    with contextlib.closing(_client_of(on)) as client:
        live = Live(client, token, command="yes", credit=16 * MEBIBYTE, reads=False)
        (session,) = wait_for(
            lambda: on.alice.call("SessionService/ListSessions", live_only=True).get("sessions"), what="a session"
        )
        # The credit, waiting in the transport, and as much again on its way into the recording; and the allocator.
        _stays_below(on, before + 96 * MEBIBYTE)
        assert run(on.alice.client, token, "echo others go on").output == b"others go on\n"
        on.administrator.call("SessionService/TerminateSession", session_id=session["id"], reason="stuck")
        asked = time.monotonic()
        wait_for(lambda: on.session(session["id"]).get("ended_at"), what="the end")
        # One second is the promise; half of one more is for this test's own looking.
        assert time.monotonic() - asked < 1.5
        live.vanish()
    found = ended(on, session["id"])
    assert found["end"] == "SESSION_END_TERMINATED"
    assert "stuck" in found["end_message"]
    assert len(recorded(on, session["id"])) < 40 * MEBIBYTE
    assert on.is_alive()


def test_fifty_clients_that_never_read(on: Stage, token: str) -> None:
    """Together they stay within the process's budget, and a person beside them notices nothing."""
    before = on.resident_bytes()
    with contextlib.closing(_client_of(on)) as client, contextlib.ExitStack() as undo:
        for _ in range(50):
            undo.enter_context(
                Live(client, token, command="head -c 20000000 /dev/zero; sleep 60", credit=1, grants=False)
            )
        wait_for(lambda: _live(on) == 50, 55, "fifty sessions")
        _stays_below(on, before + 50 * 6 * MEBIBYTE)
        assert run(on.alice.client, token, "echo others go on").output == b"others go on\n"
    wait_for(lambda: _live(on) == 0, 60, "the end of all")
    assert on.is_alive()


def test_clients_that_leave_while_the_session_opens(on: Stage, token: str) -> None:
    """At every moment of the opening: nothing is left behind, live or half open."""
    for wait in range(40):
        live = Live(on.alice.client, token, command="sleep 60")
        time.sleep(wait * 0.005)  # the moments themselves
        live.vanish()
    wait_for(lambda: _live(on) == 0, 20, "the end of all")
    on.settled_rows()
    with on.database() as database:
        (odd,) = database.execute(
            'SELECT count(*) FROM sessions WHERE ended_at IS NULL OR "end" IS NULL'
        ).fetchone()
    assert odd == 0
    assert on.is_alive()


def _client_of(on: Stage) -> ReflectedClient:
    """On a connection of its own, which a client that does not read would else clog for others."""
    return ReflectedClient(on.gateway.address, on.gateway.ca_file, on.alice.identity)


def _live(on: Stage) -> int:
    page = {"size": 1000}
    return len(on.dave.call("SessionService/ListSessions", live_only=True, page=page).get("sessions", []))


def _stays_below(on: Stage, limit: int, seconds: float = 1.5) -> None:
    """Nothing is to come about, so this looks for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert on.resident_bytes() < limit
        time.sleep(0.05)


def _runs(command: str) -> bool:
    return subprocess.run(["pgrep", "-f", "-x", command], capture_output=True, check=False).returncode == 0
