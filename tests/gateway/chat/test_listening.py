"""A connection to a chat service is opened again, however it ended, until the gateway ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.chat import listening
from gateway.chat.listening import Listening
from gateway.notices.channels import Channel
from gateway.notices.expanding import ChannelPlan
from notifiers.chat import Desk, Endpoint
from notifiers.errors import TryAgain
from tests.gateway.notices.conftest import Pad


class Chatty(Pad):
    endpoints: tuple[Endpoint, ...] = ()

    def __init__(self, ends: Callable[[], BaseException]) -> None:
        super().__init__()
        self.ends = ends
        self.listened = 0

    async def listen(self, _desk: Desk) -> None:
        self.listened += 1
        if self.listened == 1:
            raise self.ends()
        await asyncio.Event().wait()


@pytest.mark.parametrize("ends", [lambda: TryAgain("down"), RuntimeError, asyncio.CancelledError])
async def test_it_is_opened_again(ends: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_PAUSE_SECONDS", 0.01)
    chat = Chatty(ends)
    desk: Any = None  # nobody does anything
    running = asyncio.create_task(Listening(Channel(ChannelPlan("chat", "chat"), lambda: chat), desk).run())
    async with asyncio.timeout(30):
        while chat.listened < 2 and not running.done():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})
    assert (chat.listened, running.cancelled()) == (2, True)
