"""What the gateway says no with: one line what was wrong, one line what to do."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from google.protobuf.message import Message


class Kind(StrEnum):
    """The kinds of refusal; each is the gRPC status code of the same name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request ("ssh.port") and what is wrong with it."""

    field: str
    description: str


@dataclass(slots=True, eq=False)  # exceptions are hashed by who handles them
class Refused(Exception):
    """A call that is refused and has changed nothing.

    `reason` is stable and for programs (UPPER_SNAKE); `message` and `what_to_do` are for people; `metadata` says
    which thing was meant ("status": "Revoked"). None of them holds a secret.
    """

    kind: Kind
    reason: str
    message: str
    what_to_do: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None
    details: tuple[Message, ...] = ()  # further google.rpc details

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def invalid(field_name: str, description: str, what_to_do: str = "") -> Refused:
    """A value that cannot be: INVALID_ARGUMENT with the field named."""
    return Refused(
        Kind.INVALID_ARGUMENT,
        "INVALID_FIELD",
        f"{field_name}: {description}",
        what_to_do or f"Correct {field_name} and try again.",
        fields=(FieldViolation(field_name, description),),
    )
