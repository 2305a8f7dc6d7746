"""What every connector must do: subclass `ConnectorSuite` as a test class that has a fixture `subject`.

The node of a test is this machine, so that a test can look at the processes that it started there.
"""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.nodes.model import Node
from gateway.nodes.ports import (
    Connector,
    Exited,
    Lost,
    OpenUpstream,
    Signalled,
    Terminal,
    Upstream,
    UpstreamEnd,
    UpstreamKind,
)

SECONDS = 20.0
MIB = 1 << 20
# A window, what sockets and pipes hold, and what sshd keeps: generous, and a fraction of what a producer offers.
MAX_HELD_BYTES = 16 * MIB


@dataclass
class Subject:
    """A connector, a node that it can reach, and how to take that node away. `vanish` cuts all its sessions."""

    connector: Connector
    node: Node
    login: str
    passes_signals: bool
    vanish: Callable[[], None]

    def request(self, command: str = "", **changes: object) -> OpenUpstream:
        kind = UpstreamKind.EXEC if command else UpstreamKind.SHELL
        terminal = None if command else Terminal("xterm", 80, 24)
        made = OpenUpstream(
            login=self.login,
            kind=kind,
            user_id="alice",
            session_id="s-0123456789abcdef0123",
            request_id="oi-0123456789ab",
            valid_seconds=300,
            command=command,
            terminal=terminal,
        )
        return replace(made, **changes)  # type: ignore[arg-type]  # the tests' own keywords

    async def run(self, command: str = "", **changes: object) -> tuple[Upstream, "Output"]:
        """A started session and where its output goes."""
        upstream = await self.connector.open(self.node, self.request(command, **changes))
        output = Output()
        await upstream.start(output)
        return upstream, output


class Output:
    """A sink that keeps everything, and can pause its upstream at the first chunk."""

    def __init__(self, pause: bool = False) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.upstream: Upstream | None = None
        self.pause = pause
        self.paused = False
        self._end: asyncio.Future[UpstreamEnd] = asyncio.get_running_loop().create_future()

    def output(self, data: bytes, stderr: bool) -> None:
        assert not self.paused, "output came while reading was paused"
        assert not self._end.done(), "output came after the end"
        (self.err if stderr else self.out).extend(data)
        if self.pause and self.upstream:
            self.paused = True
            self.upstream.pause_reading()

    def ended(self, end: UpstreamEnd) -> None:
        assert not self.paused, "the end came while reading was paused"
        self._end.set_result(end)

    @property
    def over(self) -> bool:
        return self._end.done()

    async def end(self) -> UpstreamEnd:
        return await asyncio.wait_for(asyncio.shield(self._end), SECONDS)

    async def shows(self, text: bytes) -> None:
        await eventually(lambda: text in self.out, lambda: f"{text!r} not in {bytes(self.out[-500:])!r}")


async def eventually(condition: Callable[[], bool], why: Callable[[], str] = lambda: "") -> None:
    """Polls until it holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, why()
        await asyncio.sleep(0.01)


async def settled(number: Callable[[], int]) -> int:
    """The number once it has stood still for a while."""
    last, times = -1, 0
    deadline = time.monotonic() + SECONDS
    while times < 15:
        current = number()
        times = times + 1 if current == last else 0
        last = current
        assert time.monotonic() < deadline, f"still {last}"
        await asyncio.sleep(0.02)
    return last


def written_bytes(process: int) -> int:
    """What a process has written so far, to anything."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def feed(upstream: Upstream, data: bytes, chunk: int = 65536) -> None:
    for start in range(0, len(data), chunk):
        upstream.write(data[start : start + chunk])
        await upstream.drain()
    upstream.write_eof()


class ConnectorSuite:
    """The port's promises (gateway/nodes/ports.py), one test each."""

    @pytest.mark.parametrize("status", [0, 1, 42, 255])
    async def test_an_exec_ends_with_its_status(self, subject: Subject, status: int) -> None:
        _, output = await subject.run(f"printf done; exit {status}")
        assert await output.end() == Exited(status)
        assert bytes(output.out) == b"done"

    async def test_an_unknown_command_is_told_by_the_shell(self, subject: Subject) -> None:
        _, output = await subject.run("no-such-command-here")
        assert await output.end() == Exited(127)
        assert b"no-such-command-here" in output.err

    @pytest.mark.parametrize("name", ["KILL", "TERM"])
    async def test_a_signal_that_ends_the_process_is_told(self, subject: Subject, name: str) -> None:
        _, output = await subject.run(f"kill -{name} $$")
        assert await output.end() == Signalled(name)

    async def test_stderr_stays_apart(self, subject: Subject) -> None:
        _, output = await subject.run("printf out; printf err >&2")
        assert await output.end() == Exited(0)
        assert (bytes(output.out), bytes(output.err)) == (b"out", b"err")

    async def test_input_goes_in_until_its_end(self, subject: Subject) -> None:
        upstream, output = await subject.run("cat; printf over")
        upstream.write("grüße\n".encode())
        await output.shows("grüße".encode())
        assert not output.over
        upstream.write_eof()
        assert await output.end() == Exited(0)
        assert bytes(output.out) == "grüße\nover".encode()

    async def test_a_mebibyte_of_anything_comes_back_unchanged(self, subject: Subject) -> None:
        data = os.urandom(MIB)
        upstream, output = await subject.run("cat")
        await feed(upstream, data)
        assert await output.end() == Exited(0)
        assert hashlib.sha256(output.out).digest() == hashlib.sha256(data).digest()

    async def test_a_process_that_closed_its_output_still_reads(self, subject: Subject) -> None:
        upstream, output = await subject.run("printf ready; exec >&- 2>&-; read answer; exit $answer")
        await output.shows(b"ready")
        upstream.write(b"7\n")
        assert await output.end() == Exited(7)

    async def test_a_long_command_arrives_whole(self, subject: Subject) -> None:
        text = "ä" * 15000
        _, output = await subject.run(f"printf %s {text} | wc -c")
        assert await output.end() == Exited(0)
        assert output.out.split() == [b"30000"]

    async def test_a_shell_has_a_terminal_that_can_be_resized(self, subject: Subject) -> None:
        upstream, output = await subject.run(terminal=Terminal("vt100", 81, 25))
        upstream.write(b"stty size; echo is:$TERM\n")
        await output.shows(b"25 81")
        await output.shows(b"is:vt100")
        upstream.resize(132, 43)
        upstream.write(b"stty size\n")
        await output.shows(b"43 132")
        upstream.write(b"exit 3\n")
        assert await output.end() == Exited(3)
        assert not output.err

    async def test_keys_of_a_terminal_interrupt(self, subject: Subject) -> None:
        upstream, output = await subject.run()
        # What speaks runs in the foreground already: a shell that is about to start something may miss the key.
        upstream.write(b"sh -c 'echo go$((1 + 1)); exec sleep 300'\n")
        await output.shows(b"go2")
        upstream.write(b"\x03")
        await output.shows(b"^C")
        upstream.write(b"echo x$((40 + 2))y\n")
        await output.shows(b"x42y")
        upstream.close()

    async def test_a_shell_runs_its_profile_first(self, subject: Subject) -> None:
        upstream, output = await subject.run(shell_profile="cd /usr/bin; export FROM_PROFILE=yes")
        upstream.write(b'echo "$PWD:$FROM_PROFILE:$0"\n')
        await output.shows(b"/usr/bin:yes:")
        upstream.write(b"exit 0\n")
        assert await output.end() == Exited(0)

    async def test_an_exec_has_no_profile_and_a_terminal_only_on_demand(self, subject: Subject) -> None:
        _, output = await subject.run("test -t 0; printf $?", shell_profile="printf profile;")
        assert await output.end() == Exited(0)
        assert bytes(output.out) == b"1"
        _, output = await subject.run("test -t 0 && test -t 1; printf $?", terminal=Terminal("xterm", 80, 24))
        assert await output.end() == Exited(0)
        assert bytes(output.out).endswith(b"0")

    async def test_signals_reach_the_process(self, subject: Subject) -> None:
        if not subject.passes_signals:
            pytest.skip("this node passes no signals on: no login but root, for which sshd drops them")
        upstream, output = await subject.run("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
        await output.shows(b"ready")
        upstream.signal("TERM")
        assert await output.end() == Exited(9)

    async def test_twenty_at_once_do_not_mix(self, subject: Subject) -> None:
        async def one(number: int) -> None:
            upstream, output = await subject.run(f"cat; exit {number}")
            data = bytes([number]) * 100_000
            await feed(upstream, data)
            assert await output.end() == Exited(number)
            assert bytes(output.out) == data

        await asyncio.gather(*(one(number) for number in range(20)))

    async def test_a_slow_reader_holds_the_node_back(self, subject: Subject) -> None:
        size = 64 * MIB
        request = subject.request(f"echo $$ >&2; read go; exec head -c {size} /dev/zero")
        upstream = await subject.connector.open(subject.node, request)
        output = Output()
        output.upstream = upstream
        await upstream.start(output)
        await eventually(lambda: output.err.endswith(b"\n"))
        process = int(output.err)
        output.pause = True
        upstream.write(b"\n")
        await eventually(lambda: output.paused)
        assert await settled(lambda: written_bytes(process)) < MAX_HELD_BYTES
        output.pause = output.paused = False
        upstream.resume_reading()
        assert await output.end() == Exited(0)
        assert len(output.out) == size

    async def test_a_process_that_does_not_read_holds_the_writer_back(self, subject: Subject) -> None:
        upstream, _ = await subject.run("exec sleep 300")
        written = 0
        while True:
            upstream.write(bytes(65536))
            written += 65536
            blocked = asyncio.ensure_future(upstream.drain())
            await asyncio.wait({blocked}, timeout=0.5)
            if not blocked.done():
                break
            assert written < MAX_HELD_BYTES
        upstream.close()
        await asyncio.wait_for(blocked, SECONDS)

    async def test_an_end_waits_for_a_paused_reader(self, subject: Subject) -> None:
        upstream = await subject.connector.open(subject.node, subject.request("echo $$; head -c 100000 /dev/zero"))
        output = Output(pause=True)
        output.upstream = upstream
        await upstream.start(output)
        await eventually(lambda: output.paused)
        process = int(output.out.split(b"\n")[0])
        await eventually(lambda: not is_alive(process))
        assert not output.over
        output.pause = output.paused = False
        upstream.resume_reading()
        assert await output.end() == Exited(0)
        assert len(output.out) == 100_000 + len(f"{process}\n")

    @pytest.mark.alone
    @pytest.mark.rule("R25")
    async def test_close_cuts_off_at_once_and_again_is_harmless(self, subject: Subject) -> None:
        upstream, output = await subject.run("echo $$; exec yes")
        await eventually(lambda: len(output.out) > 100_000)
        process = int(output.out.split(b"\n")[0])
        upstream.close()
        seen = len(output.out)
        upstream.close()
        await asyncio.wait_for(upstream.wait_closed(), 1)
        await eventually(lambda: not is_alive(process))
        assert (len(output.out), output.over) == (seen, False)

    @pytest.mark.rule("R25")
    async def test_close_ends_what_runs_on_the_terminal(self, subject: Subject) -> None:
        upstream, output = await subject.run()
        upstream.write(b"echo pid=$$=; sleep 300\n")
        told = re.compile(rb"pid=(\d+)=")  # not what is typed, which the terminal can show twice
        await eventually(lambda: told.search(output.out) is not None)
        process = int(told.findall(output.out)[0])
        upstream.close()
        await eventually(lambda: not is_alive(process))

    async def test_close_ends_a_command_without_a_terminal(self, subject: Subject) -> None:
        if not subject.passes_signals:
            pytest.skip("this node passes no signals on: no login but root, for which sshd drops them")
        upstream, output = await subject.run("echo $$; exec sleep 300")
        await eventually(lambda: output.out.endswith(b"\n"))
        upstream.close()
        await eventually(lambda: not is_alive(int(output.out)))

    async def test_a_node_that_vanishes_is_told_as_lost(self, subject: Subject) -> None:
        upstream, output = await subject.run("echo ready; exec sleep 300")
        await output.shows(b"ready")
        subject.vanish()
        assert isinstance(await output.end(), Lost)
        upstream.close()

    async def test_after_the_end_everything_is_harmless(self, subject: Subject) -> None:
        upstream, output = await subject.run("exit 0")
        assert await output.end() == Exited(0)
        upstream.write(b"late")
        await asyncio.wait_for(upstream.drain(), SECONDS)
        upstream.write_eof()
        upstream.resize(100, 30)
        upstream.signal("INT")
        upstream.pause_reading()
        upstream.resume_reading()
        upstream.close()
        await asyncio.wait_for(upstream.wait_closed(), SECONDS)

    async def test_before_the_start_nothing_runs(self, subject: Subject, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        upstream = await subject.connector.open(subject.node, subject.request(f"touch {marker}"))
        upstream.pause_reading()
        upstream.write(b"nowhere to go")
        await asyncio.wait_for(upstream.drain(), SECONDS)
        upstream.close()
        await asyncio.wait_for(upstream.wait_closed(), SECONDS)
        assert not marker.exists()

    async def test_an_open_can_be_cancelled_at_any_moment(self, subject: Subject) -> None:
        before = await settled(_open_files)
        for delay in (0, 0.002, 0.01, 0.02):
            opening = asyncio.create_task(self._open(subject))
            await asyncio.wait({opening}, timeout=delay)
            opening.cancel()
            for result in await asyncio.gather(opening, return_exceptions=True):
                if not isinstance(result, BaseException):
                    result.close()
                    await result.wait_closed()
        await eventually(lambda: _open_files() <= before)

    async def _open(self, subject: Subject) -> Upstream:
        return await subject.connector.open(subject.node, subject.request("true"))

    async def test_a_command_is_needed_to_exec(self, subject: Subject) -> None:
        with pytest.raises(ValueError, match="command"):
            await subject.connector.open(subject.node, subject.request(kind=UpstreamKind.EXEC))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
