"""What is wrong with a policy text, where, and what to write instead (R12)."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

MESSAGE_LENGTH = 600
"""A message may quote the text that it is about, and that may be long."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong. `line` and `column` are 1-based, in characters.

    `write_instead` is what to put in place of `text[start:end]`: where that is empty, it is to be inserted; where
    `write_instead` is empty, that is to be left out; where both are, only the author can tell what to write.
    That last case is for manual policies: a Cedar text can always be mended by what its findings say.
    """

    line: int
    column: int
    message: str
    write_instead: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


class Places:
    """Finds line and column of an offset in one text."""

    __slots__ = ("_starts",)

    def __init__(self, text: str) -> None:
        self._starts = [0, *(i + 1 for i, char in enumerate(text) if char == "\n")]

    def of(self, offset: int) -> tuple[int, int]:
        """1-based line and column of a 0-based offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def finding(self, start: int, end: int, message: str, write_instead: str) -> Finding:
        """A finding about `text[start:end]`."""
        line, column = self.of(start)
        if len(message) > MESSAGE_LENGTH:
            message = message[: MESSAGE_LENGTH - 1] + "…"
        return Finding(line, column, message, write_instead, start, end)


def rewrite(text: str, findings: Iterable[Finding]) -> str:
    """The text with what the findings say written instead. Where two overlap, the outer or earlier one goes first.

    A text with several faults may need a second round: a fault can hide another.
    """
    parts: list[str] = []
    done = 0
    for finding in sorted(findings, key=lambda finding: (finding.start, -finding.end)):
        if finding.start >= done:
            parts += [text[done : finding.start], finding.write_instead]
            done = finding.end
    return "".join([*parts, text[done:]])


def mended(text: str, start: int, end: int, findings: Iterable[Finding]) -> str:
    """`text[start:end]` with the findings in it written instead."""
    inside = (
        replace(finding, start=finding.start - start, end=finding.end - start)
        for finding in findings
        if start <= finding.start and finding.end <= end
    )
    return rewrite(text[start:end], inside)
