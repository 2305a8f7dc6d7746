"""Text that people give and other people's terminals show."""

from gateway.errors import invalid


def check_printable(field: str, value: str, maximum: int) -> None:
    """Raises Refused INVALID_FIELD beyond `maximum` characters or for control characters, which terminals obey."""
    if len(value) > maximum:
        raise invalid(field, f"must be at most {maximum} characters long")
    if not value.isprintable():
        raise invalid(field, "must not hold line breaks or control characters")
