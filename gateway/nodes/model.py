"""The nodes that people ask for: what is known of each, and how it is reached (R3, R33)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

SSH = "ssh"
"""The name of the connector that reaches a node without an agent."""

DEFAULT_SSH_PORT = 22

MAX_TAGS = 50
MAX_TAG_KEY_LENGTH = 128
MAX_TAG_VALUE_LENGTH = 256

_NODE_ID = re.compile(r"(?:i|mi)-[0-9a-f]{17}")


def is_node_id(text: str) -> bool:
    """Whether a text has the form of a node's id; no node may have such a name."""
    return _NODE_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SshEndpoint:
    """Where a node's sshd listens and how it proves that it is that node.

    Keys are OpenSSH public key lines without a comment. One of the lists has an entry: nothing connects to a node
    that cannot prove itself. An empty login leaves the choice to the session preferences (R26).
    """

    host: str
    port: int = DEFAULT_SSH_PORT
    login: str = ""
    host_keys: tuple[str, ...] = ()
    host_cas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A registered node. `revision` grows with every change; `removed_at` is set for good once it is removed.

    `properties` are what the node said of itself ("platform", "ssh_version"): shown, never policy input (R3).
    `attached_to` is the gateway process that the node's agent is connected to; "" is none.
    """

    id: str
    name: str
    account: str
    region: str
    connector: str
    endpoint: SshEndpoint
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    last_seen_at: datetime | None = None
    removed_at: datetime | None = None
    locked_at: datetime | None = None
    locked_by: str = ""
    lock_reason: str = ""
    revision: int = 1
    attached_to: str = ""

    @property
    def locked(self) -> bool:
        return self.locked_at is not None


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """One step of a check ("dial", "host_key", "certificate", "forwarding", "shell", "clock"; or "agent"), or one
    thing that a diagnosis found out ("node", "login", "access" as well).
    """

    step: str
    passed: bool
    message: str
    what_to_do: str = ""
