"""What goes wrong, told in two lines, and the exit code that scripts see (docs/cli.md)."""

from clients.cli.wire.failure import CallFailed

REFUSED = 1
USAGE = 2
NOT_SIGNED_IN = 3
NOT_PERMITTED = 4
NOT_FOUND = 5
NOT_YET = 6  # still pending, or timed out
UNREACHABLE = 7
INTERRUPTED = 130
SESSION_FAILED = 255  # shell and exec, whatever failed: other codes are the remote command's, as with ssh

_EXIT_CODES = {
    "INVALID_ARGUMENT": USAGE,
    "UNAUTHENTICATED": NOT_SIGNED_IN,
    "PERMISSION_DENIED": NOT_PERMITTED,
    "NOT_FOUND": NOT_FOUND,
    "DEADLINE_EXCEEDED": NOT_YET,
    "UNAVAILABLE": UNREACHABLE,
}

_SIGN_IN = "If it happens again, sign in anew: jit login"
_SIGNS = {
    "not yet valid": "Compare this machine's clock with the gateway's.",
    "has expired": "Compare this machine's clock with the gateway's; if they agree, it needs a new certificate.",
    "not trusted": "Was the gateway set up anew? Ask for its CA's fingerprint, then: jit login --ca-fingerprint …",
    "closed the connection": _SIGN_IN,
}
_BY_CODE = {
    "UNAUTHENTICATED": _SIGN_IN,
    "UNAVAILABLE": "Is the gateway running, and is this its address? jit doctor checks the way there.",
    "DEADLINE_EXCEEDED": "Try again; if it goes on, tell the gateway's operator.",
    "UNIMPLEMENTED": "The gateway is older than this jit: update it.",
    "INTERNAL": "The gateway's log says more; tell its operator when this happened.",
    "UNKNOWN": "The gateway's log says more; tell its operator when this happened.",
}


class Failure(Exception):
    """One line what went wrong, one line what to do (or empty), and the exit code."""

    def __init__(self, message: str, what_to_do: str = "", exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.message = message
        self.what_to_do = what_to_do
        self.exit_code = exit_code


def not_signed_in(message: str) -> Failure:
    return Failure(message, "Sign in: jit login", NOT_SIGNED_IN)


def of_call(failed: CallFailed) -> Failure:
    """A call's bad end, for people."""
    from clients.cli.details import Details

    details = Details(failed.details)
    message = failed.message or failed.code.lower().replace("_", " ")
    return Failure(message, details.what_to_do or _what_to_do(failed), _EXIT_CODES.get(failed.code, REFUSED))


def _what_to_do(failed: CallFailed) -> str:
    for sign, advice in _SIGNS.items():
        if sign in failed.message.lower():
            return advice
    return _BY_CODE.get(failed.code, "")


def report(failure: Failure) -> None:
    """Prints it on standard error, in colour on a terminal."""
    import sys

    from clients.cli.text import clean, coloured

    lines = [coloured("error: ", "31;1", sys.stderr) + clean(failure.message, keep_lines=True)]
    if failure.what_to_do:
        lines.append(clean(failure.what_to_do, keep_lines=True))
    print("\n".join(lines), file=sys.stderr)
