"""Who guesses at link codes gets slow, and keeps nobody else out for long (R31)."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Select, func, select

from gateway.chat.people import ChatPeople
from gateway.errors import Kind, Refused
from gateway.identity import backoff
from gateway.store import tables
from notifiers.chat import ChatPerson, Verdict
from tests.gateway.access.refusals import refused
from tests.gateway.chat.conftest import Chat, person

pytestmark = pytest.mark.rule("R31")
WRONG = "aaaa-bbbb-cccc"
MALLORY = person("mallory")


async def refusal(chat: Chat, by: ChatPerson, typed: str = WRONG) -> Refused:
    with pytest.raises(Refused) as caught:
        await chat.links.redeem(by, typed)
    return caught.value


async def guess(chat: Chat, times: int, by: ChatPerson = MALLORY) -> list[str]:
    return [(await refusal(chat, by)).reason for _ in range(times)]


async def test_after_three_wrong_codes_even_a_right_one_has_to_wait_and_goes_on_working(chat: Chat) -> None:
    assert await guess(chat, 5) == ["WRONG_CODE"] * 4 + ["LINK_BACKOFF"]
    code = await chat.code("mallory")
    async with refused(chat.world, "LINK_BACKOFF"):
        await chat.links.redeem(MALLORY, code)
    stopped = await refusal(chat, MALLORY, code)
    assert stopped.kind is Kind.RESOURCE_EXHAUSTED
    assert stopped.retry_after is not None
    chat.world.clock.advance(seconds=stopped.retry_after.total_seconds())
    assert await chat.links.redeem(MALLORY, code) == "mallory"
    assert await guess(chat, 5) == ["WRONG_CODE"] * 4 + ["LINK_BACKOFF"]  # counted from the start again


async def test_the_wait_grows_to_a_quarter_of_an_hour_and_not_beyond(chat: Chat) -> None:
    waits = []
    for _ in range(16):
        await guess(chat, 1)
        async with chat.world.database.read() as connection:
            key = backoff.chat_person_key(MALLORY.kind, MALLORY.key)
            row = (await connection.execute(_failures().where(tables.sign_in_failures.c.key == key))).one()
        wait = 0 if row.blocked_until is None else (row.blocked_until - chat.world.clock()).total_seconds()
        waits.append(wait)
        chat.world.clock.advance(seconds=wait)
    assert waits[:5] == [0, 0, 0, 1, 2]
    assert waits[-3:] == [900, 900, 900]


async def test_waiting_keeps_nobody_else_out(chat: Chat) -> None:
    await guess(chat, 4)
    assert await chat.links.redeem(person("pete"), await chat.code("pete")) == "pete"
    elsewhere = person("mallory", workspace="T2")
    assert await guess(chat, 1, elsewhere) == ["WRONG_CODE"]


async def test_guessing_under_many_identities_gets_slow_for_a_minute_at_most(chat: Chat) -> None:
    reasons = [(await guess(chat, 1, person(f"m{number}")))[0] for number in range(25)]
    assert reasons == ["WRONG_CODE"] * 21 + ["LINK_BACKOFF"] * 4
    code = await chat.code("pete")
    assert (await refusal(chat, person("pete"), code)).reason == "LINK_BACKOFF"
    assert await guess(chat, 1, person("m1", workspace="T2")) == ["WRONG_CODE"]
    for number in range(25, 35):
        chat.world.clock.advance(minutes=1)
        assert await guess(chat, 1, person(f"m{number}")) == ["WRONG_CODE"]
    chat.world.clock.advance(minutes=1)
    assert await chat.links.redeem(person("pete"), await chat.code("pete")) == "pete"


async def test_an_own_code_does_not_clear_the_count_of_the_workspace(chat: Chat) -> None:
    for round_ in range(7):
        assert await guess(chat, 3) == ["WRONG_CODE"] * 3
        if round_ < 6:
            assert await chat.links.redeem(MALLORY, await chat.code("mallory")) == "mallory"
    assert await guess(chat, 1, person("eve")) == ["LINK_BACKOFF"]


async def test_people_who_link_count_for_nothing(chat: Chat) -> None:
    for _ in range(25):
        await chat.links.redeem(person("pete"), await chat.code("pete"))
    async with chat.world.database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(tables.sign_in_failures)) == 0


async def test_many_guesses_at_once_are_no_way_around(chat: Chat) -> None:
    code = await chat.code("mallory")
    tries = [refusal(chat, MALLORY) for _ in range(12)]
    reasons = [stopped.reason for stopped in await asyncio.gather(*tries)]
    assert sorted(reasons) == ["LINK_BACKOFF"] * 8 + ["WRONG_CODE"] * 4
    many = [refusal(chat, person(f"m{number}")) for number in range(24)]
    reasons = [stopped.reason for stopped in await asyncio.gather(*many)]
    assert reasons.count("WRONG_CODE") == backoff.CHAT.free + 1 - 4
    assert (await refusal(chat, MALLORY, code)).reason == "LINK_BACKOFF"


async def test_whoever_waits_is_told_and_it_is_written_down_once(chat: Chat) -> None:
    for _ in range(4):
        assert (
            await chat.desk.link(MALLORY, WRONG)
        ).message == "That is no code of this gateway, or it has expired."
    [blocked] = await chat.events("chat.blocked")
    assert blocked.details == {"kind": "slack", "key": "T1/U-mallory", "by": "chat_person", "seconds": 1}
    assert "T1/U-mallory" in blocked.summary
    assert len(await chat.events("chat.refused")) == 4
    before = await chat.world.rows()
    for _ in range(3):
        reply = await chat.desk.link(MALLORY, WRONG)
        assert reply.verdict is Verdict.REFUSED
        assert reply.message == "There were too many wrong codes."
        assert reply.what_to_do.startswith("Try again in 2 seconds")
    assert await chat.world.rows() == before


async def test_a_workspace_that_waits_is_written_down(chat: Chat) -> None:
    for number in range(21):
        await guess(chat, 1, person(f"m{number}"))
    [blocked] = await chat.events("chat.blocked")
    assert (blocked.details["by"], blocked.details["key"]) == ("chat", "T1/U-m20")
    assert blocked.summary.startswith("Everybody in T1 ")


@pytest.mark.parametrize("said", ["thank you", "help", "", "x" * 4000, "\ud800", "aaaa-bbbb-ccc", "code' OR 1=1"])
async def test_what_can_be_no_code_makes_nobody_wait(chat: Chat, said: str) -> None:
    for _ in range(5):
        assert (await refusal(chat, MALLORY, said)).reason == "WRONG_CODE"
    assert await guess(chat, 1) == ["WRONG_CODE"]


async def test_another_refusal_of_a_right_code_is_no_guess_and_forgives_none(chat: Chat) -> None:
    code = await chat.code("pete")
    taken = person("sam")
    await guess(chat, 3, taken)
    for _ in range(3):
        assert (await refusal(chat, taken, code)).reason == "ADDRESS_TAKEN"
    assert await guess(chat, 2, taken) == ["WRONG_CODE", "LINK_BACKOFF"]


async def test_failures_are_forgotten_after_a_day(chat: Chat) -> None:
    await guess(chat, 4)
    chat.world.clock.advance(days=1, seconds=1)
    await guess(chat, 1, person("eve"))
    async with chat.world.database.read() as connection:
        keys = {row.key for row in await connection.execute(_failures())}
    assert keys == {
        backoff.chat_person_key("slack", "T1/U-eve"),
        backoff.chat_key("slack", "T1"),
    }
    assert await guess(chat, 4) == ["WRONG_CODE"] * 4


async def test_who_waits_can_still_decide(chat: Chat) -> None:
    await guess(chat, 4, person("sam"))
    caller = await ChatPeople(chat.world.database, chat.world.clock).caller(person("sam"))
    assert caller.user.id == "sam"


def _failures() -> Select[Any]:
    return select(tables.sign_in_failures)
