"""How long one task keeps the loop from the others."""

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """When others had a turn, in CPU time of the loop's thread: what else runs on the machine does not count."""

    def __init__(self) -> None:
        self.at = [time.thread_time()]

    async def take(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.at.append(time.thread_time())

    @property
    def longest(self) -> float:
        """The longest wait for a turn, as a share of the whole time."""
        return max(later - sooner for sooner, later in itertools.pairwise(self.at)) / (self.at[-1] - self.at[0])


@asynccontextmanager
async def taking_turns() -> AsyncIterator[Turns]:
    gc.disable()  # what earlier tests left can take longer than all that happens here
    turns = Turns()
    taking = asyncio.create_task(turns.take())
    try:
        yield turns
    finally:
        taking.cancel()
        turns.at.append(time.thread_time())
        gc.enable()
