"""KMS away: when a session begins, while it goes on, when it ends."""

from __future__ import annotations

import asyncio
from random import Random

from recorder.errors import RecordingFailed
from tests.aws.trouble import Answer, Ask, Call, Trouble, hang, kms_error, none, reset
from tests.crash.faults.outcome import Outcome, Where
from tests.crash.faults.world import begun, died, until, world
from tests.recorder.conftest import session


def _saying(code: str, message: str = "") -> Trouble:
    return lambda _call, _ask: kms_error(code, message)


_TROUBLES = (
    (_saying("DisabledException"), "the key is disabled; enable it"),
    (_saying("KMSInvalidStateException", "the key is pending deletion."), "if its deletion is scheduled, cancel"),
    (_saying("ThrottlingException"), "KMS is throttling"),
    (_saying("AccessDeniedException", "is not authorized to perform"), "the gateway may not do this"),
    (reset, "KMS cannot be reached"),
    (hang, "KMS cannot be reached"),
)
"""Each, and what people are told."""


def _for_kms(trouble: Trouble) -> Trouble:
    def only(call: Call, ask: Ask) -> Answer:
        return trouble(call, ask) if call.operation else ask()

    return only


async def down_at_open(where: Where, random: Random) -> Outcome:
    """Nobody is let in and told why; who is in goes on; once KMS is back, so is everybody else."""
    async with world(where, random) as on:
        recorder, recording = await begun(on)
        on.deliver(recording, 20)
        refused = []
        for trouble, told in _TROUBLES:
            on.trouble = _for_kms(trouble)
            try:
                await recorder.open(session(2))
            except RecordingFailed as failure:
                refused.append(told in str(failure))
        left = list(on.spool.rglob(session(2).session_id))
        on.deliver(recording, 20)
        on.trouble = none
        late = await recorder.open(session(2))
        on.deliver(late, 5)
        outcome = await on.outcome(await recording.close("exit"), await late.close("exit"))
        outcome.expect(refused == [True] * len(_TROUBLES), f"refused, and for these reasons: {refused}")
        outcome.expect(not left, f"of a session that never began there is {left}")
        return outcome


async def down_in_the_middle(where: Where, random: Random) -> Outcome:
    """The session goes on; its gateway dies as well, and the next start waits for KMS."""
    async with world(where, random) as on:
        recorder, recording = await begun(on)
        on.deliver(recording, 20)
        on.trouble = _for_kms(random.choice(_TROUBLES)[0])
        for _ in range(10):
            on.deliver(recording, 5)
            await asyncio.sleep(0)
        await died(on, recorder, recording)
        again = on.recorder()
        waited = (await again.start()).waiting
        await again.stop(timeout=0)
        on.trouble = none
        outcome = await on.outcome(*(await on.recorder().start()).finished)
        outcome.expect(waited, "the next start did not wait for KMS")
        return outcome


async def down_at_close(where: Where, random: Random) -> Outcome:
    """No manifest can be signed: the recording waits, over a restart, and is finished as it ended."""
    async with world(where, random) as on:
        recorder, recording = await begun(on)
        on.deliver(recording, 40)
        on.trouble = _for_kms(random.choice(_TROUBLES)[0])
        closing = asyncio.create_task(recording.close("exit"))
        await until(lambda: on.ears.waits)
        await recorder.stop(timeout=0)
        await asyncio.gather(closing, return_exceptions=True)
        again = on.recorder()
        waited = (await again.start()).waiting
        await again.stop(timeout=0)
        on.trouble = none
        manifests = (await on.recorder().start()).finished
        outcome = await on.outcome(*manifests)
        outcome.expect(waited and isinstance(closing.exception(), RecordingFailed), "it did not wait")
        outcome.expect([each.ended for each in manifests] == ["exit"], "how it ended is not what it was")
        return outcome
