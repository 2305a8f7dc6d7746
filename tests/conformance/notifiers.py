"""What holds of every notifier (notifiers.ports.Notifier). A third party's joins as ours do, by a `Bench`.

Make a fixture `bench` that is parametrized by makers, and import the tests: see test_notifiers.py beside this.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from notifiers.errors import NotDelivered, TryAgain, Undeliverable
from notifiers.model import Delivery, NoticeKind, Relation
from notifiers.ports import Notifier
from tests.notifiers.told import EMOJI, HOSTILE, delivery


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as a reader of the service has it. `text`: all that they read of it; `updates`: how often it
    was changed."""

    text: str
    updates: int = 0


class Bench(Protocol):
    """A notifier with the service that it talks to, a real one or a stand-in."""

    notifier: Notifier
    address: dict[str, str]
    """Where somebody can be reached."""
    nowhere: dict[str, str] | None
    """Where nobody is (any more); None: this kind of channel can't tell."""
    secrets: tuple[str, ...]
    """What must never be seen anywhere."""
    updates: bool
    """Whether later notices change the first message; else each makes one of its own."""
    recognizes: bool
    """Whether the service can tell that a delivery has come before."""

    def shown(self) -> list[Shown]:
        """The messages at the service, in their order."""

    def is_inert(self, text: str) -> bool:
        """Whether nothing that a person wrote does anything in `text`, as the service was given it."""

    def down(self) -> AbstractAsyncContextManager[None]:
        """The service does not work meanwhile."""


Maker = Callable[[pytest.FixtureRequest, Path], AbstractAsyncContextManager[Bench]]


def told(bench: Bench, kind: NoticeKind = NoticeKind.APPROVAL_NEEDED, **more: object) -> Delivery:
    return delivery(kind, address=bench.address, **more)  # type: ignore[arg-type]  # what a test wants


@pytest.mark.rule("R30")
async def test_a_notice_says_what_the_reader_has_to_know(bench: Bench) -> None:
    await bench.notifier.deliver(told(bench))
    [message] = bench.shown()
    for word in ("index rebuild after the incident", "default", "db-1", "alice", "production", "oi-3cdf121b337b"):
        assert word in message.text


@pytest.mark.rule("R30")
@pytest.mark.parametrize("kind", NoticeKind)
@pytest.mark.parametrize("relation", Relation)
async def test_every_kind_can_be_told_to_everybody(bench: Bench, kind: NoticeKind, relation: Relation) -> None:
    await bench.notifier.deliver(delivery(kind, relation, address=bench.address))
    [message] = bench.shown()
    assert "db-1" in message.text


async def test_a_later_notice_tells_the_new_state(bench: Bench) -> None:
    receipt = await bench.notifier.deliver(told(bench))
    later = told(bench, NoticeKind.REJECTED, first=receipt.reference, event=8, status="Rejected")
    await bench.notifier.deliver(later)
    shown = bench.shown()
    assert any("ejected" in one.text or "enied" in one.text for one in shown)
    if bench.updates:
        assert receipt.reference is not None
        assert shown[0].updates == 1
    else:
        assert len(shown) == 2


async def test_what_comes_again_is_not_said_twice_where_that_can_be_known(bench: Bench) -> None:
    first = await bench.notifier.deliver(told(bench))
    again = await bench.notifier.deliver(replace(told(bench), attempt=2))
    if bench.recognizes:
        assert len(bench.shown()) == 1
        assert again.reference == first.reference


@pytest.mark.parametrize(
    "reason", [HOSTILE, EMOJI, "x" * 256, "&lt;b&gt;", "```\n*_~>", "<https://evil.example|here>"]
)
async def test_what_people_wrote_does_nothing(bench: Bench, reason: str) -> None:
    await bench.notifier.deliver(told(bench, reason=reason, requester_name=reason[:64]))
    [message] = bench.shown()
    assert bench.is_inert(message.text)


async def test_a_service_that_is_down_is_told_as_that_and_works_again(bench: Bench) -> None:
    async with bench.down():
        with pytest.raises(TryAgain) as failure:
            await bench.notifier.deliver(told(bench))
        assert str(failure.value)
        with pytest.raises(NotDelivered):
            await bench.notifier.check()
    assert await bench.notifier.check()
    await bench.notifier.deliver(replace(told(bench), attempt=2))
    assert len(bench.shown()) == 1


async def test_whoever_is_not_there_is_not_tried_again(bench: Bench) -> None:
    if bench.nowhere is None:
        return
    with pytest.raises(Undeliverable):
        await bench.notifier.deliver(delivery(address=bench.nowhere))
    assert bench.shown() == []


async def test_an_address_of_another_channel_is_refused(bench: Bench) -> None:
    with contextlib.suppress(Undeliverable):
        await bench.notifier.deliver(delivery(address={"carrier pigeon": "7"}))


async def test_no_secret_is_seen(
    bench: Bench, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    seen = [repr(bench.notifier), str(bench.notifier), await bench.notifier.check()]
    await bench.notifier.deliver(told(bench))
    async with bench.down():
        for attempt in (bench.notifier.deliver(told(bench)), bench.notifier.check()):
            with pytest.raises(NotDelivered) as failure:
                await attempt
            seen += [str(failure.value), repr(failure.value)]
    printed = capfd.readouterr()
    seen += [caplog.text, printed.out, printed.err, *(message.text for message in bench.shown())]
    for secret in bench.secrets:
        assert not any(secret in text for text in seen)


async def test_it_says_how_much_it_takes_at_once(bench: Bench) -> None:
    assert 1 <= bench.notifier.concurrency <= 100


async def opened(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Bench]:
    """For the fixture `bench`, which is parametrized by `makers`."""
    async with request.param(request, folder) as made:
        yield made
        await made.notifier.close()
