"""Chat identities that the provider vouches for, bound at each sign-in (R31)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from gateway.store import contacts, events
from gateway.store.contacts import Contact
from gateway.store.database import Transaction
from gateway.store.events import Event

CLAIM: Final = "claim"
_SAYS: Final = {
    "chat.linked": "is",
    "chat.unlinked": "is no more",
    "chat.refused": "is not, since somebody else is,",
}


async def bind(
    tx: Transaction,
    user_id: str,
    said: Mapping[str, tuple[str, str]],
    kinds: Collection[str],
    *,
    now: datetime,
    source_address: str,
) -> None:
    """`said`: workspace and user of each kind of chat that the claims name; `kinds`: those they decide about.

    What the provider says no more counts no more, however it was bound. An identity that is somebody else's
    already is not taken from them: that is told in the audit log. Raises contacts.Taken when that happens in the
    same moment; the transaction is lost then.
    """

    async def tell(what: str, kind: str, key: str) -> None:
        summary = f"By the identity provider, {user_id} {_SAYS[what]} {key} in {kind}"
        details = {"kind": kind, "key": key, "by": CLAIM}
        event = Event(what, now, user_id, summary, user_id, source_address, details=details)
        await events.append(tx.connection, event)

    known = {contact.kind: contact for contact in await contacts.of_user(tx.connection, user_id)}
    for kind in kinds:
        key = "/".join(said[kind]) if kind in said else ""
        before = known.get(kind)
        if before is not None and before.key != key:
            await contacts.remove(tx.connection, user_id, kind)
            await tell("chat.unlinked", kind, before.key)
            before = None
        if not key:
            continue
        if await contacts.is_anothers(tx.connection, kind, key, user_id):
            await tell("chat.refused", kind, key)
            continue
        # Where they can be told things may have been learnt since: that is kept.
        workspace, user = said[kind]
        address = {"workspace": workspace, "user": user} if before is None else before.address
        await contacts.put(tx.connection, Contact(user_id, kind, key, address, CLAIM, now))
        if before is None:
            await tell("chat.linked", kind, key)
