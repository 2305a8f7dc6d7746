"""What the demo prints: chapters, commands as a person types them, what they answered, a remark on it."""

import os
import re
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

_WIDTH = 110
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, bracketed paste
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: window titles
    r"|\x1b[ -/]*[0-~]"
)


class Show:
    """Prints, in colour on a terminal only."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._chapter = 0

    def chapter(self, title: str, remark: str) -> None:
        self._chapter += 1
        self._print(self._in(f"\n── {self._chapter}. {title} ".ljust(_WIDTH, "─"), "1;36"))
        self.remark(remark)

    def remark(self, text: str) -> None:
        for line in textwrap.wrap(text, _WIDTH - 2):
            self._print(self._in(f"# {line}", "2"))

    def command(self, who: str, command: Sequence[str | Path]) -> None:
        line = shlex.join(map(str, command))
        broken = textwrap.wrap(line, _WIDTH - len(who) - 4, break_long_words=False, break_on_hyphens=False)
        self._print(self._in(f"\n{who}$ ", "32") + self._in(" \\\n    ".join(broken), "1"))

    def output(self, text: str, *, at_most: int = 100) -> None:
        """The first lines of an answer: rows of a table are cut at the page's edge, sentences go on below."""
        lines = [line.rstrip() for line in plain(text).splitlines()]
        for line in lines[:at_most]:
            self._print(f"{line[: _WIDTH - 1]}…" if _is_row(line) and len(line) > _WIDTH else _wrapped(line))
        if len(lines) > at_most:
            self._print(self._in(f"… {len(lines) - at_most} more lines", "2"))

    def note(self, text: str) -> None:
        self._print(text)

    def failure(self, text: str) -> None:
        self._print(self._in(f"\n✗ {text}", "31;1"))

    def _in(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def _print(self, text: str) -> None:
        print(text, flush=True)


def _is_row(line: str) -> bool:
    return re.search(r"\S {2,}\S", line) is not None


def _wrapped(line: str) -> str:
    return (
        textwrap.fill(line, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        if len(line) > _WIDTH
        else line
    )


def plain(text: str) -> str:
    """Terminal output as lines that can be read: without escapes, lines drawn anew shown as they ended."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
