"""The services as the interceptors call them: with a caller, after the bounds."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.api.administration import AdministrationService
from gateway.api.current import set_caller
from gateway.api.diagnosis import Check, Diagnosis
from gateway.api.identity import IdentityService
from gateway.api.sign_in import SignInService
from gateway.errors import Refused
from gateway.identity.administrator_codes import new_administrator_code
from gateway.identity.caller import Caller
from gateway.identity.model import Role
from gateway.identity.oidc.sign_in import OidcSignIn
from gateway.version import VERSION
from jitgate.v1 import administration_pb2 as pb
from jitgate.v1 import identity_pb2
from jitgate.v1.common_pb2 import PageRequest, Scope
from tests.gateway.identity.conftest import PASSWORD, House, certificate_request, house, role, time

__all__ = ["house", "time"]  # fixtures


@contextlib.contextmanager
def calling(caller: Caller) -> Iterator[None]:
    set_caller(caller)
    yield
    set_caller(None)


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


def service(house: House, *checks: Check) -> AdministrationService:
    return AdministrationService(
        directory=house.directory,
        grants=house.grants,
        locks=house.locks,
        targets=house.targets,
        preferences=house.preferences,
        database=house.database,
        checks=checks,
        clock=house.time,
    )


class Peer:
    """All that sign-in wants of a call."""

    def __init__(self, address: str) -> None:
        self._address = address

    def peer(self) -> str:
        return self._address


def signing_in(house: House, request: identity_pb2.SignInRequest, peer: str = "ipv4:192.0.2.9:50000") -> Any:
    oidc = OidcSignIn(house.database, {}, house.certifier, house.endings, house.time)
    service = SignInService(house.sign_in, oidc, "gateway.example:7443")
    return service.SignIn(request, Peer(peer))  # type: ignore[arg-type]


class TestSignIn:
    @pytest.mark.parametrize(
        ("peer", "source"),
        [
            ("ipv4:192.0.2.9:50000", "192.0.2.9"),
            ("ipv6:%5B2001:db8::1%5D:50000", "2001:db8::1"),
            ("ipv6:[2001:db8::1]:50000", "2001:db8::1"),
            ("unix:", ""),
        ],
    )
    async def test_a_code_then_a_password(self, house: House, peer: str, source: str) -> None:
        code = await new_administrator_code(house.database, house.time)
        proof = identity_pb2.AdministratorCodeProof(code=code, user_id="root", new_password=PASSWORD)
        request = identity_pb2.SignInRequest(administrator_code=proof, certificate_request=certificate_request())
        answer = await signing_in(house, request, peer)
        assert answer.certificate_chain.count("BEGIN CERTIFICATE") == 2
        assert answer.gateway_address == "gateway.example:7443"
        assert answer.identity.user_id == "root"
        assert answer.identity.roles[0].role == identity_pb2.ROLE_ORGANIZATION_ADMINISTRATOR
        assert answer.expires_at.ToDatetime(tzinfo=house.time().tzinfo) > house.time()
        assert (await house.events("sign_in."))[0].source_address == source
        password = identity_pb2.PasswordProof(user_id="root", password=PASSWORD)
        again = identity_pb2.SignInRequest(password=password, certificate_request=certificate_request())
        assert (await signing_in(house, again)).identity.subject == "root"

    async def test_no_proof_at_all_is_refused(self, house: House) -> None:
        request = identity_pb2.SignInRequest(certificate_request=certificate_request())
        assert (await refusal(signing_in(house, request))).fields[0].field == "proof"


async def test_who_am_i(house: House) -> None:
    admin = await house.administrator()
    alice = await house.person(admin, "alice", role("alice", Role.USER), groups=("sre",))
    with calling(alice):
        answer = await IdentityService().WhoAmI(identity_pb2.WhoAmIRequest(), None)
    assert (answer.identity.user_id, list(answer.identity.groups)) == ("alice", ["sre"])
    assert [(grant.user_id, grant.role) for grant in answer.identity.roles] == [("alice", identity_pb2.ROLE_USER)]
    assert answer.gateway_version == VERSION


class TestUsers:
    async def test_their_whole_life(self, house: House) -> None:
        administration = service(house)
        with calling(await house.administrator()):
            made = await administration.CreateUser(
                pb.CreateUserRequest(id="alice", groups=["sre"], attributes={"division": "x"}), None
            )
            assert len(made.initial_password) == 29
            assert (made.user.active, made.user.locked, made.user.issuer) == (True, False, "local")
            changed = await administration.UpdateUser(
                pb.UpdateUserRequest(id="alice", display_name="Alice", remove_groups=["sre"]), None
            )
            assert (changed.user.display_name, list(changed.user.groups)) == ("Alice", [])
            assert changed.initial_password == ""
            kept = await administration.UpdateUser(pb.UpdateUserRequest(id="alice", reset_password=True), None)
            assert kept.user.display_name == "Alice"
            assert len(kept.initial_password) == 29
            await administration.Lock(pb.LockRequest(user_id="alice", reason="why"), None)
            listed = await administration.ListUsers(pb.ListUsersRequest(), None)
            assert [(user.id, user.locked, user.lock_reason) for user in listed.users] == [
                ("alice", True, "why"),
                ("root", False, ""),
            ]
            await administration.Unlock(pb.UnlockRequest(user_id="alice"), None)
            await administration.RemoveUser(pb.RemoveUserRequest(id="alice"), None)
            listed = await administration.ListUsers(pb.ListUsersRequest(include_inactive=True), None)
            assert [(user.id, user.active) for user in listed.users] == [("alice", False), ("root", True)]

    async def test_pages(self, house: House) -> None:
        administration = service(house)
        admin = await house.administrator()
        for number in range(5):
            await house.directory.create(admin, f"user{number}")
        with calling(admin):
            ids: list[str] = []
            token = ""
            for _ in range(3):
                page = PageRequest(size=2, token=token)
                answer = await administration.ListUsers(pb.ListUsersRequest(page=page), None)
                ids += [user.id for user in answer.users]
                token = answer.next_page_token
            assert ids == ["root", "user0", "user1", "user2", "user3", "user4"]
            assert token == ""
            for foreign in ("garbage", "WzFd", "WyJhIiwgImIiXQ=="):  # no token; a number; two parts
                call = administration.ListUsers(pb.ListUsersRequest(page=PageRequest(token=foreign)), None)
                assert (await refusal(call)).fields[0].field == "page.token"


class TestRoles:
    async def test_granted_listed_revoked(self, house: House) -> None:
        administration = service(house)
        admin = await house.administrator()
        grant = identity_pb2.RoleGrant(
            group_id="authors",
            role=identity_pb2.ROLE_POLICY_ADMINISTRATOR,
            account="*",
            region="*",
            policy_kinds=[identity_pb2.POLICY_KIND_DENY, identity_pb2.POLICY_KIND_AUTO],
        )
        with calling(admin):
            await administration.GrantRole(pb.GrantRoleRequest(grant=grant), None)
            listed = (await administration.ListRoles(pb.ListRolesRequest(), None)).grants
            found = next(held for held in listed if held.group_id == "authors")
            assert (found.role, found.account, found.region) == (grant.role, "*", "*")
            assert set(found.policy_kinds) == set(grant.policy_kinds)
            await administration.RevokeRole(pb.RevokeRoleRequest(grant=grant), None)
            assert len((await administration.ListRoles(pb.ListRolesRequest(), None)).grants) == 1

    async def test_an_organization_administrator_is_one_of_the_whole_organization(self, house: House) -> None:
        administration = service(house)
        admin = await house.administrator()
        await house.directory.create(admin, "alice")
        grant = identity_pb2.RoleGrant(user_id="alice", role=identity_pb2.ROLE_ORGANIZATION_ADMINISTRATOR)
        with calling(admin):
            await administration.GrantRole(pb.GrantRoleRequest(grant=grant), None)
        assert role("alice", Role.ORGANIZATION_ADMINISTRATOR, "*", "*") in await house.grants.all(admin)

    @pytest.mark.parametrize(
        ("grant", "field"),
        [
            (identity_pb2.RoleGrant(role=identity_pb2.ROLE_USER), "grant.holder"),
            (identity_pb2.RoleGrant(user_id="root"), "grant.role"),
            (identity_pb2.RoleGrant(user_id="root", role=99), "grant.role"),  # type: ignore[arg-type]  # unknown
            (
                identity_pb2.RoleGrant(
                    user_id="root",
                    role=identity_pb2.ROLE_POLICY_ADMINISTRATOR,
                    policy_kinds=[identity_pb2.POLICY_KIND_UNSPECIFIED],
                ),
                "grant.policy_kinds",
            ),
        ],
    )
    async def test_half_a_grant_is_refused(self, house: House, grant: identity_pb2.RoleGrant, field: str) -> None:
        administration = service(house)
        with calling(await house.administrator()):
            for call in (
                administration.GrantRole(pb.GrantRoleRequest(grant=grant), None),
                administration.RevokeRole(pb.RevokeRoleRequest(grant=grant), None),
            ):
                assert (await refusal(call)).fields[0].field == field


async def test_a_lock_of_nothing_is_refused(house: House) -> None:
    administration = service(house)
    with calling(await house.administrator()):
        for call in (
            administration.Lock(pb.LockRequest(reason="x"), None),
            administration.Unlock(pb.UnlockRequest(), None),
        ):
            assert (await refusal(call)).fields[0].field == "subject"
        node = await refusal(administration.Lock(pb.LockRequest(node="web-1", reason="x"), None))
        assert node.reason == "NODE_NOT_FOUND"
        assert "account default, Region default" in node.message


@pytest.mark.rule("R4")
async def test_targets_by_scope_and_by_unit(house: House) -> None:
    administration = service(house)
    with calling(await house.administrator()):
        disabled = await administration.SetTarget(pb.SetTargetRequest(), None)
        assert [(target.scope.account, target.enabled) for target in disabled.targets] == [("default", False)]
        place = Scope(account="a", region="eu")
        await administration.SetTarget(
            pb.SetTargetRequest(scope=place, organizational_unit="shops", enabled=True), None
        )
        unit = pb.SetTargetRequest(organizational_unit="shops", scope=Scope(region="eu"))
        (changed,) = (await administration.SetTarget(unit, None)).targets
        assert (changed.scope, changed.enabled, changed.organizational_unit) == (place, False, "shops")
        assert changed.changed_by == "root"
        listed = (await administration.ListTargets(pb.ListTargetsRequest(), None)).targets
        assert [target.scope.account for target in listed] == ["a", "default"]


@pytest.mark.rule("R26")
async def test_preferences_are_put_and_read(house: House) -> None:
    administration = service(house)
    with calling(await house.administrator()):
        default = (await administration.GetPreferences(pb.GetPreferencesRequest(), None)).preferences
        assert default.recording == pb.RECORDING_MODE_STRICT
        new = pb.Preferences(
            scope=Scope(account="a", region="eu"),
            maximum_duration_minutes=60,
            run_as="ubuntu",
            recording=pb.RECORDING_MODE_BEST_EFFORT,
        )
        assert (
            await administration.PutPreferences(pb.PutPreferencesRequest(preferences=new), None)
        ).preferences == new
        read = await administration.GetPreferences(pb.GetPreferencesRequest(scope=new.scope), None)
        assert read.preferences == new
        unsaid = pb.PutPreferencesRequest(preferences=pb.Preferences())
        stored = (await administration.PutPreferences(unsaid, None)).preferences
        assert stored.recording == pb.RECORDING_MODE_STRICT
        unknown = pb.PutPreferencesRequest(preferences=pb.Preferences(recording=9))  # type: ignore[arg-type]
        call = administration.PutPreferences(unknown, None)
        assert (await refusal(call)).fields[0].field == "preferences.recording"


@pytest.mark.rule("R29")
class TestEvents:
    async def test_all_of_them_in_pages_with_their_details(self, house: House) -> None:
        administration = service(house)
        admin = await house.administrator()
        for number in range(4):
            await house.directory.create(admin, f"user{number}", groups=["sre"])
        with calling(admin):
            sequences: list[int] = []
            token = ""
            while True:
                page = PageRequest(size=3, token=token)
                answer = await administration.ListEvents(pb.ListEventsRequest(page=page), None)
                sequences += [event.sequence for event in answer.events]
                token = answer.next_page_token
                if not token:
                    break
            assert sequences == sorted(sequences, reverse=True)
            assert len(sequences) == len(await house.events())
            wanted = pb.ListEventsRequest(type_prefix="user.", subject="user3")
            (event,) = (await administration.ListEvents(wanted, None)).events
            assert (event.actor_id, event.subject) == ("root", "user3")
            assert json.loads(event.details) == {"groups": ["sre"]}

    @pytest.mark.rule("R32")
    async def test_an_auditor_of_one_account_sees_that_account_only(self, house: House) -> None:
        administration = service(house)
        admin = await house.administrator()
        auditor = await house.person(admin, "eve", role("eve", Role.AUDITOR, "production", "*"))
        await house.targets.set(admin, "production", "eu", enabled=True)
        await house.targets.set(admin, "other", "eu", enabled=True)
        with calling(auditor):
            seen = (await administration.ListEvents(pb.ListEventsRequest(), None)).events
        assert {event.scope.account for event in seen} == {"production"}
        assert [event.type for event in seen] == ["target.enabled", "role.granted"]

    async def test_a_foreign_token_and_a_moment_that_is_none_are_refused(self, house: House) -> None:
        administration = service(house)
        with calling(await house.administrator()):
            for token in ("garbage", "WyJhIl0=", "Wy0xXQ==", "WzFlOTld", "WzEsMl0="):
                call = administration.ListEvents(pb.ListEventsRequest(page=PageRequest(token=token)), None)
                assert (await refusal(call)).fields[0].field == "page.token"
            huge = administration.ListEvents(
                pb.ListEventsRequest(page=PageRequest(token="WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwXQ==")), None
            )
            assert (await refusal(huge)).fields[0].field == "page.token"
            for moment in (Timestamp(seconds=10**15), Timestamp(seconds=-(10**15))):
                call = administration.ListEvents(pb.ListEventsRequest(after=moment), None)
                assert (await refusal(call)).fields[0].field == "after"


class TestDiagnosis:
    async def well(self) -> Diagnosis:
        return Diagnosis("database", True, "answers in 1 ms")

    async def ill(self) -> Diagnosis:
        return Diagnosis("spool", False, "/var/spool is full", "Free some space.")

    async def fails(self) -> Diagnosis:
        raise OSError("/secret/path")

    async def hangs(self) -> Diagnosis:
        await asyncio.Event().wait()
        raise AssertionError

    def checks(self) -> list[Check]:
        return [
            Check("database", self.well),
            Check("spool", self.ill),
            Check("keys", self.fails),
            Check("clock", self.hangs),
        ]

    async def test_one_that_fails_or_hangs_is_a_finding_and_details_are_for_administrators(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.api.diagnosis._TIMEOUT_SECONDS", 0.01)
        administration = service(house, *self.checks())
        admin = await house.administrator()
        alice = await house.person(admin, "alice", role("alice", Role.USER))
        with calling(admin):
            answer = await administration.Diagnose(pb.DiagnoseRequest(), None)
        assert [(part.part, part.healthy) for part in answer.parts] == [
            ("database", True),
            ("spool", False),
            ("keys", False),
            ("clock", False),
        ]
        assert answer.parts[1].message == "/var/spool is full"
        assert "/secret/path" not in str(answer)
        assert answer.gateway_version == VERSION
        with calling(alice):
            seen = await administration.Diagnose(pb.DiagnoseRequest(), None)
        assert [part.healthy for part in seen.parts] == [True, False, False, False]
        assert [part.message for part in seen.parts] == ["works", *["does not work"] * 3]
        assert seen.parts[1].what_to_do == "Tell an administrator."
