"""Where logs of sessions go: the gateway's own target, and log groups of accounts in their roles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.places.lending import Lending
from gateway.places.model import LogPlace, region_of
from gateway.places.pool import access_of
from recorder.aws import Client, Patience
from recorder.session_log import cloudwatch
from recorder.session_log.cloudwatch import CloudWatchLogs
from recorder.session_log.lines import Lines, Noted
from recorder.session_log.ports import LogLine, LogRefused, LogSink, LogUnavailable

LIMIT: Final = 32
EXAMINATION_SECONDS: Final = 10.0
_DIAGNOSIS: Final = "jitgate-diagnosis"


class LogSinks:
    """`own` is what the gateway's own configuration says; None: nothing."""

    def __init__(
        self, own: LogSink | None, *, limit: int = LIMIT, patience: Patience = cloudwatch.PATIENCE
    ) -> None:
        self._own = own
        self._patience = patience
        self._lending = Lending(self._make, limit)

    def of(self, place: LogPlace | None) -> LogSink:
        """A log group, its connection opened and kept as it is needed; None: the gateway's own target.

        Raises LogRefused where there is none.
        """
        if place is not None:
            return _Lent(self._lending, place)
        if self._own is None:
            raise LogRefused("the gateway's configuration names no target for logs of sessions; name a log group")
        return self._own

    async def try_out(self, place: LogPlace | None, now: datetime) -> None:
        """Writes one line to a stream of its own, within ten seconds. Raises LogUnavailable, LogRefused."""
        sink = self.of(place)
        line = next(Lines({"session": "none"}).of(Noted(int(now.timestamp() * 1000), "diagnosis", {})))
        try:
            async with asyncio.timeout(EXAMINATION_SECONDS):
                await sink.put(_DIAGNOSIS, [line])
        except TimeoutError:
            raise LogUnavailable(f"no answer within {EXAMINATION_SECONDS:g} seconds") from None

    async def close(self) -> None:
        await self._lending.close()

    def _make(self, place: LogPlace) -> tuple[CloudWatchLogs, list[Client]]:
        access = access_of(place.account, region_of(place.group), place.role, place.external_id)
        client = Client("logs", access, self._patience)
        return CloudWatchLogs(client, group_name(place.group)), [client]


class _Lent:
    def __init__(self, lending: Lending[LogPlace, CloudWatchLogs], place: LogPlace) -> None:
        self._lending = lending
        self._place = place

    async def put(self, stream: str, lines: Sequence[LogLine]) -> int:
        async with self._lending.using(self._place) as sink:
            return await sink.put(stream, lines)


def group_name(arn: str) -> str:
    """What comes after `log-group:` in the ARN of one."""
    return arn.split(":", 6)[6]
