"""Tokens that identity providers prove themselves with when they provision by SCIM (R31)."""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Kind, Refused, invalid
from gateway.identity.caller import Caller
from gateway.identity.model import EVERYWHERE
from gateway.identity.oidc.settings import IdentityProvider
from gateway.identity.ports import Clock
from gateway.store import scim_tokens
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from gateway.store.events import Event, append
from gateway.store.scim_tokens import ScimToken
from jitgate.v1 import annotations_pb2 as declared

DEFAULT_LIFETIME = timedelta(days=365)
MAXIMUM_LIFETIME = timedelta(days=1095)
_NOTED_EVERY = timedelta(minutes=1)


class ScimTokens:
    """Every change needs WRITE_DIRECTORY for the whole organization: who has a token writes the directory."""

    def __init__(
        self, database: Database, providers: Mapping[str, IdentityProvider], changes: Changes, clock: Clock
    ) -> None:
        self._database = database
        self._providers = providers
        self._changes = changes
        self._clock = clock

    async def create(
        self, caller: Caller, provider: str, lifetime: timedelta = DEFAULT_LIFETIME
    ) -> tuple[ScimToken, str]:
        """The token, and its secret, which nobody can tell again.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, PROVIDER_UNKNOWN.
        """
        _require(caller)
        if not timedelta() < lifetime <= MAXIMUM_LIFETIME:
            raise invalid("days", f"is 1 to {MAXIMUM_LIFETIME.days}")
        said = self._providers.get(provider)
        if said is None:
            raise Refused(
                Kind.NOT_FOUND,
                "PROVIDER_UNKNOWN",
                f"this gateway has no identity provider {provider!r}",
                "Name one of the gateway's configuration: jit doctor shows them.",
            )
        secret = f"jgscim_{secrets.token_urlsafe(32)}"
        now = self._clock()
        new = ScimToken(
            id=f"scim-{secrets.token_hex(6)}",
            hash=_hash(secret),
            provider=provider,
            issuer=said.issuer,
            created_at=now,
            created_by=caller.user.id,
            expires_at=now + lifetime,
        )
        async with self._database.transaction() as tx:
            await scim_tokens.lock(tx.connection, new.issuer)
            await scim_tokens.add(tx.connection, new)
            await self._tell(tx, caller, new, "created")
        return new, secret

    async def list(self, caller: Caller) -> list[ScimToken]:
        """Oldest first, expired ones as well. Raises Refused NOT_PERMITTED."""
        _require(caller)
        async with self._database.read() as connection:
            return await scim_tokens.every(connection)

    async def delete(self, caller: Caller, token_id: str) -> None:
        """Raises Refused: NOT_PERMITTED, SCIM_TOKEN_NOT_FOUND."""
        _require(caller)
        async with self._database.transaction() as tx:
            old = await scim_tokens.remove(tx.connection, token_id)
            if old is None:
                raise Refused(
                    Kind.NOT_FOUND,
                    "SCIM_TOKEN_NOT_FOUND",
                    f"there is no token {token_id}",
                    "See which there are: jit scim list",
                )
            await self._tell(tx, caller, old, "deleted")

    async def proven(self, secret: str) -> tuple[ScimToken, IdentityProvider]:
        """Whose token that is. Raises Refused SCIM_TOKEN_REFUSED, which doesn't say why."""
        async with self._database.read() as connection:
            found = await scim_tokens.by_hash(connection, _hash(secret))
        now = self._clock()
        said = None if found is None else self._providers.get(found.provider)
        # A name of the configuration that means another issuer by now is not what the token was made for.
        if found is None or said is None or said.issuer != found.issuer or found.expires_at <= now:
            raise _refused()
        if found.last_used_at is None or now - found.last_used_at >= _NOTED_EVERY:
            async with self._database.transaction() as tx:
                await scim_tokens.used(tx.connection, found.id, now)
        return found, said

    async def still(self, connection: AsyncConnection, token: ScimToken) -> None:
        """Within a transaction that writes for the token's issuer: one at a time, none for a deleted token."""
        if token.id not in await scim_tokens.lock(connection, token.issuer):
            raise _refused()

    async def _tell(self, tx: Transaction, caller: Caller, token: ScimToken, did: str) -> None:
        event = Event(
            f"scim_token.{did}",
            self._clock(),
            token.id,
            f"{caller.user.id} {did} a SCIM token of {token.provider}",
            caller.user.id,
            caller.source_address,
            details={"provider": token.provider, "issuer": token.issuer, "expires_at": _told(token.expires_at)},
        )
        await append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish("users"))


def _require(caller: Caller) -> None:
    caller.require(declared.PERMISSION_WRITE_DIRECTORY, EVERYWHERE, EVERYWHERE)


def _hash(secret: str) -> str:
    """256 random bits: nothing to be guessed from the hash, by which they are looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _told(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _refused() -> Refused:
    return Refused(
        Kind.UNAUTHENTICATED,
        "SCIM_TOKEN_REFUSED",
        "the bearer token is missing, unknown, deleted or expired",
        "Have an organization administrator make one: jit scim create PROVIDER",
    )
