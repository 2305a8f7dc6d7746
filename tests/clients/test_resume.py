"""Sessions that outlive their connection: every byte once, both ways, whatever is cut where."""

import json
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from jitgate.v1 import session_pb2 as pb
from tests.clients.conftest import Jit
from tests.clients.cuts import BadNetwork, bad_network
from tests.clients.pseudoterminal import Person
from tests.clients.refusal import Refusal
from tests.clients.resuming import eventually, opened, refusing, sizes
from tests.clients.standin import StandIn

COUNTER = """
import sys, tty, zlib
if sys.stdin.isatty(): tty.setraw(0)
print("ready", end="\\n", flush=True)
for wanted, line in enumerate(sys.stdin.buffer):
    number, check = line.split()
    if int(number) != wanted or int(check) != zlib.crc32(number): print("WRONG", line); sys.exit(3)
    print(int(number), zlib.crc32(b"back" + number), flush=wanted % 50 == 0)
    if wanted + 1 == int(sys.argv[1]): break
print("all")
"""


@pytest.fixture(autouse=True)
def kept(server: StandIn, home: Path, jit: Jit) -> None:
    server.world.grace_seconds = 60
    assert jit("request", "web-1", "--reason", "test").returncode == 0


@contextmanager
def network(server: StandIn, home: Path, **how: Any) -> Iterator[tuple[BadNetwork, dict[str, str]]]:
    """A bad network, and the environment of a jit that knows no better way."""
    with bad_network(server.address, **how) as bad:
        name = f"over-{bad.address.rpartition(':')[2]}"
        (home / name).mkdir()
        for file in (home / "default").iterdir():
            (home / name / file.name).write_bytes(file.read_bytes())
        values = json.loads((home / "default" / "profile.json").read_text()) | {"gateway_address": bad.address}
        (home / name / "profile.json").write_text(json.dumps(values))
        yield bad, {"JIT_PROFILE": name}


def feed(environment: dict[str, str], *arguments: str, given: bytes) -> tuple[bytes, bytes, int]:
    """Gives the input bit by bit, from the command's first line on: output after it, errors, exit code."""
    command = [sys.executable, "-m", "clients.cli", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as running:

        def write() -> None:
            assert running.stdin
            with running.stdin as stdin, suppress(BrokenPipeError):
                for at in range(0, len(given), 2000):
                    stdin.write(given[at : at + 2000])
                    stdin.flush()
                    time.sleep(0.01)  # else it would be a few frames only

        writer = threading.Thread(target=write)
        killer = threading.Timer(200, running.kill)
        killer.start()
        try:
            assert running.stdout
            assert running.stderr
            assert running.stdout.readline().rstrip() == b"ready"
            writer.start()
            return running.stdout.read(), running.stderr.read(), running.wait(30)
        finally:
            running.kill()
            killer.cancel()
            if writer.ident:
                writer.join()


def counted(count: int) -> bytes:
    return b"".join(b"%d %d\n" % (number, zlib.crc32(b"%d" % number)) for number in range(count))


def answered(count: int) -> bytes:
    lines = (b"%d %d\n" % (number, zlib.crc32(b"back%d" % number)) for number in range(count))
    return b"".join(lines) + b"all\n"


def test_hundreds_of_cuts_lose_and_repeat_nothing(
    server: StandIn, home: Path, environment: dict[str, str]
) -> None:
    """Counters through a terminal and through pipes, both ways at once, cut also within handshakes."""
    count = 10_000

    def session(seed: int) -> int:
        terminal = ["-t"] if seed % 2 else []
        with network(server, home, seed=seed, mean=18_000) as (bad, profile):
            command = ["exec", *terminal, "web-1", "--", sys.executable, "-c", COUNTER, str(count)]
            output, errors, code = feed(environment | profile, *command, given=counted(count))
            assert code == 0, (seed, bad.cuts, output[-200:], errors)
            assert output.replace(b"\r\n", b"\n") == answered(count), seed
            return bad.cuts

    with ThreadPoolExecutor(8) as several:
        cuts = list(several.map(session, range(8)))
    assert sum(cuts) >= 200
    # The farewell is said once: a cut within its few bytes leaves the session to its grace.
    assert sum(not live.is_over for live in server.world.sessions) <= 2


def test_a_gateway_that_is_started_again_is_hardly_noticed(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        person.type("stty size; value=kept\r")
        person.waits_for("24 80")
        server.stop()
        person.resize(100, 30)
        server.start_again()
        person.type("echo is-$value\r")
        person.waits_for("is-kept")
        # Who was away for long, as on a busy machine, gets another size for a moment.
        eventually(lambda: sizes(server)[-1:] == [30])
        person.type("stty size\r")
        person.waits_for("30 100")
        person.type("exit 4\r")
        assert person.ends() == 4
        assert b"[jit]" not in person.seen


def test_who_is_away_for_long_is_told_and_keys_wait(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        server.stop()
        person.type("echo typed-$((40 + 2))\r")
        person.waits_for("[jit] connection lost, reconnecting")
        server.start_again()
        person.waits_for("[jit] connected again\r\n")
        person.waits_for("typed-42")
        eventually(lambda: sizes(server)[-2:] == [23, 24])  # what is on the screen is drawn again
        person.type("exit\r")
        assert person.ends() == 0
        assert b"[jit]" not in person.seen


@pytest.mark.parametrize(("keys", "code"), [(b"\x03", 130), (b"\r~.", 255)])
def test_who_is_away_leaves_at_once(
    server: StandIn, environment: dict[str, str], keys: bytes, code: int, jit: Jit
) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        modes = person.modes()
        person.waits_for("$ ")
        server.stop()
        person.waits_for("reconnecting")
        person.type(keys)
        assert person.ends() == code
        assert b"its node keeps it for 60 s" in person.seen
        assert b"jit sessions attach s-00000000000000000000" in person.seen
        assert person.modes() == modes
    assert not server.world.sessions[0].is_over


def test_ctrl_c_before_anybody_was_told_is_the_nodes(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        person.type("sh -c 'echo st\"\"arted; exec sleep 100'\r")
        person.waits_for("started")
        server.stop()
        person.type(b"\x03")
        server.start_again()
        person.waits_for("$ ")
        person.type("exit 0\r")
        assert person.ends() == 0


def is_connected(address: str) -> bool:
    """Whether somebody on this machine has a connection to that address and has not closed it."""
    port = int(address.rpartition(":")[2])
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(int(remote[-4:], 16) == port and state in ("01", "08") for _, _, remote, state, *_ in sockets)


def test_a_signal_while_away_is_passed_on(server: StandIn, environment: dict[str, str]) -> None:
    script = "trap 'echo got INT; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-m", "clients.cli", "exec", "-n", "web-1", "--", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        server.stop()
        # What is given to a connection before its loss is noticed reaches nobody: there is no telling it apart.
        eventually(lambda: not is_connected(server.address))
        running.send_signal(signal.SIGINT)
        server.start_again()
        try:
            assert running.communicate(timeout=30)[0] == b"got INT\n"
        finally:
            running.kill()
        assert running.returncode == 5


def test_who_leaves_hangs_up_and_the_session_ends(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        person.type("\r~.")
        assert person.ends() == 255
    live = server.world.sessions[0]
    eventually(lambda: live.is_over)
    assert live.received_frames[-1].HasField("hangup")


def test_a_read_exit_is_acknowledged(server: StandIn, jit: Jit) -> None:
    assert jit("exec", "web-1", "--", "echo x; exit 3").returncode == 3
    live = server.world.sessions[0]
    eventually(lambda: live.is_over)  # who exits waits a second for it, no longer
    assert live.received_frames[-1].HasField("hangup")


def test_a_killed_jit_leaves_the_session_to_the_next(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        person.signal(signal.SIGKILL)
        person.ends()
    assert not server.world.sessions[0].is_over


def test_output_that_nobody_reads_stays_bounded_and_whole(
    server: StandIn, home: Path, environment: dict[str, str]
) -> None:
    script = "head -c 30000000 /dev/zero; echo end"
    with network(server, home) as (bad, profile):
        command = [sys.executable, "-m", "clients.cli", "exec", "-n", "web-1", "--", script]
        with subprocess.Popen(command, env=environment | profile, stdout=subprocess.PIPE) as running:
            assert running.stdout
            for cut in range(1, 9):
                eventually(lambda: [live.calls for live in server.world.sessions] == [cut])  # noqa: B023 - at once
                time.sleep(0.1)  # for the credit to be used up
                bad.break_all()
            status = Path(f"/proc/{running.pid}/status").read_text()
            memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            assert memory < 90 << 10  # in KiB
            output = running.stdout.read()
            assert (len(output), output[-4:], running.wait(10)) == (30_000_004, b"end\n", 0)


def test_a_gateway_that_vanishes_without_a_word_is_noticed(
    server: StandIn, home: Path, environment: dict[str, str]
) -> None:
    impatient = "import clients.cli.wire.channel as c; c.QUIET_SECONDS = c.ANSWER_SECONDS = 0.4; "
    script = "read line; echo got $line; read line; echo got $line"
    with network(server, home) as (bad, profile):
        command = [sys.executable, "-c", f"{impatient} from clients.cli.__main__ import main; main()"]
        command += ["exec", "web-1", "--", script]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment | profile, stdin=pipe, stdout=pipe) as running:
            assert running.stdin
            assert running.stdout
            running.stdin.write(b"one\n")
            running.stdin.flush()
            assert running.stdout.readline() == b"got one\n"
            bad.fall_silent()
            running.stdin.write(b"two\n")
            running.stdin.flush()
            assert running.stdout.read() == b"got two\n"
            assert running.wait(10) == 0
    # More often on a machine that is busy: it too has little time to answer.
    assert server.world.sessions[0].calls >= 2


@pytest.mark.rule("R24")
def test_a_token_that_was_replaced_is_got_anew(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        server.stop()
        server.run(server.world.tokens.clear)
        server.start_again()
        person.type("echo still-$((1 + 1))\r")
        person.waits_for("still-2")
        person.type("exit\r")
        assert person.ends() == 0
    assert len(server.world.asked("GetAccessToken")) == 2


@pytest.mark.rule("R25")
def test_access_that_ended_meanwhile_is_said(server: StandIn, environment: dict[str, str]) -> None:
    with Person("shell", "web-1", environment=environment) as person:
        person.waits_for("$ ")
        server.stop()
        server.run(lambda: server.world._end("oi-000000000000", 7, "revoked by bob"))
        server.start_again()
        assert person.ends() == 255
        assert b"the access token does not work" in person.seen


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_ENDED"),
        (grpc.StatusCode.FAILED_PRECONDITION, "ACCESS_ENDED"),
        (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_OTHER_KEY"),
        (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_EXPIRED"),
        (grpc.StatusCode.ABORTED, "SESSION_TAKEN"),
    ],
)
def test_a_refusal_is_final(server: StandIn, jit: Jit, code: grpc.StatusCode, reason: str) -> None:
    server.world.answers["Connect"] = refusing(code, reason)
    done = jit("exec", "web-1", "--", "true")
    assert done.returncode == 255
    assert done.stderr == f"error: said {reason}\nDo that.\n"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_what_may_pass_is_tried_until_the_grace_is_over(server: StandIn, jit: Jit, code: grpc.StatusCode) -> None:
    resumed = 0

    async def connect(caller: str, frames: Any, context: Any) -> Any:
        nonlocal resumed
        if (await anext(frames)).HasField("resume"):
            resumed += 1
            raise Refusal(code, "NODE_UNREACHABLE", "the node is not back yet")
        yield opened(grace_seconds=2)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")

    server.world.answers["Connect"] = connect
    done = jit("exec", "-n", "web-1", "--", "true")
    assert done.returncode == 255
    assert "could not be made again in time: the node is not back yet" in done.stderr
    assert resumed >= 2  # on a busy machine there is no time for more


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (opened(output_offset=6), "another place of the output"),
        (opened(output_offset=4), "another place of the output"),
        (opened(output_offset=5, input_offset=6), "can't be repeated"),
        (opened(output_offset=5, input_offset=1 << 63), "can't be repeated"),
        (opened(output_offset=5, session_id="s-" + "1" * 20), "another session"),
        (pb.SessionFrame(exit=pb.SessionExit(status=0)), "did not say that it opened"),
        (pb.SessionFrame(), "did not say that it opened"),
    ],
)
def test_a_gateway_that_lies_about_the_place_is_left(
    server: StandIn, jit: Jit, answer: pb.SessionFrame, problem: str
) -> None:
    async def connect(caller: str, frames: Any, context: Any) -> Any:
        first = await anext(frames)
        if first.HasField("resume"):
            assert first.resume.received == 5
            yield answer
            return
        yield opened()
        yield pb.SessionFrame(data=pb.SessionData(payload=b"12345"))
        assert (await anext(frames)).data.payload == b"input"
        await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")

    server.world.answers["Connect"] = connect
    done = jit("exec", "web-1", "--", "true", given="input")
    assert (done.returncode, done.stdout) == (255, "12345")
    assert problem in done.stderr


def test_input_that_is_kept_no_more_can_not_be_asked_for(server: StandIn, jit: Jit) -> None:
    """The gateway granted credit for it, so that it was taken care of."""

    async def connect(caller: str, frames: Any, context: Any) -> Any:
        if (await anext(frames)).HasField("resume"):
            yield opened(input_offset=0)
            return
        yield opened(credit=3 << 20)
        taken = 0
        while taken < 2 << 20:
            frame = await anext(frames)
            taken += len(frame.data.payload)
            yield pb.SessionFrame(window=pb.SessionWindow(credit=len(frame.data.payload)))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")

    server.world.answers["Connect"] = connect
    done = jit("exec", "web-1", "--", "true", given="x" * (3 << 20))
    assert done.returncode == 255
    assert "can't be repeated" in done.stderr


def test_a_session_without_grace_ends_with_its_call(server: StandIn, jit: Jit) -> None:
    async def connect(caller: str, frames: Any, context: Any) -> Any:
        assert (await anext(frames)).open.resumable
        yield opened(grace_seconds=0)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")

    server.world.answers["Connect"] = connect
    done = jit("exec", "-n", "web-1", "--", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (255, "error: broken")
    assert len(server.world.asked("Connect")) == 1
