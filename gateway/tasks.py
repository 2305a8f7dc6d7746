"""Tasks that go on until they are told to end."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_SECONDS: Final = 3.0
"""Longer than any of them takes to put its things away."""


def is_told_to_end() -> bool:
    """Whether a CancelledError that was caught is an order to this task; a library may have given up its own."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels `tasks` until they have ended, however often that takes; what they end with is theirs to tell.

    Until Python 3.12 `asyncio.wait_for` swallows a cancellation that meets an answer, and workers go on after
    whatever failed. A cancellation of this waits as well: they would be left to themselves.
    """
    pending, order = set(tasks), None
    while pending := {each for each in pending if not each.done()}:
        for each in pending:
            each.cancel()
        try:
            await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as cancelled:
            order = cancelled
    if order is not None:
        raise order
