"""What a node may be called, tagged with and reached at."""

import asyncssh
import pytest

from gateway.errors import Refused
from gateway.nodes import bounds, host_keys
from gateway.nodes.model import SshEndpoint

KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()


def field_of(call: pytest.ExceptionInfo[Refused]) -> str:
    assert call.value.reason == "INVALID_FIELD"
    return call.value.fields[0].field


@pytest.mark.rule("R3")
def test_tags_within_their_bounds() -> None:
    bounds.check_tags({f"{index}": "" for index in range(50)})
    bounds.check_tags({"k" * 128: "v" * 256, "Grüße, Welt": "ja"})


@pytest.mark.rule("R3")
@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ({f"{index}": "" for index in range(51)}, "tags"),
        ({"": "x"}, "tags['']"),
        ({"k" * 129: "x"}, f"tags['{'k' * 128}']"),
        ({"key": "v" * 257}, "tags['key']"),
        ({"key": "red\x1b[31m"}, "tags['key']"),
        ({"k\ney": "x"}, "tags['k\\ney']"),
    ],
)
def test_tags_out_of_bounds(tags: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as caught:
        bounds.check_tags(tags)
    assert field_of(caught) == field


@pytest.mark.parametrize("name", ["web-1", "a", "A.b_c-9", "x" * 128, "mi-short"])
def test_names(name: str) -> None:
    bounds.check_name(name)


@pytest.mark.parametrize(
    "name", ["", "-web", "web 1", "x" * 129, "wéb", "web\n", "mi-0123456789abcdef0", "i-" + "0" * 17]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(Refused) as caught:
        bounds.check_name(name)
    assert field_of(caught) == "name"


@pytest.mark.parametrize(
    "node_id", ["", "web-1", "mi-0123456789ABCDEF0", "mi-0123456789abcdef", "x-0123456789abcdef0"]
)
def test_ids_that_cannot_be(node_id: str) -> None:
    bounds.check_node_id("i-0123456789abcdef0")
    with pytest.raises(Refused):
        bounds.check_node_id(node_id)


def test_an_endpoint_is_stored_in_one_form() -> None:
    endpoint = SshEndpoint("web.example", 0, "deploy", (f"{KEY} root@web", KEY), (f" {KEY}\n",))
    assert bounds.checked_endpoint(endpoint) == SshEndpoint("web.example", 22, "deploy", (KEY,), (KEY,))


@pytest.mark.rule("R33")
@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        (SshEndpoint("", host_keys=(KEY,)), "ssh.host"),
        (SshEndpoint("a b", host_keys=(KEY,)), "ssh.host"),
        (SshEndpoint("h" * 254, host_keys=(KEY,)), "ssh.host"),
        (SshEndpoint("web", 65536, host_keys=(KEY,)), "ssh.port"),
        (SshEndpoint("web", -1, host_keys=(KEY,)), "ssh.port"),
        (SshEndpoint("web", 22, "Root", (KEY,)), "ssh.login"),
        (SshEndpoint("web", 22, "a" * 33, (KEY,)), "ssh.login"),
        (SshEndpoint("web"), "ssh.host_keys"),
        (SshEndpoint("web", host_keys=(KEY,) * 9), "ssh.host_keys"),
        (SshEndpoint("web", host_keys=(KEY, "")), "ssh.host_keys[1]"),
        (SshEndpoint("web", host_keys=("ssh-ed25519 AAAA",)), "ssh.host_keys[0]"),
        (SshEndpoint("web", host_keys=(f"{KEY}\n{KEY}",)), "ssh.host_keys[0]"),
        (SshEndpoint("web", host_keys=("/etc/passwd",)), "ssh.host_keys[0]"),
        (SshEndpoint("web", host_keys=("ssh-dss AAAAB3NzaC1kc3M=",)), "ssh.host_keys[0]"),
        (SshEndpoint("web", host_keys=(KEY + " " + "c" * 8192,)), "ssh.host_keys[0]"),
        (SshEndpoint("web", host_cas=("ssh-ed25519",)), "ssh.host_cas[0]"),
    ],
)
def test_endpoints_that_cannot_be(endpoint: SshEndpoint, field: str) -> None:
    with pytest.raises(Refused) as caught:
        bounds.checked_endpoint(endpoint)
    assert field_of(caught) == field


def test_a_weak_rsa_key_proves_nothing() -> None:
    strong = asyncssh.generate_private_key("ssh-rsa", key_size=2048).export_public_key().decode()
    assert bounds.checked_endpoint(SshEndpoint("web", host_keys=(strong,)))
    weak = asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_public_key().decode()
    with pytest.raises(Refused, match="2048"):
        bounds.checked_endpoint(SshEndpoint("web", host_keys=(weak,)))


def test_a_private_key_is_refused_without_being_repeated() -> None:
    secret = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(Refused) as caught:
        bounds.checked_endpoint(SshEndpoint("web", host_keys=(secret,)))
    assert secret[50:80] not in str(caught.value)


def test_registered_proofs_are_asked_for_first() -> None:
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048).export_public_key().decode().strip()
    assert host_keys.accepted_algorithms(SshEndpoint("web", host_keys=(rsa,)))[0] == "rsa-sha2-512"
    signed = host_keys.accepted_algorithms(SshEndpoint("web", host_cas=(KEY,)))
    assert signed[0].endswith("-cert-v01@openssh.com")
    assert "ssh-rsa" not in signed
    assert not [
        name for name in host_keys.accepted_algorithms(SshEndpoint("web", host_keys=(KEY,))) if "cert" in name
    ]
