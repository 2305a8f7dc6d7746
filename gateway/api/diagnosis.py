"""What the gateway finds out about its own health."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

_TIMEOUT_SECONDS = 5.0
_log = structlog.get_logger("jitgate.diagnosis")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One part ("database", "spool"): whether it works, and if not, what to do."""

    part: str
    healthy: bool
    message: str
    what_to_do: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """How to find out about one part. `run` may raise or hang: that is a finding as well."""

    part: str
    run: Callable[[], Awaitable[Diagnosis]]


async def diagnose(checks: Sequence[Check]) -> list[Diagnosis]:
    """All checks at once, in their order, within five seconds."""
    return list(await asyncio.gather(*(_found(check) for check in checks)))


async def _found(check: Check) -> Diagnosis:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await check.run()
    except TimeoutError:
        return Diagnosis(check.part, False, "did not answer within five seconds", "Look into the gateway's log.")
    except Exception:  # noqa: BLE001  # a check that fails in its own way tells that its part does not work
        _log.exception("check_failed", part=check.part)
        return Diagnosis(check.part, False, "the check failed", "Look into the gateway's log.")
