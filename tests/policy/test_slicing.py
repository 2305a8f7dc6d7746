"""Only statements whose principal scope fits are evaluated, and that changes nothing."""

import json
import re

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.cedar import GROUP, SCHEMA, USER, Question
from policy.evaluate import evaluate
from policy.model import Attributes, AutoApproved, Principal, Resource
from tests.policy.builders import INSTANCE_ID, MANAGED_ID, auto, deny

names = st.sampled_from(["ann", "bob", "sre", "dba"])
principals = st.builds(
    Principal,
    id=names,
    groups=st.frozensets(names, max_size=3),
    attributes=st.builds(Attributes, division=st.sampled_from([None, "Finance", "Sales"])),
    principal_tags=st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["x", "y"])),
)
resources = st.builds(
    Resource,
    node_id=st.sampled_from([INSTANCE_ID, MANAGED_ID]),
    tags=st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["x", "y"])),
)
principal_scopes = st.one_of(
    st.sampled_from(
        ["principal", f"principal is {USER}", f"principal is {GROUP}", 'principal == AWS::IAM::Role::"ann"']
    ),
    st.tuples(
        st.sampled_from(["principal ==", "principal in", f"principal is {USER} in"]),
        st.sampled_from([USER, GROUP]),
        names,
    ).map(lambda parts: f'{parts[0]} {parts[1]}::"{parts[2]}"'),
)
resource_scopes = st.sampled_from(
    ["resource", "resource is AWS::EC2::Instance", f'resource == AWS::SSM::ManagedInstance::"{MANAGED_ID}"']
)
conditions = st.sampled_from(
    [
        "true",
        "false",
        'resource.getTag("A") == "x"',
        'resource.hasTag("A") && resource.getTag("A") == "x"',
        'principal.division == "Finance"',
        'principal has division && principal.division == "Sales"',
        'context.iam.principalTags.getTag("B") == "y"',
        '!(resource.hasTag("B"))',
    ]
)


def texts(effect: str) -> st.SearchStrategy[str]:
    statement = st.tuples(principal_scopes, resource_scopes, conditions).map(
        lambda parts: f"{effect}({parts[0]}, action, {parts[1]}) when {{ {parts[2]} }};"
    )
    return st.lists(statement, max_size=8).map("\n".join)


def unsliced(text: str, question: Question) -> tuple[set[int], set[int]]:
    """The satisfied and the erring statements, by Cedar on the whole text, as anybody would ask it."""
    result = cedarpy.is_authorized(question.request, text, json.loads(str(question.entities)), SCHEMA)
    erring = {int(number) for error in result.diagnostics.errors for number in re.findall(r"`policy(\d+)`", error)}
    return {int(reason.removeprefix("policy")) for reason in result.diagnostics.reasons}, erring


@settings(max_examples=200, deadline=None)
@given(texts("permit"), principals, resources)
def test_a_slice_answers_as_the_whole(text: str, principal: Principal, resource: Resource) -> None:
    question = Question(principal, resource)
    answer = auto(text).answer(question)
    assert (set(answer.satisfied), set(answer.errors)) == unsliced(text, question)


@pytest.mark.rule("R6")
@pytest.mark.rule("R13")
@settings(max_examples=200, deadline=None)
@given(texts("forbid"), texts("permit"), principals, resources)
def test_auto_approved_is_what_a_permit_grants_and_no_forbid_or_error_of_one_takes_away(
    denials: str, approvals: str, principal: Principal, resource: Resource
) -> None:
    question = Question(principal, resource)
    forbidding, failing = unsliced(denials, question)
    granting, _ = unsliced(approvals, question)
    outcome = evaluate(deny(denials), auto(approvals), [], principal, resource).outcome
    assert isinstance(outcome, AutoApproved) == bool(granting and not forbidding and not failing)


def test_a_slice_holds_only_what_can_match() -> None:
    text = "\n".join(f'permit(principal in {GROUP}::"g{number}", action, resource);' for number in range(100))
    answer = auto(text).answer(
        Question(Principal("ann", frozenset({"g7", "g93", "other"})), Resource(INSTANCE_ID))
    )
    assert answer.candidates == (7, 93)
    assert answer.satisfied == {7, 93}


def test_a_name_that_is_a_user_and_a_group_is_two_names() -> None:
    text = f'permit(principal == {USER}::"sre", action, resource);'
    assert not auto(text).answer(Question(Principal("ann", frozenset({"sre"})), Resource(INSTANCE_ID))).satisfied
    assert auto(text).answer(Question(Principal("sre"), Resource(INSTANCE_ID))).satisfied
