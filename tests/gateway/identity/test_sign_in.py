import asyncio
from collections.abc import Awaitable

import argon2
import pytest

from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.identity.administrator_codes import ensure_first_administrator, new_administrator_code
from gateway.identity.model import Role
from gateway.identity.sign_in import CodeProof, PasswordProof
from gateway.identity.signed_in import SignedIn
from gateway.store import sign_ins
from tests.gateway.identity.conftest import HOME, PASSWORD, House, certificate_request, role

pytestmark = pytest.mark.rule("R31")
ELSEWHERE = "198.51.100.7"


async def refusal(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def code(house: House, code: str, user_id: str = "root", source: str = HOME) -> SignedIn:
    return await house.sign_in.with_administrator_code(
        CodeProof(code, user_id, PASSWORD), certificate_request(), source
    )


class TestPasswords:
    async def test_the_right_one_gets_a_certificate_of_the_same_person(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "alice", role("alice", Role.USER), groups=("sre",))
        signed_in = await house.password("alice", PASSWORD)
        caller = await house.caller(signed_in)
        assert (caller.user.id, caller.user.groups) == ("alice", frozenset({"sre"}))
        assert signed_in.grants == caller.grants == (role("alice", Role.USER),)
        assert caller.user.last_sign_in_at == house.time()
        assert caller.certificate_expires_at == signed_in.certificate.expires_at
        last = (await house.events())[-1]
        assert (last.type, last.actor_id, last.source_address) == ("sign_in.succeeded", "alice", HOME)

    async def test_a_wrong_one_gets_the_answer_that_an_unknown_user_gets(self, house: House) -> None:
        await house.administrator()
        answers = [
            await refusal(house.password(user, password, ELSEWHERE))
            for user, password in [("root", "wrong password"), ("nobody", "wrong password"), ("\0", "")]
        ]
        assert answers[0].kind is Kind.UNAUTHENTICATED
        assert {(a.kind, a.reason, a.message, a.what_to_do, str(a.metadata)) for a in answers} == {
            (answers[0].kind, "SIGN_IN_FAILED", answers[0].message, answers[0].what_to_do, "{}")
        }

    async def test_an_unknown_user_costs_as_much_hashing_as_a_known_one(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await house.administrator()
        checked: list[str] = []
        matches = house.passwords._matches

        def counted(stored: str, given: str) -> bool:
            checked.append(stored)
            return matches(stored, given)

        monkeypatch.setattr(house.passwords, "_matches", counted)
        for user in ("root", "nobody"):
            await refusal(house.password(user, "wrong password"))
        parameters = [stored.rsplit("$", 2)[0] for stored in checked]
        assert len(parameters) == 2
        assert parameters[0] == parameters[1]

    async def test_a_first_password_must_be_changed_and_then_no_longer_works(self, house: House) -> None:
        admin = await house.administrator()
        _, initial = await house.directory.create(admin, "alice")
        asked = await refusal(house.password("alice", initial))
        assert (asked.kind, asked.reason) == (Kind.FAILED_PRECONDITION, "PASSWORD_CHANGE_REQUIRED")
        same = await refusal(house.password("alice", initial, new=initial))
        assert same.fields[0].field == "password.new_password"
        await house.password("alice", initial, new=PASSWORD)
        assert (await refusal(house.password("alice", initial))).reason == "SIGN_IN_FAILED"
        await house.password("alice", PASSWORD)

    async def test_who_guesses_wrong_is_not_told_that_a_change_is_due(self, house: House) -> None:
        admin = await house.administrator()
        await house.directory.create(admin, "alice")
        assert (await refusal(house.password("alice", "wrong password"))).reason == "SIGN_IN_FAILED"

    async def test_a_first_password_is_used_once_even_by_two_at_once(self, house: House) -> None:
        admin = await house.administrator()
        _, initial = await house.directory.create(admin, "alice")
        tries = [house.password("alice", initial, new=f"{PASSWORD} {number}") for number in range(3)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(outcome, SignedIn) for outcome in outcomes) == 1

    @pytest.mark.parametrize("new", ["short", "x" * 12])
    async def test_a_bad_new_password_changes_nothing(self, house: House, new: str) -> None:
        await house.administrator()
        refused = await refusal(house.password("root", PASSWORD, new=new))
        assert refused.fields[0].field == "password.new_password"
        await house.password("root", PASSWORD)

    async def test_a_certificate_request_is_needed_before_anything_is_counted(self, house: House) -> None:
        await house.administrator()
        before = await house.events()
        refused = await refusal(house.sign_in.with_password(PasswordProof("root", PASSWORD), b"junk", HOME))
        assert refused.fields[0].field == "certificate_request"
        assert await house.events() == before

    async def test_a_locked_person_is_told_so_only_with_the_right_password(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "alice")
        await house.locks.lock_user(admin, "alice", "laptop lost")
        assert (await refusal(house.password("alice", "wrong password"))).reason == "SIGN_IN_FAILED"
        locked = await refusal(house.password("alice", PASSWORD))
        assert (locked.kind, locked.reason) == (Kind.PERMISSION_DENIED, "USER_LOCKED")
        assert "laptop lost" in locked.message
        told = (await house.events("sign_in."))[-1]
        assert (told.type, told.subject, told.details["reason"]) == ("sign_in.refused", "alice", "USER_LOCKED")
        await house.locks.unlock_user(admin, "alice")
        await house.password("alice", PASSWORD)

    async def test_a_removed_person_is_nobody(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "alice")
        await house.directory.remove(admin, "alice")
        assert (await refusal(house.password("alice", PASSWORD))).reason == "SIGN_IN_FAILED"

    async def test_a_password_hashed_with_old_parameters_is_hashed_anew(self, house: House) -> None:
        await house.administrator()
        old = argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
        async with house.database.transaction() as tx:
            await sign_ins.set_password(tx.connection, "root", sign_ins.Password(old, False), house.time())
        await house.password("root", PASSWORD)
        async with house.database.read() as connection:
            stored = await sign_ins.password(connection, "root")
        assert stored is not None
        assert stored.hash != old
        await house.password("root", PASSWORD)


class TestBackoff:
    async def fail(self, house: House, user: str, source: str, times: int) -> list[str]:
        return [(await refusal(house.password(user, "wrong password", source))).reason for _ in range(times)]

    @pytest.mark.parametrize("user", ["root", "nobody"])
    async def test_after_three_failures_even_the_right_password_has_to_wait(self, house: House, user: str) -> None:
        await house.administrator()
        assert await self.fail(house, user, HOME, 5) == ["SIGN_IN_FAILED"] * 4 + ["SIGN_IN_BACKOFF"]
        refused = await refusal(house.password(user, PASSWORD))
        assert (refused.kind, refused.reason) == (Kind.RESOURCE_EXHAUSTED, "SIGN_IN_BACKOFF")
        assert refused.retry_after is not None
        house.time.now += refused.retry_after
        if user == "root":
            await house.password(user, PASSWORD)
            assert await self.fail(house, user, HOME, 3) == ["SIGN_IN_FAILED"] * 3  # counted from the start again

    async def test_many_guesses_at_once_are_no_way_around(self, house: House) -> None:
        await house.administrator()
        tries = [refusal(house.password("root", f"wrong password {number}", ELSEWHERE)) for number in range(30)]
        reasons = [refused.reason for refused in await asyncio.gather(*tries)]
        assert reasons.count("SIGN_IN_FAILED") <= backoff.USER_AT_SOURCE.free + 1
        assert reasons.count("SIGN_IN_BACKOFF") >= 26

    async def test_the_right_password_among_wrong_ones_sent_at_once_is_not_found(self, house: House) -> None:
        await house.administrator()
        await self.fail(house, "root", ELSEWHERE, 4)
        tries = [house.password("root", guess, ELSEWHERE) for guess in ("wrong password", PASSWORD)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert [getattr(outcome, "reason", "") for outcome in outcomes] == ["SIGN_IN_BACKOFF"] * 2

    async def test_failures_elsewhere_do_not_keep_a_person_out_of_the_accustomed_place(self, house: House) -> None:
        await house.administrator()
        for number in range(40):
            await self.fail(house, "root", f"198.51.100.{number}", 1)
            house.time.forward(seconds=1)
        assert (await refusal(house.password("root", PASSWORD, ELSEWHERE))).reason == "SIGN_IN_BACKOFF"
        await house.password("root", PASSWORD, HOME)

    async def test_guessing_from_many_places_gets_slow_but_a_new_place_waits_a_minute_at_most(
        self, house: House
    ) -> None:
        await house.administrator()
        reasons = [(await self.fail(house, "root", f"198.51.100.{number}", 1))[0] for number in range(20)]
        assert reasons.count("SIGN_IN_FAILED") == backoff.USER.free + 1
        for number in range(20, 40):
            house.time.forward(minutes=1)
            assert await self.fail(house, "root", f"198.51.100.{number}", 1) == ["SIGN_IN_FAILED"]
        house.time.forward(minutes=1)
        await house.password("root", PASSWORD, "203.0.113.1")

    async def test_an_accustomed_place_is_forgotten_after_ninety_days(self, house: House) -> None:
        await house.administrator()
        house.time.forward(days=90, seconds=1)
        for number in range(11):
            await self.fail(house, "root", f"198.51.100.{number}", 1)
        assert (await refusal(house.password("root", PASSWORD, HOME))).reason == "SIGN_IN_BACKOFF"

    async def test_trying_many_users_from_one_place_gets_slow(self, house: House) -> None:
        await house.administrator()
        reasons = [(await self.fail(house, f"user{number}", ELSEWHERE, 1))[0] for number in range(25)]
        assert reasons == ["SIGN_IN_FAILED"] * 21 + ["SIGN_IN_BACKOFF"] * 4
        await house.password("root", PASSWORD, HOME)

    async def test_an_own_account_does_not_clear_the_count_of_a_place(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "mallory")
        for number in range(21):
            await self.fail(house, f"user{number}", ELSEWHERE, 1)
            if number < 20:
                await house.password("mallory", PASSWORD, ELSEWHERE)
        assert (await refusal(house.password("mallory", PASSWORD, ELSEWHERE))).reason == "SIGN_IN_BACKOFF"

    async def test_neighbours_in_an_ipv6_network_are_one_place(self, house: House) -> None:
        await house.administrator()
        reasons = [(await self.fail(house, "root", f"2001:db8::{number}", 1))[0] for number in range(1, 7)]
        assert reasons == ["SIGN_IN_FAILED"] * 4 + ["SIGN_IN_BACKOFF"] * 2

    async def test_failures_and_blocks_are_events_and_waiting_writes_nothing(self, house: House) -> None:
        await house.administrator()
        await self.fail(house, "root", ELSEWHERE, 4)
        told = [(event.type, event.subject) for event in await house.events("sign_in.")][1:]
        assert told == [("sign_in.failed", "root")] * 4 + [("sign_in.blocked", "root")]
        before = await house.events()
        await self.fail(house, "root", ELSEWHERE, 3)
        assert await house.events() == before

    async def test_what_is_no_user_is_not_told_for_it_may_be_a_password(self, house: House) -> None:
        await house.administrator()
        await self.fail(house, "my secret password", ELSEWHERE, 5)
        assert "my secret password" not in repr(await house.events())


class TestAdministratorCode:
    async def test_the_first_start_has_one_and_its_use_makes_an_administrator(self, house: House) -> None:
        printed = await ensure_first_administrator(house.database, house.time)
        assert printed is not None
        caller = await house.caller(await code(house, printed))
        assert caller.grants == (role("root", Role.ORGANIZATION_ADMINISTRATOR, "*", "*"),)
        assert await ensure_first_administrator(house.database, house.time) is None
        await house.password("root", PASSWORD)

    async def test_a_first_start_without_anybody_asks_again_at_the_next_start(self, house: House) -> None:
        first = await ensure_first_administrator(house.database, house.time)
        second = await ensure_first_administrator(house.database, house.time)
        assert first is not None
        assert second is not None
        assert (await refusal(code(house, first))).reason == "SIGN_IN_FAILED"  # the newer one replaced it
        await code(house, second)

    async def test_case_blanks_and_dashes_do_not_count(self, house: House) -> None:
        printed = await new_administrator_code(house.database, house.time)
        await code(house, f" {printed.upper().replace('-', ' ')} ")

    async def test_it_works_once_even_for_many_at_once(self, house: House) -> None:
        printed = await new_administrator_code(house.database, house.time)
        outcomes = await asyncio.gather(
            *(code(house, printed, f"root{number}") for number in range(8)), return_exceptions=True
        )
        assert sum(isinstance(outcome, SignedIn) for outcome in outcomes) == 1
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refused)} == {"SIGN_IN_FAILED"}
        assert (await refusal(code(house, printed, "late"))).reason == "SIGN_IN_FAILED"

    async def test_it_is_over_after_an_hour(self, house: House) -> None:
        printed = await new_administrator_code(house.database, house.time)
        house.time.forward(hours=1)
        assert (await refusal(code(house, printed))).reason == "SIGN_IN_FAILED"

    @pytest.mark.parametrize("wrong", ["", "aaaaa-bbbbb-ccccc-ddddd-eeeee", "\0", "ü" * 128])
    async def test_a_wrong_one_is_refused_and_counts_against_its_place(self, house: House, wrong: str) -> None:
        reasons = [(await refusal(code(house, wrong, source=ELSEWHERE))).reason for _ in range(22)]
        assert reasons == ["SIGN_IN_FAILED"] * 21 + ["SIGN_IN_BACKOFF"]

    async def test_an_administrator_who_forgot_the_password_gets_a_new_one(self, house: House) -> None:
        await house.administrator()
        printed = await new_administrator_code(house.database, house.time)
        proof = CodeProof(printed, "root", "another password")
        await house.sign_in.with_administrator_code(proof, certificate_request(), HOME)
        await house.password("root", "another password")
        assert (await refusal(house.password("root", PASSWORD))).reason == "SIGN_IN_FAILED"

    async def test_it_does_not_hand_over_somebody_elses_account_and_stays_usable(self, house: House) -> None:
        admin = await house.administrator()
        await house.person(admin, "alice", role("alice", Role.APPROVER))
        await house.person(admin, "bob")
        await house.directory.remove(admin, "bob")
        printed = await new_administrator_code(house.database, house.time)
        for taken in ("alice", "bob"):
            refused = await refusal(code(house, printed, taken))
            assert (refused.kind, refused.reason) == (Kind.ALREADY_EXISTS, "USER_ID_TAKEN")
        await house.password("alice", PASSWORD)
        await code(house, printed, "carol")

    async def test_a_locked_administrator_stays_locked(self, house: House) -> None:
        admin = await house.administrator()
        await house.administrator("second")
        await house.locks.lock_user(admin, "second", "compromised")
        printed = await new_administrator_code(house.database, house.time)
        assert (await refusal(code(house, printed, "second"))).reason == "USER_LOCKED"

    @pytest.mark.parametrize("user_id", ["", "Root", "a b", "x" * 65, "-a"])
    async def test_a_bad_id_leaves_the_code_usable(self, house: House, user_id: str) -> None:
        printed = await new_administrator_code(house.database, house.time)
        refused = await refusal(code(house, printed, user_id))
        assert refused.fields[0].field == "administrator_code.user_id"
        await code(house, printed)

    async def test_a_weak_password_leaves_the_code_usable(self, house: House) -> None:
        printed = await new_administrator_code(house.database, house.time)
        proof = CodeProof(printed, "root", "short")
        refused = await refusal(house.sign_in.with_administrator_code(proof, certificate_request(), HOME))
        assert refused.fields[0].field == "administrator_code.new_password"
        await code(house, printed)
