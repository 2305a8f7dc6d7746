"""What a node may be called, tagged with and reached at, and how much it may say."""

import re
from collections.abc import Mapping

from gateway.errors import invalid
from gateway.nodes import host_keys
from gateway.nodes.model import (
    DEFAULT_SSH_PORT,
    MAX_TAG_KEY_LENGTH,
    MAX_TAG_VALUE_LENGTH,
    MAX_TAGS,
    SshEndpoint,
    is_node_id,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
_LOGIN = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_MAX_PORT = 65535
_MAX_SAID_LENGTH = 256


def said_by_node(text: str) -> str:
    """Printable, 256 characters at most: it goes to people's terminals and into the trailers of calls."""
    return "".join(character for character in text if character.isprintable())[:_MAX_SAID_LENGTH]


def check_name(name: str) -> None:
    """Raises Refused INVALID_FIELD. A name in the form of an id would hide the node that has the id."""
    if not _NAME.fullmatch(name):
        raise invalid("name", "has 1 to 128 letters, digits, '.', '_' and '-', the first a letter or digit")
    if is_node_id(name):
        raise invalid("name", "has the form of a node id", "Choose a name that says what the node is.")


def check_node_id(node_id: str) -> None:
    """Raises Refused INVALID_FIELD."""
    if not is_node_id(node_id):
        raise invalid("id", 'is "i-" or "mi-" and 17 lower-case hex digits')


def check_login(field: str, login: str) -> None:
    """Raises Refused INVALID_FIELD; an empty login is none."""
    if login and not _LOGIN.fullmatch(login):
        raise invalid(field, "has 1 to 32 of a-z, 0-9, '_', '.' and '-', the first a letter or '_'")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises Refused INVALID_FIELD naming the tag. Terminals show tags, so they hold no control characters."""
    if len(tags) > MAX_TAGS:
        raise invalid(
            "tags", f"{len(tags)} are more than {MAX_TAGS}", "Remove some with jit nodes update --remove-tag."
        )
    for key, value in tags.items():
        field = f"tags[{key[:MAX_TAG_KEY_LENGTH]!r}]"
        if not 1 <= len(key) <= MAX_TAG_KEY_LENGTH:
            raise invalid(field, f"a key has 1 to {MAX_TAG_KEY_LENGTH} characters")
        if len(value) > MAX_TAG_VALUE_LENGTH:
            raise invalid(field, f"a value has at most {MAX_TAG_VALUE_LENGTH} characters")
        if not (key.isprintable() and value.isprintable()):
            raise invalid(field, "holds a character that cannot be shown")


def checked_endpoint(endpoint: SshEndpoint, *, needs_proof: bool = True) -> SshEndpoint:
    """The endpoint as it is stored: port filled in, key lines without comments.

    Raises Refused INVALID_FIELD, also when `needs_proof` and neither host key nor host CA is given.
    """
    if not _HOST.fullmatch(endpoint.host):
        raise invalid("ssh.host", "is a host name or address of at most 253 characters")
    if not 0 <= endpoint.port <= _MAX_PORT:
        raise invalid("ssh.port", f"is 1 to {_MAX_PORT}")
    check_login("ssh.login", endpoint.login)
    for field, lines in (("ssh.host_keys", endpoint.host_keys), ("ssh.host_cas", endpoint.host_cas)):
        if len(lines) > host_keys.MAX_KEYS:
            raise invalid(field, f"{len(lines)} are more than {host_keys.MAX_KEYS}")
    keys = _normal("ssh.host_keys", endpoint.host_keys)
    authorities = _normal("ssh.host_cas", endpoint.host_cas)
    if needs_proof and not keys and not authorities:
        raise invalid(
            "ssh.host_keys",
            "neither a host key nor a host CA is given, so nothing would prove that the node is the node",
            "Give --host-key or --host-ca, or accept what answers now with --trust-on-first-use.",
        )
    return SshEndpoint(endpoint.host, endpoint.port or DEFAULT_SSH_PORT, endpoint.login, keys, authorities)


def checked_login_alone(endpoint: SshEndpoint) -> SshEndpoint:
    """The endpoint of a node that dials. Raises Refused INVALID_FIELD where an address or keys are given."""
    if endpoint.host or endpoint.host_keys or endpoint.host_cas:
        raise invalid("ssh", "has only a login where the node is reached through its agent", "Leave the rest out.")
    check_login("ssh.login", endpoint.login)
    return SshEndpoint(host="", port=0, login=endpoint.login)


def _normal(field: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    keys = (host_keys.host_key(f"{field}[{index}]", line) for index, line in enumerate(lines))
    return tuple(dict.fromkeys(keys))
