"""What the database's failures mean to whoever asked something of it."""

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_TRY_AGAIN = "Try again in a moment; ask an administrator if it stays so: jit doctor"
_CHECK_URL = "Ask an administrator to check database_url and the password file."

# SQLSTATEs: https://www.postgresql.org/docs/15/errcodes-appendix.html
_CONFLICTS = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock not available
# Codes or their beginnings, the first that fits -> what is wrong, what to do, whether the connection is lost.
_MEANINGS: dict[tuple[str, ...], tuple[str, str, bool]] = {
    ("57014",): ("the database takes too long", _TRY_AGAIN, False),  # canceled by our own statement_timeout
    ("53300",): (
        "the database takes no more connections",
        "Try again in a moment; if it stays so, lower database_connections of the gateways, or raise "
        "max_connections of the database.",
        True,
    ),
    ("53",): ("the database is out of space or memory", _TRY_AGAIN, False),
    # After a failover this connection leads to the standby.
    ("25006",): ("this database is a standby, which cannot be written to", _TRY_AGAIN, True),
    # Not let in.
    ("28P01",): ("the database does not take this user and password", _CHECK_URL, False),
    ("28",): ("the database's pg_hba.conf admits no such user, host or (missing) TLS", _CHECK_URL, False),
    ("3D000",): ("the database server has no database of that name", _CHECK_URL, False),
    ("42501",): ("the gateway's user lacks a permission", "Make it the owner of its database.", False),
    # Connection exceptions, an operator's intervention, errors of the system.
    ("08", "57P", "58"): ("the database is being stopped or started", _TRY_AGAIN, True),
}


class DatabaseUnavailable(Exception):
    """The database does not answer, or takes no more work. `is_lost`: the connection is of no use any more."""

    def __init__(self, message: str, what_to_do: str = _TRY_AGAIN, *, is_lost: bool = True) -> None:
        super().__init__(message)
        self.what_to_do = what_to_do
        self.is_lost = is_lost


class OutcomeUnknown(DatabaseUnavailable):
    """The database went away while it committed: the change may have been made, or not."""

    def __init__(self) -> None:
        super().__init__(
            "the database went away while the change was being written; it may have been made",
            "Look whether it was made before you try again.",
        )


class WriteConflict(Exception):
    """Somebody else wrote the same at the same moment; nothing was changed here."""


def meaning_of(error: BaseException) -> DatabaseUnavailable | WriteConflict | None:
    """What a failure of the driver or of the pool means; None for a fault of ours.

    Never tells the driver's own words: they may hold the address with the password in it.
    """
    match error:
        case PoolTimeout():
            return DatabaseUnavailable(
                "all of this gateway's connections to the database are in use",
                "Try again in a moment; if it stays so, raise database_connections in the configuration.",
                is_lost=False,
            )
        case TimeoutError():
            return DatabaseUnavailable("the database does not answer in time")
        case OSError():
            return DatabaseUnavailable(f"the database cannot be reached: {error.strerror or type(error).__name__}")
        case IntegrityError():
            return None  # repositories and use cases know which rule it breaks
    original = error.orig if isinstance(error, DBAPIError) else error
    if state := getattr(original, "sqlstate", None):
        return _meaning_of_state(state)
    is_cut = any(words in str(original) for words in ("connection is closed", "connection was closed"))
    return DatabaseUnavailable("the connection to the database was lost") if is_cut else None


def not_let_in(error: DBAPIError) -> DatabaseUnavailable:
    """Whatever else goes wrong on connecting: an unknown parameter in the address, for example."""
    state = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
    return DatabaseUnavailable(f"the database refuses the connection ({state})", _CHECK_URL, is_lost=False)


def _meaning_of_state(state: str) -> DatabaseUnavailable | WriteConflict | None:
    if state in _CONFLICTS:
        return WriteConflict("somebody else was changing the same at the same moment")
    for codes, (message, what_to_do, is_lost) in _MEANINGS.items():
        if state.startswith(codes):
            return DatabaseUnavailable(message, what_to_do, is_lost=is_lost)
    return None
