"""Notices on standard output, for trying things out and for whatever collects what a service prints."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from notifiers.model import Delivery, Receipt
from notifiers.standard_output import Writer
from notifiers.wording import Wording


class ConsoleSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Console:
    """Each notice as a few lines of text."""

    concurrency = 1

    def __init__(self, settings: ConsoleSettings, writer: Writer | None = None) -> None:
        self._writer = writer or Writer()
        self._wording = Wording()

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Raises TryAgain."""
        await self._writer.put(self._as_text(delivery))
        return Receipt()

    async def check(self) -> str:
        """Raises TryAgain."""
        await self._writer.put("")
        return "prints to standard output"

    async def close(self) -> None:
        """There is nothing to give back."""

    def _as_text(self, delivery: Delivery) -> str:
        said, recipient = self._wording.say(delivery), delivery.recipient
        whom = recipient.user_id or " ".join(recipient.address.values())
        lines = [f"To {recipient.relation.value} {whom}: {said.title}", f"  {said.text}"]
        lines += [f"  {fact.label}: {fact.value}" for fact in said.facts]
        return "\n".join((*lines, ""))


def make(settings: Mapping[str, Any]) -> Console:
    """Raises pydantic.ValidationError."""
    return Console(ConsoleSettings.model_validate(settings))
