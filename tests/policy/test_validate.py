"""R12: what is accepted, what is refused, and that what is said to be written instead is accepted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.cedar import compile_document
from policy.findings import Finding, rewrite
from policy.model import ANYWHERE, CedarDocument, PolicyKind
from policy.validate import MAX_BYTES, MAX_CONDITIONS, MAX_STATEMENTS, validate_cedar
from tests.policy.examples import ACCEPTED, ACTION, CONTRACTOR, DENY, ELEVATED, REFUSED

AUTO, FORBID = PolicyKind.AUTO, PolicyKind.DENY


def when(condition: str, effect: str = "permit") -> str:
    return f"{effect}(principal, action, resource) when {{ {condition} }};"


def paste(kind: PolicyKind, text: str, rounds: int = 5) -> str:
    """The text after its author pasted what we say, until we say no more."""
    for _ in range(rounds):
        findings = validate_cedar(kind, text)
        if not findings:
            return text
        for finding in findings:
            check(text, finding)
        text = rewrite(text, findings)
    raise AssertionError(f"still refused: {validate_cedar(kind, text)[0]} in {text}")


def check(text: str, finding: Finding) -> None:
    lines = text.split("\n")
    assert 1 <= finding.line <= len(lines)
    assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
    assert 0 <= finding.start <= finding.end <= len(text)
    assert finding.message
    assert finding.write_instead != text[finding.start : finding.end]


@pytest.mark.rule("R12")
@pytest.mark.parametrize("name", ACCEPTED)
def test_the_guides_good_examples_are_accepted(name: str) -> None:
    assert validate_cedar(*ACCEPTED[name]) == []


@pytest.mark.rule("R12")
@pytest.mark.parametrize("name", REFUSED)
def test_the_guides_slips_are_refused_and_mended_by_pasting_once(name: str) -> None:
    kind, text = REFUSED[name]
    findings = validate_cedar(kind, text)
    assert findings
    assert validate_cedar(kind, rewrite(text, findings)) == []
    assert paste(kind, text).count("when") == text.count("when")


@pytest.mark.rule("R12")
def test_all_findings_come_at_once_in_their_places() -> None:
    findings = validate_cedar(AUTO, ELEVATED + CONTRACTOR)
    assert [(finding.line, finding.column, finding.write_instead) for finding in findings] == [
        (1, 29, ACTION),
        (
            4,
            5,
            'context.iam.principalTags.hasTag("AccessLevel")'
            ' && context.iam.principalTags.getTag("AccessLevel") == "Elevated"',
        ),
        (9, 29, ACTION),
        (12, 5, 'principal has division && principal.division == "Contractor"'),
    ]


@pytest.mark.rule("R12")
def test_deny_holds_forbid_only_and_auto_permit_only() -> None:
    assert [finding.line for finding in validate_cedar(AUTO, DENY)] == [1, 10, 20]
    [finding] = validate_cedar(FORBID, when("true") + when("true", "forbid"))
    assert "holds only `forbid`" in finding.message
    assert paste(FORBID, when("true") + when("true", "forbid")) == when("true", "forbid")


@pytest.mark.rule("R12")
@pytest.mark.parametrize("text", ["", "\n", "// nothing is denied here\n"])
@pytest.mark.parametrize("kind", [AUTO, FORBID])
def test_an_empty_document_is_accepted(kind: PolicyKind, text: str) -> None:
    assert validate_cedar(kind, text) == []


def test_manual_policies_are_no_cedar() -> None:
    with pytest.raises(ValueError, match="no Cedar"):
        validate_cedar(PolicyKind.MANUAL, "")


MENDED = {
    'resource.getTag("a") == "b"': 'resource.hasTag("a") && resource.getTag("a") == "b"',
    '!(resource.getTag("a") == "b")': 'resource.hasTag("a") && !(resource.getTag("a") == "b")',
    'principal.division == "a" || principal.costCenter == resource.getTag("c")': (
        'principal has division && principal.division == "a" || '
        'principal has costCenter && resource.hasTag("c") && principal.costCenter == resource.getTag("c")'
    ),
    '!(true && resource.getTag("a") == "b")': (
        '!(true && (if resource.hasTag("a") then resource.getTag("a") == "b" else true))'
    ),
    'if resource.getTag("a") == "b" then true else false': (
        'resource.hasTag("a") && (if resource.getTag("a") == "b" then true else false)'
    ),
    'resource.Environment == "x"': 'resource.hasTag("Environment") && resource.getTag("Environment") == "x"',
    'resource has Env && resource.Env == "x"': 'resource.hasTag("Env") && resource.getTag("Env") == "x"',
    'resource.tags["a"] == "b"': 'resource.hasTag("a") && resource.getTag("a") == "b"',
    'context.iam.team == "x"': (
        'context.iam.principalTags.hasTag("team") && context.iam.principalTags.getTag("team") == "x"'
    ),
    'principal.division in ["a", "b"]': 'principal has division && ["a", "b"].contains(principal.division)',
    'principal has costcenter && principal.costcenter == "x"': (
        'principal has costCenter && principal.costCenter == "x"'
    ),
    'resource.hasTag("a") && resource.getTag("a") == 5': 'resource.hasTag("a") && resource.getTag("a") == "5"',
    "resource.hasTag('a') and not resource.hastag(“b”)": 'resource.hasTag("a") && ! resource.hasTag("b")',
    "resource.getTag('a') = 'b'": 'resource.hasTag("a") && resource.getTag("a") == "b"',
    'resource is ManagedInstance || resource == Node::"mi-0123456789abcdef0"': (
        'resource is AWS::SSM::ManagedInstance || resource == AWS::SSM::ManagedInstance::"mi-0123456789abcdef0"'
    ),
    "principal in AWS::IdentityStore::Group::sre": 'principal in AWS::IdentityStore::Group::"sre"',
    '(resource.hasTag("a")': '(resource.hasTag("a"))',
    "99999999999999999999 == 1": "9223372036854775807 == 1",
}


@pytest.mark.rule("R12")
@pytest.mark.parametrize("condition", MENDED)
def test_conditions_are_mended_to_what_was_meant(condition: str) -> None:
    assert validate_cedar(AUTO, when(condition))
    assert paste(AUTO, when(condition)) == when(MENDED[condition])


@pytest.mark.rule("R13")
def test_what_is_missing_is_mended_so_that_it_does_not_approve() -> None:
    unless = 'permit(principal, action, resource) unless { resource.getTag("a") == "b" };'
    assert 'if resource.hasTag("a") then resource.getTag("a") == "b" else true' in paste(AUTO, unless)
    forbid = 'forbid(principal, action, resource) unless { principal.division == "x" };'
    assert 'unless { principal has division && principal.division == "x" }' in paste(FORBID, forbid)


GROUP = 'AWS::IdentityStore::Group::"sre"'
USER = 'AWS::IdentityStore::User::"sre"'

SCOPES = {
    'principal in Group::"sre", action, resource': f"principal in {GROUP}, action, resource",
    f"principal == {GROUP}, action, resource": f"principal in {GROUP}, action, resource",
    'principal = User::"sre" action, resource': f"principal == {USER}, action, resource",
    'principal, action == "getToken", resource': f"principal, action == {ACTION}, resource",
    'principal, action == AWS::SSM::Action::"StartSession", resource': f"principal, action == {ACTION}, resource",
    'principal, action, resource == Instance::"mi-0123456789abcdef0"': (
        'principal, action, resource == AWS::SSM::ManagedInstance::"mi-0123456789abcdef0"'
    ),
}


@pytest.mark.rule("R12")
@pytest.mark.parametrize("scope", SCOPES)
def test_scopes_are_mended_to_what_was_meant(scope: str) -> None:
    assert paste(AUTO, f"permit({scope});") == f"permit({SCOPES[scope]});"


MEANINGLESS = [
    "principal.name == 1",
    'resource.getTag("a").contains("b")',
    'resource.hasTag("a") && resource.getTag("a") < "b"',
    "resource.hasTag(a)",
    "foo.bar",
    "ip(1) == 2",
    '"\\q" == "a"',
    "",
    "true true",
    "principal.division.x == 1",
    "[] == []",
]


@pytest.mark.rule("R12")
@pytest.mark.rule("R13")
@pytest.mark.parametrize("condition", MEANINGLESS)
def test_what_nobody_can_guess_is_mended_to_what_does_not_approve(condition: str) -> None:
    assert "false" in paste(AUTO, when(condition))
    assert "true" in paste(FORBID, when(condition, "forbid"))
    assert "true" in paste(AUTO, when(condition).replace("when", "unless"))
    assert "false" in paste(FORBID, when(condition, "forbid").replace("when", "unless"))


@pytest.mark.parametrize(
    "text",
    [
        "permit(action, principal, resource);",
        "permit(principal, action);",
        "permit(user, action, resource);",
        "permit();",
        "permit principal;",
        "permit(principal == ?principal, action, resource);",
        'permit(principal in [AWS::IdentityStore::Group::"a"], action, resource);',
        "permit(principal, action, resource == AWS::EC2::Instance);",
        "permit(principal, action, resource) when true;",
        "permit(principal, action, resource) when {true}} ;",
        '@id("a") @id("b") permit(principal, action, resource);',
    ],
)
@pytest.mark.rule("R12")
def test_statements_that_make_no_sense_end_without_approving(text: str) -> None:
    assert paste(AUTO, text) == ""
    assert paste(FORBID, text.replace("permit", "forbid")) == "forbid(principal, action, resource);"


def test_faults_of_one_statement_do_not_hide_those_of_the_next() -> None:
    text = "permit(principal;\n" + when("nonsense") + "\npermit(principal, action, resource) when { true }\n@x"
    assert [finding.line for finding in validate_cedar(AUTO, text)] == [1, 2, 3, 4]


@pytest.mark.rule("R12")
def test_the_same_fault_in_many_places_is_found_in_each() -> None:
    assert [finding.column for finding in validate_cedar(AUTO, when("1 || 1 || 1"))] == [44, 49, 54]
    wrong = 1_500
    findings = validate_cedar(AUTO, (when("principal.salary == 1") + "\n") * wrong)
    assert [finding.line for finding in findings] == list(range(1, wrong + 1))
    assert {finding.column for finding in findings} == {1, 44}  # past MAX_TRIALS the statement is named


def test_a_comment_of_another_language_does_not_swallow_what_follows() -> None:
    forbid = when("true", "forbid")
    assert paste(FORBID, f"/* never */ {forbid}").endswith(forbid)
    assert paste(FORBID, f"# never\n{forbid}") == f"// # never\n{forbid}"
    assert paste(FORBID, f"\ufeff{forbid}") == forbid


BEYOND = {
    "bytes": "//" + "x" * MAX_BYTES,
    "statements": when("true") * (MAX_STATEMENTS + 1),
    "brackets": when("(" * 100_000 + "true"),
    "closed brackets": when("(" * 5_000 + "true" + ")" * 5_000),
    "behind what ends a comment for Cedar": "// \r" + when("(" * 5_000 + "true" + ")" * 5_000),
    "behind what ends a string for Cedar": when('"\\\n" == ' + "(" * 5_000 + "true" + ")" * 5_000),
    "dots of has": when("context has iam" + ".iam" * 50_000),
    "accesses": when("context" + ".iam" * 50_000),
    "chain": when(" && ".join(["true"] * 5_000)),
    "signs": when("!" * 5_000 + "true"),
    "ifs": when("if true then " * 2_000 + "true" + " else true" * 2_000),
    "conditions": when("true") [:-1] + " when { true }" * MAX_CONDITIONS + ";",
    "half a character": when('"\ud800" == "a"'),
    "nul": "\0",
}  # fmt: skip


@pytest.mark.rule("R12")
@pytest.mark.parametrize("name", BEYOND)
def test_what_is_beyond_measure_is_refused_before_cedar_sees_it(name: str) -> None:
    assert validate_cedar(AUTO, BEYOND[name])
    assert compile_document(CedarDocument(AUTO, ANYWHERE, ANYWHERE, 1, BEYOND[name])).unusable or name in (
        "bytes",
        "statements",
        "conditions",
    )


VOCABULARY = """
    permit forbid ( ) { } principal action resource , ; when unless == in is has like && || ! . :: "a" if then
    else true 1 - @id ' " // ?principal é AWS::EC2::Instance AWS::IdentityStore::User getTag
    resource.getTag("a") resource.hasTag("a") principal.division context.iam.principalTags when{ }; ["a"]
    permit(principal,action,resource) forbid(principal,action,resource)
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n"])


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=30).map(" ".join), st.sampled_from([AUTO, FORBID]))
def test_any_text_is_mended_by_pasting(text: str, kind: PolicyKind) -> None:
    paste(kind, text, rounds=12)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.sampled_from([AUTO, FORBID]))
def test_no_text_makes_it_raise(text: str, kind: PolicyKind) -> None:
    for finding in validate_cedar(kind, text):
        check(text, finding)
