"""How long a request is kept (R28)."""

from datetime import datetime, timedelta

from approvals.model import Request

DEFAULT_RETENTION = timedelta(days=365)


def purgeable_at(request: Request, retention: timedelta = DEFAULT_RETENTION) -> datetime | None:
    """When the request may be purged; None while it lives. Raises ValueError for less than a year."""
    raise NotImplementedError
