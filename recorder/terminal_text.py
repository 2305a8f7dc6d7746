"""What a terminal's output reads like: a line editor, not a screen.

Sequences that edit the current line (backspace, carriage return, erase, insert, delete, moves to the side) are
applied, so that a corrected command reads as it was sent. A move to another line begins a new line. Colours,
titles and the rest are dropped. Full-screen programs come out as the pieces that they drew, in order.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|\x1b\[(?P<numbers>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[PX^_][^\x1b]*\x1b\\"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f-\x9f])"
)
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)")
_MAX_HELD: Final = 4096
"""An escape sequence that has not ended after so many characters is none."""
_MAX_COLUMN: Final = 1000
"""A sequence of a few bytes moves or inserts no more; hardly a terminal is wider."""
_MAX_LINE: Final = 64 * 1024
"""A line of more characters is taken for several."""


class TerminalText:
    """Feed it text as it came; it gives back finished lines."""

    def __init__(self) -> None:
        self._held = ""
        self._line: list[str] = []
        self._column = 0
        self._done: list[str] = []

    @property
    def at_line_start(self) -> bool:
        """Nothing is pending: neither a line nor a part of a sequence."""
        return not (self._held or self._line or self._column)

    def feed(self, text: str) -> str:
        """Lines that became complete, each with its newline."""
        text = self._held + text
        self._held = ""
        position = 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None:
                if len(text) - position <= _MAX_HELD and _UNFINISHED.fullmatch(text, position):
                    self._held = text[position:]
                    break
                position += 1
                continue
            self._take(token)
            position = token.end()
        lines, self._done = "".join(self._done), []
        return lines

    def flush(self) -> str:
        """The line that is not complete, as one; empty where there is none."""
        if self._line:
            self._newline()
        lines, self._done = "".join(self._done), []
        return lines

    def _take(self, token: re.Match[str]) -> None:
        if token["text"] is not None:
            self._write(token["text"])
        elif token["control"] is not None:
            self._control(token["control"])
        elif token["final"] is not None:
            self._edit(token["final"], token["numbers"])

    def _write(self, text: str) -> None:
        while (fits := _MAX_LINE - self._column) < len(text):
            self._put(text[:fits])
            self._newline()
            text = text[fits:]
        self._put(text)

    def _put(self, text: str) -> None:
        line, column = self._line, self._column
        if column > len(line):
            line.extend(" " * (column - len(line)))
        line[column : column + len(text)] = text
        self._column = column + len(text)

    def _control(self, control: str) -> None:
        if control == "\n":
            self._newline()
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(0, self._column - 1)
        elif control == "\t":
            self._write(" " * (8 - self._column % 8))

    def _edit(self, final: str, numbers: str) -> None:
        first = numbers.partition(";")[0]
        given = _number(first)
        count = given or 1
        line, column = self._line, self._column
        if final == "K":
            self._erase(given)
        elif final == "C":
            self._column = min(column + count, _MAX_COLUMN)
        elif final == "D":
            self._column = max(0, column - count)
        elif final in "G`":
            self._column = count - 1
        elif final == "P":
            del line[column : column + count]
        elif final == "@":
            longest = max(len(line), _MAX_COLUMN)
            line[column:column] = " " * count
            del line[longest:]
        elif final == "X":
            line[column : column + count] = " " * len(line[column : column + count])
        elif final in "ABEFHdf" and line:
            self._newline()

    def _erase(self, how: int) -> None:
        if how == 0:
            del self._line[self._column :]
        elif how == 1:
            self._line[: self._column] = " " * len(self._line[: self._column])
        else:
            self._line.clear()

    def _newline(self) -> None:
        self._done.append("".join(self._line).rstrip() + "\n")
        self._line.clear()
        self._column = 0


def _number(digits: str) -> int:
    """At most `_MAX_COLUMN`; what is no number is 0."""
    if not (digits.isascii() and digits.isdigit()):
        return 0
    significant = digits.lstrip("0")  # int() refuses some thousands of digits
    return _MAX_COLUMN if len(significant) > len(str(_MAX_COLUMN)) else min(int(significant or 0), _MAX_COLUMN)
