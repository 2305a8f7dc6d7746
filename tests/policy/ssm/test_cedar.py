"""R12: deny-access and auto-approval policies as the guide's documents, read and shown, faults said in place."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.findings import Finding, rewrite
from policy.model import CedarDocument, PolicyKind
from policy.written import Form, accepted_policy, in_form, read_policy
from tests.policy.builders import forbid, permit
from tests.policy.examples import ACCEPTED, REFUSED

AUTO = permit('resource.hasTag("ENV") && resource.getTag("ENV") == "DEV"')


def document(*contents: str, **changed: Any) -> dict[str, Any]:
    return {
        "schemaVersion": "0.3",
        "description": "nodes of developers",
        "accessTokenRole": "SSM-JustInTimeAccessTokenRole",
        "accessDuration": 3600,
        "AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": content} for content in contents],
        **changed,
    }


class Styled(str):
    """A string that YAML is to write in a style of its own."""


def as_yaml(value: dict[str, Any], style: str | None, width: int = 100) -> str:
    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        Styled, lambda dumper, data: dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style=style)
    )
    listed = [{**one, "content": Styled(one["content"])} for one in value["AutoApprovalPolicyDocuments"]]
    changed = {**value, "AutoApprovalPolicyDocuments": listed}
    return yaml.dump(changed, Dumper=Dumper, sort_keys=False, width=width, allow_unicode=True)


def read(text: str, kind: PolicyKind = PolicyKind.AUTO) -> CedarDocument | list[Finding]:
    policy = read_policy(kind, text, account="prod", region="eu-west-1", version=2)
    assert not isinstance(policy, list) or all(0 <= one.start <= one.end <= len(text) for one in policy)
    assert isinstance(policy, CedarDocument | list)
    return policy


def accepted(text: str, kind: PolicyKind = PolicyKind.AUTO) -> CedarDocument:
    policy = read(text, kind)
    assert isinstance(policy, CedarDocument), [str(finding) for finding in policy]
    assert accepted_policy(kind, text, account="prod", region="eu-west-1", version=2, name="") == policy
    return policy


def refused(text: str, kind: PolicyKind = PolicyKind.AUTO) -> list[Finding]:
    findings = read(text, kind)
    assert isinstance(findings, list)
    assert findings
    return findings


@pytest.mark.rule("R12")
@pytest.mark.parametrize("name", ACCEPTED)
def test_the_guides_policies_are_read_out_of_json_and_yaml(name: str) -> None:
    kind, cedar = ACCEPTED[name]
    meant = CedarDocument(kind, "prod", "eu-west-1", 2, cedar, "nodes of developers")
    assert accepted(json.dumps(document(cedar)), kind) == meant
    assert accepted(json.dumps(document(cedar), indent="\t"), kind) == meant
    assert accepted(as_yaml(document(cedar), None), kind) == meant
    assert accepted(as_yaml(document(cedar), '"', 40), kind) == meant
    assert accepted("# ours\n---\n" + as_yaml(document(cedar), "|"), kind) == meant


@pytest.mark.rule("R12")
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("style", ["json", '"', "|"])
def test_what_is_wrong_with_the_cedar_is_said_where_it_stands_and_can_be_written_instead(
    name: str, style: str
) -> None:
    kind, cedar = REFUSED[name]
    text = json.dumps(document(cedar)) if style == "json" else as_yaml(document(cedar), style)
    by_itself = read(cedar, kind)
    assert isinstance(by_itself, list)
    findings = refused(text, kind)
    assert [finding.message for finding in findings] == [finding.message for finding in by_itself]
    for finding, bare in zip(findings, by_itself, strict=True):
        beginning = cedar[bare.start : bare.end].split("\n")[0].split('"')[0]
        assert text[finding.start :].startswith(beginning)
        lines = text[: finding.start].split("\n")
        assert (finding.line, finding.column) == (len(lines), len(lines[-1]) + 1)
    mended = text
    for _ in range(3):
        result = read(mended, kind)
        if not isinstance(result, list):
            break
        mended = rewrite(mended, result)
    accepted(mended, kind)


def test_of_a_folded_text_the_line_and_column_within_it_are_said() -> None:
    text = (
        "schemaVersion: '0.3'\nAutoApprovalPolicyDocuments:\n- type: Cedar\n  content: >\n    permit(principal);\n"
    )
    [finding] = refused(text)
    assert (finding.line, finding.start, finding.end) == (4, text.index(">"), text.index(">"))
    assert finding.message.startswith("in line 1, column ")


@pytest.mark.rule("R12")
def test_a_permit_in_the_deny_access_policy_is_refused_in_a_document_too() -> None:
    text = json.dumps(document(forbid(), AUTO))
    [finding] = refused(text, PolicyKind.DENY)
    assert finding.message.startswith("`permit` belongs into an auto-approval policy")
    assert text[finding.start :].startswith("permit")


def test_several_policies_are_one_below_the_other_with_their_names_above() -> None:
    several = document(AUTO, permit())
    several["AutoApprovalPolicyDocuments"][1] |= {"id": "second", "description": "of two\nlines"}
    assert accepted(json.dumps(several)).text == f"{AUTO}\n// second: of two lines\n{permit()}"
    wrong = json.dumps(several).replace(
        "(principal, action, resource) when { true", "(principal, action) when { true"
    )
    [finding] = refused(wrong)
    assert finding.start >= wrong.index("permit(principal, action)")


def test_policies_that_are_cedar_only_together_are_refused() -> None:
    findings = refused(json.dumps(document("permit(principal, action, resource)", "when { true };")))
    assert all(finding.message.startswith("each policy has to be complete by itself") for finding in findings)


def test_a_policy_of_nothing_is_accepted() -> None:
    assert accepted(json.dumps(document(""))).text == ""


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "another schema": ({"schemaVersion": "2.2"}, "`schemaVersion` of an approval policy is 0.3"),
    "another role": ({"accessTokenRole": "mine"}, "role `mine` has no counterpart"),
    "two hours": ({"accessDuration": 7200}, "what is approved at once is open for one hour"),
    "long": ({"description": "x" * 1025}, "a description has at most 1024 characters"),
    "parameters": ({"parameters": {}}, "`parameters` has no counterpart, leave it out"),
    "targets": ({"targets": []}, "unknown key `targets`"),
    "no list": ({"AutoApprovalPolicyDocuments": "permit"}, "`AutoApprovalPolicyDocuments` is a list"),
    "nothing": ({"AutoApprovalPolicyDocuments": []}, "there are 1 to 50 policies in it, not 0"),
    "too many": (
        {"AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": ""}] * 51},
        "there are 1 to 50 policies in it, not 51",
    ),
    "another language": (
        {"AutoApprovalPolicyDocuments": [{"type": "Rego", "content": ""}]},
        "`type` is Cedar",
    ),
    "no text": ({"AutoApprovalPolicyDocuments": [{"type": "Cedar"}]}, "`content` is missing"),
    "null": ({"AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": None}]}, "expected text"),
    "a list": ({"AutoApprovalPolicyDocuments": [{"type": "Cedar", "content": [AUTO]}]}, "expected text"),
    "manual": ({"mainSteps": []}, "unknown key `mainSteps`"),
}


@pytest.mark.rule("R12")
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_such_document_is_refused_by_name(name: str) -> None:
    changed, message = FAULTS[name]
    [finding] = refused(json.dumps(document(AUTO, **changed), indent=1))
    assert finding.message.startswith(message)


def test_everything_wrong_is_said_at_once_in_the_order_of_the_text() -> None:
    text = json.dumps(document("permit(principal);", AUTO, accessDuration=60, outputs=[]), indent=1)
    findings = refused(text)
    assert [finding.line for finding in findings] == [5, 9, 16]


def test_a_manual_policys_document_is_sent_to_its_own_kind() -> None:
    [finding] = refused(json.dumps({"schemaVersion": "0.3", "mainSteps": []}))
    assert finding.message.endswith("put it with --kind manual")


@pytest.mark.parametrize("text", ["{", "{}", "{" * 50, "[]{", '{"a": *x}', "schemaVersion: [", '{"a": "\ud800"}'])
def test_hostile_documents_are_refused(text: str) -> None:
    refused(text)


def test_a_document_of_very_many_parts_is_refused_before_it_is_read() -> None:
    [finding] = refused('{"a": [' + "0," * 60_000 + "0]}")
    assert finding.message.startswith("a policy has at most 10000 keys and values")


@pytest.mark.rule("R13")
def test_a_stored_document_that_no_longer_reads_is_no_cedar_either() -> None:
    text = json.dumps(document(AUTO, **{"unheard-of": 1}))
    stored = accepted_policy(PolicyKind.DENY, text, account="*", region="*", version=1, name="")
    assert isinstance(stored, CedarDocument)
    assert stored.text == text


texts = st.lists(st.sampled_from([AUTO, permit(), '// é \U0001f600 \\ "quoted"\n', "\r\n", "\t"])).map("".join)
descriptions = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=30)


@pytest.mark.rule("R12")
@settings(max_examples=100, deadline=None)
@given(texts, descriptions)
def test_a_policy_that_is_shown_as_a_document_reads_back_as_the_same(text: str, description: str) -> None:
    policy = CedarDocument(PolicyKind.AUTO, "prod", "eu-west-1", 2, text, description)
    shown = in_form(policy, text, Form.AWS)
    assert accepted(shown) == policy
    assert in_form(policy, shown, Form.AWS) == shown
    assert in_form(policy, shown, Form.CEDAR) == text


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*json.dumps(document(AUTO)).split(" "), "permit", "//", "\\u", "|", "'"])).map(
        " ".join
    )
)
def test_no_text_makes_it_raise(text: str) -> None:
    read("{" + text)
    read("schemaVersion: " + text, PolicyKind.DENY)
