"""Text that people wrote, made safe to show: what reads differently from what it says becomes visible."""

import unicodedata

# Controls, lone surrogates, and the separators that break a line.
_UNSHOWABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")
ELLIPSIS = "…"


def shown(text: str) -> str:
    """One line; what cannot be seen, or turns the direction of what follows, is named instead: [U+202E]."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in _BIDI or unicodedata.category(character) in _UNSHOWABLE:
        return f"[U+{ord(character):04X}]"
    return character


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, the last one an ellipsis where something was left out; no emoji is cut in two.

    Cut what is already escaped for its channel only where an escape cannot be halved.
    """
    if len(text) <= limit:
        return text
    end = max(limit - len(ELLIPSIS), 0)
    while end > 0 and (_joins(text[end]) or text[end - 1] == "\u200d"):
        end -= 1
    return text[:end] + ELLIPSIS


def _joins(character: str) -> bool:
    is_skin = "\U0001f3fb" <= character <= "\U0001f3ff"
    return is_skin or character in _JOINERS or unicodedata.combining(character) != 0
