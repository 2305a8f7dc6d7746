"""How a call can end badly."""


class CallFailed(Exception):
    """A call that ended with a status other than OK, or did not end at all because the connection did.

    `code` is the name of a gRPC status code, `details` a serialized google.rpc.Status or empty. `unsent` says that
    the gateway certainly did nothing with the call, so that it may be made again.
    """

    def __init__(self, code: str, message: str, details: bytes = b"", *, unsent: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details
        self.unsent = unsent

    @property
    def may_pass(self) -> bool:
        """Whether nobody refused: the way was interrupted, and another try may go better."""
        return self.code in _INTERRUPTIONS


# A gateway that is killed, or a proxy before it, breaks its calls off: to HTTP/2 that is CANCELLED.
_INTERRUPTIONS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

# What a reset stream means to a gRPC client (gRPC over HTTP/2, "Errors"): by HTTP/2 error code.
RESETS = {
    0x7: "UNAVAILABLE",  # REFUSED_STREAM: never processed
    0x8: "CANCELLED",
    0xB: "RESOURCE_EXHAUSTED",  # ENHANCE_YOUR_CALM
    0xC: "PERMISSION_DENIED",  # INADEQUATE_SECURITY
}

# What an answer that is not gRPC means (same source): by HTTP status.
HTTP_STATUSES = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}


def of_trailers(trailers: dict[str, str]) -> CallFailed | None:
    """What the last header block of a call says; None when it says OK."""
    if "grpc-status" not in trailers:
        status = trailers.get(":status", "")
        if status and status != "200":
            code = HTTP_STATUSES.get(status, "UNKNOWN")
            return CallFailed(code, f"the server answered with HTTP status {status} instead of gRPC")
        return CallFailed("UNKNOWN", "the server ended the call without a gRPC status")
    number = trailers["grpc-status"]
    code = CODES[int(number)] if number.isdecimal() and int(number) < len(CODES) else "UNKNOWN"
    if code == "OK":
        return None
    return CallFailed(code, _message(trailers.get("grpc-message", "")), _details(trailers))


def _message(encoded: str) -> str:
    if "%" not in encoded:
        return encoded
    from urllib.parse import unquote

    return unquote(encoded)


def _details(trailers: dict[str, str]) -> bytes:
    from binascii import Error, a2b_base64

    encoded = trailers.get("grpc-status-details-bin", "")
    try:
        return a2b_base64(encoded + "=" * (-len(encoded) % 4))
    except Error:
        return b""
