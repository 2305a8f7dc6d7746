"""Two gateways on one PostgreSQL: what is done at one holds at the other; and a PostgreSQL that comes and goes."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import pytest

from tests.e2e.live import Live, run
from tests.e2e.stage import Somebody, Stage, code_and_reason, what_to_do
from tests.postgresql import PostgresqlServer, binaries, running_postgresql
from tests.processes import GatewayProcess, wait_for

PROMISE = 1.0
"""Seconds within which a live session ends (R25)."""
MARGIN = 0.25
"""What this machine may add, which is shared: two gateways, a database, clients and an sshd run on it."""

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: tests/debian-packages.sh"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with running_postgresql(template=False) as running:
        yield running


@pytest.fixture(scope="module")
def gateways(
    server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Data folders of their own; database, keys and recordings in common."""
    folder = tmp_path_factory.mktemp("replicas")
    name = asyncio.run(server.new_database(empty=True))
    common = {
        "JITGATE_DATABASE_URL": server.url(name),
        "JITGATE_KEYS_DIR": str(folder / "keys"),
        "JITGATE_RECORDINGS__DIRECTORY": str(folder / "recordings"),
    }
    one, two = (GatewayProcess(folder / name, dict(common)) for name in ("one", "two"))
    two.start()
    one.start()  # the code that was made last is the one that works
    yield one, two
    one.stop()
    two.stop()


@pytest.fixture(scope="module")
def gateway(gateways: tuple[GatewayProcess, GatewayProcess]) -> GatewayProcess:
    """The one on which the stage is set up."""
    return gateways[0]


@pytest.fixture
def there(on: Stage, gateways: tuple[GatewayProcess, GatewayProcess], folder: Path) -> Iterator[Stage]:
    """The same people, signed in at the first gateway, calling the second one."""
    people = {}
    for name, somebody in on.people.items():
        people[name] = Somebody(name, somebody.password, gateways[1], folder / "there")
        people[name].identity = somebody.identity  # a certificate of one gateway is good at the other
    second = replace(on, gateway=gateways[1], people=people)
    yield second
    second.close()


def approved(on: Stage, who: str = "alice") -> str:
    """The request of an open window."""
    request = str(on.people[who].request("db-1")["id"])
    on.bob.call("ApprovalService/Approve", access_request_id=request)
    return request


@pytest.mark.rule("R25")
@pytest.mark.parametrize("what", ["revoke", "lock", "terminate", "return"])
def test_what_is_done_at_one_ends_a_session_at_the_other_within_a_second(
    on: Stage, there: Stage, what: str
) -> None:
    name = f"user-{what}"  # of this test's own: whoever is locked must sign in anew
    user = on.add_user(name, {"role": "ROLE_USER"})
    there.people[name] = there_too = Somebody(name, user.password, there.gateway, there.folder)
    there_too.identity = user.identity
    request = approved(on, name)
    with Live(there_too.client, user.token(request), "db-1") as live:
        live.until_open()
        live.send(b"while :; do echo busy; sleep 0.01; done\n")
        live.until_output(b"busy\r\nbusy")
        asked = time.monotonic()
        match what:
            case "revoke":
                on.bob.call("ApprovalService/Revoke", access_request_id=request, comment="enough")
            case "lock":
                on.administrator.call("AdministrationService/Lock", user_id=name, reason="stolen laptop")
            case "terminate":
                on.administrator.call("SessionService/TerminateSession", session_id=live.id, reason="not this one")
            case "return":
                user.call("AccessService/ReturnAccess", id=request)
        live.until_over()
        assert live.exit_at - asked < PROMISE + MARGIN


def test_a_request_made_here_is_decided_there_and_used_anywhere(on: Stage, there: Stage) -> None:
    request = str(on.alice.request("db-1")["id"])
    there.bob.call("ApprovalService/Approve", access_request_id=request)
    assert on.alice.status(request) == "APPROVED"
    live = run(there.alice.client, on.alice.token(request), "echo from the other side", node="db-1")
    assert bytes(live.output) == b"from the other side\n"
    for stage_ in (on, there):
        wait_for(partial(is_complete, stage_, live.id), what="the recording")
        assert stage_.dave.call("RecordingService/VerifyRecording", session_id=live.id)["intact"]


def is_complete(on: Stage, session_id: str) -> bool:
    recording = on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]
    return bool(recording["status"] == "RECORDING_STATUS_COMPLETE")


def test_a_session_outlives_a_restart_of_the_database(on: Stage, there: Stage, server: PostgresqlServer) -> None:
    request = approved(on)
    with Live(there.alice.client, on.alice.token(request), "db-1", "cat") as live:
        live.until_open()
        live.send(b"before ")
        live.until_output(b"before ")
        server.restart()
        live.send(b"after")
        live.until_output(b"before after")
        assert there.alice.status(request) == "APPROVED"  # the first call after it
        asked = time.monotonic()
        on.bob.call("ApprovalService/Revoke", access_request_id=request, comment="enough")
        live.until_over()
        assert live.exit_at - asked < PROMISE + MARGIN
        assert live.end == "REVOKED"


@pytest.mark.slow
def test_while_the_database_stands_still_sessions_end_and_calls_say_why(
    on: Stage, there: Stage, server: PostgresqlServer
) -> None:
    """Nobody can see whether access still holds: after five seconds it does not."""
    request = approved(on)
    with Live(there.alice.client, on.alice.token(request), "db-1", "cat") as live, ThreadPoolExecutor() as pool:
        live.until_open()
        with server.paused():
            paused = time.monotonic()
            call = pool.submit(refused_call, on.alice)
            live.until_over()
            assert 4 < live.exit_at - paused < 7
            assert live.end == "GATEWAY_STOPPED"
            error = call.result(60)
        assert code_and_reason(error) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
        assert "jit doctor" in what_to_do(error)
    for stage_ in (on, there):
        assert stage_.is_alive()
    wait_for(lambda: ended(on, live.id), 30, "the session's last entry")
    assert run(there.alice.client, on.alice.token(request), "echo again", node="db-1").output == b"again\n"


def refused_call(somebody: Somebody) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        somebody.call("IdentityService/WhoAmI")
    return caught.value


def ended(on: Stage, session_id: str) -> bool:
    live = on.administrator.call("SessionService/ListSessions", live_only=True).get("sessions", [])
    return session_id not in {session["id"] for session in live}


def test_a_stopped_database_stops_no_gateway(on: Stage, there: Stage, server: PostgresqlServer) -> None:
    server.stop()
    try:
        error = refused_call(there.alice)
        assert code_and_reason(error) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
        assert "reached" in (error.details() or "")
    finally:
        server.start()
    for stage_ in (on, there):
        assert stage_.is_alive()
