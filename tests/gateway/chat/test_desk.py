"""Decisions from a chat: the same rules as everywhere; whoever may not is written down (R16 to R19, R29, R30)."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from approvals.model import Status
from gateway.chat.people import ChatPeople
from gateway.chat.posts import ChatPosts
from gateway.errors import Refused
from gateway.identity.caller import Caller
from gateway.identity.model import Role, RoleGrant
from gateway.store import directory, tables
from notifiers.chat import ChatPerson, Proof, Standing, Verdict
from notifiers.model import Action
from policy.model import PolicyKind
from tests.gateway.access.test_escalation import BATCH, STRICT
from tests.gateway.chat.conftest import TEAMS, Chat, person

pytestmark = pytest.mark.rule("R30")


async def status(chat: Chat, request_id: str) -> Status:
    return (await chat.world.reader.get(await chat.world.caller("root"), request_id)).life.status


async def test_two_levels_from_the_chat(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    reply = await chat.do("sam", Action.APPROVE, request_id, comment="go\n ahead", shown_level=1)
    assert reply.verdict is Verdict.DONE
    assert (await chat.do("olga", Action.APPROVE, request_id)).verdict is Verdict.DONE
    request = await chat.world.reader.get(await chat.world.caller("bob"), request_id)
    assert request.life.status is Status.APPROVED
    assert [(one.person.user_id, one.comment) for one in request.life.approvals] == [
        ("sam", "go ahead"),
        ("olga", ""),
    ]
    given = await chat.events("access_request.approval_given")
    assert {event.source_address for event in given} == {"slack T1/U-sam", "slack T1/U-olga"}


async def test_denied_and_revoked(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    assert (await chat.do("sam", Action.DENY, request_id)).verdict is Verdict.DONE
    assert await status(chat, request_id) is Status.REJECTED
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    await chat.do("sam", Action.APPROVE, request_id)
    await chat.do("olga", Action.APPROVE, request_id)
    assert (await chat.do("olga", Action.REVOKE, request_id)).verdict is Verdict.DONE
    assert await status(chat, request_id) is Status.REVOKED


async def test_who_may_not_is_refused_and_written_down(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    refused = {
        "bob": Verdict.REFUSED,  # the requester
        "olga": Verdict.REFUSED,  # of the level after this
        "mallory": Verdict.NOT_LINKED,
    }
    for name, verdict in refused.items():
        reply = await chat.do(name, Action.APPROVE, request_id)
        assert (reply.verdict, bool(reply.what_to_do)) == (verdict, True), name
    outsider = await chat.do(person("sam", is_outsider=True), Action.APPROVE, request_id)
    assert outsider.verdict is Verdict.REFUSED
    written = {(event.details["key"], event.details["reason"]) for event in await chat.events("chat.refused")}
    assert written == {
        ("T1/U-bob", "NOT_PERMITTED"),
        ("T1/U-olga", "NOT_ELIGIBLE"),
        ("T1/U-mallory", "NOT_LINKED"),
        ("T1/U-sam", "EXTERNAL_PERSON"),
    }
    assert await status(chat, request_id) is Status.PENDING


@pytest.mark.parametrize("is_between", [False, True], ids=["before the click", "while it is looked into"])
async def test_somebody_who_left_the_group(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, *, is_between: bool
) -> None:
    world = chat.world
    await world.grant(RoleGrant("user", "sam", Role.APPROVER))  # the level names the group
    request_id = (await world.ask("bob", "db-1")).life.id

    async def leave() -> None:
        async with world.database.transaction() as tx:
            await directory.leave(tx.connection, "sam", {"sre"})

    if is_between:
        find = ChatPeople.caller

        async def found(people: ChatPeople, who: ChatPerson) -> Caller:
            caller = await find(people, who)
            await leave()
            return caller

        monkeypatch.setattr(ChatPeople, "caller", found)
    else:
        await leave()
    for action in (Action.APPROVE, Action.DENY):
        assert (await chat.do("sam", action, request_id, shown_level=1)).verdict is Verdict.REFUSED
    reasons = [event.details["reason"] for event in await chat.events("chat.refused")]
    assert reasons == ["REQUEST_NOT_FOUND"] * 2  # nor do they see it any more
    assert await status(chat, request_id) is Status.PENDING
    assert (await chat.do("olga", Action.APPROVE, request_id)).verdict is Verdict.REFUSED  # still the first level


async def test_somebody_who_lost_the_role_or_was_removed(chat: Chat) -> None:
    world = chat.world
    request_id = (await world.ask("bob", "db-1")).life.id
    await world.ungrant(RoleGrant("group", "sre", Role.APPROVER))
    assert (await chat.do("sam", Action.APPROVE, request_id)).verdict is Verdict.REFUSED
    await world.grant(RoleGrant("group", "sre", Role.APPROVER))
    async with world.database.transaction() as tx:
        await world.set(tx.connection, tables.users, "sam", removed_at=world.clock())
    assert (await chat.do("sam", Action.APPROVE, request_id)).verdict is Verdict.REFUSED
    assert await status(chat, request_id) is Status.PENDING


@pytest.mark.parametrize(("gone", "reason"), [("locked_at", "USER_LOCKED"), ("removed_at", "USER_REMOVED")])
async def test_somebody_who_was_locked_or_removed_does_and_sees_nothing(
    chat: Chat, gone: str, reason: str
) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    async with chat.world.database.transaction() as tx:
        await chat.world.set(tx.connection, tables.users, "sam", **{gone: chat.world.clock()})
    assert (await chat.do("sam", Action.APPROVE, request_id)).verdict is Verdict.REFUSED
    assert not isinstance(await chat.desk.standing(person("sam"), request_id), Standing)
    assert await status(chat, request_id) is Status.PENDING
    [event] = await chat.events("chat.refused")
    assert event.details["reason"] == reason
    with pytest.raises(Refused, match=reason):  # by the lookup itself, whatever the use cases ask again
        await ChatPeople(chat.world.database, chat.world.clock).caller(person("sam"))


async def test_a_level_that_wants_a_fresh_sign_in_leads_to_the_page(chat: Chat) -> None:
    await chat.world.node(BATCH, "batch-1", {"Site": "south"})
    await chat.world.put(PolicyKind.MANUAL, STRICT)
    request_id = (await chat.world.ask("bob", "batch-1")).life.id
    reply = await chat.do("sam", Action.APPROVE, request_id)
    assert (reply.verdict, reply.link) == (Verdict.SIGN_IN, f"https://gate.example/requests/{request_id}")
    assert await status(chat, request_id) is Status.PENDING
    assert not await chat.events("chat.refused")


async def test_after_the_end(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    await chat.world.requests.cancel(await chat.world.caller("bob"), request_id)
    assert (await chat.do("sam", Action.APPROVE, request_id)).verdict is Verdict.REFUSED


async def test_another_level_than_was_shown(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    await chat.do("sam", Action.APPROVE, request_id, shown_level=1)
    assert (await chat.do("olga", Action.APPROVE, request_id, shown_level=1)).verdict is Verdict.REFUSED
    assert (await chat.do("olga", Action.APPROVE, request_id, shown_level=2)).verdict is Verdict.DONE


async def test_a_click_races_with_the_command_line(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    sue = await chat.world.caller("sue")
    clicked, _ = await asyncio.gather(
        chat.do("sam", Action.DENY, request_id), chat.world.requests.deny(sue, request_id), return_exceptions=True
    )
    assert not isinstance(clicked, BaseException)
    assert len(await chat.events("access_request.rejected")) == 1


@pytest.mark.rule("R16")
async def test_of_three_decisions_in_slack_teams_and_the_command_line_one_counts(chat: Chat) -> None:
    world = chat.world
    await chat.link("sue", kind=TEAMS)
    await world.person("rita", groups=["sre"])
    rita = await world.caller("rita")

    async def by_command(request_id: str) -> bool:
        try:
            await world.requests.deny(rita, request_id)
        except Refused:
            return False
        return True

    async def in_chat(who: ChatPerson, action: Action, request_id: str) -> bool:
        return (await chat.do(who, action, request_id, shown_level=1)).verdict is Verdict.DONE

    for turn in range(6):
        request_id = (await world.ask("bob", "db-1", reason=f"race {turn}")).life.id
        slack, teams = person("sam"), person("sue", kind=TEAMS)
        racing = [
            in_chat(slack, Action.APPROVE, request_id),
            in_chat(teams, Action.DENY, request_id),
            by_command(request_id),
        ]
        order = [*range(turn % 3, 3), *range(turn % 3)]
        counted = dict(zip(order, await asyncio.gather(*(racing[each] for each in order)), strict=True))
        assert sum(counted.values()) == 1, counted
        life = (await world.reader.get(await world.caller("root"), request_id)).life
        expected = (Status.PENDING, ["sam"]) if counted[0] else (Status.REJECTED, [])
        assert (life.status, [one.person.user_id for one in life.approvals]) == expected
        written = [event for event in await chat.events("access_request.") if event.subject == request_id]
        told = {"access_request.opened", "access_request.rejected"}
        if counted[0]:
            told = {"access_request.opened", "access_request.approval_given", "access_request.level_completed"}
        assert sorted(event.type for event in written) == sorted(told)
        refused = [event for event in await chat.events("chat.refused") if event.subject == request_id]
        assert len(refused) == 2 - counted[0] - counted[1]


@pytest.mark.parametrize(
    ("request_id", "named"),
    [
        ("", "what is no request"),
        ("oi-ffffffffffff", "oi-ffffffffffff"),
        ("../../etc", "what is no request"),
        ("oi-" + "f" * 4000, "what is no request"),
        ("oi-1 in slack: all is well\nbob tried\u202e", "what is no request"),
        ("oi-\x00", "what is no request"),
    ],
)
async def test_a_request_that_is_not_there(chat: Chat, request_id: str, named: str) -> None:
    assert (await chat.do("sam", Action.APPROVE, request_id)).verdict is Verdict.REFUSED
    assert not isinstance(await chat.desk.standing(person("sam"), request_id, Action.DENY), Standing)
    deny, approve = await chat.events("chat.refused")
    assert approve.summary.startswith(f"sam tried to approve {named} in slack: There is no")
    assert deny.summary.startswith(f"sam tried to deny {named} in slack: There is no")


async def test_what_each_viewer_could_do(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    standing = await chat.desk.standing(person("sam"), request_id)
    assert isinstance(standing, Standing)
    assert standing.actions == (Action.APPROVE, Action.DENY)
    assert (standing.subject.requester_name, standing.subject.level) == ("Bob", 1)
    others = await chat.desk.standing(person("bob"), request_id)
    assert isinstance(others, Standing)
    assert others.actions == ()
    nobody = await chat.desk.standing(person("mallory"), request_id)
    assert not isinstance(nobody, Standing)
    assert nobody.verdict is Verdict.NOT_LINKED


async def test_whoever_is_about_to_do_what_they_may_not_is_written_down_and_nothing_is_decided(chat: Chat) -> None:
    request_id = (await chat.world.ask("bob", "db-1")).life.id
    for name in ("bob", "olga", "mallory"):
        reply = await chat.desk.standing(person(name), request_id, Action.APPROVE)
        assert not isinstance(reply, Standing), name
        assert reply.message, name
    assert isinstance(await chat.desk.standing(person("sam"), request_id, Action.APPROVE), Standing)
    written = [(event.details["key"], event.details["reason"]) for event in await chat.events("chat.refused")]
    assert sorted(written) == [
        ("T1/U-bob", "NOT_POSSIBLE"),
        ("T1/U-mallory", "NOT_LINKED"),
        ("T1/U-olga", "NOT_POSSIBLE"),
    ]
    assert await status(chat, request_id) is Status.PENDING


async def test_who_is_to_sign_in_again_may_still_revoke(chat: Chat) -> None:
    await chat.world.node(BATCH, "batch-1", {"Site": "south"})
    await chat.world.put(PolicyKind.MANUAL, STRICT)
    request_id = (await chat.world.ask("bob", "batch-1")).life.id
    reply = await chat.desk.standing(person("sam"), request_id, Action.DENY)
    assert not isinstance(reply, Standing)
    assert reply.verdict is Verdict.SIGN_IN
    reply = await chat.desk.standing(person("sam"), request_id, Action.REVOKE)
    assert not isinstance(reply, Standing)
    assert reply.verdict is Verdict.REFUSED


@pytest.mark.rule("R31")
async def test_what_was_posted_counts_once_for_all_gateways(chat: Chat) -> None:
    world = chat.world
    one, other = (ChatPosts(world.database, world.clock) for _ in range(2))
    short, long = (Proof("v0=abc", world.clock() + timedelta(minutes=minutes)) for minutes in (10, 70))
    assert await one.is_first("slack", short)
    assert not await one.is_first("slack", short)
    assert not await other.is_first("slack", short)
    assert await other.is_first("teams", long)
    at_once = await asyncio.gather(*(each.is_first("slack", replace(short, once="v0=d")) for each in (one, other)))
    assert sorted(at_once) == [False, True]
    world.clock.advance(minutes=10)
    assert await one.is_first("slack", short)  # by then nobody believes it any more
    assert not await other.is_first("teams", long)
    world.clock.advance(minutes=60)
    assert await one.is_first("teams", long)
