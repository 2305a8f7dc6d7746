"""The life of an access request."""

from datetime import datetime, timedelta

from approvals.commands import Command
from approvals.model import DEFAULT_MEMBERSHIP_MAX_AGE, Request
from approvals.outcomes import Refusal, Transition


def transition(
    request: Request | None,
    command: Command,
    now: datetime,
    *,
    membership_max_age: timedelta = DEFAULT_MEMBERSHIP_MAX_AGE,
) -> Transition | Refusal:
    """What `command` makes of `request` (None: there is none yet, only Open applies)."""
    raise NotImplementedError
