"""Signing in: a proof against a certificate for the client's key, or against a browser's session (R31)."""

from dataclasses import dataclass, field

from gateway.errors import Kind, Refused, invalid
from gateway.identity import passwords
from gateway.identity.administrator_codes import hash_code
from gateway.identity.attempts import Attempts
from gateway.identity.model import EVERYWHERE, LOCAL_ISSUER, Role, RoleGrant, User, is_user_id
from gateway.identity.passwords import Passwords
from gateway.identity.ports import Clock
from gateway.identity.signed_in import Admit, Certifier, Proven, SignedIn, T, locked
from gateway.store import directory, events, roles, sign_ins
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from gateway.store.sign_ins import Password


@dataclass(frozen=True, slots=True)
class PasswordProof:
    """What the person knows. A new password replaces the old one in the same step; empty keeps it."""

    user_id: str
    password: str = field(repr=False)
    new_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CodeProof:
    """The administrator code, and what the administrator is to be called and sign in with from then on."""

    code: str = field(repr=False)
    user_id: str
    new_password: str = field(repr=False)


class SignIn:
    """Proves people and certifies their keys."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        certifier: Certifier,
        clock: Clock,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._certifier = certifier
        self._clock = clock
        self._attempts = Attempts(database, clock)

    async def with_password(
        self, proof: PasswordProof, certificate_request: bytes, source_address: str
    ) -> SignedIn:
        """A local user by password, for a certificate. Raises Refused as `by_password`."""
        return await self.by_password(proof, source_address, self._certifier.for_key(certificate_request))

    async def by_password(self, proof: PasswordProof, source_address: str, admit: Admit[T]) -> T:
        """A local user by password.

        Who does not know the password learns nothing: not whether the user exists, is locked or must change it.
        Raises Refused: INVALID_FIELD, SIGN_IN_FAILED, SIGN_IN_BACKOFF, SIGN_IN_BUSY, USER_LOCKED,
        PASSWORD_CHANGE_REQUIRED.
        """
        if proof.new_password:
            passwords.check_new(proof.new_password, proof.user_id, "password.new_password")
            if proof.new_password == proof.password:
                raise invalid("password.new_password", "is the old one", "Choose another one.")
        await self._attempts.admit(proof.user_id, source_address)
        async with self._database.read() as connection:
            stored = await sign_ins.password(connection, proof.user_id)
        matches = await self._passwords.verify(stored.hash if stored else None, proof.password)
        if stored is None or not matches:
            await self._attempts.failed("password", proof.user_id, source_address, exists=stored is not None)
            raise _wrong_password()
        new = await self._new_password(proof, stored)
        async with self._database.transaction() as tx:
            await self._attempts.forgive(tx, proof.user_id, source_address)
            user = await directory.get(tx.connection, proof.user_id, self._clock(), for_update=True)
            if user is None or await sign_ins.password(tx.connection, user.id) != stored:
                raise _wrong_password()  # it was changed, or the user removed, while this one was being checked
            if user.locked_at is not None:
                await events.append(tx.connection, self._kept_out(user, source_address))
            elif new is not None or not stored.must_change:
                return await self._admitted(tx, user, new, source_address, admit)
        if user.locked_at is not None:
            raise locked(user)
        raise Refused(
            Kind.FAILED_PRECONDITION,
            "PASSWORD_CHANGE_REQUIRED",
            "this password was set by an administrator and must be changed",
            f"Sign in again with a new password of at least {passwords.MINIMUM_CHARACTERS} characters.",
        )

    def _kept_out(self, user: User, source_address: str) -> Event:
        """Who knows the password of somebody who was locked: perhaps the very reason for the lock."""
        return Event(
            "sign_in.refused",
            self._clock(),
            user.id,
            f"{user.id} is locked and was kept out, with the right password",
            source_address=source_address,
            details={"method": "password", "reason": "USER_LOCKED"},
        )

    async def _new_password(self, proof: PasswordProof, stored: Password) -> Password | None:
        """What to store from now on; None: what is stored already."""
        if proof.new_password:
            return Password(await self._passwords.hash(proof.new_password), must_change=False)
        if self._passwords.is_outdated(stored.hash) and not stored.must_change:
            return Password(await self._passwords.hash(proof.password), must_change=False)
        return None

    async def with_administrator_code(
        self, proof: CodeProof, certificate_request: bytes, source_address: str
    ) -> SignedIn:
        """Whoever holds the host's code: becomes an administrator, or is one and gets a new password.

        A refusal leaves the code usable. Raises Refused: INVALID_FIELD, SIGN_IN_FAILED, SIGN_IN_BACKOFF,
        SIGN_IN_BUSY, USER_ID_TAKEN, USER_LOCKED.
        """
        admit = self._certifier.for_key(certificate_request)
        if not is_user_id(proof.user_id):
            raise invalid("administrator_code.user_id", "must be 1 to 64 characters: a-z, 0-9, '.', '_', '@', '-'")
        passwords.check_new(proof.new_password, proof.user_id, "administrator_code.new_password")
        await self._attempts.admit_source(source_address)
        code_hash = hash_code(proof.code)
        async with self._database.read() as connection:
            works = await sign_ins.code_works(connection, code_hash, self._clock())
        if works:  # only now: hashing is dear, and anybody can send a wrong code
            new = Password(await self._passwords.hash(proof.new_password), must_change=False)
            async with self._database.transaction() as tx:
                if await sign_ins.use_code(tx.connection, code_hash, self._clock()):
                    user = await self._administrator(tx, proof.user_id, source_address)
                    return await self._admitted(tx, user, new, source_address, admit)
        await self._attempts.failed("administrator_code", "", source_address, exists=False)
        raise Refused(
            Kind.UNAUTHENTICATED,
            "SIGN_IN_FAILED",
            "the administrator code is wrong, used or over",
            "Make a new one on the gateway's host: jitgate admin-code",
        )

    async def _administrator(self, tx: Transaction, user_id: str, source_address: str) -> User:
        """The local administrator of that id, made if the id is free. Another person's account is not handed over:
        whoever could take an approver's would decide in that person's name."""
        now = self._clock()
        user = await directory.get(tx.connection, user_id, now, for_update=True)
        if user is not None:
            if user.removed_at is None and user.issuer == LOCAL_ISSUER and await _administers(tx, user_id):
                return user
            raise Refused(
                Kind.ALREADY_EXISTS,
                "USER_ID_TAKEN",
                f"{user_id} is or was somebody who is no local administrator",
                "Choose another user id; the code still works.",
            )
        user = User(user_id, LOCAL_ISSUER, user_id, "", frozenset(), {}, now, now)
        await directory.add(tx.connection, user)
        grant = RoleGrant("user", user_id, Role.ORGANIZATION_ADMINISTRATOR, EVERYWHERE, EVERYWHERE)
        await roles.add(tx.connection, grant)
        await events.append(
            tx.connection,
            Event(
                "user.created",
                now,
                user_id,
                f"{user_id} became organization administrator by the host's code",
                source_address=source_address,
            ),
        )
        return user

    async def _admitted(
        self, tx: Transaction, user: User, new: Password | None, source_address: str, admit: Admit[T]
    ) -> T:
        details = {"password_changed": new is not None}
        admitted = await admit(tx, Proven(user, source_address, self._clock(), details=details))
        if new is not None:
            await sign_ins.set_password(tx.connection, user.id, new, self._clock())
        return admitted


def _wrong_password() -> Refused:
    return Refused(
        Kind.UNAUTHENTICATED,
        "SIGN_IN_FAILED",
        "user or password is wrong",
        "Try again, or ask an organization administrator for a new password.",
    )


async def _administers(tx: Transaction, user_id: str) -> bool:
    return user_id in await roles.administrators(tx.connection, even_locked=True)
