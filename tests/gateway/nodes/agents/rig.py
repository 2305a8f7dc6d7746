"""The gateway's side of agents, real but for sessions: database, certificates, both listeners, connector."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from gateway.api.activation import RegistrationService
from gateway.api.agent import AgentService
from gateway.api.server import Listener, registration
from gateway.config import Tls
from gateway.identity.caller import Caller
from gateway.identity.model import Role
from gateway.keys import Keys
from gateway.keys import load as load_keys
from gateway.nodes.agents.activations import Activations, NewActivation
from gateway.nodes.agents.attachments import Attachments
from gateway.nodes.agents.caller import AgentAuthenticator
from gateway.nodes.agents.connector import AgentConnector
from gateway.nodes.agents.model import Activation
from gateway.nodes.agents.registration import Registered, Registrations
from gateway.nodes.model import Node
from gateway.store import nodes, tables
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.migrate import migrate
from jitgate.v1 import activation_pb2, activation_pb2_grpc, agent_pb2, agent_pb2_grpc
from tests.gateway.nodes.conftest import granted
from tests.reflected import new_key

HERE = ("default", "default")
ADMIN = granted("nina", Role.NODE_ADMINISTRATOR)
REPLICA = "r-1"


@dataclass
class Clock:
    """Time that passes by itself, and by hand."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Rig:
    database: Database
    keys: Keys
    clock: Clock
    changes: Changes
    activations: Activations
    registrations: Registrations
    attachments: Attachments
    connector: AgentConnector
    agents: Listener
    joining: Listener
    folder: Path
    codes: dict[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        chain = x509.load_pem_x509_certificates(self.keys.tls_material().certificate_chain)
        return f"sha256:{chain[-1].fingerprint(SHA256()).hex()}"

    async def invite(self, *, caller: Caller = ADMIN, **changes: object) -> Activation:
        new = NewActivation(**{"scope": HERE, "default_name": "web", **changes})  # type: ignore[arg-type]  # own keywords
        activation, self.codes[activation.id] = await self.activations.create(caller, new)
        return activation

    async def join(self, activation: Activation, *, code: str = "", source: str = "192.0.2.1") -> "Joined":
        """A node that registered, with its key."""
        key, request = new_key()
        registered = await self.registrations.register(
            activation.id, code or self.codes[activation.id], request, source
        )
        return Joined(self, registered, key)

    async def node(self, node_id: str) -> Node:
        async with self.database.read() as connection:
            found = await nodes.get(connection, node_id)
        assert found is not None
        return found

    async def events(self, kind: str) -> list[object]:
        events = tables.events
        async with self.database.read() as connection:
            query = select(events).where(events.c.type == kind).order_by(events.c.sequence)
            return list((await connection.execute(query)).all())


@dataclass
class Joined:
    """A registered node, as its agent sees itself."""

    rig: Rig
    registered: Registered
    key: bytes

    @property
    def node(self) -> Node:
        return self.registered.node

    @contextlib.asynccontextmanager
    async def dialled(self, chain: bytes = b"") -> AsyncIterator[Any]:
        """A connection to the agent listener with the node's certificate."""
        certificate = chain or self.registered.certificate.chain.encode()
        credentials = grpc.ssl_channel_credentials(ca_of(self.rig), self.key, certificate)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(self.rig.agents.address, credentials, options) as channel:
            yield agent_pb2_grpc.AgentServiceStub(channel)


def ca_of(rig: Rig) -> bytes:
    chain = x509.load_pem_x509_certificates(rig.keys.tls_material().certificate_chain)
    return chain[-1].public_bytes(Encoding.PEM)


@contextlib.asynccontextmanager
async def running(folder: Path, database_url: str = "") -> AsyncIterator[Rig]:
    """On a migrated database, or a SQLite one of its own."""
    database = Database(database_url or f"sqlite:///{folder}/own.db")
    if not database_url:
        await migrate(database)
    clock, changes = Clock(), Changes()
    keys = load_keys(folder / "keys", Tls(), clock)
    activations = Activations(database, clock)
    registrations = Registrations(database, keys.agents, changes, clock)
    attachments = Attachments(database, clock, changes, replica=REPLICA)
    service = AgentService(attachments, registrations)
    agents = Listener(
        "127.0.0.1:0",
        (registration(agent_pb2.DESCRIPTOR.services_by_name["AgentService"], agent_pb2_grpc, service),),
        keys.agent_tls_material,
        AgentAuthenticator(database, keys.agents, clock).authenticate,
        anonymous=False,
    )
    joining = Listener(
        "127.0.0.1:0",
        (
            registration(
                activation_pb2.DESCRIPTOR.services_by_name["RegistrationService"],
                activation_pb2_grpc,
                RegistrationService(registrations, agents.address),
            ),
        ),
        keys.tls_material,
        AgentAuthenticator(database, keys.agents, clock).authenticate,
        anonymous=True,
    )
    await agents.start()
    await joining.start()
    looking = asyncio.create_task(attachments.run())
    try:
        yield Rig(
            database,
            keys,
            clock,
            changes,
            activations,
            registrations,
            attachments,
            AgentConnector(attachments),
            agents,
            joining,
            folder,
        )
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await attachments.stop()
        await agents.stop(0.2)
        await joining.stop(0)
        await database.close()
