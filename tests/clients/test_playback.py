"""`jit recordings play`."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from jitgate.v1 import recording_pb2
from tests.clients.conftest import Jit
from tests.clients.pseudoterminal import Person
from tests.clients.standin import StandIn

SESSION = "s-" + "0" * 20


def event(at: int, **what: Any) -> recording_pb2.RecordedEvent:
    return recording_pb2.RecordedEvent(at=Duration(seconds=at), **what)


@pytest.fixture(autouse=True)
def recorded(server: StandIn) -> None:
    async def play(*_: Any) -> Any:
        yield recording_pb2.PlayRecordingResponse(
            events=[event(0, output=b"zero "), event(5, output=b"five "), event(3600, error_output=b"hour ")]
        )
        yield recording_pb2.PlayRecordingResponse(
            events=[event(7200, output=b"end"), event(7200, exit="status 0")]
        )

    server.world.answers["PlayRecording"] = play


def test_everything_comes_in_order_and_pauses_are_cut(jit: Jit) -> None:
    done = jit("recordings", "play", SESSION, "--idle-limit", "0.05", "--speed", "10")
    assert (done.returncode, done.stdout) == (0, "zero five hour end")
    assert "[jit] ended: status 0" in done.stderr


def test_what_is_before_the_start_is_shown_at_once(jit: Jit) -> None:
    assert jit("recordings", "play", SESSION, "--start", "7200").stdout == "zero five hour end"


def test_keys_pause_seek_and_quit(environment: dict[str, str]) -> None:
    with Person("recordings", "play", SESSION, "--idle-limit", "0", environment=environment) as person:
        modes = person.modes()
        person.waits_for("zero ")
        person.type(b"\x1b[C")  # ten seconds on: past the second event
        person.waits_for("five ")
        person.type(b"\x1b[D")  # back to the start
        person.waits_for("zero ")
        person.type(b" ")
        person.type(b"q")
        assert person.ends() == 0
        assert b"hour" not in person.seen
        assert modes != []
