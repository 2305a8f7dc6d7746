"""When a request's window is open, and when time next has something to do (R21)."""

from datetime import datetime

from approvals.model import Request


def is_open(request: Request, now: datetime) -> bool:
    """True while access is granted; at the very end of the window it no longer is."""
    raise NotImplementedError


def next_deadline(request: Request) -> datetime | None:
    """When a Tick is due; None once the request has ended."""
    raise NotImplementedError
