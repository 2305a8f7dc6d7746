"""Why access ended, as the user of a session reads it."""

from datetime import timedelta

from approvals.model import EndReason
from gateway.errors import Kind, Refused
from gateway.sessions.model import End, Ending, Session

_ENDS = {
    EndReason.GIVEN_BACK: End.RETURNED,
    EndReason.WINDOW_ENDED: End.WINDOW_ENDED,
    EndReason.NO_FIRST_SESSION: End.WINDOW_ENDED,
    EndReason.NOT_DECIDED_IN_TIME: End.WINDOW_ENDED,
    EndReason.USER_LOCKED: End.LOCKED,
    EndReason.NODE_LOCKED: End.LOCKED,
}
_WORDS = {
    EndReason.GIVEN_BACK: "the access was given back",
    EndReason.WINDOW_ENDED: "the access window is over",
    EndReason.NO_FIRST_SESSION: "the access window is over",
    EndReason.NOT_DECIDED_IN_TIME: "the access window is over",
    EndReason.USER_LOCKED: "the user was locked",
    EndReason.USER_REMOVED: "the user was removed from the directory",
    EndReason.ROLE_REVOKED: "the user may not ask for access here any more",
    EndReason.NODE_LOCKED: "the node was locked",
    EndReason.NODE_REMOVED: "the node was removed",
    EndReason.TAGS_CHANGED: "the node's tags changed",
    EndReason.REQUESTER_CHANGED: "the user's groups or attributes changed",
    EndReason.DISABLED: "just-in-time access was disabled here",
}


def ending_of(reason: EndReason, actor: str = "", note: str = "") -> Ending:
    """How a session ends whose access ended; `actor` and `note` as the request has them, perhaps empty."""
    message = f"This session ended: {_WORDS.get(reason, 'the access was revoked')}"
    if actor:
        message += f" by {actor}"
    return Ending(_ENDS.get(reason, End.REVOKED), f"{message}: {note}" if note else f"{message}.")


def terminated(by: str, reason: str) -> Ending:
    message = f"This session was ended by {by}"
    return Ending(End.TERMINATED, f"{message}: {reason}" if reason else f"{message}.")


def session_ended(session_id: str, end: End | None = None, message: str = "") -> Refused:
    """To whoever wants to go on with it."""
    how = f" ({end}){f': {message}' if message else ''}" if end else ""
    return Refused(
        Kind.FAILED_PRECONDITION,
        "SESSION_ENDED",
        f"Session {session_id} is over{how}",
        "Open another one: jit shell NODE",
        metadata={"end": str(end or "")},
    )


def taken_over(session: Session) -> Refused:
    """To the client of a call that a later one displaced."""
    return Refused(
        Kind.FAILED_PRECONDITION,
        "SESSION_TAKEN_OVER",
        f"Session {session.id} goes on in another place: it was resumed there",
        f"To have it here again: jit sessions attach {session.id}",
    )


def stopping() -> Refused:
    return Refused(
        Kind.UNAVAILABLE,
        "GATEWAY_STOPPING",
        "The gateway is being stopped",
        "Try again in a moment.",
        retry_after=timedelta(seconds=5),
    )
