"""An event as it leaves the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """One entry of the audit log.

    `id` is the same whenever it is sent again. `type` is "subject.action", such as "access_request.approved";
    `subject` the id of the request, session, node, user or policy that it is about. `at` is aware.
    """

    id: str
    type: str
    at: datetime
    subject: str
    summary: str
    actor: str = ""  # a user's id; empty: the gateway itself
    source_address: str = ""
    account: str = ""  # empty: the whole organization's
    region: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
