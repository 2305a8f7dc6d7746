"""R5 to R14: what comes first, what overrides what, and what an error does."""

import json

import cedarpy
import pytest

from policy.cedar import Question, compile_document
from policy.evaluate import evaluate, explain
from policy.explanation import Effect, Match
from policy.model import (
    ANYWHERE,
    Attributes,
    AutoApproved,
    CedarDocument,
    Conflict,
    NeedsApproval,
    NoPolicy,
    PolicyKind,
    Principal,
    Resource,
    TagTarget,
)
from tests.policy.builders import (
    ALICE,
    INSTANCE_ID,
    MANAGED_ID,
    NODE,
    auto,
    deny,
    forbid,
    manual,
    permit,
    tagged,
)
from tests.policy.examples import COST_CENTER, DENY, ENGINEERING, TESTING

SRE = 'principal in AWS::IdentityStore::Group::"sre", action, resource'
ERRS = 'resource.getTag("Missing") == "x"'


@pytest.mark.rule("R5")
@pytest.mark.rule("R7")
def test_an_auto_approval_policy_approves_at_once() -> None:
    decision = evaluate(deny(forbid("false")), auto(permit()), [manual()], ALICE, NODE)
    assert decision.outcome == AutoApproved(version=3, statements=("statement 1",))
    assert decision.explanation.deny.effect is Effect.DOES_NOT_DENY
    assert decision.explanation.auto.effect is Effect.APPROVES


@pytest.mark.rule("R5")
def test_what_is_not_auto_approved_goes_to_the_manual_policies() -> None:
    policy = manual()
    decision = evaluate(None, auto(permit("false")), [policy], ALICE, NODE)
    assert decision.outcome == NeedsApproval(policy)
    assert decision.explanation.deny.effect is Effect.ABSENT
    assert decision.explanation.auto.effect is Effect.GRANTS_NOTHING


@pytest.mark.rule("R5")
@pytest.mark.rule("R6")
def test_deny_access_overrides_auto_approval_and_leaves_manual_approval() -> None:
    policy = manual()
    decision = evaluate(deny(forbid()), auto(permit()), [policy], ALICE, NODE)
    assert decision.outcome == NeedsApproval(policy)
    assert decision.explanation.deny.effect is Effect.DENIES
    assert decision.explanation.auto.effect is Effect.NOT_ASKED


@pytest.mark.rule("R6")
def test_deny_access_denies_only_whom_and_what_it_names() -> None:
    denial = deny(forbid(scope='principal in AWS::IdentityStore::Group::"interns", action, resource'))
    assert isinstance(evaluate(denial, auto(permit()), [], ALICE, NODE).outcome, AutoApproved)
    intern = Principal("bob", frozenset({"interns"}))
    assert evaluate(denial, auto(permit()), [], intern, NODE).outcome == NoPolicy()


@pytest.mark.rule("R11")
def test_without_any_policy_the_request_is_refused() -> None:
    assert evaluate(None, None, [], ALICE, NODE).outcome == NoPolicy()
    assert evaluate(deny(""), auto(""), [], ALICE, NODE).outcome == NoPolicy()


@pytest.mark.rule("R13")
def test_a_forbid_that_errs_takes_auto_approval_away() -> None:
    decision = evaluate(deny(forbid("false") + forbid(ERRS)), auto(permit()), [], ALICE, NODE)
    assert decision.outcome == NoPolicy()
    account = decision.explanation.deny
    assert account.effect is Effect.UNUSABLE
    assert [statement.match for statement in account.statements] == [Match.CONDITION_FALSE, Match.ERROR]
    assert "does not have the tag `Missing`" in account.statements[1].why


@pytest.mark.rule("R13")
def test_a_forbid_that_would_err_for_somebody_else_takes_nothing_away() -> None:
    denial = deny(forbid(ERRS, scope='principal in AWS::IdentityStore::Group::"interns", action, resource'))
    assert isinstance(evaluate(denial, auto(permit()), [], ALICE, NODE).outcome, AutoApproved)


@pytest.mark.rule("R13")
def test_a_permit_that_errs_does_not_grant() -> None:
    decision = evaluate(None, auto(permit(ERRS)), [], ALICE, NODE)
    assert decision.outcome == NoPolicy()
    assert decision.explanation.auto.statements[0].match is Match.ERROR


@pytest.mark.rule("R13")
def test_a_permit_that_errs_does_not_keep_another_from_granting() -> None:
    decision = evaluate(None, auto(permit(ERRS) + '@id("good") ' + permit()), [], ALICE, NODE)
    assert decision.outcome == AutoApproved(3, ("good",))


UNUSABLE = {
    "no Cedar": "name: not-cedar",
    "unfinished": "forbid(principal, action, resource",
    "a permit among the forbids": forbid("false") + permit("false"),
    "a template": "forbid(principal == ?principal, action, resource);",
    "too deep": forbid("(" * 5_000 + "true" + ")" * 5_000),
    "half a character": forbid('"\ud800" == "a"'),
}


@pytest.mark.rule("R13")
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_deny_document_that_cannot_be_used_takes_auto_approval_away(name: str) -> None:
    policy = manual()
    decision = evaluate(deny(UNUSABLE[name]), auto(permit()), [policy], ALICE, NODE)
    assert decision.outcome == NeedsApproval(policy)
    assert decision.explanation.deny.effect is Effect.UNUSABLE
    assert decision.explanation.deny.why


@pytest.mark.rule("R13")
@pytest.mark.parametrize("text", ["permit(principal, action, resource", permit() + forbid(), "what?"])
def test_an_auto_document_that_cannot_be_used_grants_nothing(text: str) -> None:
    decision = evaluate(None, auto(text), [], ALICE, NODE)
    assert decision.outcome == NoPolicy()
    assert decision.explanation.auto.effect is Effect.UNUSABLE


@pytest.mark.rule("R13")
def test_a_request_that_cedar_cannot_hold_is_not_auto_approved() -> None:
    odd = Resource(INSTANCE_ID, {"Name": "\ud800"})
    assert evaluate(deny(""), auto(permit()), [], ALICE, odd).outcome == NoPolicy()
    assert explain(deny(""), auto(permit()), [], ALICE, odd).outcome == NoPolicy()
    assert isinstance(evaluate(deny(""), auto(permit()), [], ALICE, NODE).outcome, AutoApproved)


@pytest.mark.rule("R13")
@pytest.mark.parametrize(
    "result",
    [
        {"decision": "NoDecision", "diagnostics": {}},
        {"decision": "NoDecision", "diagnostics": {"errors": ["failed to build request"]}},
        {"decision": "Allow", "diagnostics": {"reason": ["policy0"], "errors": ["something else"]}},
    ],
)
def test_an_answer_that_is_none_approves_nothing(
    monkeypatch: pytest.MonkeyPatch, result: dict[str, object]
) -> None:
    def broken(question: Question, policies: cedarpy.PolicySet) -> cedarpy.AuthzResult:
        return cedarpy.AuthzResult(result)

    approving = (deny(forbid("false")), auto(permit()))
    assert isinstance(evaluate(*approving, [], ALICE, NODE).outcome, AutoApproved)
    monkeypatch.setattr(Question, "ask", broken)
    for denial in (approving[0], None):
        decision = evaluate(denial, approving[1], [], ALICE, NODE)
        assert decision.outcome == NoPolicy()
        assert decision.explanation.deny.effect is not Effect.DOES_NOT_DENY


@pytest.mark.rule("R13")
def test_a_manual_policy_is_never_taken_for_cedar() -> None:
    document = CedarDocument(PolicyKind.MANUAL, ANYWHERE, ANYWHERE, 1, permit())
    assert compile_document(document).unusable
    assert evaluate(None, compile_document(document), [], ALICE, NODE).outcome == NoPolicy()


@pytest.mark.rule("R3")
def test_the_prefix_of_the_id_is_the_type_of_the_node() -> None:
    managed_only = auto("permit(principal, action, resource is AWS::SSM::ManagedInstance);")
    assert isinstance(evaluate(None, managed_only, [], ALICE, Resource(MANAGED_ID)).outcome, AutoApproved)
    assert evaluate(None, managed_only, [], ALICE, Resource(INSTANCE_ID)).outcome == NoPolicy()


@pytest.mark.rule("R31")
def test_attributes_groups_and_principal_tags_are_seen() -> None:
    seen = auto(
        permit(
            'principal has division && principal.division == "Finance" &&'
            ' context.iam.principalTags.hasTag("AccessLevel") &&'
            ' context.iam.principalTags.getTag("AccessLevel") == "Elevated"',
            scope=SRE,
        )
    )
    assert isinstance(evaluate(None, seen, [], ALICE, NODE).outcome, AutoApproved)
    for other in (
        Principal("alice", ALICE.groups, ALICE.attributes),
        Principal("alice", ALICE.groups, Attributes(), ALICE.principal_tags),
        Principal("alice", frozenset({"dba"}), ALICE.attributes, ALICE.principal_tags),
    ):
        assert evaluate(None, seen, [], other, NODE).outcome == NoPolicy()


@pytest.mark.rule("R6")
@pytest.mark.rule("R7")
def test_the_guides_policies_decide_as_it_says() -> None:
    approval, denial = auto(COST_CENTER + ENGINEERING + TESTING), deny(DENY)
    tester = Principal("tess", attributes=Attributes(employee_number="E-17"))
    testing = Resource(MANAGED_ID, {"Purpose": "Testing"})
    assert evaluate(denial, approval, [], tester, testing).outcome == AutoApproved(3, ("statement 3",))
    temporary = Principal("tim", attributes=Attributes(employee_number="TEMP-1"))
    assert evaluate(denial, approval, [], temporary, testing).outcome == NoPolicy()
    financial = Resource(MANAGED_ID, {"Purpose": "Testing", "DataClassification": "Financial"})
    outsider = Principal("tess", attributes=Attributes(employee_number="E-17", division="Sales"))
    assert evaluate(denial, approval, [], outsider, financial).outcome == NoPolicy()
    insider = Principal("tess", attributes=Attributes(employee_number="E-17", division="Finance"))
    assert isinstance(evaluate(denial, approval, [], insider, financial).outcome, AutoApproved)


@pytest.mark.rule("R14")
def test_the_account_of_a_decision_names_what_matched_and_what_did_not() -> None:
    text = (
        '@id("by-team")\n'
        + permit('resource.hasTag("Team")', scope=SRE)
        + permit(scope='principal == AWS::IdentityStore::User::"bob", action, resource')
        + permit(scope=f'principal, action, resource == AWS::EC2::Instance::"{INSTANCE_ID[:-1]}1"')
        + permit(ERRS)
        + permit('resource.getTag("Workload") == "db"')
    )
    decision = evaluate(None, auto(text), [], ALICE, NODE)
    account = decision.explanation.auto
    assert (account.version, account.effect, account.out_of_scope) == (3, Effect.APPROVES, 1)
    assert [(one.id, one.line, one.match) for one in account.statements] == [
        ("by-team", 2, Match.CONDITION_FALSE),
        ("statement 3", 4, Match.SCOPE_MISMATCH),
        ("statement 4", 5, Match.ERROR),
        ("statement 5", 6, Match.MATCHED),
    ]
    assert account.statements[0].text.startswith('permit(principal in AWS::IdentityStore::Group::"sre"')


@pytest.mark.rule("R14")
def test_explain_tells_of_every_statement_which_part_was_false() -> None:
    text = (
        permit('true && (resource.hasTag("Environment") && resource.getTag("Environment") == "dev")')
        + permit(scope='principal == AWS::IdentityStore::User::"bob", action, resource')
        + 'permit(principal, action, resource) unless { resource.hasTag("Workload") // all of them\n };'
        + "permit(principal, action, resource is AWS::SSM::ManagedInstance);"
    )
    decision = explain(deny(forbid()), auto(text), [manual()], ALICE, NODE)
    assert decision.outcome == NeedsApproval(manual())
    account = decision.explanation.auto
    assert (account.effect, account.out_of_scope) == (Effect.GRANTS_NOTHING, 0)
    assert [statement.why for statement in account.statements] == [
        '`resource.getTag("Environment") == "dev"` is false',
        '`principal == AWS::IdentityStore::User::"bob"` is not this principal',
        '`resource.hasTag("Workload")` is true, and it says unless',
        "`resource is AWS::SSM::ManagedInstance` is not this node",
    ]


@pytest.mark.rule("R14")
@pytest.mark.parametrize("denial", [None, forbid(), forbid("false"), forbid(ERRS), "broken"])
@pytest.mark.parametrize("approval", [None, permit(), permit("false"), permit(ERRS), "broken"])
def test_explain_decides_as_evaluate_does(denial: str | None, approval: str | None) -> None:
    documents = (None if denial is None else deny(denial), None if approval is None else auto(approval))
    for policies in ([], [manual()], [manual("a", tagged(TagTarget("Workload")))]):
        assert (
            explain(*documents, policies, ALICE, NODE).outcome
            == evaluate(*documents, policies, ALICE, NODE).outcome
        )


@pytest.mark.rule("R14")
def test_the_explanation_is_json_with_everything_it_was_made_on() -> None:
    policies = [
        manual("a", tagged(TagTarget("Workload"))),
        manual("b", tagged(TagTarget("Environment", ("prod",)))),
    ]
    decision = evaluate(deny(forbid("false")), auto(permit("false")), policies, ALICE, NODE)
    assert isinstance(decision.outcome, Conflict)
    kept = json.loads(json.dumps(decision.explanation.to_dict()))
    assert kept["principal"] == {
        "id": "alice",
        "groups": ["dba", "sre"],
        "attributes": {"division": "Finance"},
        "principal_tags": {"AccessLevel": "Elevated"},
    }
    assert kept["node"] == {"id": INSTANCE_ID, "tags": {"Environment": "prod", "Workload": "db"}}
    assert (kept["deny"]["version"], kept["auto"]["version"]) == (7, 3)
    assert kept["outcome"] == {
        "kind": "conflict",
        "policies": [
            {"policy": "a", "version": 1, "tags": [{"key": "Workload", "value": "db"}]},
            {"policy": "b", "version": 1, "tags": [{"key": "Environment", "value": "prod"}]},
        ],
    }
    assert [account["matched"] for account in kept["manual"]] == [True, True]


@pytest.mark.rule("R14")
def test_each_outcome_has_its_kind() -> None:
    kinds = {
        evaluate(None, auto(text), policies, ALICE, NODE).explanation.to_dict()["outcome"]["kind"]
        for text, policies in ((permit(), []), ("", [manual()]), ("", []))
    }
    assert kinds == {"auto_approved", "needs_approval", "no_policy"}
