"""Channels that hold a connection to their chat service: opened, and opened again while the gateway runs."""

import asyncio
from typing import Final

import structlog

from gateway.notices.channels import Channel
from gateway.tasks import is_told_to_end
from notifiers.chat import Desk
from notifiers.errors import NotDelivered, TryAgain

_log = structlog.get_logger("jitgate.chat")
_PAUSE_SECONDS: Final = 15.0


class Listening:
    def __init__(self, channel: Channel, desk: Desk) -> None:
        self._channel = channel
        self._desk = desk

    async def run(self) -> None:
        """Until it is cancelled; returns where the service posts instead."""
        while True:
            try:
                await self._channel.listen(self._desk)
            except NotDelivered as why:
                _log.warning("chat.not_listening", channel=self._channel.plan.name, why=str(why))
                asked = why.after if isinstance(why, TryAgain) else None
                await asyncio.sleep(asked or _PAUSE_SECONDS)
            except asyncio.CancelledError:
                if is_told_to_end():
                    raise
                _log.warning("chat.not_listening", channel=self._channel.plan.name, why="it gave up by itself")
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - a plugin's fault: the others go on, and so does this one after a while
                _log.exception("chat.not_listening", channel=self._channel.plan.name)
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return
