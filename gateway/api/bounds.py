"""Bounds of fields, as the contract declares them, checked before anything else looks at a message."""

import re
from collections.abc import Callable, Iterator
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.errors import FieldViolation, Kind, Refused
from jitgate.v1.annotations_pb2 import Bounds, bounds

DEFAULT_MAX_LENGTH = 1024
DEFAULT_MAX_ITEMS = 100
_MAX_MAP_KEY = 128

_Check = Callable[[object], str | None]  # the value -> what is wrong with it, or None
_TEXTUAL = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def check(message: Message) -> None:
    """Raises Refused INVALID_FIELD with every violation of the message and of those within it."""
    violations = tuple(_violations(message, ""))
    if violations:
        first = violations[0]
        raise Refused(
            Kind.INVALID_ARGUMENT,
            "INVALID_FIELD",
            f"{first.field}: {first.description}",
            "Correct the named fields and try again.",
            fields=violations,
        )


def _violations(message: Message, prefix: str) -> Iterator[FieldViolation]:
    for field, item_check, max_items in _checks(message.DESCRIPTOR):
        name = prefix + field.name
        if field.is_repeated:
            values = getattr(message, field.name)
            if len(values) > max_items:
                yield FieldViolation(name, f"has {len(values)} entries, at most {max_items} are taken")
                continue
            if _map_value(field) is not None:
                for key in values:
                    if isinstance(key, str) and not 1 <= len(key) <= _MAX_MAP_KEY:
                        yield FieldViolation(name, f"a key must have 1 to {_MAX_MAP_KEY} characters")
                values = values.values()
            for value in values:
                yield from _of_value(name, value, item_check)
        elif not field.has_presence or message.HasField(field.name):
            yield from _of_value(name, getattr(message, field.name), item_check)


def _of_value(name: str, value: object, item_check: _Check | None) -> Iterator[FieldViolation]:
    if isinstance(value, Message):
        yield from _violations(value, name + ".")
    elif item_check is not None and (wrong := item_check(value)) is not None:
        yield FieldViolation(name, wrong)


@cache
def _checks(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, _Check | None, int], ...]:
    """The fields that can hold something wrong, each with its check and its greatest number of entries."""
    result = []
    for field in descriptor.fields:
        declared = field.GetOptions().Extensions[bounds]
        value_field = _map_value(field) or field
        max_items = declared.max_items or DEFAULT_MAX_ITEMS
        item_check = _check_of(value_field, declared)
        if item_check is not None or value_field.message_type is not None or field.is_repeated:
            result.append((field, item_check, max_items))
    return tuple(result)


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The field that holds the values of a map; None for any other field."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def _check_of(field: FieldDescriptor, declared: Bounds) -> _Check | None:
    if field.type in _TEXTUAL:
        return _textual(declared, is_bytes=field.type == FieldDescriptor.TYPE_BYTES)
    if field.enum_type is not None:
        known = frozenset(field.enum_type.values_by_number)
        return lambda value: None if value in known else f"{value} is not known here"
    if declared.HasField("min") or declared.HasField("max"):
        return _numeric(declared)
    return None


def _textual(declared: Bounds, *, is_bytes: bool) -> _Check:
    unit = "bytes" if is_bytes else "characters"
    low, high = declared.min_length, declared.max_length or DEFAULT_MAX_LENGTH
    pattern = re.compile(declared.pattern) if declared.pattern else None

    def check_text(value: object) -> str | None:
        assert isinstance(value, str | bytes)
        if not low <= len(value) <= high:
            return f"must have {low} to {high} {unit}, has {len(value)}"
        if isinstance(value, str) and "\0" in value:
            return "must not hold NUL characters"
        if pattern and value and isinstance(value, str) and not pattern.fullmatch(value):
            return f"must look like {pattern.pattern}"
        return None

    return check_text


def _numeric(declared: Bounds) -> _Check:
    low = declared.min if declared.HasField("min") else None
    high = declared.max if declared.HasField("max") else None

    def check_number(value: object) -> str | None:
        assert isinstance(value, int)
        if (low is not None and value < low) or (high is not None and value > high):
            return f"must be {low if low is not None else 'anything'} to {high if high is not None else 'any'}"
        return None

    return check_number
