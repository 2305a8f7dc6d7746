"""What the gateway keeps of requests, tokens and policies, beyond what the cores decide on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from approvals.model import Request
from gateway.store.events import Event
from policy.model import PolicyKind


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request as it is stored: its life, which the approvals core decides on, and what goes with it."""

    life: Request
    node_name: str  # as it was when the request was made
    explanation: Mapping[str, Any]  # how the policies came to their decision (R14); empty before they were asked
    revision: int = 1  # grows with every change
    events: tuple[Event, ...] = ()  # only where one request is read


@dataclass(frozen=True, slots=True)
class Token:
    """An access token as it is stored: by its hash, bound to person, node and client key (R24)."""

    hash: str = field(repr=False)
    request_id: str
    user_id: str
    node_id: str
    key_hash: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """Which policy: there is one deny and one auto in its place, manual ones have names of their own (R1)."""

    kind: PolicyKind
    account: str
    region: str
    name: str


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """One version of a policy. `text` is what its author wrote."""

    key: PolicyKey
    version: int
    text: str
    description: str
    author_id: str
    created_at: datetime
