"""The ssh connector against a real sshd, and against what only pretends to be one."""

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest
import uvloop

from gateway.errors import Refused
from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes import host_keys
from gateway.nodes.errors import HostKeyChanged, LoginRefused, NodeUnreachable, UpstreamFailed
from gateway.nodes.login import SshLogins, Timeouts, principal
from gateway.nodes.model import Node, SshEndpoint
from gateway.nodes.ports import Exited, Lost, OpenUpstream, Terminal, UpstreamKind
from gateway.nodes.ssh import SshConnector
from tests.conformance.connectors import SECONDS, Output, eventually
from tests.gateway.nodes.conftest import KEY, NODE_ID, RealNode, a_node
from tests.processes import signal_all
from tests.sshd import descendants, running_sshd

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exec_of(command: str, login: str, **changes: object) -> OpenUpstream:
    made = OpenUpstream(
        login=login,
        kind=UpstreamKind.EXEC,
        user_id="alice",
        session_id="s-0123456789abcdef0123",
        request_id="oi-0123456789ab",
        valid_seconds=60,
        command=command,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the tests' own keywords


async def refusal_of(ca: SshUserCa, node: Node, login: str, login_seconds: float = 10.0) -> Refused:
    connector = SshConnector(SshLogins(ca, timeouts=Timeouts(login=login_seconds)))
    with pytest.raises(Refused) as caught:
        await connector.open(node, exec_of("true", login))
    assert caught.value.what_to_do
    return caught.value


@contextlib.asynccontextmanager
async def pretender(serve: Serve) -> AsyncIterator[SshEndpoint]:
    """A listening socket that does whatever `serve` does; registered with a key that nobody has."""
    serving: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(answer(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield SshEndpoint("127.0.0.1", server.sockets[0].getsockname()[1], host_keys=(KEY,))
    await asyncio.gather(*serving)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_node_that_says_too_much_is_quoted_shortly(ca: SshUserCa) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reason = b"\x1b[2Jgo away " * 2000
        body = b"\x01" + (2).to_bytes(4, "big") + len(reason).to_bytes(4, "big") + reason + bytes(4)
        padding = 8 - (len(body) + 5) % 8 + 8
        packet = (len(body) + 1 + padding).to_bytes(4, "big") + bytes((padding,)) + body + bytes(padding)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" + packet)
        await writer.drain()

    async with pretender(talk) as endpoint:
        refused = await refusal_of(ca, a_node(endpoint), "root")
    assert isinstance(refused, NodeUnreachable)
    assert "[2Jgo away" in refused.message
    assert len(refused.message) < 400
    assert refused.message.isprintable()


async def test_the_users_of_containers_have_no_names(
    ca: SshUserCa, real: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    upstream = await SshConnector(SshLogins(ca)).open(real.node, exec_of("true", real.login))
    upstream.close()
    await upstream.wait_closed()


async def test_nothing_listens(ca: SshUserCa) -> None:
    with socket.socket() as held:  # else somebody else may be given its port, and listen there
        held.bind(("127.0.0.1", 0))
        endpoint = SshEndpoint("127.0.0.1", held.getsockname()[1], host_keys=(KEY,))
        refused = await refusal_of(ca, a_node(endpoint), "root")
    assert isinstance(refused, NodeUnreachable)
    assert "nothing listens" in refused.message


async def test_a_name_that_cannot_be(ca: SshUserCa) -> None:
    refused = await refusal_of(ca, a_node(SshEndpoint("no..name")), "root")
    assert isinstance(refused, NodeUnreachable)
    assert "does not resolve" in refused.message


async def test_a_node_that_does_not_answer_the_call_is_given_up_in_time(ca: SshUserCa) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        node = a_node(SshEndpoint("127.0.0.1", full.getsockname()[1], host_keys=(KEY,)))
        connector = SshConnector(SshLogins(ca, timeouts=Timeouts(dial=0.2)))
        with pytest.raises(NodeUnreachable, match=r"no answer within 0\.2 seconds"):
            await connector.open(node, exec_of("true", "root"))


async def test_a_node_that_never_says_anything_is_given_up_in_time(ca: SshUserCa) -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with pretender(say_nothing) as endpoint:
        refused = await refusal_of(ca, a_node(endpoint), "root", 0.2)
    assert isinstance(refused, NodeUnreachable)
    assert "within 0.2 seconds" in refused.message


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 70000]
)
async def test_a_node_that_closes_half_way(ca: SshUserCa, said: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read(8)

    async with pretender(say) as endpoint:
        refused = await refusal_of(ca, a_node(endpoint), "root", 2)
    assert isinstance(refused, NodeUnreachable)


async def test_a_server_of_ssh_1_is_unreachable(ca: SshUserCa) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-1.5-Old\r\n")
        await reader.read()

    async with pretender(old) as endpoint:
        assert isinstance(await refusal_of(ca, a_node(endpoint), "root"), NodeUnreachable)


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_a_changed_host_key_is_never_logged_in_to(ca: SshUserCa, real: RealNode, algorithm: str) -> None:
    other = asyncssh.generate_private_key(algorithm).export_public_key().decode().strip()
    changed = replace(real.node, endpoint=replace(real.node.endpoint, host_keys=(other,)))
    refused = await refusal_of(ca, changed, real.login)
    assert isinstance(refused, HostKeyChanged)
    assert host_keys.fingerprint(real.sshd.host_key) in refused.message
    assert host_keys.fingerprint(other) in refused.message
    assert "publickey" not in real.sshd.log()


def sign_host_key(directory: Path, authority: Path, *options: str) -> str:
    """Lines for an sshd to prove itself with a certificate; its key is made first."""
    key = directory / "certified"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signing = ("-q", "-h", "-s", str(authority), "-I", "web-1", *options)
    subprocess.run(["ssh-keygen", *signing, f"{key}.pub"], check=True)
    return f"HostKey {key}\nHostCertificate {key}-cert.pub"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "host_ca"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.mark.parametrize(
    ("options", "proven"),
    [
        (("-n", "127.0.0.1"), True),
        (("-n", "other.host"), False),
        (("-n", "127.0.0.1", "-V", "20200101:20200102"), False),
    ],
    ids=["valid", "for another host", "expired"],
)
async def test_a_host_ca_proves_what_it_signed(
    ca: SshUserCa, tmp_path: Path, authority: Path, options: tuple[str, ...], proven: bool, real: RealNode
) -> None:
    extra = sign_host_key(tmp_path, authority, *options)
    allowed = {real.login: [principal(NODE_ID, real.login)]}
    with running_sshd(tmp_path / "certified-sshd", ca.public_key_line(), allowed, extra) as sshd:
        signer = Path(f"{authority}.pub").read_text().strip()
        node = a_node(SshEndpoint(sshd.host, sshd.port, host_cas=(signer,)))
        if proven:
            upstream = await SshConnector(SshLogins(ca)).open(node, exec_of("true", real.login))
            upstream.close()
        else:
            assert isinstance(await refusal_of(ca, node, real.login), HostKeyChanged)
            assert "publickey" not in sshd.log()


async def test_another_host_ca_or_a_plain_key_proves_nothing(
    ca: SshUserCa, tmp_path: Path, authority: Path, real: RealNode
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    endpoint = replace(real.node.endpoint, host_keys=(), host_cas=(other,))
    assert isinstance(await refusal_of(ca, a_node(endpoint), real.login), HostKeyChanged)
    extra = sign_host_key(tmp_path, authority, "-n", "127.0.0.1")
    with running_sshd(tmp_path / "certified-sshd", ca.public_key_line(), extra=extra) as sshd:
        refused = await refusal_of(ca, a_node(replace(endpoint, port=sshd.port)), real.login)
    assert isinstance(refused, HostKeyChanged)
    assert "certificate of the CA" in refused.message


async def test_a_node_that_trusts_another_ca_refuses(ca: SshUserCa, real: RealNode) -> None:
    real.sshd.trust(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip())
    refused = await refusal_of(ca, real.node, real.login)
    assert isinstance(refused, LoginRefused)
    assert "jit nodes trust web-1" in refused.what_to_do


@pytest.mark.rule("R24")
async def test_a_certificate_for_another_node_is_refused(ca: SshUserCa, real: RealNode) -> None:
    other = replace(real.node, id="mi-fedcba98765432100")
    assert isinstance(await refusal_of(ca, other, real.login), LoginRefused)


@pytest.mark.rule("R26")
async def test_a_login_that_the_node_did_not_list_is_refused(ca: SshUserCa, real: RealNode) -> None:
    real.sshd.allow(real.login, principal(NODE_ID, "deploy"))
    assert isinstance(await refusal_of(ca, real.node, real.login), LoginRefused)
    assert isinstance(await refusal_of(ca, real.node, "nosuchlogin"), LoginRefused)


async def test_a_certificate_works_from_the_gateways_address_only(ca: SshUserCa, real: RealNode) -> None:
    elsewhere = SshConnector(SshLogins(ca, ["192.0.2.0/24"]))
    with pytest.raises(LoginRefused):
        await elsewhere.open(real.node, exec_of("true", real.login))
    here = SshConnector(SshLogins(ca, ["192.0.2.0/24", "127.0.0.0/8"]))
    (await here.open(real.node, exec_of("true", real.login))).close()


async def test_a_certificate_is_over_soon(real: RealNode) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    late = SshUserCa(key, lambda: datetime.now(UTC) - timedelta(minutes=10))
    real.sshd.trust(late.public_key_line())
    assert isinstance(await refusal_of(late, real.node, real.login), LoginRefused)
    assert "expired" in real.sshd.log()


async def test_the_nodes_log_names_session_user_and_request(ca: SshUserCa, real: RealNode) -> None:
    upstream = await SshConnector(SshLogins(ca)).open(real.node, exec_of("true", real.login))
    upstream.close()
    named = "jitgate session=s-0123456789abcdef0123 user=alice request=oi-0123456789ab"
    assert named in real.sshd.log()


async def test_what_the_person_has_in_ssh_folders_and_agents_counts_nothing(
    ca: SshUserCa, real: RealNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text("Host *\n  Port 1\n  User nobody\n  KexAlgorithms diffie-hellman-group1-sha1\n")
    (folder / "known_hosts").write_text(f"@revoked * {real.sshd.host_key}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    upstream = await SshConnector(SshLogins(ca)).open(real.node, exec_of("true", real.login))
    upstream.close()


async def test_a_node_that_falls_silent_is_noticed(ca: SshUserCa, real: RealNode) -> None:
    connector = SshConnector(SshLogins(ca, timeouts=Timeouts(silence=0.6)))
    upstream = await connector.open(real.node, exec_of("echo ready; exec sleep 300", real.login))
    output = Output()
    await upstream.start(output)
    await output.shows(b"ready")
    signal_all(descendants(real.sshd.process.pid), signal.SIGSTOP)
    assert isinstance(await output.end(), Lost)
    await asyncio.wait_for(upstream.wait_closed(), SECONDS)


async def test_what_a_paused_session_holds_outlives_its_node(ca: SshUserCa, real: RealNode) -> None:
    size = 100_000
    upstream = await SshConnector(SshLogins(ca)).open(
        real.node, exec_of(f"head -c {size} /dev/zero; exec sleep 300", real.login)
    )
    output = Output(pause=True)
    output.upstream = upstream
    await upstream.start(output)
    channel = upstream._channel.transport  # type: ignore[attr-defined]  # no other way to see that all has come
    await eventually(lambda: len(output.out) + sum(len(data) for data, _ in channel._recv_buf) == size)
    signal_all(descendants(real.sshd.process.pid), signal.SIGKILL)
    await asyncio.wait_for(upstream.wait_closed(), SECONDS)
    assert not output.over
    output.pause = output.paused = False
    upstream.resume_reading()
    assert isinstance(await output.end(), Lost)
    assert len(output.out) == size


async def test_a_key_is_one_packet(ca: SshUserCa, real: RealNode, tmp_path: Path) -> None:
    allowed = {real.login: [principal(NODE_ID, real.login)]}
    with running_sshd(tmp_path / "talkative", ca.public_key_line(), allowed, "LogLevel DEBUG3") as sshd:
        node = a_node(SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)))
        upstream = await SshConnector(SshLogins(ca)).open(node, exec_of("exec cat", real.login))
        at_login = sshd.log().count("Received SSH2_MSG_IGNORE")
        output = Output()
        await upstream.start(output)
        for key in (b"k", b"e", b"y"):
            upstream.write(key)
            await output.shows(key)
        upstream.write_eof()
        assert await output.end() == Exited(0)
        assert sshd.log().count("Received SSH2_MSG_IGNORE") == at_login


async def test_a_node_that_refuses_the_terminal(ca: SshUserCa, real: RealNode, tmp_path: Path) -> None:
    allowed = {real.login: [principal(NODE_ID, real.login)]}
    with running_sshd(tmp_path / "no-tty", ca.public_key_line(), allowed, "PermitTTY no") as sshd:
        node = a_node(SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)))
        shell = exec_of("", real.login, kind=UpstreamKind.SHELL, terminal=Terminal("xterm", 80, 24))
        upstream = await SshConnector(SshLogins(ca)).open(node, shell)
        output = Output()
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.start(output)
        assert "shell" in caught.value.message
        await asyncio.wait_for(upstream.wait_closed(), SECONDS)
        assert not output.over


async def test_a_node_that_dies_before_the_start(ca: SshUserCa, real: RealNode) -> None:
    upstream = await SshConnector(SshLogins(ca)).open(real.node, exec_of("true", real.login))
    signal_all(descendants(real.sshd.process.pid), signal.SIGKILL)
    output = Output()
    with pytest.raises(UpstreamFailed):
        await upstream.start(output)
    assert not output.over


def test_it_works_on_uvloop(ca: SshUserCa, real: RealNode) -> None:
    async def run() -> None:
        upstream = await SshConnector(SshLogins(ca)).open(real.node, exec_of("cat; exit 5", real.login))
        output = Output()
        await upstream.start(output)
        upstream.write(b"over uvloop")
        upstream.write_eof()
        assert await output.end() == Exited(5)
        assert bytes(output.out) == b"over uvloop"
        upstream.close()
        await upstream.wait_closed()

    uvloop.run(run())
