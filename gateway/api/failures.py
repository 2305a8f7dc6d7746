"""What callers are told when the database fails them."""

from datetime import timedelta

from gateway.errors import Kind, Refused
from gateway.store.failures import DatabaseUnavailable, OutcomeUnknown, WriteConflict

_SOON = timedelta(seconds=2)
PASSING = frozenset({Kind.UNAVAILABLE, Kind.ABORTED})
"""The kinds of refusal that are nobody's fault: the same may work in a moment."""


def refusal_of(stopped: Refused | DatabaseUnavailable | WriteConflict) -> Refused:
    """The refusal itself, or the database's failure as one."""
    match stopped:
        case OutcomeUnknown():
            return Refused(Kind.UNAVAILABLE, "OUTCOME_UNKNOWN", str(stopped), stopped.what_to_do)
        case DatabaseUnavailable():
            what_to_do = stopped.what_to_do
            return Refused(Kind.UNAVAILABLE, "DATABASE_UNAVAILABLE", str(stopped), what_to_do, retry_after=_SOON)
        case WriteConflict():
            return Refused(Kind.ABORTED, "WRITE_CONFLICT", str(stopped), "Try again.", retry_after=_SOON)
    return stopped
