import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncTransaction

from gateway.store.database import Database


@pytest.mark.parametrize("way", ["read", "transaction"])
async def test_a_cancellation_stays_one_when_nothing_can_be_rolled_back(
    database: Database, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers go on after failures: one that took this for a failure would never end."""
    begun = asyncio.Event()

    async def fails(_self: AsyncTransaction) -> None:
        raise RuntimeError("the database is away")

    async def work(opened: AbstractAsyncContextManager[Any]) -> None:
        async with opened:
            begun.set()
            await asyncio.sleep(3600)

    working = asyncio.create_task(work(getattr(database, way)()))
    await begun.wait()
    with monkeypatch.context() as patched:
        patched.setattr(AsyncTransaction, "rollback", fails)
        working.cancel()
        await asyncio.wait({working})
    assert working.cancelled()
