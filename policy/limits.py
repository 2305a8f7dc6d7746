"""What a manual approval policy may say (R15, R17)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from policy.model import Approver, ApproverType, Level, ManualPolicy, TagTargets

ACCESS_HOURS = range(1, 337)
LEVELS = range(1, 6)
APPROVERS = range(1, 6)
APPROVALS = range(1, 26)
"""A level may need more approvals than it lists approvers, as groups are of many."""
TIMEOUT_HOURS = range(1, 721)
"""The guide sets no limit. Nobody remembers after a month what a request was for."""
REMIND_HOURS = range(1, 169)
SIGN_IN_MINUTES = range(1, 721)
"""A certificate of a sign-in holds for 12 hours at most."""
TAGS = range(1, 51)
VALUES = range(51)
OR_ALLOW_IT = ", or say samePersonOncePerRequest: false"
"""What can't be said in every form of a policy."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DESCRIPTION_LENGTH = 1024
_KEY_LENGTH = 128
_VALUE_LENGTH = 256
_ID = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_IAM_USER = re.compile(r"(arn:aws[a-z-]*:iam::[0-9]{12}:user/)?[A-Za-z0-9_+=,.@/-]{1,64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one part of a policy. `path` leads to it: ("levels", 0, "approvals").

    `write_instead` is the value to put there; None where only the author can tell.
    """

    path: tuple[str | int, ...]
    message: str
    write_instead: str | None = None


def problems(policy: ManualPolicy) -> list[Problem]:
    """All that is wrong with a policy; empty: it may be stored."""
    return [
        *_head(policy),
        *_targets(policy),
        *_levels(policy),
    ]


def _within(path: tuple[str | int, ...], what: str, value: int, limits: range) -> Iterator[Problem]:
    if value not in limits:
        nearest = min(max(value, limits[0]), limits[-1])
        yield Problem(path, f"{what} is {limits[0]} to {limits[-1]}, not {value}", str(nearest))


def _head(policy: ManualPolicy) -> Iterator[Problem]:
    if not _NAME.fullmatch(policy.name):
        kept = re.sub(r"[^A-Za-z0-9._-]+", "-", policy.name).strip("-._")[:128]
        message = "a name is 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first"
        yield Problem(("name",), message, kept or None)
    if len(policy.description) > DESCRIPTION_LENGTH:
        message = f"a description has at most {DESCRIPTION_LENGTH} characters"
        yield Problem(("description",), message, policy.description[:DESCRIPTION_LENGTH])
    yield from _within(("accessHours",), "access, in hours,", policy.access_hours, ACCESS_HOURS)
    hours = policy.pending_timeout // timedelta(hours=1)
    yield from _within(("pendingTimeoutHours",), "the time for a decision, in hours,", hours, TIMEOUT_HOURS)
    if policy.pending_timeout != timedelta(hours=hours):
        yield Problem(("pendingTimeoutHours",), "the time for a decision is in whole hours", str(hours))
    if policy.remind_every is not None:
        hours = policy.remind_every // timedelta(hours=1)
        yield from _within(("remindEveryHours",), "the time between reminders, in hours,", hours, REMIND_HOURS)


def _targets(policy: ManualPolicy) -> Iterator[Problem]:
    if not isinstance(policy.targets, TagTargets):
        return
    tags = policy.targets.tags
    yield from _counted(("targets",), "tag targets", len(tags), TAGS)
    for place, target in enumerate(tags):
        path = ("targets", place)
        if not 1 <= len(target.key) <= _KEY_LENGTH:
            message = f"the key of a tag has 1 to {_KEY_LENGTH} characters"
            yield Problem((*path, "tag"), message, target.key[:_KEY_LENGTH] or None)
        if target.key in {earlier.key for earlier in tags[:place]}:
            message = f"tag {target.key} is listed twice: list all of its values in one place"
            yield Problem((*path, "tag"), message)
        yield from _counted((*path, "values"), "values of a tag", len(target.values), VALUES)
        for number, value in enumerate(target.values):
            if len(value) > _VALUE_LENGTH:
                message = f"the value of a tag has at most {_VALUE_LENGTH} characters"
                yield Problem((*path, "values", number), message, value[:_VALUE_LENGTH])
            elif value in target.values[:number]:
                yield Problem((*path, "values", number), f"value {value} is listed twice")


def _levels(policy: ManualPolicy) -> Iterator[Problem]:
    yield from _counted(("levels",), "levels", len(policy.levels), LEVELS)
    found = [
        problem
        for place, level in enumerate(policy.levels)
        for problem in (
            *_level(("levels", place), level),
            *_escalation(("levels", place), level, policy.pending_timeout),
        )
    ]
    yield from found
    if not found and policy.distinct_persons_in_request:
        yield from _across(policy)


def _level(path: tuple[str | int, ...], level: Level) -> Iterator[Problem]:
    yield from _counted((*path, "approvers"), "approvers of a level", len(level.approvers), APPROVERS)
    for number, approver in enumerate(level.approvers):
        yield from _approver((*path, "approvers", number), approver)
        if approver in level.approvers[:number]:
            message = f"{approver.type.value} {approver.id} is listed twice in this level"
            yield Problem((*path, "approvers", number), message)
    yield from _within((*path, "approvals"), "the number of approvals", level.approvals_needed, APPROVALS)
    persons = _persons(level)
    if persons and level.approvals_needed > len(persons):
        message = (
            f"this level needs {level.approvals_needed} approvals and lists {len(persons)}"
            f" {'persons' if len(persons) > 1 else 'person'}: nobody counts twice"
        )
        yield Problem((*path, "approvals"), message, str(len(persons)))


def _escalation(path: tuple[str | int, ...], level: Level, pending_timeout: timedelta) -> Iterator[Problem]:
    if level.sign_in_within is not None:
        minutes = level.sign_in_within // timedelta(minutes=1)
        what = "the age of a sign-in, in minutes,"
        yield from _within((*path, "signInWithinMinutes"), what, minutes, SIGN_IN_MINUTES)
    if level.escalate_after is None and not level.escalate_to:
        return
    if level.escalate_after is None:
        yield Problem((*path, "escalateTo"), "say when: add `escalateAfterHours: 4`")
        return
    if not level.escalate_to:
        yield Problem((*path, "escalateAfterHours"), "say who may decide then: add `escalateTo: [{group: …}]`")
        return
    hours, at_most = level.escalate_after // timedelta(hours=1), pending_timeout // timedelta(hours=1)
    longest = range(1, max(2, min(TIMEOUT_HOURS[-1], at_most)))
    what = "the time before others may decide, in hours and less than pendingTimeoutHours,"
    yield from _within((*path, "escalateAfterHours"), what, hours, longest)
    yield from _counted((*path, "escalateTo"), "approvers to escalate to", len(level.escalate_to), APPROVERS)
    for number, approver in enumerate(level.escalate_to):
        yield from _approver((*path, "escalateTo", number), approver)
        if approver in (*level.approvers, *level.escalate_to[:number]):
            message = f"{approver.type.value} {approver.id} is listed twice in this level"
            yield Problem((*path, "escalateTo", number), message)


def _approver(path: tuple[str | int, ...], approver: Approver) -> Iterator[Problem]:
    if approver.type is ApproverType.IAM_USER:
        if not _IAM_USER.fullmatch(approver.id):
            yield Problem((*path, "iamUser"), "an IAM user is named by its name or ARN")
    elif not _ID.fullmatch(approver.id):
        kept = re.sub(r"[^a-z0-9._@-]+", "-", approver.id.lower()).strip("-._@")[:64]
        message = (
            f"the id of a {approver.type.value} is 1 to 64 small letters, digits, dots, dashes, underscores"
            " and @, a letter or digit first"
        )
        yield Problem((*path, approver.type.value), message, kept or None)


def _persons(level: Level) -> frozenset[Approver] | None:
    """The persons who may approve; None where groups are listed, as only time tells who is in them."""
    if any(approver.type is ApproverType.GROUP for approver in level.approvers):
        return None
    return frozenset(level.approvers)


def _across(policy: ManualPolicy) -> Iterator[Problem]:
    """Levels that can't all be satisfied by distinct persons, though each by itself can (R17).

    Every approval needs a person of its own: a matching of approvals to persons, by augmenting paths. There are
    at most five levels of five persons. The first level that can't be matched is named.
    """
    taken: dict[Approver, int] = {}

    def match(place: int, persons: frozenset[Approver], tried: set[Approver]) -> bool:
        for person in sorted(persons - tried, key=lambda person: (person.type, person.id)):
            tried.add(person)
            holder = taken.get(person)
            if holder is None or match(holder, _persons(policy.levels[holder]) or frozenset(), tried):
                taken[person] = place
                return True
        return False

    for place, level in enumerate(policy.levels):
        persons = _persons(level)
        if persons is not None and not all(match(place, persons, set()) for _ in range(level.approvals_needed)):
            message = (
                "the persons listed here are needed at other levels too, and nobody approves twice in a request:"
                f" list more of them{OR_ALLOW_IT}"
            )
            yield Problem(("levels", place, "approvers"), message)
            return


def _counted(path: tuple[str | int, ...], what: str, count: int, limits: range) -> Iterator[Problem]:
    if count not in limits:
        yield Problem(path, f"there are {limits[0]} to {limits[-1]} {what}, not {count}")
