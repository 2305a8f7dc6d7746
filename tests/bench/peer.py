"""What is measured against: the OpenSSH client through a jump host (`ssh -J`), without multiplexing."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.sshd import Sshd, running_sshd

CIPHER = "aes128-gcm@openssh.com"
"""What the gateway speaks to a node, too."""
PRINCIPAL = "bench"
_CONFIGURATION = """\
Host *
  User {login}
  IdentityFile {key}
  CertificateFile {key}-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  PreferredAuthentications publickey
  Ciphers {cipher}
  ControlMaster no
  LogLevel ERROR
Host jump
  HostName 127.0.0.1
  HostKeyAlias jump
  Port {jump_port}
Host target
  HostName 127.0.0.1
  HostKeyAlias target
  Port {target_port}
"""


@dataclass(frozen=True)
class Peer:
    """`ssh -J jump target`, both real servers."""

    directory: Path
    jump: Sshd
    target: Sshd

    def command(self, *arguments: str, jump_port: int = 0) -> list[str]:
        """The command line; `jump_port` is where the jump host is reached instead of its own port."""
        port = jump_port or self.jump.port
        configuration = self.directory / f"ssh_config.{port}"
        if not configuration.exists():
            text = _CONFIGURATION.format(
                login=self.target.login,
                key=self.directory / "key",
                known_hosts=self.directory / "known_hosts",
                cipher=CIPHER,
                jump_port=port,
                target_port=self.target.port,
            )
            configuration.write_text(text)
        return ["ssh", "-F", str(configuration), "-J", "jump", *arguments]


@contextlib.contextmanager
def running_peer(directory: Path, target: Sshd, trusted: str) -> Iterator[Peer]:
    """A jump host before `target`, which goes on trusting the CA `trusted`, and a client with a certificate."""
    directory.mkdir()
    _make_key(directory / "ca")
    _make_key(directory / "key")
    _keygen("-s", directory / "ca", "-I", "bench", "-n", PRINCIPAL, directory / "key.pub")
    ca = (directory / "ca.pub").read_text().strip()
    target.trust(trusted, ca)
    allowed = (target.principals / target.login).read_text().split()
    target.allow(target.login, *allowed, PRINCIPAL)
    with running_sshd(directory / "jump", ca, {target.login: [PRINCIPAL]}) as jump:
        known = f"jump {jump.host_key}\ntarget {target.host_key}\n"
        (directory / "known_hosts").write_text(known)
        yield Peer(directory, jump, target)


def environment() -> dict[str, str]:
    """As much as a client needs, and nothing of the caller's own SSH."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "HOME": "/nonexistent"}


def _make_key(file: Path) -> None:
    _keygen("-t", "ed25519", "-N", "", "-C", "", "-f", file)


def _keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, stdin=subprocess.DEVNULL)
