"""The channels and sinks that an operator asked for: made from plugins, each for itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Generic, TypeVar

import structlog
from pydantic import ValidationError

from gateway.notices.expanding import ChannelPlan, SinkPlan
from gateway.notices.settings import ChannelSettings, SinkSettings
from notifiers.chat import ChatNotifier, Desk, Endpoint
from notifiers.errors import NotDelivered, TryAgain, Undeliverable, Unusable
from notifiers.events.model import PublishedEvent
from notifiers.events.ports import EventSink
from notifiers.model import Delivery, Receipt
from notifiers.ports import Addressed, Notifier

_log = structlog.get_logger("jitgate.notices")

NOTIFIERS: Final = "jitgate.notifiers"
"""The group of entry points: each a callable that takes a channel's settings and returns a Notifier."""
SINKS: Final = "jitgate.event_sinks"
"""As above, but it takes the installation's name as well, and returns an EventSink."""

T = TypeVar("T", Notifier, EventSink)


class BadChannel(Exception):
    """What the operator says of a channel is wrong; the text names it."""


@dataclass(slots=True)
class _Made(Generic[T]):
    """A plugin that may not be usable now: it is made when it is first needed, and again while it can't be."""

    name: str
    make: Callable[[], T]
    made: T | None = None

    def get(self) -> T:
        """Raises TryAgain that says why there is none."""
        if self.made is None:
            try:
                self.made = self.make()
            except Unusable as why:
                raise TryAgain(f"{self.name} is not available: {why}") from None
        return self.made

    async def close(self) -> None:
        if self.made is not None:
            await self.made.close()


class Channel:
    """A Notifier that is there even while its plugin can't be used."""

    def __init__(self, plan: ChannelPlan, make: Callable[[], Notifier]) -> None:
        self.plan = plan
        self._plugin = _Made(plan.name, make)
        self.concurrency = 4

    def start(self) -> None:
        """Raises TryAgain: it can't be used now."""
        self.concurrency = self._plugin.get().concurrency

    async def deliver(self, delivery: Delivery) -> Receipt:
        return await self._plugin.get().deliver(delivery)

    async def check(self) -> str:
        return await self._plugin.get().check()

    def check_watchers(self) -> None:
        """Raises BadChannel; for a channel that can't be used now nobody can tell."""
        made = self._plugin.made
        for place, watcher in enumerate(self.plan.watchers):
            try:
                if isinstance(made, Addressed):
                    made.check_address(watcher.address)
            except Undeliverable as wrong:
                raise BadChannel(f"[notifications.{self.plan.name}]: watchers.{place}.address: {wrong}") from None

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Where its chat service posts to; none for a channel that can't be used when the gateway starts."""
        made = self._plugin.made
        return made.endpoints if isinstance(made, ChatNotifier) else ()

    async def listen(self, desk: Desk) -> None:
        """As `ChatNotifier.listen`; returns at once for a channel whose messages can't be acted on."""
        made = self._plugin.get()
        if isinstance(made, ChatNotifier):
            await made.listen(desk)

    async def close(self) -> None:
        await self._plugin.close()


class Sink:
    """An EventSink that is there even while its plugin can't be used."""

    def __init__(self, plan: SinkPlan, make: Callable[[], EventSink]) -> None:
        self.plan = plan
        self._plugin = _Made(plan.name, make)
        self.at_once = 1
        self.concurrency = 1

    def start(self) -> None:
        """Raises TryAgain: it can't be used now."""
        made = self._plugin.get()
        self.at_once, self.concurrency = made.at_once, made.concurrency

    async def put(self, events: Sequence[PublishedEvent]) -> Sequence[PublishedEvent]:
        return await self._plugin.get().put(events)

    async def check(self) -> str:
        return await self._plugin.get().check()

    async def close(self) -> None:
        await self._plugin.close()


@dataclass(frozen=True, slots=True)
class Channels:
    """All of them; what can't be used now says so when it is checked."""

    notifiers: tuple[Channel, ...] = ()
    sinks: tuple[Sink, ...] = ()

    async def close(self) -> None:
        everyone: tuple[Channel | Sink, ...] = (*self.notifiers, *self.sinks)
        for each in everyone:
            try:
                await each.close()
            except Exception:  # noqa: BLE001 - a plugin's fault; the others are closed all the same
                _log.exception("notices.not_closed", channel=each.plan.name)


def open_channels(
    wanted: Mapping[str, ChannelSettings], sinks: Mapping[str, SinkSettings], *, source: str
) -> Channels:
    """`source` names this installation in events. Raises BadChannel."""
    opened = Channels(
        tuple(_started(_channel(name, said)) for name, said in wanted.items()),
        tuple(_started(_sink(name, said, source)) for name, said in sinks.items()),
    )
    for channel in opened.notifiers:
        channel.check_watchers()
    return opened


def _channel(name: str, said: ChannelSettings) -> Channel:
    kind = said.kind or name
    factory = _factory(NOTIFIERS, "notifications", name, kind)
    watchers = tuple(watcher.watcher() for watcher in said.watchers)
    plan = ChannelPlan(name, kind, said.notices, watchers)
    return Channel(plan, lambda: _tried(factory, "notifications", name, said.own))


def _sink(name: str, said: SinkSettings, source: str) -> Sink:
    factory = _factory(SINKS, "events", name, said.kind or name)
    # Deliveries tell channels and sinks apart by name.
    plan = SinkPlan(f"events/{name}", said.types)
    return Sink(plan, lambda: _tried(factory, "events", name, said.own, source))


def _factory(group: str, section: str, name: str, kind: str) -> EntryPoint:
    found = entry_points(group=group)
    if kind not in found.names:
        known = ", ".join(sorted(found.names))
        raise BadChannel(f"[{section}.{name}]: there is no kind {kind!r}; there are {known}")
    return found[kind]


def _tried(factory: EntryPoint, section: str, name: str, *arguments: Any) -> Any:
    """Raises BadChannel for settings that cannot be, Unusable for whatever else keeps a plugin from being made."""
    try:
        return factory.load()(*arguments)
    except Unusable:
        raise
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        raise BadChannel(f"[{section}.{name}]: {problems}") from None
    except Exception as fault:
        raise Unusable(f"the plugin failed: {type(fault).__name__}: {fault}") from fault


U = TypeVar("U", Channel, Sink)


def _started(each: U) -> U:
    try:
        each.start()
    except BadChannel:
        raise
    except NotDelivered as why:
        _log.warning("notices.unavailable", channel=each.plan.name, reason=str(why))
    except Exception:  # noqa: BLE001 - a plugin's fault; it says so again when it is used
        _log.exception("notices.unavailable", channel=each.plan.name)
    return each
