"""What an object may be called: the same in every store, so that recordings can move between them."""

from __future__ import annotations

import re
from typing import Final

from recorder.errors import RefusedName

_PART: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_NAME: Final = re.compile(rf"{_PART}(?:/{_PART}){{0,15}}")
_PREFIX: Final = re.compile(rf"(?:{_PART}/){{0,15}}(?:{_PART})?")


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name. Raises RefusedName."""
    if not is_name(name):
        raise RefusedName(f"not a name for an object: {name!r}")
    return name


def check_prefix(prefix: str) -> str:
    """What names may begin with. Raises RefusedName."""
    if not _PREFIX.fullmatch(prefix):
        raise RefusedName(f"not a prefix of an object's name: {prefix!r}")
    return prefix
