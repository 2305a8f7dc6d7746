"""Notices on standard output, for trying things out and for whatever collects what a service prints."""

import asyncio
import sys
from collections.abc import Mapping
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from notifiers.errors import TryAgain
from notifiers.model import Delivery, Receipt
from notifiers.wording import Wording


class ConsoleSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Console:
    """Each notice as a few lines of text."""

    concurrency = 1

    def __init__(self, settings: ConsoleSettings, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._wording = Wording()

    async def deliver(self, delivery: Delivery) -> Receipt:
        # A pipe that nobody reads must not hold everything else up.
        await asyncio.to_thread(self._write, self._as_text(delivery))
        return Receipt()

    async def check(self) -> str:
        await asyncio.to_thread(self._write, "")
        return "prints to standard output"

    async def close(self) -> None:
        """There is nothing to give back."""

    def _as_text(self, delivery: Delivery) -> str:
        said, recipient = self._wording.say(delivery), delivery.recipient
        whom = recipient.user_id or " ".join(recipient.address.values())
        lines = [f"To {recipient.relation.value} {whom}: {said.title}", f"  {said.text}"]
        lines += [f"  {fact.label}: {fact.value}" for fact in said.facts]
        return "\n".join((*lines, ""))

    def _write(self, text: str) -> None:
        stream = self._stream or sys.stdout
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError) as gone:  # nobody reads any more, or it was closed
            raise TryAgain(f"standard output takes nothing: {gone}") from None


def make(settings: Mapping[str, Any]) -> Console:
    """Raises pydantic.ValidationError."""
    return Console(ConsoleSettings.model_validate(settings))
