"""A measured figure, and what it is made of."""

from pathlib import Path
from typing import NamedTuple


class Figure(NamedTuple):
    """`where` says in a line where the time goes; it is shown when the target is missed."""

    value: float
    unit: str
    where: str = ""


class Cpu:
    """CPU time that a process uses from now on: its first thread (the event loop) apart from all others."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        loop = others = 0.0
        for thread in Path(f"/proc/{self._process}/task").iterdir():
            try:
                spent = int((thread / "schedstat").read_text().split()[0]) / 1e9
            except OSError:  # it ended meanwhile
                continue
            if thread.name == str(self._process):
                loop = spent
            else:
                others += spent
        return loop, others

    def spent(self) -> tuple[float, float]:
        """Seconds of the first thread, and of all others together."""
        loop, others = self._now()
        return loop - self._before[0], others - self._before[1]
