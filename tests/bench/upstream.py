"""A node that costs little: an SSH server in a process of its own that echoes.

python -m tests.bench.upstream CA PRINCIPAL     prints its port and its host key
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import asyncssh
import uvloop

from tests.bench.peer import CIPHER


class _Echo(asyncssh.SSHServerSession[bytes]):
    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: object) -> bool:
        return True

    def session_started(self) -> None:
        self._channel.write(b"ready\r\n")

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._channel.write(data)


class _Server(asyncssh.SSHServer):
    def session_requested(self) -> _Echo:
        return _Echo()


async def _serve(ca: str, principal: str) -> None:
    allowed = asyncssh.import_authorized_keys(f'cert-authority,principals="{principal}" {ca}')
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        _Server,
        "127.0.0.1",
        0,
        server_host_keys=[key],
        authorized_client_keys=allowed,
        encoding=None,
        encryption_algs=[CIPHER],
        backlog=1024,
    )
    print(server.get_port(), key.export_public_key().decode().strip(), flush=True)
    await server.wait_closed()


@contextlib.contextmanager
def running_upstream(ca: str, principal: str) -> Iterator[tuple[int, str]]:
    """Its port and host key, until the block ends. Lets in whom `ca` certified for `principal`."""
    command = [sys.executable, "-m", "tests.bench.upstream", ca, principal]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port, _, key = process.stdout.readline().decode().strip().partition(" ")
        yield int(port), key
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2]))
