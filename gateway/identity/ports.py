"""What identity needs of others."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.identity.model import RoleGrant
from gateway.store.database import Transaction

Clock = Callable[[], datetime]  # aware, UTC


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, and from where."""

    id: str
    source_address: str


class AccessEnder(Protocol):
    """Ends what people are doing when the ground for it is gone (R4, R25, R31).

    Every method is called inside the transaction that takes the ground away, after that change was written to
    `tx.connection`; what must happen outside the database goes to `tx.after_commit`. A method that raises undoes
    the change as well.
    """

    async def user_locked(self, tx: Transaction, user_id: str, reason: str, actor: Actor) -> None:
        """Revokes the user's open windows and ends the live sessions, telling them `reason`."""

    async def user_removed(self, tx: Transaction, user_id: str, actor: Actor) -> None:
        """As `user_locked`, for good: pending requests end as well."""

    async def node_locked(self, tx: Transaction, node_id: str, reason: str, actor: Actor) -> None:
        """Revokes the windows to the node and ends the live sessions on it, telling them `reason`."""

    async def scope_disabled(self, tx: Transaction, account: str, region: str, actor: Actor) -> None:
        """Revokes every open window of the account and Region and ends the live sessions there."""

    async def groups_changed(self, tx: Transaction, user_id: str, actor: Actor) -> None:
        """The groups or attributes that policies look at have changed: what rests on them is redecided, and what
        rests on a role of a group that the user has left ends."""

    async def role_revoked(self, tx: Transaction, grant: RoleGrant, actor: Actor) -> None:
        """Revokes the windows of whoever had them by this grant alone, and ends the live sessions."""
