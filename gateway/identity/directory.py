"""People: made, described, put into groups, removed (R31)."""

from collections.abc import Collection, Mapping

from sqlalchemy.exc import IntegrityError

from gateway.errors import Kind, Refused, invalid
from gateway.identity import last_administrator
from gateway.identity.caller import Caller
from gateway.identity.model import EVERYWHERE, LOCAL_ISSUER, User, is_group_id, is_user_id
from gateway.identity.passwords import Passwords, new_secret
from gateway.identity.ports import AccessEnder, Clock
from gateway.identity.text import check_printable
from gateway.store import directory, events, roles, scim, sign_ins
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from gateway.store.sign_ins import Password
from jitgate.v1 import annotations_pb2 as declared

ATTRIBUTES = frozenset({"employeeNumber", "costCenter", "organization", "division"})
MAXIMUM_GROUPS = 100
_MAXIMUM_NAME = 128
_MAXIMUM_ATTRIBUTE = 256


class Directory:
    """What administrators do to local people. Every change needs WRITE_DIRECTORY for the whole organization."""

    def __init__(
        self, database: Database, passwords: Passwords, ender: AccessEnder, changes: Changes, clock: Clock
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._ender = ender
        self._changes = changes
        self._clock = clock

    async def create(
        self,
        caller: Caller,
        user_id: str,
        display_name: str = "",
        groups: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> tuple[User, str]:
        """A new local user, and the first password, which must be changed at the first sign-in.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, USER_ID_TAKEN (also by a removed user).
        """
        _require(caller)
        if not is_user_id(user_id):
            raise invalid(
                "id", "must be 1 to 64 characters: a-z, 0-9, '.', '_', '@', '-', a letter or digit first"
            )
        check_printable("display_name", display_name, _MAXIMUM_NAME)
        _check_groups("groups", groups)
        kept = _merged({}, attributes or {}, "attributes")
        initial = new_secret()
        password = Password(await self._passwords.hash(initial), must_change=True)
        now = self._clock()
        user = User(user_id, LOCAL_ISSUER, user_id, display_name, frozenset(groups), kept, now, now)
        try:
            async with self._database.transaction() as tx:
                if await directory.get(tx.connection, user_id, now) is not None:
                    raise _taken(user_id)
                await directory.add(tx.connection, user)
                await sign_ins.set_password(tx.connection, user_id, password, now)
                told = sorted(user.groups)
                await self._tell(tx, caller, "user.created", user_id, f"created {user_id}", groups=told)
        except IntegrityError as error:  # at another replica somebody took it at the same moment
            raise _taken(user_id) from error
        return user, initial

    async def update(
        self,
        caller: Caller,
        user_id: str,
        *,
        display_name: str | None = None,
        add_groups: Collection[str] = (),
        remove_groups: Collection[str] = (),
        set_attributes: Mapping[str, str] | None = None,
        reset_password: bool = False,
    ) -> tuple[User, str]:
        """Changes what is given; an empty attribute is taken away. With `reset_password` a new first password
        comes with the user, else "", and client certificates from before count no more: who knew the old password
        may have one.

        Raises Refused: NOT_PERMITTED, INVALID_FIELD, USER_NOT_FOUND, NOT_LOCAL, LAST_ADMINISTRATOR.
        """
        _require(caller)
        check_printable("display_name", display_name or "", _MAXIMUM_NAME)
        _check_groups("add_groups", add_groups)
        if both := set(add_groups) & set(remove_groups):
            raise invalid("remove_groups", f"{min(both)} is in add_groups, too")
        initial = new_secret() if reset_password else ""
        password = Password(await self._passwords.hash(initial), must_change=True) if initial else None
        async with self._database.transaction() as tx:
            async with last_administrator.kept(tx):
                user = await self._local(tx, user_id)
                await self._regroup(tx, user, add_groups, remove_groups)
                name = user.display_name if display_name is None else display_name
                attributes = _merged(user.attributes, set_attributes or {}, "set_attributes")
                await directory.describe(tx.connection, user_id, name, attributes)
            changed = await self._local(tx, user_id)
            if password is not None:
                await sign_ins.set_password(tx.connection, user_id, password, self._clock())
                await directory.void_certificates(tx.connection, user_id, self._clock())
                await self._tell(
                    tx, caller, "user.password_reset", user_id, f"gave {user_id} a new first password"
                )
            if _told(changed) != _told(user):
                details = {"before": _told(user), "after": _told(changed)}
                await self._tell(tx, caller, "user.updated", user_id, f"changed {user_id}", **details)
            if (changed.groups, changed.attributes) != (user.groups, user.attributes):
                await self._ender.groups_changed(tx, user_id, caller.actor)
        return changed, initial

    async def remove(self, caller: Caller, user_id: str) -> None:
        """Deactivates a user for good: windows and sessions end; groups, roles and password go; the id stays.

        Raises Refused: NOT_PERMITTED, USER_NOT_FOUND, LAST_ADMINISTRATOR.
        """
        _require(caller)
        async with self._database.transaction() as tx:
            async with last_administrator.kept(tx):
                user = await find(tx, user_id, self._clock)
                await directory.remove(tx.connection, user_id, self._clock())
                await roles.remove_of_user(tx.connection, user_id)
                await sign_ins.remove_user(tx.connection, user_id)
                await scim.people.remove(tx.connection, user_id)
            await self._ender.user_removed(tx, user_id, caller.actor)
            await self._tell(tx, caller, "user.removed", user_id, f"removed {user_id}", before=_told(user))

    async def page(
        self, caller: Caller, *, group_id: str, include_inactive: bool, after: str, limit: int
    ) -> list[User]:
        """People by id. They belong to no account, so a grant of READ_DIRECTORY anywhere shows them all."""
        caller.require(declared.PERMISSION_READ_DIRECTORY)
        async with self._database.read() as connection:
            return await directory.page(
                connection,
                self._clock(),
                group_id=group_id,
                include_inactive=include_inactive,
                after=after,
                limit=limit,
            )

    async def _local(self, tx: Transaction, user_id: str) -> User:
        user = await find(tx, user_id, self._clock)
        if user.issuer != LOCAL_ISSUER:
            raise Refused(
                Kind.FAILED_PRECONDITION,
                "NOT_LOCAL",
                f"{user_id} comes from {user.issuer}",
                "Change the person there; the gateway follows by SCIM, or at the next sign-in.",
            )
        return user

    async def _regroup(self, tx: Transaction, user: User, add: Collection[str], remove: Collection[str]) -> None:
        if len((user.groups | set(add)) - set(remove)) > MAXIMUM_GROUPS:
            raise invalid("add_groups", f"would put {user.id} into more than {MAXIMUM_GROUPS} groups")
        await directory.join(tx.connection, user.id, set(add) - user.groups)
        await directory.leave(tx.connection, user.id, set(remove) & user.groups)

    async def _tell(
        self, tx: Transaction, caller: Caller, kind: str, user_id: str, summary: str, **details: object
    ) -> None:
        event = Event(
            kind,
            self._clock(),
            user_id,
            f"{caller.user.id} {summary}",
            caller.user.id,
            caller.source_address,
            details=details,
        )
        await events.append(tx.connection, event)
        tx.after_commit(lambda: self._changes.publish("users"))


async def find(tx: Transaction, user_id: str, clock: Clock) -> User:
    """The user, locked for a change. Raises Refused NOT_FOUND USER_NOT_FOUND, also for removed ones."""
    user = await directory.get(tx.connection, user_id, clock(), for_update=True)
    if user is None or user.removed_at is not None:
        raise Refused(
            Kind.NOT_FOUND, "USER_NOT_FOUND", f"there is no user {user_id!r}", "See who there is: jit users list"
        )
    return user


def _taken(user_id: str) -> Refused:
    return Refused(
        Kind.ALREADY_EXISTS,
        "USER_ID_TAKEN",
        f"{user_id} is or was somebody",
        "Choose another id: ids are never used again.",
    )


def _require(caller: Caller) -> None:
    caller.require(declared.PERMISSION_WRITE_DIRECTORY, EVERYWHERE, EVERYWHERE)


def _check_groups(field: str, groups: Collection[str]) -> None:
    if len(groups) > MAXIMUM_GROUPS:
        raise invalid(field, f"has more than {MAXIMUM_GROUPS} groups")
    for group in groups:
        if not is_group_id(group):
            raise invalid(
                field, f"{group!r} is no group id (1 to 64 characters: letters, digits, '.', '_', '@', '-')"
            )


def _merged(before: Mapping[str, str], new: Mapping[str, str], field: str) -> dict[str, str]:
    """`before` with `new` on top; what is empty is left out."""
    for name, value in new.items():
        if name not in ATTRIBUTES:
            raise invalid(field, f"{name!r} is none of {', '.join(sorted(ATTRIBUTES))}")
        check_printable(f"{field}.{name}", value, _MAXIMUM_ATTRIBUTE)
    return {name: value for name, value in {**before, **new}.items() if value}


def _told(user: User) -> dict[str, object]:
    return {
        "display_name": user.display_name,
        "groups": sorted(user.groups),
        "attributes": dict(user.attributes),
    }
