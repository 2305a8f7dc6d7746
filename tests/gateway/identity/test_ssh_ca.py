import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from gateway.identity.key_files import KeyFileUnusable
from gateway.identity.ssh_ca import SshUserCa
from tests.gateway.identity.conftest import Time


@pytest.fixture
def authority(tmp_path: Path, time: Time) -> SshUserCa:
    return SshUserCa.load_or_create(tmp_path / "keys", time)


def test_it_is_the_same_after_a_restart(authority: SshUserCa, tmp_path: Path, time: Time) -> None:
    assert SshUserCa.load_or_create(tmp_path / "keys", time).public_key_line() == authority.public_key_line()
    assert stat.S_IMODE((tmp_path / "keys" / "ssh-user-ca.key").stat().st_mode) == 0o600
    assert authority.public_key_line().startswith("ssh-ed25519 ")
    assert "\n" not in authority.public_key_line()


def test_openssh_reads_one_principal_one_address_a_terminal_and_nothing_else(
    authority: SshUserCa, tmp_path: Path
) -> None:
    _, certificate = authority.issue("i-0/ubuntu", "alice s-1", ["192.0.2.1", "2001:db8::1"], timedelta(hours=1))
    text = shown(certificate, tmp_path)
    words = text.split()
    assert words[words.index("Principals:") + 1 : words.index("Critical")] == ["i-0/ubuntu"]
    assert words[words.index("source-address") + 1] == "192.0.2.1/32,2001:db8::1/128"
    assert words[words.index("Extensions:") + 1 :] == ["permit-pty"]
    assert 'Key ID: "alice s-1"' in text
    assert "user certificate" in text


def shown(certificate: asyncssh.SSHCertificate, folder: Path) -> str:
    """What OpenSSH reads in a certificate; times are UTC."""
    file = folder / "id-cert.pub"
    file.write_bytes(certificate.export_certificate())
    command = ["ssh-keygen", "-L", "-f", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC"}).stdout


def test_every_session_has_a_key_and_a_serial_of_its_own(authority: SshUserCa, tmp_path: Path) -> None:
    issued = [authority.issue("i-0/root", "a", "192.0.2.1", timedelta(minutes=1)) for _ in range(2)]
    assert len({key.public_data for key, _ in issued}) == 2
    words = [shown(certificate, tmp_path).split() for _, certificate in issued]
    assert len({found[found.index("Serial:") + 1] for found in words}) == 2


def test_it_ends_in_time(authority: SshUserCa, tmp_path: Path) -> None:
    _, certificate = authority.issue("i-0/root", "a", "192.0.2.1", timedelta(minutes=1))
    assert "Valid: from 2026-03-01T11:58:00 to 2026-03-01T12:01:00" in shown(certificate, tmp_path)


@pytest.mark.parametrize(
    ("principal", "address", "seconds"),
    [("", "192.0.2.1", 60), ("i-0/root", "", 60), ("i-0/root", [], 60), ("i-0/root", ["192.0.2.1", ""], 60)]
    + [("i-0/root", "192.0.2.1", seconds) for seconds in (0, -1)],
)
def test_nothing_is_signed_for_anyone_anywhere_or_no_time(
    authority: SshUserCa, principal: str, address: str | list[str], seconds: int
) -> None:
    with pytest.raises(ValueError, match="needs a principal"):
        authority.issue(principal, "a", address, timedelta(seconds=seconds))


def test_a_source_address_that_is_none_is_refused(authority: SshUserCa) -> None:
    with pytest.raises((ValueError, asyncssh.Error)):
        authority.issue("i-0/root", "a", "anywhere", timedelta(seconds=60))


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, time: Time) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    file = tmp_path / "keys" / "ssh-user-ca.key"
    file.touch(mode=0o600)
    file.write_bytes(b"garbage")
    with pytest.raises(KeyFileUnusable, match="backup"):
        SshUserCa.load_or_create(tmp_path / "keys", time)
