from collections.abc import Awaitable

import pytest
from sqlalchemy import update

from gateway.errors import Kind, Refused
from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant
from gateway.store import tables
from jitgate.v1 import annotations_pb2 as declared
from tests.gateway.identity.conftest import (
    HOME,
    PASSWORD,
    House,
    certificate_request,
    first_certificate,
    leaf,
    role,
)

pytestmark = pytest.mark.rule("R31")


async def refusal(call: Awaitable[Caller]) -> tuple[Kind, str, str]:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value.kind, caught.value.reason, caught.value.message


async def test_a_caller_has_the_grants_of_the_person_and_of_the_groups(house: House) -> None:
    admin = await house.administrator()
    shared = RoleGrant("group", "sre", Role.APPROVER, "production", "*")
    await house.grants.grant(admin, shared)
    await house.grants.grant(admin, RoleGrant("group", "other", Role.AUDITOR))
    await house.person(admin, "sre")  # a user who is called as the group is
    own = role("alice", Role.USER), role("alice", Role.POLICY_ADMINISTRATOR, "default", "default", "manual")
    caller = await house.person(admin, "alice", *own, groups=("sre", "night"))
    assert set(caller.grants) == {*own, shared}
    assert caller.user.groups == {"sre", "night"}
    assert (caller.source_address, len(caller.key_hash)) == (HOME, 64)
    assert caller.may(declared.PERMISSION_DECIDE_ACCESS, "production", "eu")
    assert not caller.may(declared.PERMISSION_DECIDE_ACCESS, "default", "default")
    with pytest.raises(Refused) as caught:
        caller.require(declared.PERMISSION_READ_EVENTS)
    assert caught.value.reason == "NOT_PERMITTED"


async def test_a_person_without_roles_may_nothing(house: House) -> None:
    caller = await house.person(await house.administrator(), "alice")
    assert caller.grants == ()
    assert not any(caller.may(permission) for permission in range(3, 20))  # type: ignore[arg-type]  # all numbers


@pytest.mark.parametrize("how", ["locked and unlocked", "password reset"])
async def test_a_stolen_certificate_can_be_made_useless(house: House, how: str) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")
    stolen = leaf(await house.password("alice", PASSWORD))
    house.time.forward(seconds=1)
    password = PASSWORD
    if how == "password reset":
        _, first = await house.directory.update(admin, "alice", reset_password=True)
        password = "another long password"
        renewed = leaf(await house.password("alice", first, new=password))
    else:
        await house.locks.lock_user(admin, "alice", "lost the laptop")
        assert (await refusal(house.authenticator.authenticate(stolen, HOME)))[1] == "USER_LOCKED"
        await house.locks.unlock_user(admin, "alice")
        renewed = leaf(await house.password("alice", password))
    kind, reason, _ = await refusal(house.authenticator.authenticate(stolen, HOME))
    assert (kind, reason) == (Kind.UNAUTHENTICATED, "SIGN_IN_REQUIRED")
    assert (await house.authenticator.authenticate(renewed, HOME)).user.id == "alice"


async def test_what_changes_in_the_directory_holds_at_the_next_call(house: House) -> None:
    admin = await house.administrator()
    alice = await house.person(admin, "alice")
    pem = leaf(await house.password("alice", PASSWORD))
    assert (await house.authenticator.authenticate(pem, HOME)).grants == ()
    await house.grants.grant(admin, role("alice", Role.USER))
    await house.directory.update(admin, "alice", add_groups=["sre"])
    caller = await house.authenticator.authenticate(pem, HOME)
    assert caller.grants == (role("alice", Role.USER),)
    assert caller.user.groups == {"sre"}
    assert alice.grants == ()


async def test_the_membership_of_local_people_is_as_fresh_as_the_call(house: House) -> None:
    await house.administrator()
    pem = leaf(await house.password("root", PASSWORD))
    house.time.forward(hours=11)
    caller = await house.authenticator.authenticate(pem, HOME)
    assert caller.user.membership_checked_at == house.time()
    assert caller.user.created_at < house.time()


async def test_a_locked_person_is_kept_out_at_once_and_told_why(house: House) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")
    pem = leaf(await house.password("alice", PASSWORD))
    await house.locks.lock_user(admin, "alice", "laptop lost")
    kind, reason, message = await refusal(house.authenticator.authenticate(pem, HOME))
    assert (kind, reason) == (Kind.PERMISSION_DENIED, "USER_LOCKED")
    assert "laptop lost" in message


async def test_a_removed_person_is_kept_out_at_once(house: House) -> None:
    admin = await house.administrator()
    await house.person(admin, "alice")
    pem = leaf(await house.password("alice", PASSWORD))
    await house.directory.remove(admin, "alice")
    found = await refusal(house.authenticator.authenticate(pem, HOME))
    assert found[:2] == (Kind.PERMISSION_DENIED, "USER_REMOVED")


async def test_an_expired_certificate_asks_to_sign_in(house: House) -> None:
    await house.administrator()
    pem = leaf(await house.password("root", PASSWORD))
    house.time.forward(hours=12)
    found = await refusal(house.authenticator.authenticate(pem, HOME))
    assert found[:2] == (Kind.UNAUTHENTICATED, "SIGN_IN_REQUIRED")
    assert "expired at 2026-03-02 00:00:00 UTC" in found[2]


async def test_a_certificate_for_somebody_unknown_asks_to_sign_in(house: House) -> None:
    key = house.certificates.key_of(certificate_request())
    pem = first_certificate(house.certificates.issue(key, "ghost").chain)
    found = await refusal(house.authenticator.authenticate(pem, HOME))
    assert found[:2] == (Kind.UNAUTHENTICATED, "SIGN_IN_REQUIRED")


async def test_no_certificate_asks_to_sign_in(house: House) -> None:
    found = await refusal(house.authenticator.authenticate(b"", HOME))
    assert found[:2] == (Kind.UNAUTHENTICATED, "SIGN_IN_REQUIRED")


async def test_only_a_password_makes_the_certificate_a_fresh_proof(house: House) -> None:
    """An identity provider lets people in by what it remembers, without asking them anything."""
    await house.person(await house.administrator(), "alice")
    certificate = leaf(await house.password("alice", PASSWORD))
    caller = await house.authenticator.authenticate(certificate, HOME)
    assert caller.signed_in_at == house.time().replace(microsecond=0)
    async with house.database.transaction() as tx:
        elsewhere = update(tables.users).where(tables.users.c.id == "alice").values(issuer="https://idp.example")
        await tx.connection.execute(elsewhere)
    assert (await house.authenticator.authenticate(certificate, HOME)).signed_in_at is None
