"""Activations, and agents as they are registered (R33)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

AGENT = "agent"
"""The name of the connector that nodes dial."""

DEFAULT_LIFETIME = timedelta(hours=24)
MAXIMUM_LIFETIME = timedelta(days=30)
MAXIMUM_REGISTRATIONS = 1000

_ACTIVATION_ID = re.compile(r"act-[0-9a-f]{12}")


def is_activation_id(text: str) -> bool:
    return _ACTIVATION_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Activation:
    """So many nodes may register until then, each with these tags and this login."""

    id: str
    account: str
    region: str
    code_hash: str = field(repr=False)
    default_name: str
    tags: Mapping[str, str]
    login: str
    registration_limit: int
    registrations: int
    created_at: datetime
    created_by: str
    expires_at: datetime

    def admits(self, now: datetime) -> bool:
        """Whether one more node may register."""
        return now < self.expires_at and self.registrations < self.registration_limit


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a node's agent may be connected. `key_hash` as in client certificates."""

    node_id: str
    key_hash: str
    certified_until: datetime
    removed: bool
    lock_reason: str | None  # None: not locked
