"""Tasks that are told to end have ended."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from gateway import tasks

ENDLESS = 3600.0


def hard_of_hearing(orders: int) -> Callable[[], Coroutine[None, None, None]]:
    async def work() -> None:
        for _ in range(orders):
            try:
                await asyncio.sleep(ENDLESS)
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(ENDLESS)

    return work


async def test_who_swallows_the_order_to_end_is_given_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)
    working = [asyncio.create_task(hard_of_hearing(orders)()) for orders in (0, 1, 3)]
    await asyncio.sleep(0)
    await tasks.end_all(working)
    assert all(each.cancelled() for each in working)


async def test_who_waits_for_them_cannot_leave_them_to_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", ENDLESS)
    deaf = asyncio.create_task(hard_of_hearing(2)())
    await asyncio.sleep(0)
    ending = asyncio.create_task(tasks.end_all([deaf]))
    for _ in range(2):
        await asyncio.sleep(0)
        assert not deaf.done()
        ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert deaf.cancelled()


async def test_what_has_ended_is_left_as_it_is() -> None:
    async def fails() -> None:
        raise ValueError

    done = asyncio.create_task(fails())
    await asyncio.wait({done})
    await tasks.end_all([done])
    await tasks.end_all([])
    assert isinstance(done.exception(), ValueError)
