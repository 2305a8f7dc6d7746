from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import argon2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from gateway.identity.administrator_codes import new_administrator_code
from gateway.identity.authenticate import Authenticator
from gateway.identity.authority import CertificateAuthority
from gateway.identity.caller import Caller
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.directory import Directory
from gateway.identity.grants import Grants
from gateway.identity.locks import Locks
from gateway.identity.model import EVERYWHERE, Role, RoleGrant
from gateway.identity.passwords import Passwords
from gateway.identity.ports import Actor
from gateway.identity.session_preferences import SessionPreferences
from gateway.identity.sign_in import CodeProof, PasswordProof, SignIn
from gateway.identity.signed_in import Certifier, SignedIn
from gateway.identity.targets import Targets
from gateway.places.model import LogPlace, Place
from gateway.store import events, tables
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction
from gateway.store.events import Event
from recorder.errors import RecorderError

HOME = "192.0.2.10"
PASSWORD = "correct horse battery"
LONGEST_LOCK_DAYS = 3650


class Time:
    """A clock that stands until it is told to move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    @classmethod
    def real(cls) -> "Time":
        """Stands at this moment, for TLS libraries that look at their own clock."""
        time = cls()
        time.now = datetime.now(UTC)
        return time

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


@dataclass
class Endings:
    """Remembers which access it was told to end; can be told to fail."""

    calls: list[tuple[str, ...]] = field(default_factory=list)
    fails: bool = False

    async def user_locked(self, tx: Transaction, user_id: str, reason: str, actor: Actor) -> None:
        self._end("user_locked", user_id, reason, actor.id)

    async def user_removed(self, tx: Transaction, user_id: str, actor: Actor) -> None:
        self._end("user_removed", user_id, actor.id)

    async def node_locked(self, tx: Transaction, node_id: str, reason: str, actor: Actor) -> None:
        self._end("node_locked", node_id, reason, actor.id)

    async def scope_disabled(self, tx: Transaction, account: str, region: str, actor: Actor) -> None:
        self._end("scope_disabled", account, region, actor.id)

    async def groups_changed(self, tx: Transaction, user_id: str, actor: Actor) -> None:
        self._end("groups_changed", user_id, actor.id)

    async def role_revoked(self, tx: Transaction, grant: RoleGrant, actor: Actor) -> None:
        self._end("role_revoked", grant.holder_id, grant.role, actor.id)

    def _end(self, *call: str) -> None:
        if self.fails:
            raise RuntimeError("the end of access failed")
        self.calls.append(call)


@dataclass
class Examinations:
    """Remembers which places were tried out; can be told how that ends."""

    places: list[Place] = field(default_factory=list)
    log_places: list[LogPlace | None] = field(default_factory=list)
    failure: RecorderError | None = None

    async def try_out(self, place: LogPlace | None, now: datetime) -> None:
        self.log_places.append(place)
        if self.failure is not None:
            raise self.failure

    async def examine(self, place: Place) -> None:
        self.places.append(place)
        if self.failure is not None:
            raise self.failure


def certificate_request() -> bytes:
    """A PKCS#10 request for a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


class House:
    """Everything that identity has, on a real database and with real keys."""

    def __init__(self, database: Database, authority: CertificateAuthority, time: Time) -> None:
        self.database = database
        self.time = time
        self.changes = Changes()
        self.endings = Endings()
        self.certificates = ClientCertificates(authority, time)
        # As cheap as Argon2 can be: its strength is not what is tested here.
        self.passwords = Passwords(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.certifier = Certifier(self.certificates, self.changes, time)
        self.sign_in = SignIn(database, self.passwords, self.certifier, time)
        self.authenticator = Authenticator(database, self.certificates, time)
        self.directory = Directory(database, self.passwords, self.endings, self.changes, time)
        self.grants = Grants(database, self.endings, self.changes, time)
        self.locks = Locks(database, self.endings, self.changes, time)
        self.targets = Targets(database, self.endings, self.changes, time)
        self.examinations = Examinations()
        self.preferences = SessionPreferences(
            database, self.changes, time, *[self.examinations] * 2, longest_lock_days=LONGEST_LOCK_DAYS
        )

    async def administrator(self, user_id: str = "root") -> Caller:
        """An organization administrator, made the way the first one is."""
        code = await new_administrator_code(self.database, self.time)
        proof = CodeProof(code, user_id, PASSWORD)
        return await self.caller(await self.sign_in.with_administrator_code(proof, certificate_request(), HOME))

    async def person(
        self, admin: Caller, user_id: str, *grants: RoleGrant, groups: tuple[str, ...] = ()
    ) -> Caller:
        """A local user with those roles, signed in from HOME with PASSWORD."""
        _, initial = await self.directory.create(admin, user_id, groups=groups)
        for grant in grants:
            await self.grants.grant(admin, grant)
        proof = PasswordProof(user_id, initial, PASSWORD)
        return await self.caller(await self.sign_in.with_password(proof, certificate_request(), HOME))

    async def caller(self, signed_in: SignedIn) -> Caller:
        return await self.authenticator.authenticate(leaf(signed_in), HOME)

    async def again(self, caller: Caller) -> Caller:
        """The caller as the directory knows it now."""
        key = self.certificates.key_of(certificate_request())
        chain = self.certificates.issue(key, caller.user.id).chain
        return await self.authenticator.authenticate(first_certificate(chain), HOME)

    async def password(self, user_id: str, password: str, source: str = HOME, new: str = "") -> SignedIn:
        return await self.sign_in.with_password(
            PasswordProof(user_id, password, new), certificate_request(), source
        )

    async def events(self, prefix: str = "") -> list[Event]:
        """Oldest first."""
        async with self.database.read() as connection:
            found = await events.page(connection, [(EVERYWHERE, EVERYWHERE)], events.Filter(prefix), 1000)
        return [event for _, event in reversed(found)]

    async def stored(self) -> bytes:
        """Everything that the database holds: its files as they are on disk, or its rows."""
        if self.database.is_sqlite:
            file = Path(self.database.url.database or "")
            return b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))
        async with self.database.read() as connection:
            rows = [list(await connection.execute(select(table))) for table in tables.metadata.sorted_tables]
        return repr(rows).encode()

    def close(self) -> None:
        self.passwords.close()


def first_certificate(chain: str) -> bytes:
    end = "-----END CERTIFICATE-----\n"
    return (chain.partition(end)[0] + end).encode()


def leaf(signed_in: SignedIn) -> bytes:
    return first_certificate(signed_in.certificate.chain)


def role(user_id: str, what: Role, account: str = "default", region: str = "default", *kinds: str) -> RoleGrant:
    return RoleGrant("user", user_id, what, account, region, frozenset(kinds))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def house(database_url: str, tmp_path: Path, time: Time) -> AsyncIterator[House]:
    database = Database(database_url)
    authority = CertificateAuthority.load_or_create(tmp_path / "keys" / "client-ca.pem", "clients", time)
    built = House(database, authority, time)
    yield built
    built.close()
    await database.close()
