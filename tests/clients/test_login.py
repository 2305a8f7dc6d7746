"""Signing in: whom to trust, how to prove oneself, what is left on disk."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.cli import trust
from clients.cli.errors import Failure
from jitgate.v1 import identity_pb2
from tests.clients.conftest import Jit
from tests.clients.pseudoterminal import Person
from tests.clients.refusal import Refusal
from tests.clients.standin import StandIn, standin

SECRET = "correct horse"


@pytest.fixture
def ca_file(server: StandIn, tmp_path: Path) -> Path:
    path = tmp_path / "gateway-ca.pem"
    path.write_bytes(server.ca.pem)
    return path


def login(jit: Jit, server: StandIn, *arguments: str, given: str = SECRET + "\n") -> Any:
    address = ("--gateway", server.sign_in_address, "--user", "carol")
    return jit("login", *address, *arguments, profile="new", given=given)


@pytest.mark.rule("R31")
def test_a_password_and_a_ca_file(server: StandIn, jit: Jit, home: Path, ca_file: Path) -> None:
    done = login(jit, server, "--ca-file", str(ca_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Signed in as carol until ")
    folder = home / "new"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == dict.fromkeys(
        ("profile.json", "ca.pem", "client.pem", "client.key"), "0o600"
    )
    assert SECRET not in "".join(path.read_text() for path in folder.iterdir())
    assert "carol" in jit("whoami", profile="new").stdout


def test_the_next_login_needs_the_password_only(server: StandIn, jit: Jit, home: Path, ca_file: Path) -> None:
    login(jit, server, "--ca-file", str(ca_file))
    key = (home / "new" / "client.key").read_bytes()
    (home / "new" / "tokens.json").write_text("{}")
    done = jit("login", profile="new", given=SECRET + "\n")
    assert done.returncode == 0, done.stderr
    assert (home / "new" / "client.key").read_bytes() != key
    assert not (home / "new" / "tokens.json").exists()  # they were bound to the key before


def test_a_fingerprint_is_enough(server: StandIn, jit: Jit) -> None:
    assert login(jit, server, "--ca-fingerprint", server.ca.fingerprint).returncode == 0
    colons = server.ca.fingerprint.removeprefix("sha256:").upper()
    written = ":".join(colons[at : at + 2] for at in range(0, 64, 2))
    assert login(jit, server, "--ca-fingerprint", written).returncode == 0


def test_another_fingerprint_sends_no_password(server: StandIn, jit: Jit, home: Path) -> None:
    done = login(jit, server, "--ca-fingerprint", "sha256:" + "0" * 64)
    assert done.returncode == 1
    assert "shows no certificate with the fingerprint" in done.stderr
    assert not server.world.asked("SignIn")
    assert not (home / "new" / "profile.json").exists()


def test_another_ca_sends_no_password(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    with standin() as other:
        (tmp_path / "other.pem").write_bytes(other.ca.pem)
    done = login(jit, server, "--ca-file", str(tmp_path / "other.pem"))
    assert done.returncode == 7
    assert "not trusted" in done.stderr
    assert not server.world.asked("SignIn")


def test_nobody_to_ask_means_no_trust(server: StandIn, jit: Jit) -> None:
    done = login(jit, server)
    assert done.returncode == 2
    assert "--ca-fingerprint" in done.stderr
    assert not server.world.asked("SignIn")


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
def test_a_ca_file_without_a_ca(server: StandIn, jit: Jit, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pem").write_bytes(content)
    assert login(jit, server, "--ca-file", str(tmp_path / "x.pem")).returncode == 2
    assert login(jit, server, "--ca-file", str(tmp_path / "missing.pem")).returncode == 2


def test_a_wrong_password_changes_nothing(server: StandIn, jit: Jit, home: Path, ca_file: Path) -> None:
    done = login(jit, server, "--ca-file", str(ca_file), given="wrong\n")
    assert (done.returncode, done.stderr) == (3, "error: sign-in failed\nTry again.\n")
    assert not (home / "new").exists()


def test_the_administrators_code(server: StandIn, jit: Jit, ca_file: Path) -> None:
    given = f"{SECRET}\na long new password\n"
    done = login(jit, server, "--ca-file", str(ca_file), "--administrator-code", given=given)
    assert done.returncode == 0, done.stderr
    proof = server.world.asked("SignIn")[0].administrator_code
    assert (proof.code, proof.user_id, proof.new_password) == (SECRET, "carol", "a long new password")
    short = login(jit, server, "--ca-file", str(ca_file), "--administrator-code", given=f"{SECRET}\nshort\n")
    assert short.returncode == 2


def test_a_password_of_somebody_else_is_changed_at_once(server: StandIn, jit: Jit, ca_file: Path) -> None:
    def must_change(caller: str, request: identity_pb2.SignInRequest) -> identity_pb2.SignInResponse:
        if not request.password.new_password:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "PASSWORD_CHANGE_REQUIRED", "choose a password")
        return server.world.SignIn(caller, request)

    server.world.answers["SignIn"] = must_change
    done = login(jit, server, "--ca-file", str(ca_file), given=f"{SECRET}\na long new password\n")
    assert done.returncode == 0, done.stderr
    assert server.world.asked("SignIn")[1].password.new_password == "a long new password"


def test_logout_forgets_the_key(server: StandIn, jit: Jit, home: Path, ca_file: Path) -> None:
    login(jit, server, "--ca-file", str(ca_file))
    assert jit("logout", profile="new").returncode == 0
    assert list((home / "new").iterdir()) == []
    assert jit("whoami", profile="new").returncode == 3


def test_a_person_confirms_the_fingerprint(server: StandIn, environment: dict[str, str], home: Path) -> None:
    arguments = ("--profile", "new", "login", "--gateway", server.sign_in_address)
    with Person(*arguments, environment=environment) as person:
        person.waits_for(server.ca.fingerprint)
        person.waits_for("[yes/no] ")
        person.type("yes\r")
        person.waits_for("User: ")
        person.type("carol\r")
        person.waits_for("Password of carol: ")
        person.type(SECRET + "\r")
        person.waits_for("Signed in as carol")
        assert person.ends() == 0
        assert SECRET.encode() not in person.seen
    assert json.loads((home / "new" / "profile.json").read_text())["user_id"] == "carol"
    with Person(*arguments, environment=environment | {"JIT_HOME": str(home / "other")}) as person:
        person.waits_for("[yes/no] ")
        person.type("no\r")
        assert person.ends() == 1


@pytest.mark.parametrize("written", ["", "sha256:", "sha256:zz", "0" * 63, "md5:" + "0" * 64])
def test_what_is_no_fingerprint(written: str) -> None:
    with pytest.raises(Failure, match="no SHA-256 fingerprint"):
        trust.normal(written)


@pytest.mark.parametrize("address", ["gate", "gate:x", ":1"])
def test_an_address_without_a_port(jit: Jit, address: str) -> None:
    assert jit("login", "--gateway", address, profile="new").returncode == 2
    assert jit("login", profile="new").returncode == 2
