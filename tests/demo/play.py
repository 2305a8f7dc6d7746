"""Commands that are run, shown and checked: what differs from what the demo claims ends it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.demo.show import Show, plain
from tests.demo.stage import Stage
from tests.demo.terminal import Terminal
from tests.processes import BIN, wait_for

REQUEST_ID = r"(oi-[0-9a-f]{12})"


class Differs(Exception):
    """Something was not as the demo says it is."""


@dataclass(frozen=True)
class Play:
    """The stage and the page on which it is shown."""

    stage: Stage
    show: Show
    facts: dict[str, str] = field(default_factory=dict)  # ids that later steps name, by what they are of

    def runs(
        self,
        who: str,
        *arguments: str | Path,
        shows: tuple[str, ...] = (),
        exit_code: int = 0,
        stdin: str = "",
        at_most: int = 100,
    ) -> str:
        """Runs and shows `jit …`; it must end with `exit_code` and print each of `shows`."""
        self.show.command(who, ("jit", *arguments))
        ended_with, printed = self.stage.run(who, *arguments, stdin=stdin)
        self.show.output(printed, at_most=at_most)
        if ended_with != exit_code:
            raise Differs(f"it ended with {ended_with}, not {exit_code}")
        for text in shows:
            self.check(text in printed, f"it does not show {text!r}")
        if exit_code:
            self.show.remark(f"exit code {exit_code}")
        return printed

    def quietly(self, who: str, *arguments: str | Path, stdin: str = "") -> str:
        """Runs `jit …` that nobody needs to see; it must succeed."""
        ended_with, printed = self.stage.run(who, *arguments, stdin=stdin)
        self.check(ended_with == 0, f"{who}: jit {' '.join(map(str, arguments))} failed:\n{plain(printed)}")
        return printed

    def shell(self, who: str, node: str) -> Terminal:
        """A shell of a window that is open, at its prompt."""
        self.show.command(who, ("jit", "shell", node))
        terminal = Terminal([BIN / "jit", "shell", node], self.stage.people[who].environment)
        terminal.waits_for_prompt()
        return terminal

    def recording(self, wanted: str) -> str:
        """A session, by its id or its request's, once its recording is complete."""
        return wait_for(lambda: self._recording(wanted), 30, f"the recording of {wanted}")

    def _recording(self, wanted: str) -> str | None:
        listed = self.json("dave", "recordings", "list")["recordings"]
        ours = [item for item in listed if wanted in (item["session_id"], item["access_request_id"])]
        done = [item["session_id"] for item in ours if item["status"] == "RECORDING_STATUS_COMPLETE"]
        return done[0] if done else None

    def json(self, who: str, *arguments: str) -> Any:
        return self.stage.people[who].json(*arguments)

    def check(self, holds: bool, otherwise: str) -> None:
        """Raises Differs."""
        if not holds:
            raise Differs(otherwise)


def found(pattern: str, text: str) -> str:
    """The group of the first match. Raises Differs."""
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise Differs(f"nothing there looks like {pattern!r}:\n{text}")
    return match[1]
