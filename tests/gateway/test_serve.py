"""How a gateway's workers end."""

import asyncio

import pytest

from gateway import serve, tasks


async def test_a_worker_that_misses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a library takes it for a connection that failed, and the worker goes on after failures."""
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)
    begun, missed = asyncio.Event(), 0

    async def deaf() -> None:
        nonlocal missed
        begun.set()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if missed:
                    raise
                missed += 1

    async def broken() -> None:
        await begun.wait()
        raise RuntimeError("its own trouble")

    async with asyncio.timeout(30):
        async with serve._working((deaf, broken)):
            await begun.wait()
    assert missed == 1
