"""Whose word is written down: an identity provider's, which speaks for its own people and groups only."""

from dataclasses import dataclass
from datetime import datetime

from scim2_models import InvalidValueException

from gateway.identity.oidc.settings import Claims, IdentityProvider
from gateway.identity.ports import AccessEnder, Actor
from gateway.store.changes import Changes
from gateway.store.database import Transaction
from gateway.store.events import Event, append

SCIM_ACTOR = "scim:"
"""What the ids of providers begin with, as of whoever locked somebody."""
_LONGEST_TEXT = 255


@dataclass(frozen=True, slots=True)
class Feed:
    """A request of a provider, at this moment. `name` is the provider's in the configuration."""

    name: str
    settings: IdentityProvider
    source_address: str
    now: datetime
    ender: AccessEnder
    changes: Changes

    @property
    def issuer(self) -> str:
        return self.settings.issuer

    @property
    def claims(self) -> Claims:
        return self.settings.claims

    @property
    def actor(self) -> Actor:
        """No user has such an id."""
        return Actor(f"{SCIM_ACTOR}{self.name}", self.source_address)

    async def tell(self, tx: Transaction, kind: str, about: str, did: str, **details: object) -> None:
        """An event about a user's or group's id."""
        actor = self.actor
        event = Event(kind, self.now, about, f"{self.name} {did}", actor.id, actor.source_address, details=details)
        await append(tx.connection, event)
        tx.after_commit(lambda: self.changes.publish("users"))


def checked_text(field: str, value: str | None) -> str:
    """Empty for none. Raises InvalidValueException for what no database keeps or no terminal shows."""
    if value and (len(value) > _LONGEST_TEXT or not value.isprintable()):
        raise InvalidValueException(detail=f"{field} is one line of at most {_LONGEST_TEXT} characters")
    return value or ""
