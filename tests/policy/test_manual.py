"""R8 to R11: which manual policy decides, and which get in each other's way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.manual import account_of, find_overlaps, overlaps, select
from policy.model import AllNodes, Claim, Conflict, NeedsApproval, NoPolicy, Resource, TagTarget, TagTargets
from tests.policy.builders import INSTANCE_ID, NODE, manual, tagged

DATABASES = manual("databases", tagged(TagTarget("Workload", ("db", "cache"))))
PRODUCTION = manual("production", tagged(TagTarget("Environment", ("prod",))))
EVERYTHING = manual("everything")


@pytest.mark.rule("R8")
def test_a_policy_for_a_tag_beats_one_for_all_nodes() -> None:
    assert select([EVERYTHING, DATABASES], NODE) == NeedsApproval(DATABASES)
    assert select([EVERYTHING, DATABASES], Resource(INSTANCE_ID)) == NeedsApproval(EVERYTHING)


@pytest.mark.rule("R8")
def test_one_of_several_tags_is_enough_and_none_is_not() -> None:
    either = manual("either", tagged(TagTarget("Team"), TagTarget("Workload", ("db",))))
    assert select([either], NODE) == NeedsApproval(either)
    assert select([either], Resource(INSTANCE_ID, {"Workload": "web"})) == NoPolicy()
    assert select([either], Resource(INSTANCE_ID, {"Team": ""})) == NeedsApproval(either)


@pytest.mark.rule("R8")
def test_several_tags_of_one_policy_are_no_conflict() -> None:
    both = manual("both", tagged(TagTarget("Environment"), TagTarget("Workload")))
    assert select([both], NODE) == NeedsApproval(both)


@pytest.mark.rule("R9")
def test_two_policies_for_tags_of_one_node_are_a_conflict_that_names_both() -> None:
    assert select([DATABASES, EVERYTHING, PRODUCTION], NODE) == Conflict(
        (
            Claim("databases", 1, (("Workload", "db"),)),
            Claim("production", 1, (("Environment", "prod"),)),
        )
    )
    assert select([DATABASES, PRODUCTION], Resource(INSTANCE_ID, {"Workload": "db"})) == NeedsApproval(DATABASES)


@pytest.mark.rule("R10")
def test_two_policies_for_all_nodes_that_got_there_all_the_same_are_a_conflict() -> None:
    outcome = select([EVERYTHING, manual("other")], NODE)
    assert isinstance(outcome, Conflict)
    assert all("conflict" in account.why for account in account_of([EVERYTHING, manual("other")], NODE))


@pytest.mark.rule("R11")
def test_no_policy_fits() -> None:
    assert select([], NODE) == NoPolicy()
    assert select([DATABASES], Resource(INSTANCE_ID)) == NoPolicy()


@pytest.mark.rule("R14")
def test_each_policy_has_its_account() -> None:
    accounts = account_of([EVERYTHING, DATABASES, manual("teams", tagged(TagTarget("Team")))], NODE)
    assert [(account.policy, account.matched, account.why) for account in accounts] == [
        ("everything", True, "targets all nodes; a policy that targets a tag of the node goes before it"),
        ("databases", True, "targets Workload=db of the node"),
        ("teams", False, "targets no tag of the node"),
    ]


OVERLAPS = [
    (TagTarget("A"), TagTarget("A"), "tag A"),
    (TagTarget("A"), TagTarget("A", ("x",)), "tag A=x"),
    (TagTarget("A", ("x", "y")), TagTarget("A", ("y", "z")), "tag A=y"),
]


@pytest.mark.rule("R10")
@pytest.mark.parametrize(("one", "other", "where"), OVERLAPS)
def test_a_tag_that_another_policy_targets_is_refused_by_name(
    one: TagTarget, other: TagTarget, where: str
) -> None:
    new, old = manual("new", tagged(one)), manual("old", tagged(TagTarget("B"), other))
    [overlap] = find_overlaps(new, [PRODUCTION, old, EVERYTHING])
    assert (overlap.policy, overlap.where) == ("old", where)


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tagged(TagTarget("A", ("x",))), tagged(TagTarget("A", ("y",)))),
        (tagged(TagTarget("A")), tagged(TagTarget("a"))),
        (AllNodes(), tagged(TagTarget("A"))),
    ],
)
def test_other_values_other_keys_and_other_reach_do_not_overlap(
    one: AllNodes | TagTargets, other: AllNodes | TagTargets
) -> None:
    assert not overlaps(manual("one", one), manual("other", other))


@pytest.mark.rule("R10")
def test_two_policies_for_all_nodes_overlap_in_one_region_only() -> None:
    assert find_overlaps(manual("new"), [EVERYTHING])[0].where == "all nodes"
    assert not find_overlaps(manual("new", region="eu-west-1"), [EVERYTHING])
    assert not find_overlaps(manual("everything", version=2), [EVERYTHING])


keys = st.sampled_from(["A", "B", "C"])
values = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3, unique=True).map(tuple)
tag_targets = st.lists(st.builds(TagTarget, keys, values), min_size=1, max_size=3).map(tuple).map(TagTargets)
targets = st.one_of(st.just(AllNodes()), tag_targets)


@pytest.mark.rule("R10")
@settings(max_examples=200, deadline=None)
@given(targets, targets)
def test_overlap_is_mutual(one: AllNodes | TagTargets, other: AllNodes | TagTargets) -> None:
    first, second = manual("first", one), manual("second", other)
    assert overlaps(first, second) == overlaps(second, first)
    assert overlaps(first, first)


@pytest.mark.rule("R10")
@settings(max_examples=200, deadline=None)
@given(tag_targets, tag_targets, keys, st.sampled_from(["x", "y", "z", "other"]))
def test_a_single_tag_is_claimed_by_two_policies_only_if_they_overlap(
    one: TagTargets, other: TagTargets, key: str, value: str
) -> None:
    first, second = manual("first", one), manual("second", other)
    if isinstance(select([first, second], Resource(INSTANCE_ID, {key: value})), Conflict):
        assert overlaps(first, second)
