"""More than one who finishes a recording, and clocks that disagree."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from datetime import UTC, datetime, timedelta
from random import Random

from recorder.model import encryption_context
from recorder.playback import Playback
from tests.crash.faults.outcome import Outcome, Where
from tests.crash.faults.stores import is_unrepeated
from tests.crash.faults.world import begun, died, world
from tests.recorder.conftest import session


async def two_finish(where: Where, random: Random) -> Outcome:
    """Two replicas that both hold the spool of a dead third, as where no lock reaches from one to the other."""
    async with world(where, random) as on:
        recorder, recording = await begun(on)
        for _ in range(random.randrange(1, 20)):
            on.deliver(recording, 5)
            await asyncio.sleep(0)
        await died(on, recorder, recording)
        copy = where.folder / "as-the-other-sees-it"
        await asyncio.to_thread(shutil.copytree, on.spool, copy)
        both = [on.recorder(), on.recorder(copy)]
        recoveries = await asyncio.gather(*(each.start() for each in both))
        finished = [manifest for recovery in recoveries for manifest in recovery.finished]
        outcome = await on.outcome(*finished[:1])
        outcome.expect(len(finished) == 2 and finished[0] == finished[1], f"they finished {finished}")
        outcome.expect(await is_unrepeated(on), "an object was overwritten")
        return outcome


async def clock_steps_back(where: Where, random: Random) -> Outcome:
    """The wall clock steps back an hour in a session, and its writer dies: the next one goes on, time with it."""
    start = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
    back = timedelta(minutes=random.randrange(1, 120))
    times = itertools.chain([start], itertools.repeat(start - back))
    async with world(where, random) as on:
        first = on.recorder(clock=lambda: next(times))
        await first.start()
        recording = await first.open(session())
        on.deliver(recording, 20)
        await died(on, first, recording)
        second = on.recorder(clock=lambda: start - back)
        await second.start(hold=frozenset({session().session_id}))
        recording = await second.resume(session().session_id)
        on.deliver(recording, 20)
        manifest = await recording.close("exit")
        outcome = await on.outcome(manifest)
        playback = await Playback.open(manifest, on.store, on.keys, encryption_context(session()))
        at = [event.time_us async for event in playback.events()]
        outcome.expect(at == sorted(at), "time went back in the recording")
        outcome.expect(manifest.started_at == start <= manifest.ended_at, "it ended before it began")
        return outcome
