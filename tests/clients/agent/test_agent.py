"""The agent beside its sessions: certificate, proxy, limits, logins, what it costs."""

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from clients.agent import logins
from gateway.errors import Refused
from gateway.nodes.errors import LoginRefused, UpstreamFailed
from gateway.nodes.model import Node
from gateway.nodes.ports import Exited, OpenUpstream, Terminal, UpstreamKind
from tests.agents import AgentProcess
from tests.clients.agent.proxy import running_proxy
from tests.conformance.connectors import Output, eventually
from tests.gateway.nodes.agents.rig import Rig, running
from tests.sshd import current_login, unprivileged_login

ROOTS = (Path(__file__).parents[3], Path(__file__).parents[3] / "proto")
IDLE_BYTES = 40_000_000
LAUNCHED: list[AgentProcess] = []
"""What a test has started and may not have stopped."""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as made:
        try:
            yield made
        finally:
            while LAUNCHED:
                await asyncio.to_thread(LAUNCHED.pop().kill)


async def registered(rig: Rig, **environment: str) -> AgentProcess:
    activation = await rig.invite()
    agent = AgentProcess(rig.folder / "agent", environment)
    done = await asyncio.to_thread(
        agent.register, rig.joining.address, rig.fingerprint, activation.id, rig.codes[activation.id]
    )
    assert done.returncode == 0, done.stderr
    return agent


async def attached(rig: Rig, agent: AgentProcess) -> Node:
    seen = len(agent.events())
    agent.launch()
    LAUNCHED.append(agent)
    await eventually(lambda: agent.said("attached", seen), agent.log.read_text)
    return await rig.node(agent.node_id)


def exec_request(command: str, **changes: object) -> OpenUpstream:
    values: dict[str, object] = {
        "login": current_login(),
        "kind": UpstreamKind.EXEC,
        "user_id": "alice",
        "session_id": "s-0123456789abcdef0123",
        "request_id": "oi-0123456789ab",
        "valid_seconds": 300,
        "command": command,
    }
    return OpenUpstream(**{**values, **changes})  # type: ignore[arg-type]  # the tests' own keywords


async def run(rig: Rig, node: Node, command: str, **changes: object) -> Output:
    upstream = await rig.connector.open(node, exec_request(command, **changes))
    output = Output()
    await upstream.start(output)
    return output


async def test_a_certificate_is_renewed_when_a_third_is_left(rig: Rig) -> None:
    rig.clock.ahead = -timedelta(days=5)
    agent = await registered(rig)
    before = json.loads((agent.folder / "node.json").read_text())
    rig.clock.ahead = timedelta()
    node = await attached(rig, agent)
    await eventually(lambda: agent.said("renewed"))
    after = json.loads((agent.folder / "node.json").read_text())
    assert after["expires_at"] - after["issued_at"] == 7 * 86400 and after["expires_at"] > before["expires_at"]
    # The open connection holds as long as the new certificate.
    rig.clock.ahead = timedelta(days=3)
    rig.changes.publish("nodes")
    output = await run(rig, node, "sleep 1; echo on")
    assert await output.end() == Exited(0)
    await asyncio.to_thread(agent.stop)
    rig.clock.ahead = timedelta()
    await attached(rig, agent)
    await asyncio.to_thread(agent.stop)


async def test_everything_goes_through_a_proxy_where_one_is_set(rig: Rig) -> None:
    async with running_proxy() as proxy:
        agent = await registered(rig, HTTPS_PROXY=f"http://me:s%20cret@{proxy.address}")
        assert proxy.asked == [rig.joining.address] * 2  # whom to trust, then the registration
        node = await attached(rig, agent)
        output = await run(rig, node, "echo through")
        assert await output.end() == Exited(0) and output.out == b"through\n"
        assert proxy.asked[2:] == [rig.agents.address]
        assert set(proxy.credentials) == {"Basic bWU6cyBjcmV0"}
        await asyncio.to_thread(agent.stop)


async def test_no_proxy_is_asked_for_exempt_hosts(rig: Rig) -> None:
    await registered(rig, HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="example.org, 127.0.0.1")


async def test_so_many_sessions_at_once_and_no_more(rig: Rig) -> None:
    agent = await registered(rig)
    agent.arguments = ("--max-sessions", "2")
    node = await attached(rig, agent)
    first, second = [await rig.connector.open(node, exec_request("cat")) for _ in range(2)]
    with pytest.raises(Refused, match="TOO_MANY_SESSIONS"):
        await rig.connector.open(node, exec_request("cat"))
    first.close()
    second.close()
    await eventually(lambda: sum(event["event"] == "session_ended" for event in agent.events()) == 2)
    output = await run(rig, node, "exit 4")
    assert await output.end() == Exited(4)
    await asyncio.to_thread(agent.stop)


async def test_logins_that_cannot_be_taken(rig: Rig) -> None:
    agent = await registered(rig)
    node = await attached(rig, agent)
    with pytest.raises(LoginRefused, match="the node has no login nobody-here"):
        await rig.connector.open(node, exec_request("true", login="nobody-here"))
    shellless = next((entry for entry in pwd.getpwall() if not Path(entry.pw_shell or "/bin/sh").exists()), None)
    if shellless is not None and current_login() == "root":
        upstream = await rig.connector.open(node, exec_request("true", login=shellless.pw_name))
        with pytest.raises(UpstreamFailed, match="No such file or directory"):
            await upstream.start(Output())
    await asyncio.to_thread(agent.stop)


def test_an_agent_that_is_not_root_runs_nothing_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    own = pwd.getpwnam(current_login())
    monkeypatch.setattr("os.geteuid", lambda: own.pw_uid + 1000 if own.pw_uid else 1)
    with pytest.raises(logins.LoginRefused, match=f"cannot run anything as {own.pw_name}"):
        logins.find(own.pw_name)
    monkeypatch.setattr("os.geteuid", lambda: own.pw_uid)
    assert logins.find(own.pw_name).uid == own.pw_uid


async def test_a_session_is_the_login_with_nothing_of_the_agent(rig: Rig) -> None:
    login = unprivileged_login() or current_login()
    entry = pwd.getpwnam(login)
    agent = await registered(rig, SECRET_OF_THE_AGENT="x")
    node = await attached(rig, agent)
    command = "id -u; id -g; umask; pwd; env; ls -l /proc/$$/fd | wc -l; echo mine >/dev/stdout"
    output = await run(rig, node, command, login=login)
    assert await output.end() == Exited(0)
    lines = output.out.decode().splitlines()
    assert lines[:3] == [str(entry.pw_uid), str(entry.pw_gid), "0022"]
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert "SECRET_OF_THE_AGENT" not in environment and "PYTHONPATH" not in environment
    assert (environment["HOME"], environment["USER"], environment["SHELL"]) == (
        entry.pw_dir,
        login,
        entry.pw_shell,
    )
    assert lines[-1] == "mine" and int(lines[-2]) <= 6
    shell = await run(rig, node, "exec 3<>$(tty) && echo opened", login=login, terminal=Terminal("xterm", 80, 24))
    assert await shell.end() == Exited(0) and b"opened" in shell.out
    identity = subprocess.run(["id", "-G", login], capture_output=True, text=True, check=True).stdout
    output = await run(rig, node, "id -G", login=login)
    assert await output.end() == Exited(0) and sorted(output.out.split()) == sorted(identity.encode().split())
    await asyncio.to_thread(agent.stop)


async def test_the_end_of_input_is_a_key_on_a_terminal(rig: Rig) -> None:
    agent = await registered(rig)
    node = await attached(rig, agent)
    for text in (b"whole line\n", b"half a line"):
        upstream = await rig.connector.open(
            node, exec_request("cat; echo over", terminal=Terminal("xterm", 80, 24))
        )
        output = Output()
        await upstream.start(output)
        upstream.write(text)
        await output.shows(text.strip())
        upstream.write_eof()
        assert await output.end() == Exited(0) and b"over" in output.out
    await asyncio.to_thread(agent.stop)


async def test_an_idle_agent_is_small_and_says_what_it_is(rig: Rig) -> None:
    """Also after it has worked."""
    agent = await registered(rig)
    node = await attached(rig, agent)
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status")

    def resident() -> int:
        return int(status.read_text().partition("VmRSS:")[2].split()[0]) * 1024

    if status.exists():
        assert resident() <= IDLE_BYTES
        output = await run(rig, node, "head -c 50000000 /dev/zero")
        assert await output.end() == Exited(0) and len(output.out) == 50_000_000
        await eventually(lambda: resident() <= IDLE_BYTES, lambda: str(resident()))
    assert (await rig.node(node.id)).properties["agent_version"][0].isdecimal()
    assert "node.key" not in agent.log.read_text() and "PRIVATE" not in agent.log.read_text()
    await asyncio.to_thread(agent.stop)


as_root = pytest.mark.skipif(
    current_login() != "root" or shutil.which("setpriv") is None,
    reason="gives rights away: needs root and setpriv",
)


@as_root
async def test_the_rights_of_the_restricted_unit_are_enough(rig: Rig) -> None:
    """deploy/systemd/jitgate-agent.d/restricted.conf"""
    login = unprivileged_login() or current_login()
    agent = await registered(rig)
    agent.wrapper = ("setpriv", "--bounding-set", "-all,+setuid,+setgid,+chown,+kill", "--no-new-privs")
    node = await attached(rig, agent)
    for terminal in (None, Terminal("xterm", 80, 24)):
        output = await run(rig, node, "id -un; echo mine >/dev/stdout", login=login, terminal=terminal)
        assert await output.end() == Exited(0)
        assert output.out.split() == [login.encode(), b"mine"]
    await asyncio.to_thread(agent.stop)


@as_root
async def test_an_agent_without_root_runs_as_itself_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    login = unprivileged_login()
    # The interpreter of the tests may lie where nobody else may look.
    python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if login is None or not Path(python).exists():
        pytest.skip("nobody but root has a shell here, or there is no Python for everybody")
    agent = await registered(rig)
    monkeypatch.setattr("tests.agents.AGENT", (python, "-m", "clients.agent"))
    entry = pwd.getpwnam(login)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        installed = (*ROOTS, sysconfig.get_path("purelib"))
        moved = AgentProcess(Path(folder) / "agent", {"PYTHONPATH": os.pathsep.join(map(str, installed))})
        agent.folder.rename(moved.folder)
        for path in (moved.folder, *moved.folder.iterdir()):
            shutil.chown(path, entry.pw_uid, entry.pw_gid)
        moved.wrapper = ("setpriv", "--reuid", login, "--regid", str(entry.pw_gid), "--init-groups")
        node = await attached(rig, moved)
        output = await run(rig, node, "id -un; (setsid sleep 300 &); read x", login=login)
        await output.shows(login.encode())
        with pytest.raises(LoginRefused, match="cannot run anything as root"):
            await rig.connector.open(node, exec_request("true"))
        await asyncio.to_thread(moved.stop)
