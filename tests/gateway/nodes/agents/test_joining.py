"""Activations and registrations (R33)."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import grpc
import pytest

from gateway.errors import Refused
from gateway.identity.client_certificates import ClientCertificates
from gateway.identity.model import Role
from gateway.nodes.agents.registration import Registrations
from gateway.store import activations, nodes
from jitgate.v1 import agent_pb2
from tests.gateway.nodes.agents.rig import HERE, Joined, Rig, ca_of
from tests.gateway.nodes.conftest import granted
from tests.reflected import new_key

pytestmark = pytest.mark.rule("R33")


async def refused(rig: Rig, activation_id: str, code: str) -> str:
    """The reason that registering is refused with."""
    _, request = new_key()
    with pytest.raises(Refused) as caught:
        await rig.registrations.register(activation_id, code, request, "192.0.2.9")
    return caught.value.reason


async def test_a_node_gets_the_activations_name_tags_and_login(rig: Rig) -> None:
    activation = await rig.invite(tags={"Environment": "prod"}, login="deploy", registration_limit=3)
    made = [(await rig.join(activation)).node for _ in range(3)]
    assert [node.name for node in made] == ["web", "web-2", "web-3"]
    for node in made:
        stored = await rig.node(node.id)
        assert (stored.tags, stored.endpoint.login, stored.connector) == (
            {"Environment": "prod"},
            "deploy",
            "agent",
        )
        assert stored.id.startswith("mi-") and not stored.attached_to and stored.last_seen_at is None
    assert len(await rig.events("node.registered")) == 3
    (found, more) = await rig.activations.list(granted("nina", Role.NODE_ADMINISTRATOR), HERE, 10)
    assert (found[0].registrations, more) == (3, False)


async def test_codes_that_do_not_work_are_refused_alike(rig: Rig) -> None:
    used_up, expired, deleted, good = [await rig.invite() for _ in range(4)]
    await rig.join(used_up)
    await rig.activations.delete(granted("nina", Role.NODE_ADMINISTRATOR), deleted.id)
    for activation in (used_up, deleted):
        assert await refused(rig, activation.id, rig.codes[activation.id]) == "ACTIVATION_REFUSED"
    assert await refused(rig, good.id, rig.codes[expired.id]) == "ACTIVATION_REFUSED"
    assert await refused(rig, "act-000000000000", rig.codes[good.id]) == "ACTIVATION_REFUSED"
    assert await refused(rig, rig.codes[good.id], good.id) == "ACTIVATION_REFUSED"
    rig.clock.ahead = timedelta(hours=24, seconds=1)
    assert await refused(rig, expired.id, rig.codes[expired.id]) == "ACTIVATION_REFUSED"
    told = [event.subject for event in await rig.events("registration.refused")]  # type: ignore[attr-defined]
    assert rig.codes[good.id] not in told and "" in told
    async with rig.database.read() as connection:
        assert [node.name async for node in nodes.stream(connection)] == ["web"]
        kept = await activations.get(connection, good.id)
    assert kept is not None and rig.codes[good.id] not in repr(kept) and rig.codes[good.id] != kept.code_hash


async def test_fifty_at_once_on_a_limit_of_three(rig: Rig) -> None:
    activation = await rig.invite(registration_limit=3)
    sources = (f"192.0.2.{number}" for number in range(50))
    results = await asyncio.gather(
        *(rig.join(activation, source=source) for source in sources), return_exceptions=True
    )
    assert Counter(type(result) for result in results) == {Joined: 3, Refused: 47}
    assert sorted(result.node.name for result in results if isinstance(result, Joined)) == [
        "web",
        "web-2",
        "web-3",
    ]
    async with rig.database.read() as connection:
        stored = await activations.get(connection, activation.id)
    assert stored is not None and stored.registrations == 3


async def test_guessing_gets_slow(rig: Rig) -> None:
    activation = await rig.invite()
    reasons = [await refused(rig, activation.id, "wrong") for _ in range(22)]
    assert reasons[0] == "ACTIVATION_REFUSED" and reasons[-1] == "REGISTRATION_BACKOFF"
    assert (await rig.join(activation, source="192.0.2.77")).node.name == "web"


async def test_a_key_belongs_to_one_node(rig: Rig) -> None:
    activation = await rig.invite(registration_limit=5)
    _, request = new_key()
    code = rig.codes[activation.id]
    await rig.registrations.register(activation.id, code, request, "192.0.2.1")
    with pytest.raises(Refused, match="KEY_IN_USE"):
        await rig.registrations.register(activation.id, code, request, "192.0.2.1")
    again = await asyncio.gather(
        *(rig.registrations.register(activation.id, code, new_key()[1], "192.0.2.1") for _ in range(4))
    )
    assert len({each.node.id for each in again}) == 4


async def test_who_may_invite(rig: Rig) -> None:
    for role, region in ((Role.USER, "default"), (Role.NODE_ADMINISTRATOR, "elsewhere")):
        nobody = granted("eve", role, region=region)
        with pytest.raises(Refused, match="NOT_PERMITTED"):
            await rig.invite(caller=nobody)
        activation = await rig.invite()
        with pytest.raises(Refused, match="ACTIVATION_NOT_FOUND"):
            await rig.activations.delete(nobody, activation.id)
        with pytest.raises(Refused, match="NOT_PERMITTED"):
            await rig.activations.list(nobody, HERE, 10)
        assert await rig.activations.list(nobody, None, 10) == ([], False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_name": "mi-0123456789abcdef0"},
        {"default_name": "x" * 121},
        {"login": "Root"},
        {"tags": {"": "x"}},
        {"registration_limit": 0},
        {"registration_limit": 1001},
        {"lifetime": timedelta()},
        {"lifetime": timedelta(days=30, seconds=1)},
    ],
)
async def test_activations_have_bounds(rig: Rig, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="INVALID_FIELD"):
        await rig.invite(**wrong)
    assert not await rig.events("activation.created")


async def test_a_certificate_is_renewed_for_the_same_key_and_not_once_it_has_expired(rig: Rig) -> None:
    # TLS has a clock of its own, so the past is where the time of the test can differ from it.
    rig.clock.ahead = -timedelta(days=7) + timedelta(hours=1)
    early, late = [await rig.join(await rig.invite()) for _ in range(2)]
    rig.clock.ahead = timedelta()
    async with early.dialled() as stub:
        answer = await stub.RenewCertificate(agent_pb2.RenewCertificateRequest())
    assert answer.expires_at.ToDatetime() - answer.issued_at.ToDatetime() == timedelta(days=7)
    rig.clock.ahead = timedelta(hours=2)
    async with early.dialled(answer.certificate_chain.encode()) as stub:
        await stub.RenewCertificate(agent_pb2.RenewCertificateRequest())
    async with late.dialled() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RenewCertificate(agent_pb2.RenewCertificateRequest())
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_certificates_of_people_and_of_nobody_are_useless_at_the_agents_door(rig: Rig) -> None:
    joined = await rig.join(await rig.invite())
    people = ClientCertificates(rig.keys.client_ca, rig.clock)
    request = new_key()
    chain = people.issue(people.key_of(request[1]), "alice").chain.encode()
    options = (("grpc.use_local_subchannel_pool", 1),)
    for identity in ((request[0], chain), (None, None)):
        credentials = grpc.ssl_channel_credentials(ca_of(rig), *identity)
        async with grpc.aio.secure_channel(rig.agents.address, credentials, options) as channel:
            call: Any = channel.unary_unary("/jitgate.v1.AgentService/RenewCertificate")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=5)
            assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    # And the other way round: the people's reader knows no node.
    with pytest.raises(Refused, match="SIGN_IN_REQUIRED"):
        people.identify(joined.registered.certificate.chain.encode())


async def test_a_certificate_for_another_key_of_the_node_is_refused(rig: Rig) -> None:
    """Even if the authority had issued one."""
    joined = await rig.join(await rig.invite())
    key, request = new_key()
    stolen = rig.keys.agents.issue(rig.keys.agents.key_of(request), joined.node.id).chain.encode()
    other = Joined(rig, joined.registered, key)
    async with other.dialled(stolen) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RenewCertificate(agent_pb2.RenewCertificateRequest())
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_names_are_found_while_others_take_them(rig: Rig) -> None:
    many = [await rig.invite() for _ in range(8)]
    other = Registrations(rig.database, rig.keys.agents, rig.changes, rig.clock)
    rigs = (rig.registrations, other)
    joined = await asyncio.gather(
        *(
            rigs[number % 2].register(each.id, rig.codes[each.id], new_key()[1], "192.0.2.1")
            for number, each in enumerate(many)
        )
    )
    assert sorted(each.node.name for each in joined) == ["web", *(f"web-{number}" for number in range(2, 9))]
