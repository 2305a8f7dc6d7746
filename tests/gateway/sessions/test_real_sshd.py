"""Sessions on a real sshd, recorded for real."""

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest

from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes.login import SshLogins, principal
from gateway.nodes.model import SshEndpoint
from gateway.nodes.ports import UpstreamKind
from gateway.nodes.ssh import SshConnector
from gateway.sessions.model import End
from gateway.store import tables
from recorder.model import Kind as EventKind
from tests.conformance.connectors import settled
from tests.gateway.access.world import WEB
from tests.gateway.sessions.client import data, eof, resize, until, window
from tests.gateway.sessions.conftest import Rig, Stay
from tests.processes import signal_all
from tests.sshd import Sshd, current_login, running_sshd

pytestmark = pytest.mark.parametrize("database_server", ["sqlite"], indirect=True)


@pytest.fixture
def ca() -> SshUserCa:
    return SshUserCa(asyncssh.generate_private_key("ssh-ed25519"), lambda: datetime.now(UTC))


@pytest.fixture
def sshd(ca: SshUserCa, tmp_path: Path) -> Iterator[Sshd]:
    login = current_login()
    with running_sshd(tmp_path / "sshd", ca.public_key_line(), {login: [principal(WEB, login)]}) as running:
        yield running


@pytest.fixture
async def real(rig: Rig, sshd: Sshd, ca: SshUserCa) -> Rig:
    """The rig, with web-1 on that sshd."""
    endpoint = SshEndpoint(sshd.host, sshd.port, current_login(), (sshd.host_key,))
    async with rig.world.database.transaction() as tx:
        values = {
            "host": endpoint.host,
            "port": endpoint.port,
            "login": endpoint.login,
            "host_keys": list(endpoint.host_keys),
            "host_cas": [],
        }
        await rig.world.set(tx.connection, tables.nodes, WEB, endpoint=values)
    rig.connectors["ssh"] = SshConnector(SshLogins(ca))
    return rig


def _connections(sshd: Sshd) -> list[int]:
    """The processes that sshd made for its connections."""
    return [
        int(pid) for pid in Path(f"/proc/{sshd.process.pid}/task/{sshd.process.pid}/children").read_text().split()
    ]


async def run(rig: Rig, command: str, *, credit: int = 16 << 20) -> Stay:
    stay = await rig.stay(kind=UpstreamKind.EXEC, command=command, credit=credit)
    await stay.opened()
    return stay


async def test_exec_with_status_stdin_stderr_and_binary_clean(real: Rig) -> None:
    payload = os.urandom(700_000)
    stay = await run(real, "cat; echo oops >&2; exit 3")
    sent = 0
    while sent < len(payload):
        granted = stay.client.frames[0].opened.credit + sum(f.window.credit for f in stay.client.frames)
        if granted == sent:
            await asyncio.sleep(0.002)
            continue
        chunk = payload[sent : min(granted, sent + 100_000)]
        stay.client.say(data(chunk, sent))
        sent += len(chunk)
    stay.client.say(eof())
    await stay.over()
    assert stay.client.output() == payload
    assert stay.client.errors() == b"oops\n"
    assert stay.client.exit is not None
    assert stay.client.exit.status == 3
    done = await real.recorded(stay.client.session_id)
    assert done.input_bytes == len(payload)
    playback = await real.library.play(await real.world.caller("ada"), stay.client.session_id)
    seen = hashlib.sha256()
    async for event in playback.events():
        if event.kind is EventKind.OUTPUT:
            seen.update(event.payload)
    assert seen.digest() == hashlib.sha256(payload).digest()


async def test_the_tail_is_never_lost(real: Rig) -> None:
    """A node that ends at once after much output, and a client that takes it in small bites."""
    stay = await run(real, "head -c 3000000 /dev/zero; printf tail", credit=1000)
    granted = 1000
    while stay.client.exit is None:
        if len(stay.client.output()) == granted:
            stay.client.say(window(200_000))
            granted += 200_000
        await asyncio.sleep(0.002)
        assert not stay.call.done() or stay.client.exit is not None
    await stay.over()
    output = stay.client.output()
    assert len(output) == 3_000_004
    assert output.endswith(b"tail")


async def test_a_client_that_never_reads_stops_the_node_and_costs_little(real: Rig) -> None:
    stay = await run(real, "cat /dev/zero", credit=1)
    await until(lambda: real.budget.used > 100_000)
    assert await settled(lambda: real.budget.used) < 4 << 20  # it stands still: the node is paused
    await real.sessions.terminate(await real.world.caller("root"), stay.client.session_id, "enough")
    await stay.over()
    assert real.budget.used == 0


async def test_a_shell_with_resize(real: Rig) -> None:
    stay = await real.stay()
    session_id = await stay.opened()
    stay.client.say(resize(123, 45), data(b"stty size; exit 5\n"))
    await stay.over()
    assert b"45 123" in stay.client.output()
    assert stay.client.exit is not None
    assert stay.client.exit.status == 5
    assert (await real.ended(session_id)).end is End.EXITED


async def test_a_node_that_dies_half_way(real: Rig, sshd: Sshd) -> None:
    stay = await run(real, "printf half; sleep 60")
    await until(lambda: stay.client.output() == b"half")
    signal_all(_connections(sshd), signal.SIGKILL)
    await stay.over()
    assert stay.client.output() == b"half"
    session = await real.ended(stay.client.session_id)
    assert session.end is End.NODE_GONE


@pytest.mark.alone
@pytest.mark.rule("R25")
async def test_a_revocation_ends_the_connection(real: Rig) -> None:
    request_id = (await real.world.ask("alice", "web-1")).life.id
    stay = await real.stay(request_id=request_id)
    await stay.opened()
    await until(stay.client.output)
    await real.world.requests.revoke(await real.world.caller("root"), request_id, "")
    await stay.over(1.0)
    assert (await real.ended(stay.client.session_id)).end is End.REVOKED
