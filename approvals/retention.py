"""How long a request is kept (R28)."""

from datetime import datetime, timedelta

from approvals.model import Request

DEFAULT_RETENTION = timedelta(days=365)


def purgeable_at(request: Request, retention: timedelta = DEFAULT_RETENTION) -> datetime | None:
    """When the request may be purged, counted from the end of its life; None while it lives.

    Never before the same day of the next year, so that a leap day doesn't shorten it. Raises ValueError for a
    retention of less than 365 days.
    """
    if retention < DEFAULT_RETENTION:
        raise ValueError("access requests are kept for at least 365 days")
    if request.ended_at is None:
        return None
    return max(request.ended_at + retention, _a_year_after(request.ended_at))


def _a_year_after(at: datetime) -> datetime:
    try:
        return at.replace(year=at.year + 1)
    except ValueError:  # 29 February
        return at.replace(year=at.year + 1, month=3, day=1)
