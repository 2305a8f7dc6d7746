"""A refusal says its reason and changes nothing."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.errors import Refused
from tests.gateway.access.world import World


@contextlib.asynccontextmanager
async def refused(world: World, reason: str) -> AsyncIterator[None]:
    before = await world.rows()
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.reason == reason, caught.value
    assert caught.value.message
    assert caught.value.what_to_do
    assert "\n" not in caught.value.message + caught.value.what_to_do
    assert await world.rows() == before
