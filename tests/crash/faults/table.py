"""The faults that recordings survive, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Final

from recorder.model import Durability
from tests.aws.trouble import another_receipt, hang, nothing_stored, refused, reset, slow_down, stored_but_reset
from tests.crash.faults import keys, replicas, writers
from tests.crash.faults.outcome import Fault, Outcome, Where
from tests.crash.faults.power import power_cut
from tests.crash.faults.stores import store_fault

Once = Callable[[Where, Random], Coroutine[None, None, Outcome]]


def _each(once: Once) -> Callable[[Where, Random, int], Iterator[Outcome]]:
    """Every run in a folder of its own."""

    def play(where: Where, random: Random, runs: int) -> Iterator[Outcome]:
        for number in range(runs):
            folder = where.folder / str(number)
            folder.mkdir()
            yield asyncio.run(once(Where(folder, where.moto), random))

    return play


FAULTS: Final = (
    Fault("kill -9 of the gateway", writers.gateway_killed, runs=200, quick=0),
    Fault("the store refuses", _each(store_fault(refused, slow_down)), runs=10),
    Fault("the store hangs", _each(store_fault(hang)), runs=5),
    Fault("the store resets", _each(store_fault(reset, stored_but_reset)), runs=10),
    Fault("the store answers 200, checksum wrong", _each(store_fault(another_receipt, nothing_stored)), runs=10),
    Fault("KMS down at open", _each(keys.down_at_open), runs=5),
    Fault("KMS down in the middle", _each(keys.down_in_the_middle), runs=10),
    Fault("KMS down at close", _each(keys.down_at_close), runs=10),
    Fault("the disk is full", _each(writers.disk_full), runs=20),
    Fault("the disk is full, and stays so", _each(writers.disk_stays_full), runs=20),
    Fault("two replicas finish the same", _each(replicas.two_finish), runs=20),
    Fault("a paused writer wakes after a takeover", _each(writers.paused_writer), runs=20),
    Fault("the clock steps back", _each(replicas.clock_steps_back), runs=10),
    Fault("power cut", _each(power_cut(Durability.PROCESS)), runs=20, may_lose=True),
    Fault("power cut under sync", _each(power_cut(Durability.SYNC)), runs=20),
)
