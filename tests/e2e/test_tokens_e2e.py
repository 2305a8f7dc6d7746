"""A token opens its node to its holder, from the holder's client, in its window; to nobody else anything (R24)."""

import contextlib
from pathlib import Path

import pytest

from gateway.access.tokens import is_well_formed, new_token
from tests.e2e.clock import Clock
from tests.e2e.live import Live, run
from tests.e2e.stage import Somebody, Stage
from tests.processes import wait_for
from tests.reflected import ReflectedClient

pytestmark = pytest.mark.rule("R24")

HOUR = 3600.0


@pytest.fixture(scope="module")
def on(shared_stage: tuple[Stage, Clock]) -> Stage:
    return shared_stage[0]


@pytest.fixture(scope="module")
def frank(on: Stage) -> Somebody:
    return on.add_user("frank", {"role": "ROLE_USER"})


def refused(
    on: Stage, client: ReflectedClient, token: str, node: str = "web-1", *, wrong_hands: bool = False
) -> tuple[str, str]:
    """The refusal; nothing may be left of the attempt but, of wrong hands, an event; and the node must not
    have been touched."""
    rows, logins = on.settled_rows(), _logins(on)
    with Live(client, token, node, "id") as live:
        refusal = live.until_over()
    assert live.opened is None
    assert live.output == b""
    after = on.rows()
    if wrong_hands:
        [told] = [row for row in after["events"] if row not in rows["events"]]
        assert "access_token.refused" in told
        assert token not in repr(told)
        for table in ("events", "sqlite_sequence"):
            after[table] = rows[table]
    assert after == rows
    assert _logins(on) == logins
    assert on.is_alive()
    return refusal


def _logins(on: Stage) -> int:
    """How often the node was called. What it says when a call ends may come after everything else."""
    return on.sshd.log().count("Connection from ")


def test_a_token_starts_as_many_sessions_as_are_needed(on: Stage) -> None:
    token = on.token()
    assert [run(on.alice.client, token, f"echo {n}").output for n in range(3)] == [b"0\n", b"1\n", b"2\n"]


def test_somebody_else_with_a_window_of_the_own_on_that_node(on: Stage, frank: Somebody) -> None:
    assert run(frank.client, on.token(who="frank"), "echo mine").output == b"mine\n"
    assert refused(on, frank.client, on.token(), wrong_hands=True) == ("PERMISSION_DENIED", "TOKEN_UNKNOWN")


def test_the_same_person_on_another_client(on: Stage) -> None:
    """Who steals the token and even the password has the holder's key still to steal."""
    with contextlib.closing(
        ReflectedClient(on.gateway.address, on.gateway.ca_file, on.alice.signed_in_anew())
    ) as other:
        assert refused(on, other, on.token(), wrong_hands=True) == ("PERMISSION_DENIED", "TOKEN_OTHER_KEY")
        again = other.call("AccessService/GetAccessToken", access_request_id=on.window()["id"])["token"]["value"]
        assert run(other, again, "echo hers").output == b"hers\n"


def test_another_node_even_with_a_window_there(on: Stage) -> None:
    token = on.token("web-1")
    on.window("web-2")
    assert refused(on, on.alice.client, token, "web-2") == ("PERMISSION_DENIED", "TOKEN_OTHER_NODE")


def test_another_request_for_the_same_node(on: Stage) -> None:
    """A token ends with its own request, whatever other windows are open."""
    first, second = on.window()["id"], on.window()["id"]
    token, other = on.alice.token(first), on.alice.token(second)
    on.alice.call("AccessService/ReturnAccess", id=first)
    assert refused(on, on.alice.client, token) == ("FAILED_PRECONDITION", "ACCESS_ENDED")
    assert run(on.alice.client, other, "echo open").output == b"open\n"


def test_a_request_that_was_revoked(on: Stage) -> None:
    request = on.window("db-1")["id"]
    token = on.alice.token(request)
    on.bob.call("ApprovalService/Revoke", access_request_id=request)
    assert refused(on, on.alice.client, token, "db-1") == ("FAILED_PRECONDITION", "ACCESS_ENDED")
    answer = on.alice.call("AccessService/GetAccessToken", access_request_id=request)
    assert answer == {"status": "ACCESS_REQUEST_STATUS_REVOKED"}


def test_a_token_that_newer_ones_took_the_place_of(on: Stage) -> None:
    request = on.window()["id"]
    tokens = [on.alice.token(request) for _ in range(6)]
    assert refused(on, on.alice.client, tokens[0]) == ("PERMISSION_DENIED", "TOKEN_REVOKED")
    assert run(on.alice.client, tokens[1], "echo alive").output == b"alive\n"


def test_no_token_without_a_window_or_for_others(on: Stage) -> None:
    request = on.alice.request("db-1")["id"]
    answer = on.alice.call("AccessService/GetAccessToken", access_request_id=request)
    assert answer == {"status": "ACCESS_REQUEST_STATUS_PENDING"}
    assert on.bob.refused("AccessService/GetAccessToken", access_request_id=request)[0] == "PERMISSION_DENIED"
    with on.database() as database:
        (count,) = database.execute(
            "SELECT count(*) FROM access_tokens WHERE request_id = ?", (request,)
        ).fetchone()
    assert count == 0


def test_just_before_and_a_second_after_its_hour(on: Stage, clock: Clock) -> None:
    clock.set(10 - HOUR)
    request = on.window("db-1")["id"]  # two hours
    token = on.alice.token(request)
    clock.set(0)
    assert run(on.alice.client, token, "echo in time", node="db-1").output == b"in time\n"
    clock.set(11)
    assert refused(on, on.alice.client, token, "db-1") == ("PERMISSION_DENIED", "TOKEN_EXPIRED")
    clock.set(0)
    assert run(on.alice.client, on.alice.token(request), "echo renewed", node="db-1").output == b"renewed\n"


def test_just_before_and_a_second_after_the_window(on: Stage, clock: Clock) -> None:
    clock.set(10 - HOUR)
    request = on.window("web-1")["id"]  # one hour
    token = on.alice.token(request)
    clock.set(0)
    assert run(on.alice.client, token, "echo in time").output == b"in time\n"
    clock.set(11)
    wait_for(lambda: on.alice.status(request) == "EXPIRED", what="the end of the window")
    assert refused(on, on.alice.client, token) == ("FAILED_PRECONDITION", "ACCESS_ENDED")
    # A clock that is set back opens nothing again.
    clock.set(0)
    assert on.alice.status(request) == "EXPIRED"
    assert refused(on, on.alice.client, token) == ("FAILED_PRECONDITION", "ACCESS_ENDED")


WELL_FORMED = new_token()


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("jgt_" + "x" * 297, ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("jgt_" + "x" * 100_000, ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("jgt_" + "x" * 296, ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        (WELL_FORMED[:-1], ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        (WELL_FORMED[:-1] + ("0" if WELL_FORMED[-1] != "0" else "1"), ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        (WELL_FORMED.swapcase(), ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        (WELL_FORMED + "\n", ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        ("' OR 1=1 --", ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        ("\0" + WELL_FORMED[1:], ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("токен", ("INVALID_ARGUMENT", "TOKEN_MALFORMED")),
        (WELL_FORMED, ("PERMISSION_DENIED", "TOKEN_UNKNOWN")),
    ],
    ids=[
        "empty", "301", "huge", "300", "cut", "one-off", "cases", "newline", "injection", "nul", "foreign",
        "made-up",
    ],
)  # fmt: skip
def test_what_is_no_token_of_ours(on: Stage, token: str, expected: tuple[str, str]) -> None:
    assert is_well_formed(token) is (token == WELL_FORMED)
    assert refused(on, on.alice.client, token) == expected


def test_what_the_command_line_says(on: Stage) -> None:
    """One line what was wrong, one line what to do, and the exit code of a session that failed."""
    token = on.token()  # the reflected client's, not jit's
    person = on.alice.person
    for text, message in ((token, "another client"), ("jgt_nonsense", "no access token")):
        done = person.run("exec", "web-1", "--token", text, "--", "id")
        lines = done.stderr.decode().strip().splitlines()
        assert done.returncode == 255
        assert len(lines) == 2
        assert message in lines[0]
        assert text not in done.stderr.decode()
    mine = person.jit("token", on.window()["id"]).strip()
    assert person.jit("exec", "web-1", "--token", mine, "--", "echo well") == "well\n"


def test_no_token_is_in_the_log_or_the_database(on: Stage, folder: Path) -> None:
    token = on.token()
    run(on.alice.client, token, "true")
    assert token not in on.gateway.log.read_text()
    for file in on.gateway.data_dir.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file
