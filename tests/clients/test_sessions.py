"""`jit exec` and `jit shell` as processes: bytes, signals, terminals, ends."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from jitgate.v1 import session_pb2 as pb
from tests.clients.conftest import Jit
from tests.clients.pseudoterminal import Person
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn


@pytest.fixture(autouse=True)
def open_window(server: StandIn, home: Path, jit: Jit) -> None:
    assert jit("request", "web-1", "--reason", "test").returncode == 0


def bytes_of(
    environment: dict[str, str], *arguments: str, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "clients.cli", *arguments]
    return subprocess.run(command, env=environment, input=given, capture_output=True, timeout=60, check=False)


def test_output_errors_and_status_are_the_commands(jit: Jit) -> None:
    done = jit("exec", "web-1", "--", "echo out; echo err >&2; exit 42")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 42)


@pytest.mark.parametrize(("name", "code"), [("KILL", 137), ("TERM", 143), ("HUP", 129)])
def test_a_command_that_a_signal_ended(jit: Jit, name: str, code: int) -> None:
    assert jit("exec", "web-1", "--", f"exec sh -c 'kill -{name} $$'").returncode == code


def test_words_arrive_as_they_were_given(jit: Jit) -> None:
    awkward = ["a b", "'", '"$HOME"', "*", "\\", "ü", "-n", "--", ""]
    done = jit("exec", "web-1", "--", "printf", "%s|", *awkward)
    assert done.stdout == "".join(f"{word}|" for word in awkward)


def test_a_single_word_is_a_command_line(jit: Jit) -> None:
    assert jit("exec", "web-1", "--", "echo a b | tr a-z A-Z").stdout == "A B\n"


def test_every_byte_survives_both_ways(environment: dict[str, str]) -> None:
    given = bytes(range(256)) * 4 + os.urandom(100_000)
    assert bytes_of(environment, "exec", "web-1", "--", "cat", given=given).stdout == given


def test_more_than_the_credit_in_both_directions(environment: dict[str, str]) -> None:
    given = os.urandom(24 << 20)
    done = bytes_of(environment, "exec", "web-1", "--", "cat", given=given)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(given).digest()


def test_the_end_of_input_is_passed_on(jit: Jit) -> None:
    assert jit("exec", "web-1", "--", "wc -c", given="12345").stdout.strip() == "5"


def test_no_stdin_leaves_the_input_to_others(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m clients.cli exec -n web-1 -- cat; cat"
    done = subprocess.run(
        ["sh", "-c", command], env=environment, input=b"mine", capture_output=True, timeout=30, check=False
    )
    assert done.stdout == b"mine"


def test_a_reader_that_leaves_ends_the_session_quietly(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m clients.cli exec web-1 -- yes; echo code $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"( {command} ) | head -n 1"], env=environment, capture_output=True, timeout=30, check=False
    )
    assert done.stdout == b"y\n"
    assert done.stderr.decode().strip() == "code 141"


def test_a_reader_that_is_slow_gets_all_of_it(environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "clients.cli",
        "exec",
        "web-1",
        "--",
        "head -c 9000000 /dev/zero; echo end >&2",
    ]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        time.sleep(0.5)  # the pipe and the credit are full meanwhile
        assert len(running.stdout.read()) == 9_000_000
        assert running.wait(10) == 0


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM")])
def test_signals_go_to_the_command(environment: dict[str, str], number: signal.Signals, name: str) -> None:
    script = f"trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-m", "clients.cli", "exec", "-n", "web-1", "--", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        assert running.stdout.read() == f"got {name}\n".encode()
        assert running.wait(10) == 5


def test_a_command_that_ignores_signals_is_left_at_the_third(environment: dict[str, str]) -> None:
    script = "trap 'echo no' INT; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-m", "clients.cli", "exec", "-n", "web-1", "--", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        for _ in range(2):
            running.send_signal(signal.SIGINT)
            assert running.stdout.readline() == b"no\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130


def test_a_gateway_that_dies_in_the_middle(server: StandIn, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "clients.cli", "exec", "-n", "web-1", "--", "echo tail; sleep 60"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == b"tail\n"
        server.stop()
        assert running.wait(10) == 255
        assert b"error: " in running.stderr.read()


def test_no_window_and_no_reason_is_an_error_of_ours(jit: Jit) -> None:
    done = jit("exec", "db-1", "--", "true")
    assert done.returncode == 255
    assert done.stderr.splitlines()[0] == "error: there is no open window for db-1"
    assert "--reason" in done.stderr


def test_nobody_is_asked_why_they_need_a_node_that_is_not_there(server: StandIn, jit: Jit) -> None:
    def nowhere(*_: object) -> Message:
        raise Refusal(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND", "there is no node wbe-1", "Look at the nodes.")

    server.world.answers["GetNode"] = nowhere
    done = jit("exec", "wbe-1", "--", "true")
    assert done.returncode == 255
    assert done.stderr.splitlines() == ["error: there is no node wbe-1", "Look at the nodes."]


def test_a_reason_makes_the_request(server: StandIn, jit: Jit) -> None:
    server.run(server.world.requests.clear)
    done = jit("exec", "web-1", "--reason", "nightly job", "--hours", "2", "--", "echo", "hi")
    assert (done.stdout, done.returncode) == ("hi\n", 0)
    asked = server.world.asked("StartAccessRequest")[-1]
    assert (asked.reason, asked.hours, list(asked.nodes)) == ("nightly job", 2, ["web-1"])
    assert len(asked.idempotency_key) >= 16


def test_the_token_is_kept_and_used_again_without_asking(server: StandIn, home: Path, jit: Jit) -> None:
    assert jit("exec", "web-1", "--", "true").returncode == 0
    before = len(server.world.calls)
    assert jit("exec", "web-1", "--", "true").returncode == 0
    assert [name for name, _, _ in server.world.calls[before:]] == ["Connect", "Open"]
    kept = home / "default" / "tokens.json"
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.rule("R24")
def test_a_kept_token_that_no_longer_works_is_replaced(server: StandIn, jit: Jit) -> None:
    assert jit("exec", "web-1", "--", "true").returncode == 0
    server.run(server.world.tokens.clear)
    done = jit("exec", "web-1", "--", "echo again")
    assert (done.stdout, done.returncode) == ("again\n", 0)


def test_a_damaged_cache_is_only_a_cache(home: Path, jit: Jit) -> None:
    for damage in ("{", "[]", '{"default/default/web-1": 3}'):
        (home / "default" / "tokens.json").write_text(damage)
        assert jit("exec", "web-1", "--", "true").returncode == 0


@pytest.mark.rule("R24")
def test_a_given_token_is_used_and_nothing_else_is_tried(server: StandIn, jit: Jit) -> None:
    done = jit("exec", "web-1", "--token", "jgt_forged", "--", "true")
    assert done.returncode == 255
    assert "the access token does not work" in done.stderr
    token = jit("token", "oi-000000000000").stdout.strip()
    assert jit("exec", "web-1", "--", "echo ok", JIT_ACCESS_TOKEN=token).stdout == "ok\n"


def ending(*frames: pb.SessionFrame) -> Any:
    async def connect(caller: str, given: Any, context: Any) -> Any:
        await anext(given)
        yield pb.SessionFrame(opened=pb.SessionOpened(session_id="s-1", credit=1000))
        for frame in frames:
            yield frame

    return connect


@pytest.mark.rule("R25")
def test_the_person_reads_why_a_session_ended_once(server: StandIn, jit: Jit) -> None:
    data = pb.SessionFrame(data=pb.SessionData(payload=b"half a line"))
    why = "revoked by bob: \x1b[2Jnot today"
    notice = pb.SessionFrame(notice=pb.SessionNotice(text=why, severity="end"))
    ended = pb.SessionFrame(exit=pb.SessionExit(end=pb.SESSION_END_REVOKED, message=why))
    server.world.answers["Connect"] = ending(data, notice, ended)
    done = jit("exec", "web-1", "--", "true")
    assert done.returncode == 255
    assert done.stdout == "half a line"
    assert done.stderr == "[jit] revoked by bob: \\x1b[2Jnot today\n"
    server.world.answers["Connect"] = ending(ended)
    assert jit("exec", "web-1", "--", "true").stderr == "error: revoked by bob: \\x1b[2Jnot today\n"


@pytest.mark.parametrize(
    "frames",
    [
        (pb.SessionFrame(data=pb.SessionData(offset=5, payload=b"x")),),
        (pb.SessionFrame(data=pb.SessionData(offset=0, payload=bytes(3 << 20))),) * 1
        + (pb.SessionFrame(data=pb.SessionData(offset=0, payload=b"again")),),
        (),
    ],
    ids=["offset", "repeated", "no exit"],
)
def test_a_gateway_that_breaks_the_frames_rules_is_left(
    server: StandIn, jit: Jit, frames: tuple[pb.SessionFrame, ...]
) -> None:
    server.world.answers["Connect"] = ending(*frames)
    done = jit("exec", "-n", "web-1", "--", "true")
    assert done.returncode == 255
    assert "error: " in done.stderr


def test_a_shell_is_a_terminal_and_leaves_ours_as_it_was(environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment, columns=97, rows=31) as person:
        modes = person.modes()
        person.waits_for("$ ")
        assert person.modes() != modes
        person.type("stty size; echo $TERM-ü\r")
        person.waits_for("31 97")
        person.waits_for("xterm-ü")
        person.resize(120, 40)
        person.type("stty size\r")
        person.waits_for("40 120")
        # Who interrupts a shell while it starts a program may miss both: the program itself says that it runs.
        person.type("sh -c 'echo st\"\"arted; exec sleep 100'\r")
        person.waits_for("started")
        person.type(b"\x03")
        person.waits_for("$ ")
        person.type("exit 7\r")
        assert person.ends() == 7
        assert person.modes() == modes


def test_a_notice_is_on_a_line_of_its_own(server: StandIn, environment: dict[str, str]) -> None:
    server.world.answers["Connect"] = ending(
        pb.SessionFrame(data=pb.SessionData(payload=b"$ half")),
        pb.SessionFrame(notice=pb.SessionNotice(text="5 minutes left", severity="warning")),
        pb.SessionFrame(data=pb.SessionData(offset=6, payload=b" rest")),
        pb.SessionFrame(exit=pb.SessionExit(end=pb.SESSION_END_EXITED, status=0)),
    )
    with Person("shell", "web-1", environment=environment) as person:
        assert person.ends() == 0
        assert b"$ half\r\n[jit] 5 minutes left\r\n rest" in person.seen


@pytest.mark.rule("R25")
def test_an_editor_that_is_cut_off_leaves_a_screen_to_go_on_with(
    server: StandIn, environment: dict[str, str]
) -> None:
    server.world.answers["Connect"] = ending(
        pb.SessionFrame(data=pb.SessionData(payload=b"$ vi\r\n\x1b[?1049h\x1b[?1000h\x1b[?25l~")),
        pb.SessionFrame(notice=pb.SessionNotice(text="terminated by bob: lunch", severity="end")),
        pb.SessionFrame(exit=pb.SessionExit(end=pb.SESSION_END_TERMINATED, message="terminated by bob: lunch")),
    )
    with Person("shell", "web-1", environment=environment) as person:
        assert person.ends() == 255
        before, _, after = person.seen.partition(b"\x1b[?1049l")
        assert before.endswith(b"~")
        assert b"\x1b[?1000l" in after
        assert b"\x1b[?25h" in after
        assert after.count(b"[jit] terminated by bob: lunch\r\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_killed_jit_leaves_the_terminal_as_it_was(environment: dict[str, str], number: signal.Signals) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        modes = person.modes()
        person.waits_for("$ ")
        person.signal(number)
        assert person.ends() == 128 + number
        assert person.modes() == modes


def test_a_dead_gateway_leaves_the_terminal_as_it_was(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        modes = person.modes()
        person.waits_for("$ ")
        server.stop()
        assert person.ends() == 255
        assert person.modes() == modes


def test_tilde_dot_leaves(environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        person.type("echo a~.b ~~\r")
        person.waits_for("a~.b ~~")
        person.waits_for("$ ")
        person.type("\r~.")
        assert person.ends() == 255


def test_the_whole_dance(server: StandIn, environment: dict[str, str], jit: Jit) -> None:
    with Person("shell", "db-1", environment=environment) as person:
        person.waits_for("Reason: ")
        person.type("restore the backup\r")
        person.waits_for("asks bob, group sre")
        deadline = time.monotonic() + 5
        while len(server.world.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.run(lambda: server.world.approve("oi-000000000001"))
        person.waits_for("Approved")
        person.waits_for("$ ")
        person.type("exit\r")
        assert person.ends() == 0


@pytest.mark.rule("R20")
def test_ctrl_c_while_waiting_leaves_the_request(server: StandIn, environment: dict[str, str], jit: Jit) -> None:
    with Person("shell", "db-1", "--reason", "x", environment=environment) as person:
        person.waits_for("Ctrl-C")
        person.type(b"\x03")
        assert person.ends() == 255
        assert b"jit cancel oi-000000000001" in person.seen
        assert b"jit shell db-1" in person.seen
    assert "Pending" in jit("requests", "list", "--node", "db-1").stdout
    with Person("shell", "db-1", environment=environment) as person:
        person.waits_for("asks bob")  # the same request, not a second one
    assert len(server.world.asked("StartAccessRequest")) == 2
