"""Sessions with the real `jit` on real terminals and pipes, recorded and replayed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.pseudoterminal import Person as Terminal
from tests.e2e.clock import Clock
from tests.e2e.live import run
from tests.e2e.stage import PLAIN_LOGIN_NODE, Stage
from tests.processes import BIN, wait_for
from tests.sshd import unprivileged_login

REASON = ("--reason", "end to end")


@pytest.fixture(scope="module")
def on(shared_stage: tuple[Stage, Clock]) -> Stage:
    return shared_stage[0]


@pytest.fixture(scope="module", autouse=True)
def signed_in(on: Stage) -> None:
    """alice has a window on web-1, so that sessions there start at once, and no other."""
    on.alice.give_up()
    on.alice.person.jit("request", "web-1", *REASON)


@pytest.fixture
def shell(on: Stage) -> Iterator[Terminal]:
    """alice's shell on web-1, its prompt short."""
    with Terminal("shell", "web-1", environment=on.alice.person.environment) as terminal:
        terminal.waits_for("recorded")
        terminal.type("bind 'set enable-bracketed-paste off'; PS1='rea''dy> '\r")
        terminal.waits_for("ready> ")
        yield terminal


def typed(shell: Terminal, line: str) -> str:
    """What the line printed, up to the next prompt."""
    shell.type(f'{line}; echo end"-of-it"\r')
    before = shell.waits_for("end-of-it").decode()
    shell.waits_for("ready> ")
    return before.partition("\n")[2].removesuffix("end-of-it")


def complete(on: Stage, session_id: str) -> None:
    wait_for(
        lambda: (
            on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]["status"]
            == "RECORDING_STATUS_COMPLETE"
        ),
        what="the recording",
    )


def latest_session(on: Stage) -> str:
    return str(on.alice.call("SessionService/ListSessions")["sessions"][0]["id"])


def test_a_shell_that_is_resized(shell: Terminal) -> None:
    assert typed(shell, "stty size").strip() == "24 80"
    shell.resize(132, 43)
    wait_for(lambda: typed(shell, "stty size").strip() == "43 132", what="the new size")
    assert typed(shell, "tty").startswith("/dev/pts/")


def test_letters_of_all_kinds(shell: Terminal) -> None:
    assert typed(shell, "printf '%s\\n' 'Grüße, 世界 🚀'").strip() == "Grüße, 世界 🚀"


def test_ctrl_c_reaches_the_remote_program_and_the_shell_goes_on(shell: Terminal) -> None:
    program = f"sleep 4243.{os.getpid()}"
    shell.type(f"{program}; echo status $?\r")
    wait_for(lambda: _runs(program), what="the program on the node")
    shell.type("\x03")
    shell.waits_for("ready> ")
    assert not _runs(program)
    assert typed(shell, "echo still here").strip() == "still here"


def test_a_shells_exit_status(shell: Terminal) -> None:
    shell.type("exit 42\r")
    assert shell.ends() == 42


def test_ctrl_d_ends_a_shell(shell: Terminal) -> None:
    shell.type("\x04")
    assert shell.ends() == 0


@pytest.mark.parametrize("status", [0, 1, 42, 127, 255])
def test_exit_statuses(on: Stage, status: int) -> None:
    assert on.alice.person.run("exec", "web-1", "--", f"exit {status}").returncode == status


def test_every_byte_both_ways_and_stdin_to_its_end(on: Stage) -> None:
    given = bytes(range(256)) * 64 + os.urandom(1 << 20)
    done = on.alice.person.run("exec", "web-1", "--", "cat; echo error >&2", stdin=given)
    assert (done.returncode, done.stderr) == (0, b"error\n")
    assert done.stdout == given
    assert on.alice.person.run("exec", "web-1", "--", "wc -c", stdin=given).stdout.split() == [b"%d" % len(given)]


def test_signals_reach_a_command_without_a_terminal(on: Stage) -> None:
    if unprivileged_login() is None:
        pytest.skip("sshd passes no signals to root, and there is no other login here")
    command = "trap 'echo interrupted; exit 9' INT; echo waiting; while :; do sleep 0.1; done"
    process = on.alice.person.popen(
        "exec", "-n", PLAIN_LOGIN_NODE, *REASON, "--", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == b"interrupted\n"
    assert process.returncode == 9


def test_ten_sessions_at_once(on: Stage) -> None:
    """None gets anything of another, whatever they send at the same time."""
    given = [os.urandom(200_000) for _ in range(10)]
    processes = [
        on.alice.person.popen(
            "exec", "web-1", "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in given
    ]
    for process in processes:  # all live before any gets input
        assert process.poll() is None
    assert [
        process.communicate(data, timeout=120)[0] for process, data in zip(processes, given, strict=True)
    ] == given


@pytest.mark.rule("R16")
def test_the_whole_dance_of_a_shell(on: Stage) -> None:
    """No window: asked for the reason, shown who decides, connected as soon as somebody else has approved."""
    with Terminal("shell", "db-1", environment=on.alice.person.environment) as terminal:
        terminal.waits_for("Reason: ")
        terminal.type("to dance\r")
        terminal.waits_for("bob")
        (pending,) = on.bob.call("AccessService/ListAccessRequests", for_me=True)["requests"]
        assert pending["reason"] == "to dance"
        shown = on.bob.person.jit("requests", "list", "--for-me")
        assert pending["id"] in shown
        assert "to dance" in shown
        on.bob.person.jit("approve", pending["id"], "--comment", "go on")
        terminal.waits_for("recorded")
        terminal.type("echo at' 'last\r")
        terminal.waits_for("at last")
        terminal.type("exit 5\r")
        assert terminal.ends() == 5


@pytest.mark.rule("R18")
def test_a_shell_that_is_denied(on: Stage) -> None:
    with Terminal("shell", "vault-1", "--reason", "to see", environment=on.alice.person.environment) as terminal:
        (pending,) = wait_for(
            lambda: [
                request
                for request in on.bob.call("AccessService/ListAccessRequests", for_me=True).get("requests", [])
                if request["reason"] == "to see"
            ],
            what="the request",
        )
        on.bob.person.jit("deny", pending["id"], "--comment", "not today")
        terminal.waits_for("not today")
        assert terminal.ends() == 255


@pytest.mark.rule("R27")
def test_what_was_seen_can_be_played_and_exported(on: Stage, shell: Terminal, folder: Path) -> None:
    typed(shell, "printf 'caf\\303\\251 \\033[31mred\\033[0m\\n'")
    shell.resize(100, 30)
    wait_for(lambda: typed(shell, "stty size").strip() == "30 100", what="the new size")
    shell.type("exit\r")
    assert shell.ends() == 0
    session_id = latest_session(on)
    complete(on, session_id)
    auditor = on.dave.person

    cast = folder / "session.cast"
    auditor.jit("recordings", "export", session_id, "-o", cast)
    lines = cast.read_text().splitlines()
    header, events = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert [event[2] for event in events if event[1] == "r"] == ["100x30"]
    shown = "".join(event[2] for event in events if event[1] == "o")
    assert "café \x1b[31mred\x1b[0m" in shown

    played = _asciinema(on, "cat", str(cast))
    assert "café \x1b[31mred\x1b[0m" in played
    assert "café" in _asciinema(on, "play", "--speed", "1000", "--idle-time-limit", "0.01", str(cast))

    text = auditor.jit("recordings", "export", session_id, "--format", "text")
    assert "café red" in text
    assert "\x1b" not in text
    raw = auditor.run("recordings", "export", session_id, "--format", "raw").stdout
    assert raw.decode() == shown
    assert "café" in auditor.jit("recordings", "play", session_id, "--speed", "100", "--idle-limit", "0.01")
    assert "intact" in auditor.jit("recordings", "verify", session_id)
    told = {
        event["type"] for event in on.dave.call("AdministrationService/ListEvents", subject=session_id)["events"]
    }
    assert {"recording.exported", "recording.played", "recording.verified"} <= told


def _asciinema(on: Stage, *arguments: str) -> str:
    """What the real player shows, on a terminal of its own."""
    command = f"{sys.executable} {BIN / 'asciinema'} {' '.join(arguments)}"
    environment = {**on.dave.person.environment, "ASCIINEMA_CONFIG_HOME": str(on.folder / "asciinema")}
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


@pytest.mark.rule("R27")
def test_who_may_not_export_does_not(on: Stage, folder: Path) -> None:
    """Not the person who was recorded, not the approver, not even the administrator."""
    session_id = run(on.alice.client, on.token(), "echo mine").id
    complete(on, session_id)
    for somebody in (on.alice, on.bob, on.administrator):
        file = folder / f"{somebody.id}.cast"
        done = somebody.person.run("recordings", "export", session_id, "-o", file)
        assert done.returncode == 4
        assert "export_recordings" in done.stderr.decode()
        assert not file.exists()
        assert somebody.person.run("recordings", "play", session_id).returncode == 4


def test_what_is_typed_without_being_asked_for_is_not_recorded(on: Stage, shell: Terminal, folder: Path) -> None:
    """Input is recorded as time and length only, as long as no preference asks for more."""
    shell.type("read -s word; echo read\r")
    shell.waits_for("read\r\n")
    shell.type("geheim-4711\r")
    shell.waits_for("ready> ")
    shell.type("exit\r")
    shell.ends()
    session_id = latest_session(on)
    complete(on, session_id)
    events = [
        event
        for answer in on.dave.client.receive("RecordingService/PlayRecording", session_id=session_id)
        for event in answer.events
    ]
    kinds = {event.WhichOneof("event") for event in events}
    assert "input_length" in kinds
    assert "input" not in kinds
    assert not any(b"geheim" in event.output for event in events)
    on.dave.person.jit("recordings", "download", session_id, folder / "download")
    for place in (folder / "download", on.gateway.data_dir):
        for file in place.rglob("*"):
            assert not file.is_file() or b"geheim" not in file.read_bytes()


@pytest.mark.rule("R27")
def test_a_copy_of_the_store_is_verified_against_the_inventory(on: Stage, folder: Path) -> None:
    on.alice.person.jit("exec", "web-1", "--", "echo seen")
    session_id = latest_session(on)
    complete(on, session_id)
    auditor = on.dave.person
    auditor.jit("recordings", "inventory", "-o", folder / "inventory.json")
    shutil.copytree(on.gateway.data_dir / "recordings", folder / "copy")
    (key,) = (on.gateway.data_dir / "keys" / "manifest-public-keys").glob("*.pem")
    verify = ("recordings", "verify", "--public-key", key, "--against", folder / "inventory.json", "--offline")
    found = {each["session_id"]: each for each in auditor.json(*verify, folder / "copy")["recordings"]}
    assert (found[session_id]["verdict"], found[session_id]["problems"]) == ("intact", [])
    assert all(each["verdict"] in ("intact", "not complete") for each in found.values())
    shutil.rmtree(folder / "copy" / found[session_id]["folder"])
    done = auditor.run(*verify, folder / "copy")
    assert (done.returncode, b"is missing as a whole" in done.stdout) == (
        1,
        True,
    ), done


def test_doctor_finds_nothing_wrong(on: Stage) -> None:
    said = on.alice.person.jit("doctor")
    assert not re.search(r"✗", said), said


def _runs(command: str) -> bool:
    return subprocess.run(["pgrep", "-f", "-x", command], capture_output=True, check=False).returncode == 0
