"""What is wrong with a policy text, where, and what to write instead (R12)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


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
        return Finding(line, column, message, write_instead, start, end)


def rewrite(text: str, findings: Sequence[Finding]) -> str:
    """The text with what the findings say written instead. Where two overlap, the later one waits.

    A text with several faults may need a second round: a fault can hide another.
    """
    parts: list[str] = []
    done = 0
    for finding in sorted(findings, key=lambda finding: (finding.start, finding.end)):
        if finding.start < done or (parts and finding.start == done == finding.end):
            continue
        parts += [text[done : finding.start], finding.write_instead]
        done = finding.end
    return "".join([*parts, text[done:]])
