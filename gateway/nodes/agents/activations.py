"""Inviting nodes to join by themselves (R33)."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.errors import invalid
from gateway.identity.caller import Caller
from gateway.identity.ports import Clock
from gateway.nodes import bounds
from gateway.nodes.agents import errors
from gateway.nodes.agents.model import (
    DEFAULT_LIFETIME,
    MAXIMUM_LIFETIME,
    MAXIMUM_REGISTRATIONS,
    Activation,
)
from gateway.store import activations, events
from gateway.store.database import Database, Transaction
from jitgate.v1 import annotations_pb2 as permissions

_LONGEST_NAME = 120  # a number still fits behind it


@dataclass(frozen=True, slots=True)
class NewActivation:
    """What to invite nodes to."""

    scope: tuple[str, str]
    default_name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    login: str = ""
    registration_limit: int = 1
    lifetime: timedelta = DEFAULT_LIFETIME


class Activations:
    """Every method takes the caller and refuses what the caller may not do there."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, caller: Caller, new: NewActivation) -> tuple[Activation, str]:
        """The activation and its code, which nobody can tell again. Raises NOT_PERMITTED, INVALID_FIELD."""
        caller.require(permissions.PERMISSION_WRITE_NODES, *new.scope)
        bounds.check_name(new.default_name)
        if len(new.default_name) > _LONGEST_NAME:
            raise invalid("default_name", f"has at most {_LONGEST_NAME} characters")
        bounds.check_tags(new.tags)
        bounds.check_login("login", new.login)
        if not 1 <= new.registration_limit <= MAXIMUM_REGISTRATIONS:
            raise invalid("registration_limit", f"is 1 to {MAXIMUM_REGISTRATIONS}")
        if not timedelta() < new.lifetime <= MAXIMUM_LIFETIME:
            raise invalid("hours", f"is 1 to {MAXIMUM_LIFETIME // timedelta(hours=1)}")
        now = self._clock()
        code = secrets.token_urlsafe(24)
        activation = Activation(
            id=f"act-{secrets.token_hex(6)}",
            account=new.scope[0],
            region=new.scope[1],
            code_hash=hash_code(code),
            default_name=new.default_name,
            tags=dict(new.tags),
            login=new.login,
            registration_limit=new.registration_limit,
            registrations=0,
            created_at=now,
            created_by=caller.user.id,
            expires_at=now + new.lifetime,
        )
        async with self._database.transaction() as tx:
            await activations.add(tx.connection, activation)
            await self._tell(tx, caller, activation, "created")
        return activation, code

    async def list(
        self,
        caller: Caller,
        scope: tuple[str, str] | None,
        limit: int,
        after: tuple[datetime, str] | None = None,
    ) -> tuple[list[Activation], bool]:
        """Newest first, and whether there are more. Without a scope: of all whose nodes the caller may write."""
        if scope:
            caller.require(permissions.PERMISSION_WRITE_NODES, *scope)
        scopes = [scope] if scope else caller.scopes(permissions.PERMISSION_WRITE_NODES)
        async with self._database.read() as connection:
            found = await activations.page(connection, scopes, limit + 1, after)
        return found[:limit], len(found) > limit

    async def delete(self, caller: Caller, activation_id: str) -> None:
        """Nodes that registered with it stay. Raises Refused ACTIVATION_NOT_FOUND."""
        async with self._database.transaction() as tx:
            found = await activations.get(tx.connection, activation_id, for_update=True)
            if found is None or not caller.may(permissions.PERMISSION_WRITE_NODES, found.account, found.region):
                raise errors.activation_not_found(activation_id)
            await activations.remove(tx.connection, activation_id)
            await self._tell(tx, caller, found, "deleted")

    async def _tell(self, tx: Transaction, caller: Caller, activation: Activation, verb: str) -> None:
        event = events.Event(
            type=f"activation.{verb}",
            at=self._clock(),
            subject=activation.id,
            summary=f"{caller.user.id} {verb} an activation for nodes called {activation.default_name}",
            actor_id=caller.user.id,
            source_address=caller.source_address,
            account=activation.account,
            region=activation.region,
            details={
                "tags": dict(activation.tags),
                "login": activation.login,
                "registration_limit": activation.registration_limit,
                "registrations": activation.registrations,
                "expires_at": activation.expires_at.isoformat(),
            },
        )
        await events.append(tx.connection, event)


def hash_code(code: str) -> str:
    """What is stored of a code, which is 192 random bits: nothing to be guessed from its hash."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
