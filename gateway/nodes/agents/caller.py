"""Which node's agent makes a call (R33)."""

from dataclasses import dataclass, field
from datetime import datetime

from gateway.errors import Kind, Refused
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.ports import Clock
from gateway.nodes.agents import errors
from gateway.nodes.agents.model import Standing
from gateway.store import agents
from gateway.store.database import Database
from jitgate.v1.annotations_pb2 import PERMISSION_AGENT, Permission


@dataclass(frozen=True, slots=True)
class AgentCaller:
    """A registered, unlocked node, proven by its agent's certificate: it may do what agents do, nothing else."""

    node_id: str
    key_hash: str
    source_address: str
    certificate: bytes = field(repr=False)  # PEM

    def require(self, permission: "Permission.ValueType") -> None:
        """Raises Refused NOT_PERMITTED for everything but PERMISSION_AGENT."""
        if permission != PERMISSION_AGENT:
            raise Refused(
                Kind.PERMISSION_DENIED,
                "NOT_PERMITTED",
                "an agent may do nothing but serve its node",
                "People sign in with jit login.",
            )


class AgentAuthenticator:
    """Turns the certificate of a TLS peer into an agent, on what the registry says at this moment."""

    def __init__(self, database: Database, certificates: ClientCertificates, clock: Clock) -> None:
        self._database = database
        self._certificates = certificates
        self._clock = clock

    async def authenticate(self, peer_pem: bytes, source_address: str) -> AgentCaller:
        """Runs at every call: one query.

        TLS has seen a certificate that held. Connections outlive it; what counts from then on is until when the
        node's key was last certified.

        Raises Refused: UNAUTHENTICATED REGISTRATION_REQUIRED, PERMISSION_DENIED NODE_REMOVED or NODE_LOCKED.
        """
        peer = self._certificates.bearer(peer_pem)
        async with self._database.read() as connection:
            standing = await agents.standing(connection, peer.name)
        if (refused := judged(standing, peer.key_hash, self._clock())) is not None:
            raise refused
        return AgentCaller(peer.name, peer.key_hash, source_address, peer_pem)


def judged(standing: Standing | None, key_hash: str, now: datetime) -> Refused | None:
    """Why the agent with that key may not be connected; None while it may."""
    if standing is None or standing.key_hash != key_hash:
        return errors.not_registered("the certificate names a node that is bound to another key, or to none")
    if standing.removed:
        return errors.node_removed(standing.node_id)
    if standing.lock_reason is not None:
        return errors.node_locked(standing.node_id, standing.lock_reason)
    if standing.certified_until <= now:
        return errors.not_registered("the node's certificate has expired")
    return None
