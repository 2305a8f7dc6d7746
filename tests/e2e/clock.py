"""A gateway in a process of its own whose clock a test sets."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.processes import GatewayProcess


@dataclass
class Clock:
    """How far the gateway's clock is ahead of everybody else's."""

    file: Path

    def set(self, seconds: float) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self.file)

    @property
    def seconds(self) -> float:
        return float(self.file.read_text())

    def on(self, seconds: float) -> None:
        """Jumps."""
        self.set(self.seconds + seconds)


def clocked_gateway(folder: Path) -> tuple[GatewayProcess, Clock]:
    """Not started yet; on time at first."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(folder / "shift")
    clock.set(0)
    script = Path(__file__).with_name("clocked.py")
    gateway = GatewayProcess(
        folder, environment={"SHIFT_FILE": str(clock.file)}, command=(sys.executable, script, "serve")
    )
    return gateway, clock
