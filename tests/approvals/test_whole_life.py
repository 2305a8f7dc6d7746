"""A request's whole life, driven at random; what must hold whatever happens."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from approvals.codec import approvals_from_json, approvals_to_json, plan_from_json, plan_to_json
from approvals.commands import (
    SYSTEM_REASONS,
    Approve,
    Cancel,
    Command,
    Deny,
    GiveBack,
    Open,
    Reevaluate,
    Revoke,
    SessionStarted,
    SystemRevoke,
    Tick,
    Withdraw,
)
from approvals.model import (
    Actor,
    ApprovalPlan,
    Approver,
    ApproverKind,
    AutoApproval,
    EndReason,
    Level,
    PolicyRef,
    Request,
    Status,
    WindowStarts,
)
from approvals.outcomes import EventKind, Refusal, RequestEvent
from approvals.service import transition
from approvals.window import is_open, next_deadline
from tests.approvals.builders import AUTO, DAY, HOUR, ID, NO_POLICY, T0, opening, plan

PEOPLE = {
    "alice": Actor("alice", T0, frozenset({"dev", "sre"}), "p0"),
    "alice-ops": Actor("alice-ops", T0, frozenset({"sre"}), "p0", iam_user="ops"),
    "bob": Actor("bob", T0, frozenset({"sre"}), "p1"),
    "bob-ops": Actor("bob-ops", T0, frozenset({"security"}), "p1", iam_user="ops"),
    "carol": Actor("carol", T0, frozenset({"sre", "security"}), "p2"),
    "dave": Actor("dave", T0, frozenset({"security"}), None),
    "erin": Actor("erin", T0, frozenset({"sre"}), "p4"),
    "root": Actor("root", T0, frozenset(), None, is_administrator=True),
}
HUMANS = {name: who.person_id or name for name, who in PEOPLE.items()}
ENTRIES = [
    Approver(ApproverKind.GROUP, "sre"),
    Approver(ApproverKind.GROUP, "security"),
    Approver(ApproverKind.USER, "alice"),
    Approver(ApproverKind.USER, "bob"),
    Approver(ApproverKind.USER, "dave"),
    Approver(ApproverKind.IAM_USER, "ops"),
]
who_acts = st.sampled_from(sorted(PEOPLE))


@st.composite
def levels(draw: st.DrawFn) -> Level:
    entries = draw(st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=4, unique=True))
    groups = any(e.kind is ApproverKind.GROUP for e in entries)
    most = 3 if groups else len(entries)
    return Level(tuple(entries), draw(st.integers(1, min(most, 3))))


plans = st.builds(
    ApprovalPlan,
    policy=st.just(PolicyRef("web", 2)),
    access_duration=st.integers(1, 336).map(lambda h: timedelta(hours=h)),
    levels=st.lists(levels(), min_size=1, max_size=3).map(tuple),
    pending_timeout=st.integers(1, 14).map(lambda d: timedelta(days=d)),
    window_starts=st.sampled_from(WindowStarts),
    distinct_persons_per_request=st.booleans(),
)


def far(life: "Life") -> bool:
    """Far enough into the life for it to end: what ends a request comes late, or no life would be long."""
    return life.steps > 6


class Life(RuleBasedStateMachine):
    now: datetime = T0
    request: Request
    told: tuple[RequestEvent, ...] = ()
    ended: Request | None = None
    steps: int = 0

    @initialize(
        decided=st.integers(0, 19).flatmap(lambda n: {18: st.just(AUTO), 19: st.just(NO_POLICY)}.get(n, plans)),
        hours=st.none() | st.integers(1, 336),
    )
    def open(self, decided: ApprovalPlan, hours: int | None) -> None:
        outcome = transition(None, opening(decided, hours=hours, by=PEOPLE["alice"]), self.now)
        assert not isinstance(outcome, Refusal)
        self.request, self.told = outcome.request, outcome.events

    def give(self, command: Command) -> None:
        self.steps += 1
        before = self.request
        outcome = transition(before, command, self.now)
        if isinstance(outcome, Refusal):
            assert outcome.message
            assert outcome.what_to_do
            return
        assert not before.status.is_final, "a final status was left"
        assert self.may(before, command), "somebody did what others may do"
        deadline = next_deadline(before)
        assert isinstance(command, Tick) or (deadline is not None and self.now < deadline), "too late"
        if not outcome.events:
            assert outcome.request == before, "something changed and nothing tells of it"
        for event in outcome.events:
            assert (event.request_id, event.policy) == (ID, outcome.request.policy)
        self.request = outcome.request
        self.told += outcome.events
        if self.request.status.is_final:
            self.ended = self.request

    def too_late(self) -> bool:
        deadline = next_deadline(self.request)
        return deadline is not None and self.now >= deadline

    def may(self, request: Request, command: Command) -> bool:
        """Who may give which command, said once more in other words."""
        given = {HUMANS[a.person.user_id] for a in request.approvals}
        match command:
            case Cancel(who) | GiveBack(who) | SessionStarted(who):
                return who.user_id == "alice" and self.now - who.membership_checked_at < DAY
            case Revoke(who):
                return who.is_administrator or HUMANS[who.user_id] in given
            case Withdraw(who, whose):
                own = whose in (None, who.user_id)
                everybodys = whose is None and who.is_administrator and bool(given)
                return everybodys or (HUMANS[whose or who.user_id] in given and (own or who.is_administrator))
            case Approve(who) | Deny(who):
                return HUMANS[who.user_id] != HUMANS["alice"]
            case _:
                return True

    def person(self, name: str, stale: bool = False) -> Actor:
        age = timedelta(hours=25) if stale else timedelta(0)
        return replace(PEOPLE[name], membership_checked_at=self.now - age)

    @rule(name=who_acts, stale=st.sampled_from([False] * 4 + [True]))
    def approve(self, name: str, stale: bool) -> None:
        before = self.request
        self.give(Approve(self.person(name, stale), "ok"))
        assert not stale or self.request == before

    @rule(names=st.permutations(sorted(PEOPLE)))
    def the_level_is_filled(self, names: list[str]) -> None:
        level = self.request.current_level
        for name in [same for each in names for same in (each, each)]:  # everybody tries twice
            if level is not None and self.request.current_level == level:
                self.give(Approve(self.person(name)))

    @rule(name=who_acts, whose=st.none() | who_acts)
    def withdraw(self, name: str, whose: str | None) -> None:
        self.give(Withdraw(self.person(name), whose))

    @rule(name=st.sampled_from(["alice", "alice-ops", "bob"]))
    def start_session(self, name: str) -> None:
        self.give(SessionStarted(self.person(name, stale=name == "bob")))

    @rule(name=who_acts)
    @precondition(far)
    def deny(self, name: str) -> None:
        self.give(Deny(self.person(name)))

    @rule(command=st.sampled_from([Cancel, GiveBack]), name=st.sampled_from(["alice", "alice-ops", "bob"]))
    @precondition(far)
    def leave(self, command: type[Cancel | GiveBack], name: str) -> None:
        self.give(command(self.person(name)))

    @rule(name=who_acts)
    @precondition(far)
    def revoke(self, name: str) -> None:
        self.give(Revoke(self.person(name)))

    @rule(reason=st.sampled_from(sorted(SYSTEM_REASONS)))
    @precondition(far)
    def system(self, reason: EndReason) -> None:
        self.give(SystemRevoke(reason))

    @rule()
    def tags_change_and_the_policy_stays(self) -> None:
        before = self.request
        self.give(Reevaluate(AUTO if isinstance(before.plan, AutoApproval) else plan()))
        assert self.request == before

    @rule()
    @precondition(far)
    def tags_change_and_nothing_fits(self) -> None:
        by_hand = isinstance(self.request.plan, ApprovalPlan) and self.request.status is Status.APPROVED
        before = self.request
        self.give(Reevaluate(NO_POLICY))
        assert self.request == before if by_hand else self.request.status.is_final or self.too_late()

    @rule()
    def open_again(self) -> None:
        command: Open = opening(AUTO, by=self.person("alice"))
        assert isinstance(transition(self.request, command, self.now), Refusal)

    @rule(step=st.sampled_from([timedelta(seconds=1), HOUR, 5 * HOUR, -HOUR]), tick=st.booleans())
    def time_passes(self, step: timedelta, tick: bool) -> None:
        self.now += step
        if tick:
            self.give(Tick())

    @rule()
    def the_deadline_comes(self) -> None:
        deadline = next_deadline(self.request)
        if deadline is not None and far(self):
            self.now = max(self.now, deadline)
            assert not is_open(self.request, self.now)
            self.give(Tick())
            assert self.request.status in (Status.TIMED_OUT, Status.EXPIRED)

    @invariant()
    def a_final_request_never_changes(self) -> None:
        assert self.ended is None or self.request == self.ended
        outcomes = [e for e in self.told if e.status.is_final]
        assert len(outcomes) == (1 if self.request.status.is_final else 0)

    @invariant()
    def approved_means_that_every_level_has_its_persons(self) -> None:
        if not any(e.kind is EventKind.APPROVED for e in self.told):
            assert self.request.approved_at is None
            return
        assert sum(e.kind is EventKind.APPROVED for e in self.told) == 1
        decided = self.request.plan
        if not isinstance(decided, ApprovalPlan):
            return
        for index, level in enumerate(decided.levels):
            humans = [HUMANS[a.person.user_id] for a in self.request.approvals_of(index)]
            assert len(humans) == len(set(humans)) == level.needed

    @invariant()
    def approvals_are_eligible_and_of_levels_in_turn(self) -> None:
        decided, given = self.request.plan, self.request.approvals
        if not isinstance(decided, ApprovalPlan):
            assert given == ()
            return
        for approval in given:
            who = PEOPLE[approval.person.user_id]
            assert HUMANS[who.user_id] != HUMANS["alice"], "the requester counted"
            assert approval.through in decided.levels[approval.level].approvers
            assert approval.through.id in {who.user_id, who.iam_user, *who.groups}
        for index, level in enumerate(decided.levels):
            assert len(self.request.approvals_of(index)) <= level.needed, "overshot"
            if any(a.level > index for a in given):
                assert len(self.request.approvals_of(index)) == level.needed, "a level was passed over"
        if decided.distinct_persons_per_request:
            humans = [HUMANS[a.person.user_id] for a in given]
            assert len(humans) == len(set(humans))

    @invariant()
    def the_events_tell_the_story(self) -> None:
        assert self.told[-1].status is self.request.status
        assert self.told[-1].at == self.request.updated_at
        times = [e.at for e in self.told]
        assert times == sorted(times)
        given: list[tuple[str, int]] = []
        for event in self.told:
            if event.kind is EventKind.APPROVAL_GIVEN:
                given.append((str(event.actor), int(str(event.details["level"]))))
            elif event.kind is EventKind.APPROVAL_WITHDRAWN:
                back, gone = int(str(event.details["level"])), event.details["lapsed"]
                assert isinstance(gone, list)
                taken = {HUMANS[name] for name in str(event.details["approver"]).split(", ")}
                given = [
                    (name, level)
                    for name, level in given
                    if level < back or (level == back and HUMANS[name] not in taken)
                ]
        assert given == [(a.person.user_id, a.level + 1) for a in self.request.approvals]

    @invariant()
    def the_window_is_never_longer_than_it_may(self) -> None:
        request = self.request
        if request.window_start is None or request.window_end is None:
            assert request.window_start is request.window_end is None
            return
        length = request.window_end - request.window_start
        if isinstance(request.plan, ApprovalPlan):
            asked = timedelta(hours=request.hours or 336)
            assert length == min(asked, request.plan.access_duration)
        else:
            assert length == HOUR
        assert request.approved_at is not None
        assert timedelta(0) <= request.window_start - request.approved_at < DAY

    @invariant()
    def open_means_approved_and_in_time(self) -> None:
        deadline = next_deadline(self.request)
        assert (deadline is None) is self.request.status.is_final
        if is_open(self.request, self.now):
            assert self.request.status is Status.APPROVED
            assert deadline is not None
            assert self.now < deadline

    @invariant()
    def the_store_gets_back_what_it_kept(self) -> None:
        assert plan_from_json(plan_to_json(self.request.plan)) == self.request.plan
        assert approvals_from_json(approvals_to_json(self.request.approvals)) == self.request.approvals


TestWholeLife = pytest.mark.rule("R19")(Life.TestCase)
TestWholeLife.settings = settings(max_examples=200, stateful_step_count=40, database=None, deadline=None)
