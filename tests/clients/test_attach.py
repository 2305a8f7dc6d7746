"""`jit sessions attach`: going on with a session from another terminal."""

import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from jitgate.v1 import session_pb2 as pb
from tests.clients.conftest import Jit
from tests.clients.pseudoterminal import Person
from tests.clients.resuming import eventually, refusing, sizes
from tests.clients.standin import StandIn


@pytest.fixture(autouse=True)
def kept(server: StandIn, home: Path, jit: Jit) -> None:
    server.world.grace_seconds = 60
    assert jit("request", "web-1", "--reason", "test").returncode == 0


def test_another_terminal_goes_on_with_a_session(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as first:
        first.waits_for("$ ")
        first.type("value=kept; echo shown\r")
        first.waits_for("\nshown")
        first.signal(signal.SIGKILL)
        first.ends()
    session_id = server.world.sessions[0].opened.session_id
    with Person("sessions", "attach", session_id, environment=environment, columns=90, rows=30) as second:
        second.waits_for(f"ops@web-1, session {session_id}")
        second.waits_for("\nshown")  # what is still kept comes again
        eventually(lambda: sizes(server)[-2:] == [29, 30])
        second.type("echo $value; stty size\r")
        second.waits_for("\nkept")
        second.waits_for("30 90")
        second.type("exit 6\r")
        assert second.ends() == 6


def test_the_terminal_that_had_the_session_is_told_who_has_it(
    server: StandIn, environment: dict[str, str]
) -> None:
    with Person("shell", "web-1", environment=environment) as first:
        first.waits_for("$ ")
        modes = first.modes()
        session_id = server.world.sessions[0].opened.session_id
        with Person("sessions", "attach", session_id, environment=environment) as second:
            second.waits_for("$ ")
            assert first.ends() == 255
            assert b"another terminal goes on with the session" in first.seen
            assert first.modes() != modes
            second.type("exit\r")
            assert second.ends() == 0


def test_an_attached_session_survives_its_call_too(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as first:
        first.waits_for("$ ")
        first.signal(signal.SIGKILL)
        first.ends()
    with Person("sessions", "attach", "s-" + "0" * 20, environment=environment) as second:
        second.waits_for("$ ")
        server.stop()
        server.start_again()
        second.type("echo there-$((1 + 1))\r")
        second.waits_for("there-2")
        second.type("\r~.")
        assert second.ends() == 255
    eventually(lambda: server.world.sessions[0].is_over)


def row(**values: Any) -> pb.Session:
    usual: dict[str, Any] = {"access_request_id": "oi-000000000000", "user_id": "alice", "node_name": "web-1"}
    return pb.Session(**{**usual, **values})


def test_a_session_that_can_not_be_gone_on_with_is_explained(server: StandIn, jit: Jit) -> None:
    ended = {"end": pb.SESSION_END_REVOKED, "end_message": "revoked by bob"}
    live = [row(id="s-bobs", user_id="bob"), row(id="s-window", access_request_id="oi-000000000001")]
    past = [row(id="s-over", **ended), row(id="s-exited", end=pb.SESSION_END_EXITED)]
    server.world.answers["ListSessions"] = lambda _, wanted: pb.ListSessionsResponse(
        sessions=live if wanted.live_only else past
    )
    assert jit("request", "db-1", "--reason", "x").returncode == 0
    for session_id, problem in (
        ("s-none", "there is no session s-none of yours"),
        ("s-bobs", "s-bobs is a session of bob, and only they can go on with it"),
        ("s-over", "s-over is over: revoked by bob"),
        ("s-exited", "s-exited is over: exited"),
        ("s-window", "the access that s-window belongs to has ended"),
        ("web-1", "'web-1' is no session's id"),
    ):
        done = jit("sessions", "attach", session_id)
        assert (done.returncode, done.stderr.splitlines()[0]) == (255, f"error: {problem}")


def test_a_session_that_is_not_resumable_is_refused_by_the_gateway(server: StandIn, jit: Jit) -> None:
    server.world.answers["ListSessions"] = lambda *_: pb.ListSessionsResponse(sessions=[row(id="s-" + "0" * 20)])
    server.world.answers["Connect"] = refusing(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_RESUMABLE")
    done = jit("sessions", "attach", "s-" + "0" * 20)
    assert (done.returncode, done.stderr) == (255, "error: said SESSION_NOT_RESUMABLE\nDo that.\n")
