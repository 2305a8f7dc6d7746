"""What an operator says of channels and event sinks; what is left is the channel's own."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.notices.planning import EVERYWHERE, Watcher
from notifiers.model import NoticeKind

ChannelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
_Short = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_ALL: Final = frozenset(NoticeKind)


class WatcherSettings(BaseModel):
    """A place that is told of what happens: `address` in the channel's own form.

    `groups`: only where one of these decides; empty: whoever does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: dict[str, _Short] = Field(min_length=1, max_length=8)
    accounts: frozenset[str] = frozenset({EVERYWHERE})
    regions: frozenset[str] = frozenset({EVERYWHERE})
    notices: frozenset[NoticeKind] = _ALL
    groups: frozenset[_Short] = frozenset()

    def watcher(self) -> Watcher:
        return Watcher(self.address, self.accounts, self.regions, self.notices, self.groups)


class ChannelSettings(BaseModel):
    """A channel by which people are told; `kind` is its name unless said otherwise."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Kind | None = None
    notices: frozenset[NoticeKind] = _ALL
    watchers: tuple[WatcherSettings, ...] = Field(default=(), max_length=100)

    @property
    def own(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class SinkSettings(BaseModel):
    """Where other systems listen; `types`: what the types of the events that it gets begin with."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Kind | None = None
    types: tuple[str, ...] = Field(default=("",), min_length=1, max_length=100)

    @property
    def own(self) -> Mapping[str, Any]:
        return self.model_extra or {}
