"""Nodes that join by themselves: an activation's id and code against a node id and a certificate (R33)."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.exc import IntegrityError

from gateway.identity import backoff
from gateway.identity.client_certificates import ClientCertificate, ClientCertificates
from gateway.identity.ports import Clock
from gateway.nodes.agents import errors
from gateway.nodes.agents.activations import hash_code
from gateway.nodes.agents.caller import AgentCaller
from gateway.nodes.agents.model import AGENT, Activation, is_activation_id
from gateway.nodes.model import Node, SshEndpoint
from gateway.nodes.registry import NODES_TOPIC, new_node_id
from gateway.store import activations, agents, events, nodes, sign_ins, turns
from gateway.store.changes import Changes
from gateway.store.database import Database, Transaction

_ATTEMPTS: Final = 5
"""How often a name is looked for that somebody else took meanwhile."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A new node and the first certificate of its agent."""

    node: Node
    certificate: ClientCertificate


class Registrations:
    """Anybody may call `register`; who cannot show a code that works learns nothing."""

    def __init__(
        self, database: Database, certificates: ClientCertificates, changes: Changes, clock: Clock
    ) -> None:
        self._database = database
        self._certificates = certificates
        self._changes = changes
        self._clock = clock

    async def register(
        self, activation_id: str, code: str, certificate_request: bytes, source_address: str
    ) -> Registered:
        """Raises Refused: INVALID_FIELD (the request for a certificate), REGISTRATION_BACKOFF, ACTIVATION_REFUSED,
        KEY_IN_USE.
        """
        key = self._certificates.key_of(certificate_request)
        await self._admit(source_address)
        for attempt in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as tx:
                    registered = await self._register(tx, activation_id, code, key, source_address)
            except IntegrityError:
                # Somebody else took the name, or the same key, in the same moment.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                break
        if registered is None:
            await self._failed(activation_id, source_address)
            raise errors.activation_refused()
        return registered

    async def renew(self, agent: AgentCaller) -> ClientCertificate:
        """A fresh certificate for the node's one key. Its open connections hold as long as that."""
        certificate = self._certificates.renew(agent.certificate)
        async with self._database.transaction() as tx:
            await agents.certified(tx.connection, agent.node_id, certificate.expires_at)
        return certificate

    async def _register(
        self,
        tx: Transaction,
        activation_id: str,
        code: str,
        key: ec.EllipticCurvePublicKey,
        source_address: str,
    ) -> Registered | None:
        """None: the activation does not work."""
        now = self._clock()
        activation = await activations.get(tx.connection, activation_id, for_update=True)
        given = hash_code(code)
        if activation is None or not hmac.compare_digest(activation.code_hash, given):
            return None
        if not activation.admits(now):
            return None
        key_hash = _hash_of(key)
        if await agents.node_of_key(tx.connection, key_hash) is not None:
            raise errors.key_in_use()
        node = Node(
            id=new_node_id(),
            name=await _free_name(tx, activation),
            account=activation.account,
            region=activation.region,
            connector=AGENT,
            endpoint=SshEndpoint(host="", port=0, login=activation.login),
            created_at=now,
            tags=dict(activation.tags),
        )
        certificate = self._certificates.issue(key, node.id)
        await nodes.add(tx.connection, node)
        await agents.add(
            tx.connection,
            node.id,
            key_hash=key_hash,
            activation_id=activation.id,
            at=now,
            certified_until=certificate.expires_at,
        )
        await activations.count(tx.connection, activation.id)
        await events.append(tx.connection, _told(node, activation, key_hash, source_address, now))
        tx.after_commit(lambda: self._changes.publish(NODES_TOPIC, node.id))
        return Registered(node, certificate)

    async def _admit(self, source_address: str) -> None:
        key = _failures_key(source_address)
        async with self._database.read() as connection:
            known = await sign_ins.failures(connection, [key])
        if wait := backoff.SOURCE.wait(known.get(key), self._clock()):
            raise errors.backoff(wait)

    async def _failed(self, activation_id: str, source_address: str) -> None:
        now = self._clock()
        key = _failures_key(source_address)
        async with self._database.transaction() as tx:
            known = await sign_ins.lock_failures(tx.connection, [key])
            await sign_ins.set_failures(tx.connection, key, backoff.SOURCE.after_failure(known.get(key), now))
            # Anything may have been typed into that field, the code for example.
            exists = is_activation_id(activation_id) and await activations.get(tx.connection, activation_id)
            event = events.Event(
                type="registration.refused",
                at=now,
                subject=activation_id if exists else "",
                summary="A node could not register: its activation does not work",
                source_address=source_address,
                account=exists.account if exists else "",
                region=exists.region if exists else "",
            )
            await events.append(tx.connection, event)


async def _free_name(tx: Transaction, activation: Activation) -> str:
    """The default name, with a number behind it where it is taken."""
    scope = activation.account, activation.region
    await turns.take(tx.connection, f"node names {scope[0]}/{scope[1]}")
    taken = await nodes.names_beginning(tx.connection, activation.default_name, *scope)
    name, number = activation.default_name, 2
    while name in taken:
        name = f"{activation.default_name}-{number}"
        number += 1
    return name


def _hash_of(key: ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _failures_key(source_address: str) -> str:
    return f"registration:{backoff.source_of(source_address)}"


def _told(node: Node, activation: Activation, key_hash: str, source_address: str, now: datetime) -> events.Event:
    return events.Event(
        type="node.registered",
        at=now,
        subject=node.id,
        summary=f"{node.name} registered itself with the activation {activation.id}",
        source_address=source_address,
        account=node.account,
        region=node.region,
        details={
            "name": node.name,
            "tags": dict(node.tags),
            "login": node.endpoint.login,
            "activation": activation.id,
            "invited_by": activation.created_by,
            "key": key_hash,
        },
    )
