"""R15 and R17: what a manual policy may say, in YAML and in JSON, and that everything wrong is said at once."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.document import parse_manual, to_json, to_yaml
from policy.findings import Finding, rewrite
from policy.model import (
    AllNodes,
    Approver,
    ApproverType,
    Level,
    ManualPolicy,
    TagTarget,
    TagTargets,
    WindowStart,
)
from policy.yaml_tree import MAX_BYTES

FULL = """\
name: production-databases
description: Databases that customers' data is in
accessHours: 8
targets:
  - tag: Workload
    values: [db, 1.10, yes]
  - tag: Critical
levels:
  - approvers: [{group: sre}, {user: alice}, {iamUser: "arn:aws:iam::123456789012:user/bob"}]
    approvals: 2
    escalateAfterHours: 4
    escalateTo: [{group: managers}, {user: dave}]
  - approvers:
      - user: carol
    signInWithinMinutes: 5
pendingTimeoutHours: 24
windowStarts: firstSession
samePersonOncePerRequest: false
remindEveryHours: 6
"""
SHORT = "name: all\naccessHours: 1\ntargets: all\nlevels: [{approvers: [{group: sre}]}]\n"


def read(text: str) -> ManualPolicy | list[Finding]:
    return parse_manual(text, account="prod", region="eu-west-1", version=5)


def accepted(text: str) -> ManualPolicy:
    policy = read(text)
    assert isinstance(policy, ManualPolicy), [str(finding) for finding in policy]
    return policy


def refused(text: str) -> list[Finding]:
    findings = read(text)
    assert isinstance(findings, list)
    assert findings
    lines = text.split("\n")
    for finding in findings:
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
        assert 0 <= finding.start <= finding.end <= len(text)
    return findings


@pytest.mark.rule("R15")
def test_everything_that_a_policy_can_say() -> None:
    assert accepted(FULL) == ManualPolicy(
        name="production-databases",
        description="Databases that customers' data is in",
        version=5,
        account="prod",
        region="eu-west-1",
        access_hours=8,
        targets=TagTargets((TagTarget("Workload", ("db", "1.10", "yes")), TagTarget("Critical"))),
        levels=(
            Level(
                (
                    Approver(ApproverType.GROUP, "sre"),
                    Approver(ApproverType.USER, "alice"),
                    Approver(ApproverType.IAM_USER, "arn:aws:iam::123456789012:user/bob"),
                ),
                2,
                timedelta(hours=4),
                (Approver(ApproverType.GROUP, "managers"), Approver(ApproverType.USER, "dave")),
            ),
            Level((Approver(ApproverType.USER, "carol"),), sign_in_within=timedelta(minutes=5)),
        ),
        pending_timeout=timedelta(hours=24),
        window_starts=WindowStart.FIRST_SESSION,
        distinct_persons_in_request=False,
        remind_every=timedelta(hours=6),
    )


@pytest.mark.rule("R15")
@pytest.mark.rule("R21")
def test_what_is_left_out_has_its_default() -> None:
    policy = accepted(SHORT)
    assert (policy.targets, policy.levels[0].approvals_needed) == (AllNodes(), 1)
    assert (policy.pending_timeout, policy.window_starts) == (timedelta(days=7), WindowStart.APPROVAL)
    assert policy.distinct_persons_in_request
    assert policy.description == ""
    assert policy.remind_every is None
    assert policy.levels == (Level((Approver(ApproverType.GROUP, "sre"),)),)


def test_json_is_taken_too_with_tabs_and_escapes() -> None:
    document = yaml.safe_load(FULL)
    document["targets"][0]["values"] = ["db", "\U0001f600"]
    policy = accepted(json.dumps(document, indent="\t"))
    assert policy.targets == TagTargets((TagTarget("Workload", ("db", "\U0001f600")), TagTarget("Critical")))


LIMITS = {
    "accessHours: 0": "accessHours: 1",
    "accessHours: 337": "accessHours: 336",
    "accessHours: -5": "accessHours: 1",
    "pendingTimeoutHours: 0": "pendingTimeoutHours: 1",
    "pendingTimeoutHours: 721": "pendingTimeoutHours: 720",
    "remindEveryHours: 0": "remindEveryHours: 1",
    "remindEveryHours: 169": "remindEveryHours: 168",
    "name: under the counter": 'name: "under-the-counter"',
    "samePersonOncePerRequest: no": "samePersonOncePerRequest: false",
    "windowStarts: first": "windowStarts: firstSession",
    "descripton: x": "description: x",
}


@pytest.mark.rule("R15")
@pytest.mark.rule("R21")
@pytest.mark.parametrize("line", LIMITS)
def test_what_is_beyond_a_limit_is_refused_with_the_nearest_that_is_not(line: str) -> None:
    key = line.partition(":")[0].replace("descripton", "description")
    rest = "".join(one for one in SHORT.splitlines(keepends=True) if not one.startswith(key))
    findings = refused(line + "\n" + rest)
    assert [finding.line for finding in findings] == [1]
    mended = rewrite(line + "\n" + rest, findings)
    assert mended.startswith(LIMITS[line])
    accepted(mended)


@pytest.mark.rule("R15")
@pytest.mark.parametrize(
    "line", ["accessHours: 1", "accessHours: 336", "pendingTimeoutHours: 720", "windowStarts: approval"]
)
def test_what_is_just_within_a_limit_is_accepted(line: str) -> None:
    accepted(
        SHORT.replace("accessHours: 1\n", "" if line.startswith("accessHours") else "accessHours: 1\n") + line
    )


def levels(*approvers: str, approvals: int = 1) -> str:
    return "levels: [" + ", ".join(f"{{approvers: [{one}], approvals: {approvals}}}" for one in approvers) + "]"


LEVELS = {
    "levels: []": "there are 1 to 5 levels, not 0",
    levels(*["{group: a}"] * 6): "there are 1 to 5 levels, not 6",
    levels(""): "there are 1 to 5 approvers of a level, not 0",
    levels(
        ", ".join(f"{{group: g{number}}}" for number in range(6))
    ): "there are 1 to 5 approvers of a level, not 6",
    levels("{group: a}", approvals=0): "the number of approvals is 1 to 25, not 0",
    levels("{group: a}", approvals=26): "the number of approvals is 1 to 25, not 26",
    levels("{group: a}, {group: a}"): "group a is listed twice in this level",
    levels("{user: Alice}"): "the id of a user is 1 to 64 small letters",
    levels("{iamUser: 'a b'}"): "an IAM user is named by its name or ARN",
    levels("{user: a, group: b}"): "an approver is one of",
    levels("{}"): "an approver is one of",
    levels("{role: a}"): "unknown key `role`",
    levels("alice"): "expected keys and values: user, group, iamUser",
    "levels: {}": "`levels` is a list",
    "levels: [{approvals: 1}]": "`approvers` is missing",
    "levels: [{approvers: {}}]": "`approvers` is a list",
}


@pytest.mark.rule("R15")
@pytest.mark.parametrize("line", LEVELS)
def test_levels_that_are_none_are_refused(line: str) -> None:
    findings = refused("name: a\naccessHours: 1\ntargets: all\n" + line)
    assert [finding.line for finding in findings] == [4]
    assert findings[0].message.startswith(LEVELS[line])


@pytest.mark.rule("R15")
def test_five_levels_of_five_approvers_are_accepted() -> None:
    five = [", ".join(f"{{user: u{level}{number}}}" for number in range(5)) for level in range(5)]
    assert len(accepted("name: a\naccessHours: 1\ntargets: all\n" + levels(*five, approvals=5)).levels) == 5


UNSATISFIABLE = {
    levels("{user: a}, {user: b}", approvals=3): "this level needs 3 approvals and lists 2 persons",
    levels("{user: a}", approvals=2): "this level needs 2 approvals and lists 1 person:",
    levels("{user: a}", "{user: a}"): "the persons listed here are needed at other levels too",
    levels("{user: a}, {user: b}", "{group: g}", "{user: a}", "{user: b}"): "the persons listed here are needed",
    levels(
        "{user: a}, {user: b}, {user: c}", "{user: a}, {user: b}, {user: c}", approvals=2
    ): "the persons listed",
}
SATISFIABLE = [
    levels("{user: a}, {group: g}", approvals=3),
    levels("{user: a}", "{group: g}, {user: a}"),
    levels("{user: a}, {user: b}", "{user: b}, {user: c}", "{user: a}"),
    levels(
        "{user: a}, {user: b}, {user: c}, {user: d}", "{user: a}, {user: b}, {user: c}, {user: d}", approvals=2
    ),
]


@pytest.mark.rule("R17")
@pytest.mark.parametrize("line", UNSATISFIABLE)
def test_a_policy_that_cannot_be_satisfied_is_refused(line: str) -> None:
    [finding] = refused("name: a\naccessHours: 1\ntargets: all\n" + line)
    assert finding.message.startswith(UNSATISFIABLE[line])


@pytest.mark.rule("R17")
@pytest.mark.parametrize("line", SATISFIABLE)
def test_a_policy_that_can_be_satisfied_is_accepted(line: str) -> None:
    accepted("name: a\naccessHours: 1\ntargets: all\n" + line)


@pytest.mark.rule("R17")
def test_one_person_at_two_levels_is_accepted_where_the_policy_says_so() -> None:
    text = "name: a\naccessHours: 1\ntargets: all\n" + levels("{user: a}", "{user: a}")
    accepted(text + "\nsamePersonOncePerRequest: false")
    refused(text + "\nsamePersonOncePerRequest: true")


TARGETS = {
    "targets: []": "there are 1 to 50 tag targets, not 0",
    "targets: everything": "targets are `all`, or a list of tags",
    "targets: [{values: [a]}]": "`tag` is missing",
    "targets: [{tag: a}, {tag: a, values: [b]}]": "tag a is listed twice",
    "targets: [{tag: a, values: []}]": "list a value, or leave `values` out",
    "targets: [{tag: a, values: [b, b]}]": "value b is listed twice",
    "targets: [{tag: a, values: [[b]]}]": "expected text",
    "targets: [{tag: a, values: b}]": "`values` is a list",
    "targets: [{tag: ''}]": "the key of a tag has 1 to 128 characters",
    f"targets: [{{tag: {'k' * 129}}}]": "the key of a tag has 1 to 128 characters",
    f"targets: [{{tag: a, values: [{'v' * 257}]}}]": "the value of a tag has at most 256 characters",
    "targets: [{tag: ~}]": "expected text",
    "targets: {}": "`targets` is a list",
}


@pytest.mark.rule("R15")
@pytest.mark.parametrize("line", TARGETS)
def test_targets_that_are_none_are_refused(line: str) -> None:
    findings = refused("name: a\naccessHours: 1\n" + levels("{group: g}") + "\n" + line)
    assert [finding.line for finding in findings] == [4]
    assert findings[0].message.startswith(TARGETS[line])


def test_everything_wrong_is_said_at_once() -> None:
    text = FULL.replace("accessHours: 8", "accessHours: 400\ncolour: red").replace(
        "approvals: 2", "approvals: many"
    )
    text = text.replace("user: carol", "user: Carol").replace("windowStarts: firstSession", "windowStarts: later")
    assert [finding.line for finding in refused(text)] == [3, 4, 11, 15, 18]


ESCALATIONS = {
    "escalateAfterHours: 4": "say who may decide then",
    "escalateTo: [{user: dave}]": "say when",
    "escalateAfterHours: 0, escalateTo: [{user: dave}]": "the time before others may decide",
    "escalateAfterHours: 168, escalateTo: [{user: dave}]": "the time before others may decide",
    "escalateAfterHours: soon, escalateTo: [{user: dave}]": "`escalateAfterHours` is a whole number",
    "escalateAfterHours: 4, escalateTo: []": "say who may decide then",
    "escalateAfterHours: 4, escalateTo: [{group: g}]": "group g is listed twice in this level",
    "escalateAfterHours: 4, escalateTo: [{user: Dave}]": "the id of a user",
    "escalateAfterHours: 4, escalateTo: [{user: a}, {user: b}, {user: c}, {user: d}, {user: e}, {user: f}]": (
        "there are 1 to 5 approvers to escalate to, not 6"
    ),
    "signInWithinMinutes: 0": "the age of a sign-in",
    "signInWithinMinutes: 721": "the age of a sign-in",
}


@pytest.mark.rule("R22")
@pytest.mark.parametrize("said", ESCALATIONS)
def test_escalations_that_are_none_are_refused(said: str) -> None:
    head = "name: a\naccessHours: 1\ntargets: all\nlevels: [{approvers: [{group: g}], "
    accepted(head + "escalateAfterHours: 167, escalateTo: [{user: dave}], signInWithinMinutes: 720}]")
    [finding] = refused(head + said + "}]")
    assert finding.message.startswith(ESCALATIONS[said])


HOSTILE = {
    "nothing": "",
    "a list": "[]",
    "a word": "policy",
    "two documents": SHORT + "---\n" + SHORT,
    "an alias": SHORT.replace("name: all", "name: &n all") + "description: *n\n",
    "an anchor": SHORT.replace("name: all", "name: &n all"),
    "laughs": "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "a tag": SHORT.replace("name: all", "name: !!str all"),
    "a tag of Python": "name: !!python/object/apply:os.system [ls]\n",
    "a local tag": SHORT.replace("name: all", "name: !x all"),
    "a merge": "<<: {name: a}\n",
    "depth": "[" * 10_000,
    "depth of blocks": "\n".join("  " * depth + "a:" for depth in range(50)),
    "bytes": "name: " + "x" * MAX_BYTES,
    "a control character": SHORT + "description: \x07\n",
    "an escaped nul": SHORT + 'description: "\\0"\n',
    "a tab": "name:\tall\n\tx: 1",
    "twice": SHORT + "name: again\n",
    "octal": SHORT.replace("accessHours: 1", "accessHours: 010"),
    "base sixty": SHORT.replace("accessHours: 1", "accessHours: 1:30"),
    "a float": SHORT.replace("accessHours: 1", "accessHours: 1.0"),
    "a quoted number": SHORT.replace("accessHours: 1", 'accessHours: "1"'),
    "a huge number": SHORT.replace("accessHours: 1", "accessHours: " + "9" * 5_000),
    "other digits": SHORT.replace("accessHours: 1", "accessHours: \u0663"),
    "a key that is a list": SHORT + "? [a]\n: b\n",
    "half a character": SHORT + "description: \ud800\n",
}


@pytest.mark.rule("R15")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused(name: str) -> None:
    refused(HOSTILE[name])


ids = st.from_regex(r"[a-z0-9][a-z0-9._@-]{0,20}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=30)
approvers = st.one_of(
    st.builds(Approver, st.sampled_from([ApproverType.USER, ApproverType.GROUP]), ids),
    st.builds(
        Approver, st.just(ApproverType.IAM_USER), st.from_regex(r"[A-Za-z0-9_+=,.@-]{1,20}", fullmatch=True)
    ),
)
one_level = st.builds(
    Level,
    st.lists(approvers, min_size=1, max_size=4, unique=True).map(
        lambda some: (Approver(ApproverType.GROUP, "g" * 30), *some)
    ),
    st.integers(1, 25),
    sign_in_within=st.none() | st.integers(1, 720).map(lambda minutes: timedelta(minutes=minutes)),
)
later_approvers = st.builds(Approver, st.just(ApproverType.USER), ids.map("then-".__add__))
escalating = st.builds(
    lambda level, to: replace(level, escalate_after=timedelta(hours=1), escalate_to=tuple(to)),
    one_level,
    st.lists(later_approvers, min_size=1, max_size=5, unique=True),
)
tag_targets = st.lists(
    st.builds(TagTarget, texts.filter(bool), st.lists(texts, max_size=3, unique=True).map(tuple)),
    min_size=1, max_size=4, unique_by=lambda target: target.key,
).map(lambda tags: TagTargets(tuple(tags)))  # fmt: skip
policies = st.builds(
    ManualPolicy,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True),
    description=texts,
    version=st.just(5),
    account=st.just("prod"),
    region=st.just("eu-west-1"),
    access_hours=st.integers(1, 336),
    targets=st.one_of(st.just(AllNodes()), tag_targets),
    levels=st.lists(one_level | escalating, min_size=1, max_size=5).map(tuple),
    pending_timeout=st.integers(2, 720).map(lambda hours: timedelta(hours=hours)),
    window_starts=st.sampled_from(WindowStart),
    distinct_persons_in_request=st.booleans(),
    remind_every=st.none() | st.integers(1, 168).map(lambda hours: timedelta(hours=hours)),
)


@pytest.mark.rule("R15")
@settings(max_examples=150, deadline=None)
@given(policies)
def test_the_canonical_form_reads_back_as_the_same_policy(policy: ManualPolicy) -> None:
    assert accepted(to_yaml(policy)) == policy
    assert accepted(to_json(policy)) == policy


MARKS = [
    ":",
    "- ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "~",
    "!x",
    "&a",
    "*a",
    "'",
    '"',
    "|",
    ">",
    "#",
    "?",
    "---",
]
FRAGMENTS = [
    *MARKS,
    "name",
    "levels",
    "targets",
    "all",
    "approvers",
    "group",
    "tag",
    "values",
    "1",
    "\t",
    "\ufeff",
]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=100), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)))
def test_no_text_makes_it_raise(text: str) -> None:
    result = read(text)
    if isinstance(result, list):
        refused(text)
