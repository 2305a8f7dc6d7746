"""A session's process group and its supervisor, without any gateway."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from clients.agent import logins
from clients.agent.cgroups import SessionGroups
from clients.agent.process import NotStarted, Plan, Process
from tests.conformance.connectors import eventually, is_alive
from tests.sshd import current_login

SESSION = "s-0123456789abcdef0123"
# Leaves the session by all means that a process has, and says who it is.
ESCAPED = '(setsid sh -c \'trap "" HUP TERM; sh -c "echo \\$\\$ >&3; exec sleep 300" &\' >/dev/null 2>&1) 3>&1'


def plan(command: str, **changes: object) -> Plan:
    values: dict[str, object] = {"session_id": SESSION, "login": logins.find(current_login()), "lifetime": 300.0}
    return Plan(**{**values, "command": command, **changes})  # type: ignore[arg-type]  # the tests' own keywords


async def started(command: str, **changes: object) -> tuple[Process, asyncio.Event]:
    process = await Process.start(plan(command, **changes))
    over = asyncio.Event()
    process.changed = over.set
    return process, over


async def lines(process: Process, number: int) -> list[int]:
    said = b""
    deadline = time.monotonic() + 10
    while said.count(b"\n") < number:
        said += process.read(process.output) or b""
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.01)
    return [int(line) for line in said.split()]


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.rule("R25")
async def test_nothing_outlives_the_lifetime(in_group: bool) -> None:
    cgroup = SessionGroups().make(SESSION) if in_group else ""
    if in_group and not cgroup:
        pytest.skip("no cgroup v2 that this user may write")
    began = time.monotonic()
    process, over = await started(f"{ESCAPED}; echo $$; exec sleep 300", lifetime=1.0, cgroup=cgroup)
    both = await lines(process, 2)
    if cgroup:
        assert {str(each) for each in both} <= set(Path(cgroup, "cgroup.procs").read_text().split())
    await asyncio.wait_for(over.wait(), 10)
    assert time.monotonic() - began >= 1.0
    assert not any(is_alive(each) for each in both)
    assert process.status == signal.SIGKILL
    assert not cgroup or not Path(cgroup).exists()
    await process.close()


@pytest.mark.rule("R25")
async def test_what_was_detached_ends_with_the_first_process() -> None:
    process, over = await started(f"{ESCAPED}; read go; exit 7")
    (escaped,) = await lines(process, 1)
    assert is_alive(escaped)
    process.write(b"\n")
    await asyncio.wait_for(over.wait(), 10)
    assert os.WEXITSTATUS(process.status or 0) == 7
    assert not is_alive(escaped)
    await process.close()


@pytest.mark.rule("R25")
async def test_close_kills_at_once() -> None:
    process, _ = await started(f"{ESCAPED}; echo $$; exec sleep 300")
    both = await lines(process, 2)
    await asyncio.gather(process.close(), process.close())
    await eventually(lambda: not any(is_alive(each) for each in both))


async def test_a_session_whose_supervisor_is_killed_does_not_go_on() -> None:
    process, over = await started("echo $PPID; echo $$; exec sleep 300")
    supervisor, child = await lines(process, 2)
    os.kill(supervisor, signal.SIGKILL)
    await asyncio.wait_for(over.wait(), 10)
    assert process.status == signal.SIGKILL
    await eventually(lambda: not is_alive(child))
    await process.close()


async def test_what_cannot_start_says_why() -> None:
    login = logins.Login("x", os.getuid(), os.getgid(), "/nowhere", "/no/such/shell")
    with pytest.raises(NotStarted, match="/no/such/shell as x: No such file or directory"):
        await Process.start(plan("true", login=login))


async def test_a_login_without_a_home_begins_at_the_root() -> None:
    own = logins.find(current_login())
    login = logins.Login(own.name, own.uid, own.gid, "/nowhere", "/bin/sh")
    process, over = await started("pwd", login=login)
    await asyncio.wait_for(over.wait(), 10)
    assert process.read(process.output) == b"/\n"
    await process.close()


async def test_the_process_list_tells_no_command() -> None:
    process, _ = await started(": a-secret-argument; echo $PPID; read x")
    (supervisor,) = await lines(process, 1)
    for file in ("cmdline", "environ"):
        assert b"a-secret-argument" not in Path(f"/proc/{supervisor}/{file}").read_bytes()
    await process.close()


async def test_a_session_is_not_deaf_to_what_the_agent_ignores() -> None:
    deaf = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in deaf}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
    try:
        process, _ = await started("grep -E '^Sig(Blk|Ign)' /proc/self/status; read x")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    said = b""
    while said.count(b"\n") < 2:
        said += process.read(process.output) or b""
        await asyncio.sleep(0.01)
    await process.close()
    # The C library keeps two for itself, which nobody can set and a parent may have left ignored.
    settable = sum(1 << number - 1 for number in signal.valid_signals())
    assert [int(line.split()[1], 16) & settable for line in said.splitlines()] == [0, 0]


async def test_no_descriptor_is_left_behind() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    process, over = await started("true")
    await asyncio.wait_for(over.wait(), 10)
    await process.close()
    before = descriptors()
    for size in (None, (80, 24)):
        process, over = await started("true", size=size)
        await asyncio.wait_for(over.wait(), 10)
        await process.close()
        process, _ = await started("exec sleep 300", size=size)
        await process.close()
        with pytest.raises(NotStarted):
            await Process.start(plan("true", size=size, login=logins.Login("x", 0, 0, "/", "/no/shell")))
    await eventually(lambda: descriptors() <= before)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
async def test_a_session_costs_the_agent_no_thread() -> None:
    def threads() -> set[str]:
        return {thread.name for thread in Path("/proc/self/task").iterdir()}

    before = threads()
    processes = [(await started("exec sleep 300"))[0] for _ in range(5)]
    assert not threads() - before  # one of gRPC's that ends just now is none of theirs
    await asyncio.gather(*(process.close() for process in processes))
