"""R15: manual policies as the guide's documents: read, shown, and what has no counterpart refused by name."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.findings import Finding, rewrite
from policy.model import (
    AllNodes,
    Approver,
    ApproverType,
    Level,
    ManualPolicy,
    PolicyKind,
    TagTarget,
    TagTargets,
    WindowStart,
)
from policy.ssm.manual import NoCounterpart
from policy.written import Form, in_form, read_policy
from tests.policy.builders import group, manual, user
from tests.policy.test_document import FULL, policies

# As the guide's console writes one.
PRINTED = """\
schemaVersion: '0.3'
accessDuration: 86400
description: ''
accessTokenRole: SSM-JustInTimeAccessTokenRole
targets:
- Key: tag:Workload
  Values:
  - E-commerce
mainSteps:
- name: ManualApproval
  action: aws:approve
  timeoutSeconds: 604800
  inputs:
    Message: Please approve this request
    MinRequiredApprovals: 1
    EnhancedApprovals:
      Approvers:
      - approver: ec4df598-7071-70a6-0de4-12345example
        type: SSOGroup
"""


def step(*approvers: dict[str, str], name: str = "one", **changed: Any) -> dict[str, Any]:
    listed = list(approvers) or [{"approver": "sre", "type": "SSOGroup"}]
    inputs = {"EnhancedApprovals": {"Approvers": listed}}
    return {"name": name, "action": "aws:approve", "inputs": inputs, **changed}


def document(*steps: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "schemaVersion": "0.3",
        "accessDuration": 7200,
        "targets": [{"Key": "InstanceIds", "Values": ["*"]}],
        "mainSteps": list(steps) or [step()],
        **changed,
    }


def read(text: str, name: str = "web") -> ManualPolicy | list[Finding]:
    policy = read_policy(PolicyKind.MANUAL, text, account="prod", region="eu-west-1", version=5, name=name)
    assert isinstance(policy, ManualPolicy | list)
    return policy


def accepted(text: str, name: str = "web") -> ManualPolicy:
    policy = read(text, name)
    assert isinstance(policy, ManualPolicy), [str(finding) for finding in policy]
    return policy


def refused(text: str, name: str = "web") -> list[Finding]:
    findings = read(text, name)
    assert isinstance(findings, list)
    assert findings
    for finding in findings:
        lines = text[: finding.start].split("\n")
        assert (finding.line, finding.column) == (len(lines), len(lines[-1]) + 1)
        assert finding.start <= finding.end <= len(text)
    return findings


@pytest.mark.rule("R15")
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_the_guides_console_writes_is_read(form: str) -> None:
    text = PRINTED if form == "yaml" else json.dumps(yaml.safe_load(PRINTED), indent="\t")
    assert accepted(text) == ManualPolicy(
        name="web",
        description="",
        version=5,
        account="prod",
        region="eu-west-1",
        access_hours=24,
        targets=TagTargets((TagTarget("Workload", ("E-commerce",)),)),
        levels=(Level((group("ec4df598-7071-70a6-0de4-12345example"),)),),
    )


@pytest.mark.rule("R15")
@pytest.mark.rule("R16")
def test_each_step_is_a_level() -> None:
    people = [
        {"approver": "alice", "type": "SSOUser"},
        {"approver": "arn:aws:iam::123456789012:user/bob", "type": "IamUser"},
    ]
    second = step(*people, name="two", timeoutSeconds=7200)
    second["inputs"]["MinRequiredApprovals"] = 2
    policy = accepted(json.dumps(document(step(timeoutSeconds=7200), second)))
    assert policy.levels == (
        Level((group("sre"),)),
        Level((user("alice"), Approver(ApproverType.IAM_USER, "arn:aws:iam::123456789012:user/bob")), 2),
    )
    assert policy.pending_timeout == timedelta(hours=2)
    assert policy.targets == AllNodes()


@pytest.mark.rule("R15")
def test_a_tag_of_any_value_is_targeted_by_its_key() -> None:
    targets = [{"Key": "tag-key", "Values": ["Team", "Owner"]}, {"Key": "tag:App", "Values": ["a", "b"]}]
    assert accepted(json.dumps(document(targets=targets))).targets == TagTargets(
        (TagTarget("Team"), TagTarget("Owner"), TagTarget("App", ("a", "b")))
    )


@pytest.mark.rule("R21")
def test_the_time_for_a_decision_is_a_week_unless_the_step_says_otherwise() -> None:
    assert accepted(json.dumps(document())).pending_timeout == timedelta(days=7)


BEYOND: dict[str, tuple[dict[str, Any], str]] = {
    "a role": ({"accessTokenRole": "mine"}, "role `mine` has no counterpart"),
    "a role to assume": ({"assumeRole": "x"}, "`assumeRole` has no counterpart, leave it out"),
    "parameters": ({"parameters": {}}, "`parameters` has no counterpart"),
    "a message": (
        document(step(inputs={"Message": "Quick!", **step()["inputs"]})),
        "a message of your own to approvers has no counterpart",
    ),
    "a topic": (
        document(step(inputs={"NotificationArn": "arn", **step()["inputs"]})),
        "`NotificationArn` has no counterpart",
    ),
    "a list of principals": (
        document(step(inputs={"Approvers": ["a"], **step()["inputs"]})),
        "`Approvers` has no counterpart, leave it out: list them in `EnhancedApprovals`",
    ),
    "what follows on failure": (document(step(onFailure="Continue")), "`onFailure` has no counterpart"),
    "another action": (document(step(action="aws:sleep")), "`action` is aws:approve"),
    "a role that approves": (
        document(step({"approver": "ops", "type": "IamRole"})),
        "`type` is SSOUser or SSOGroup or IamUser",
    ),
    "times of their own": (
        document(step(timeoutSeconds=3600), step(name="two", timeoutSeconds=7200)),
        "the time for a decision counts for the request as a whole: give all steps the same, 3600",
    ),
    "half hours": ({"accessDuration": 5400}, "access is counted in whole hours here, 1 to 336 of them"),
    "too long": ({"accessDuration": 337 * 3600}, "access is counted in whole hours here, 1 to 336 of them"),
    "a long wait": (
        document(step(timeoutSeconds=721 * 3600)),
        "the time for a decision is counted in whole hours",
    ),
    "single nodes": (
        {"targets": [{"Key": "InstanceIds", "Values": ["i-0123456789abcdef0"]}]},
        "nodes can't be targeted one by one",
    ),
    "a resource group": (
        {"targets": [{"Key": "resource-groups:Name", "Values": ["x"]}]},
        "`resource-groups:Name` has no counterpart",
    ),
    "all nodes and others": (
        {"targets": [{"Key": "InstanceIds", "Values": ["*"]}, {"Key": "tag:a", "Values": ["b"]}]},
        "all nodes are targeted by InstanceIds alone",
    ),
    "any value": ({"targets": [{"Key": "tag:a", "Values": ["*"]}]}, "a value is compared as it is"),
    "no value": ({"targets": [{"Key": "tag:a", "Values": []}]}, "list a value; for any value"),
}


@pytest.mark.rule("R15")
@pytest.mark.parametrize("name", BEYOND)
def test_what_has_no_counterpart_is_refused_by_name(name: str) -> None:
    changed, message = BEYOND[name]
    [finding] = refused(json.dumps(document(**changed), indent=1))
    assert finding.message.startswith(message)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"schemaVersion": "0.2"}, "`schemaVersion` of an approval policy is 0.3"),
    "no steps": ({"mainSteps": []}, "there are 1 to 5 levels, not 0"),
    "six steps": (document(*(step(name=f"s{n}") for n in range(6))), "there are 1 to 5 levels, not 6"),
    "two of a name": (document(step(), step()), "there is a step one already"),
    "no targets": ({"targets": []}, "there are 1 to 50 tag targets, not 0"),
    "no tag": ({"targets": [{"Key": "tag:", "Values": ["a"]}]}, "the key of a tag has 1 to 128 characters"),
    "a long tag": (
        {"targets": [{"Key": "tag:" + "k" * 129, "Values": ["a"]}]},
        "the key of a tag has 1 to 128 characters",
    ),
    "a tag twice": ({"targets": [{"Key": "tag-key", "Values": ["a", "a"]}]}, "tag a is listed twice"),
    "a value twice": ({"targets": [{"Key": "tag:a", "Values": ["b", "b"]}]}, "value b is listed twice"),
    "nobody": (document(step(inputs={"EnhancedApprovals": {"Approvers": []}})), "there are 1 to 5 approvers"),
    "nobody at all": (document(step(inputs={})), "`EnhancedApprovals` is missing"),
    "a bad id": (document(step({"approver": "A B", "type": "SSOUser"})), "the id of a user is 1 to 64"),
    "no type": (document(step({"approver": "a"})), "`type` is missing"),
    "many approvals": (
        document(step(inputs={"MinRequiredApprovals": 26, **step()["inputs"]})),
        "the number of approvals is 1 to 25",
    ),
    "a misspelling": (
        document(step(timeoutSecond=1)),
        "unknown key `timeoutSecond`: did you mean `timeoutSeconds`?",
    ),
}


@pytest.mark.rule("R15")
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_said_where_it_stands(name: str) -> None:
    changed, message = FAULTS[name]
    [finding] = refused(json.dumps(document(**changed), indent=1))
    assert finding.message.startswith(message)


MENDED = ["a role", "a message", "half hours", "too long", "a long wait", "times of their own", "another action"]
MENDABLE = {name: BEYOND[name][0] for name in MENDED} | {
    name: FAULTS[name][0] for name in ("no schema", "a long tag", "a bad id", "many approvals", "a misspelling")
}


@pytest.mark.parametrize("name", MENDABLE)
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_said_to_be_written_instead_is_accepted(name: str, form: str) -> None:
    broken = document(**MENDABLE[name])
    text = json.dumps(broken, indent="\t") if form == "json" else yaml.safe_dump(broken, sort_keys=False)
    findings = refused(text)
    while isinstance(findings, list):
        text = rewrite(text, findings)
        again = read(text)
        assert again != findings
        findings = again if isinstance(again, list) else []
        if not findings:
            break
    accepted(text)


@pytest.mark.rule("R17")
def test_persons_needed_at_two_levels_are_refused_without_advice_that_has_no_counterpart() -> None:
    alice = {"approver": "alice", "type": "SSOUser"}
    [finding] = refused(json.dumps(document(step(alice), step(alice, name="two"))))
    assert finding.message.startswith("the persons listed here are needed at other levels too")
    assert "samePersonOncePerRequest" not in finding.message


def test_the_name_is_given_beside_the_document() -> None:
    [finding] = refused(PRINTED, name="")
    assert "doesn't say how the policy is called" in finding.message
    assert accepted(FULL, name="production-databases").name == "production-databases"
    [finding] = refused(FULL, name="web")
    assert (finding.line, finding.write_instead) == (1, "web")


def test_an_auto_approval_document_is_sent_to_its_own_kind() -> None:
    [finding] = refused(json.dumps({"schemaVersion": "0.3", "AutoApprovalPolicyDocuments": []}))
    assert finding.message.endswith("put it with --kind auto or --kind deny")


sayable = policies.map(
    lambda policy: replace(
        policy,
        window_starts=WindowStart.APPROVAL,
        distinct_persons_in_request=True,
        remind_every=None,
        levels=tuple(
            replace(level, escalate_after=None, escalate_to=(), sign_in_within=None) for level in policy.levels
        ),
        targets=policy.targets
        if isinstance(policy.targets, AllNodes)
        else TagTargets(
            tuple(TagTarget(tag.key, tuple(v for v in tag.values if v != "*")) for tag in policy.targets.tags)
        ),
    )
)


@pytest.mark.rule("R15")
@settings(max_examples=150, deadline=None)
@given(sayable)
def test_a_policy_that_is_shown_as_a_document_reads_back_as_the_same(policy: ManualPolicy) -> None:
    own = in_form(policy, FULL, Form.JSON)
    shown = in_form(policy, own, Form.AWS)
    assert accepted(shown, policy.name) == policy
    assert in_form(policy, shown, Form.AWS) == shown
    assert accepted(in_form(policy, shown, Form.YAML), "") == policy
    assert accepted(yaml.safe_dump(json.loads(shown), allow_unicode=True), policy.name) == policy


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        (replace(manual(), window_starts=WindowStart.FIRST_SESSION), "windowStarts: firstSession"),
        (manual(distinct_persons_in_request=False), "samePersonOncePerRequest: false"),
        (replace(manual(), remind_every=timedelta(hours=1)), "remindEveryHours"),
        (manual(levels=(Level((group("g"),), sign_in_within=timedelta(minutes=5)),)), "signInWithinMinutes"),
        (manual(levels=(Level((group("g"),), 1, timedelta(hours=1), (group("h"),)),)), "escalateTo"),
        (manual(targets=TagTargets((TagTarget("a", ("b", "*")),))), "the value * of tag a"),
    ],
)
def test_what_the_document_cannot_say_is_named(policy: ManualPolicy, what: str) -> None:
    with pytest.raises(NoCounterpart) as refusal:
        in_form(policy, "name: x", Form.AWS)
    assert refusal.value.what == (what,)


def test_what_has_the_form_already_stays_as_it_was_written() -> None:
    policy = accepted(FULL, "")
    assert in_form(policy, FULL, Form.YAML) == FULL
    as_json = in_form(policy, FULL, Form.JSON)
    assert json.loads(as_json)["name"] == policy.name
    assert in_form(policy, as_json.replace("\n", "\n\n"), Form.JSON) == as_json.replace("\n", "\n\n")
    assert in_form(accepted(PRINTED), PRINTED, Form.AWS) == PRINTED


PARTS = [*PRINTED.split(), "\n", "\n  ", "- ", "{", "}", "[", "]", ",", "|", "~"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=40).map(" ".join))
def test_no_text_makes_it_raise(text: str) -> None:
    for start in ("mainSteps: ", '{"schemaVersion": "0.3", ', PRINTED):
        if isinstance(read(start + text), list):
            refused(start + text)
