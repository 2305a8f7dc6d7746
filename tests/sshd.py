"""A real OpenSSH server on the loopback: its own configuration, keys and port, nothing in /etc touched.

Started as root it takes any login of this machine, otherwise the current user's only. As root OpenSSH insists on
the folder /run/sshd (its package makes it when its service starts); it is made here where it is missing.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.processes import signal_all

_ATTEMPTS = 5
_START_SECONDS = 30.0
_CONFIGURATION = """\
{extra}
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host_key
PidFile none
UsePAM {pam}
StrictModes no
PermitRootLogin yes
AuthenticationMethods publickey
AuthorizedKeysFile none
TrustedUserCAKeys {directory}/user_ca.pub
AuthorizedPrincipalsFile {principals}/%u
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 500
LogLevel VERBOSE
"""


class SshdMissing(Exception):
    """There is no OpenSSH server on this machine; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server. `host_key` is its public key line; `login` is one that works here."""

    directory: Path
    principals: Path
    port: int
    host_key: str
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    @property
    def login(self) -> str:
        return current_login()

    def trust(self, *user_cas: str) -> None:
        """Replaces the user CAs that it trusts, as public key lines. It reads them at every login."""
        (self.directory / "user_ca.pub").write_text("".join(f"{line}\n" for line in user_cas))

    def allow(self, login: str, *principals: str) -> None:
        """Replaces the certificate principals that may log in as `login`."""
        (self.principals / login).write_text("".join(f"{line}\n" for line in principals))

    def log(self) -> str:
        """What it has logged so far."""
        return (self.directory / "sshd.log").read_text(errors="replace")


def current_login() -> str:
    """The login of this process's own user, which every sshd that it starts can take."""
    return pwd.getpwuid(os.geteuid()).pw_name


def unprivileged_login() -> str | None:
    """A login whose processes sshd passes signals to, which it never does for root; None where there is none. It
    may need `pam`.
    """
    if os.geteuid() != 0:
        return current_login()
    shells = Path("/etc/shells").read_text().split()
    for entry in pwd.getpwall():
        if entry.pw_uid != 0 and entry.pw_shell in shells and Path(entry.pw_dir).is_dir():
            return entry.pw_name
    return None


@contextlib.contextmanager
def running_sshd(
    directory: Path,
    user_ca: str,
    principals: Mapping[str, Sequence[str]] | None = None,
    extra: str = "",
    host_key: Path | None = None,
    pam: bool = False,
) -> Iterator[Sshd]:
    """An sshd that trusts `user_ca` (a public key line) for `principals` (of each login), until the block ends.

    `extra` are configuration lines that go before all others and so win; `host_key` is a private key file to prove
    itself with instead of a new one; `pam` lets accounts in that have no password, as Debian makes them.
    Raises SshdMissing where none is installed, RuntimeError with its log when it does not start.
    """
    server = start_sshd(directory, user_ca, principals, extra, host_key, pam)
    try:
        yield server
    finally:
        stop_sshd(server)


def start_sshd(
    directory: Path,
    user_ca: str,
    principals: Mapping[str, Sequence[str]] | None = None,
    extra: str = "",
    host_key: Path | None = None,
    pam: bool = False,
) -> Sshd:
    """As `running_sshd`, for who calls `stop_sshd` later."""
    binary = _binary()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    key = directory / "host_key"
    if host_key:
        shutil.copy(host_key, key)
        shutil.copy(f"{host_key}.pub", f"{key}.pub")
    elif not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    for _ in range(_ATTEMPTS):
        port = free_port()
        # sshd reads it as the user who logs in, who cannot look into the folders that tests get.
        allowed = Path(tempfile.mkdtemp(prefix="sshd-principals-"))
        allowed.chmod(0o755)
        configuration = directory / "sshd_config"
        configuration.write_text(
            _CONFIGURATION.format(
                port=port, directory=directory, principals=allowed, extra=extra, pam="yes" if pam else "no"
            )
        )
        with (directory / "sshd.log").open("wb") as log:
            process = subprocess.Popen(
                [binary, "-D", "-e", "-f", configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        server = Sshd(directory, allowed, port, Path(f"{key}.pub").read_text().strip(), process)
        server.trust(user_ca)
        for login, names in (principals or {}).items():
            server.allow(login, *names)
        if _answers(server):
            return server
        stop_sshd(server)
        if "Address already in use" not in server.log():
            break
    raise RuntimeError(f"sshd did not start: {server.log()}")


def stop_sshd(server: Sshd) -> None:
    """Ends the server and every session on it."""
    # Each session has a process group of its own, so they are found by their parents.
    signal_all((server.process.pid, *descendants(server.process.pid)), signal.SIGKILL)
    server.process.wait()
    shutil.rmtree(server.principals, ignore_errors=True)


def _binary() -> str:
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SshdMissing("no sshd on this machine; install the package openssh-server")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(server: Sshd) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((server.host, server.port), 1) as connection:
            return connection.recv(4) == b"SSH-" and server.process.poll() is None
        time.sleep(0.01)
    return False


def descendants(process: int) -> list[int]:
    """The processes that a process started, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [process]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found[1:]
