"""Dataclasses as canonical JSON, and back: keys sorted, no spaces, UTF-8, integers only.

Bytes are base64 with padding, times are RFC 3339 in UTC with six decimals and `Z`. Reading is strict: a missing
key, an unknown key or another type is refused, so that one value has one form. A field with the metadata `LATER`
was added later: it is left out where it is None, as it is in what was written before it was there.
"""

from __future__ import annotations

import base64
import binascii
import json
import types
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from recorder.errors import DamagedRecording, RecorderError

LATER: Final = {"added_later": True}
MAX_BYTES: Final = 64 * 1024 * 1024
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"

T = TypeVar("T")


def dump(value: object) -> bytes:
    """Canonical JSON of a dataclass, or of a dict of such."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def load(data: bytes) -> Any:
    """JSON of bounded size. Raises DamagedRecording."""
    if len(data) > MAX_BYTES:
        raise DamagedRecording(f"{len(data)} bytes of JSON are too many")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as broken:
        raise DamagedRecording(f"not JSON: {broken}") from None


def build(kind: type[T], value: object, where: str = "") -> T:
    """The dataclass that `value`, parsed JSON, describes. Raises DamagedRecording with the place."""
    built: T = _build(kind, value, where or kind.__name__)
    return built


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {name: each for name, each in held.items() if each is not None or name not in _later(type(value))}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime(_TIME)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _later(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind) if field.metadata == LATER)


def _build(kind: Any, value: object, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _build(next(arm for arm in get_args(kind) if arm is not type(None)), value, where)
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise DamagedRecording(f"{where} is not a list")
        item = get_args(kind)[0]
        return origin(_build(item, each, f"{where}[{number}]") for number, each in enumerate(value))
    if is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    return _build_scalar(kind, value, where)


def _build_dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise DamagedRecording(f"{where} is not an object")
    hints = _hints(kind)
    absent = {name for name in _later(kind) if name not in value}
    names = [field.name for field in fields(kind) if field.name not in absent]
    if set(value) != set(names):
        odd = sorted(set(value) ^ set(names))
        raise DamagedRecording(f"{where} has missing or unknown members: {', '.join(map(str, odd))}")
    try:
        return kind(**{name: _build(hints[name], value[name], f"{where}.{name}") for name in names})
    except DamagedRecording:
        raise
    except RecorderError as refused:
        raise DamagedRecording(f"{where}: {refused}") from None


def _build_scalar(kind: Any, value: object, where: str) -> Any:
    try:
        if kind is bytes and isinstance(value, str):
            return base64.b64decode(value, validate=True)
        if kind is datetime and isinstance(value, str):
            return datetime.strptime(value, _TIME).replace(tzinfo=UTC)
        if isinstance(value, str):
            value.encode()  # a lone surrogate has no UTF-8 form
    except (ValueError, binascii.Error):
        raise DamagedRecording(f"{where} is malformed") from None
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise DamagedRecording(f"{where} is not of type {kind.__name__}")
