"""Text of others on the terminal of a person: nothing in it may act on that terminal."""

import os

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from typing import TextIO

# Controls (C0, DEL, C1) move the cursor and start escape sequences; bidirectional controls and line separators
# make a text read as another one than it is.
_HOSTILE = {
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
}
_VISIBLE = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _HOSTILE}
_VISIBLE_BUT_LINES = {code: text for code, text in _VISIBLE.items() if code != 0x0A}


def clean(text: str, *, keep_lines: bool = False) -> str:
    """The text with everything that could act on a terminal spelt out ("\\x1b")."""
    cleaned = text.translate(_VISIBLE_BUT_LINES if keep_lines else _VISIBLE)
    return cleaned.encode(errors="backslashreplace").decode()  # a file's name can hold bytes that are no text


def has_colour(stream: "TextIO") -> bool:
    """Colours: on a terminal that knows them, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, code: str, stream: "TextIO") -> str:
    """`text` in the colour of the SGR `code`, where the stream shows colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if has_colour(stream) else text
