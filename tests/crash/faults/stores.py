"""What befalls the object store: while a session runs, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random

from tests.aws.trouble import Answer, Ask, Call, Trouble, none
from tests.crash.faults.outcome import Outcome, Where
from tests.crash.faults.world import World, begun, until, world

Once = Callable[[Where, Random], Coroutine[None, None, Outcome]]


def store_fault(*troubles: Trouble) -> Once:
    """A store with one of these troubles, as chance has it: for some puts first, then for all that comes."""

    async def once(where: Where, random: Random) -> Outcome:
        trouble = random.choice(troubles)
        async with world(where, random) as on:
            _, recording = await begun(on)
            on.trouble = _for_s3(lambda call, ask: trouble(call, ask) if random.random() < 0.4 else ask())
            for _ in range(10):
                on.deliver(recording, 10)
                await asyncio.sleep(0)
            on.ears.waits.clear()
            calls = len(on.proxy.calls)
            on.trouble = _for_s3(trouble)
            on.deliver(recording, 20)
            closing = asyncio.create_task(recording.close("exit"))
            await until(lambda: on.ears.waits or closing.done())
            # What is there despite its receipt is well once it was read again; nothing else may end the recording.
            noticed = not closing.done() or any(call.method == "GET" for call in on.proxy.calls[calls:])
            on.trouble = none
            outcome = await on.outcome(await closing)
            outcome.expect(noticed, "the trouble was not noticed")
            outcome.expect(await is_unrepeated(on), "an object was overwritten")
            return outcome

    return once


async def is_unrepeated(on: World) -> bool:
    versions = await on.versions()
    return len(versions) == len(set(versions)) > 0


def _for_s3(trouble: Trouble) -> Trouble:
    """KMS, whose calls name their operation, is well."""

    def only(call: Call, ask: Ask) -> Answer:
        return trouble(call, ask) if call.method == "PUT" and not call.operation else ask()

    return only
