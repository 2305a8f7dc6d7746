"""A real agent in a process of its own, on this machine."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import wait_for

AGENT = (sys.executable, "-m", "clients.agent")


@dataclass
class AgentProcess:
    """`jitgate-agent` with a state folder of its own. What it logs goes to `<folder>.log`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    """A command that `jitgate-agent run` is run by."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def node_id(self) -> str:
        return str(json.loads((self.folder / "node.json").read_text())["node_id"])

    def register(
        self, gateway: str, fingerprint: str, activation_id: str, code: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `jitgate-agent register` to its end, whatever that is; the code goes in by standard input."""
        return self.run(
            *("register", "--gateway", gateway, "--ca-fingerprint", fingerprint),
            *("--activation-id", activation_id),
            stdin=code,
        )

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*AGENT, "--state", str(self.folder), *arguments],
            input=stdin,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> None:
        """Starts it and waits until it is attached."""
        seen = len(self.events())
        self.launch()
        try:
            wait_for(lambda: self.said("attached", seen), 60, "the agent's attachment")
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Starts it, whatever becomes of it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, *AGENT, "--state", str(self.folder), "run", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
            )

    def events(self) -> list[dict[str, Any]]:
        """What it has logged, oldest first."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def said(self, event: str, after: int = 0) -> bool:
        """Whether it logged `event`, not counting its first `after` lines."""
        return any(record["event"] == event for record in self.events()[after:])

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the agent did not end on {number.name}: {self.log.read_text()}") from None

    def _environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        return {**kept, "LANG": "C.UTF-8", **self.environment}
