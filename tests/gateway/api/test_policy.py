import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest

from jitgate.v1 import policy_pb2
from jitgate.v1.common_pb2 import PageRequest, Scope
from jitgate.v1.identity_pb2 import (
    POLICY_KIND_AUTO,
    POLICY_KIND_DENY,
    POLICY_KIND_MANUAL,
    POLICY_KIND_UNSPECIFIED,
)
from tests.gateway.access.world import AUTO, DENY, manual
from tests.gateway.api.serving import Served, answered

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def admin(served: Served) -> Served:
    served.acting = "root"
    return served


async def test_put_get_list_delete(admin: Served) -> None:
    put = policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=AUTO + "// again\n", expected_version=1)
    policy = (await admin.policy.PutPolicy(put)).policy
    assert (policy.name, policy.version, policy.author_id) == ("auto-approval", 2, "root")
    assert policy.scope == Scope(account="default", region="default")
    deny = policy_pb2.PutPolicyRequest(kind=POLICY_KIND_DENY, text=DENY)
    assert not (await admin.policy.PutPolicy(deny)).policy.HasField("scope")
    got = await admin.policy.GetPolicy(policy_pb2.GetPolicyRequest(kind=POLICY_KIND_AUTO, version=1))
    assert got.policy.text == AUTO
    listed = (await admin.policy.ListPolicies(policy_pb2.ListPoliciesRequest())).policies
    assert {policy.name for policy in listed} == {"auto-approval", "deny-access", "databases"}
    gone = policy_pb2.DeletePolicyRequest(kind=POLICY_KIND_MANUAL, name="databases")
    await admin.policy.DeletePolicy(gone)
    async with answered(grpc.StatusCode.NOT_FOUND, "POLICY_NOT_FOUND"):
        await admin.policy.DeletePolicy(gone)


async def test_pages(admin: Served) -> None:
    for n in range(3):
        text = manual(f"p{n}", targets=f"[{{tag: T{n}}}]", more=f"description: number {n}\n")
        await admin.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=POLICY_KIND_MANUAL, text=text))
    names, token = [], ""
    while True:
        page = PageRequest(size=2, token=token)
        answer = await admin.policy.ListPolicies(policy_pb2.ListPoliciesRequest(page=page))
        names += [(policy.name, policy.description) for policy in answer.policies]
        token = answer.next_page_token
        if not token:
            break
    assert len(names) == len(set(names)) == 5
    assert ("p1", "number 1") in names
    for version in (2, 3):
        text = AUTO + f"// {version}\n"
        await admin.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=text))
    of_one = policy_pb2.ListPoliciesRequest(kind=POLICY_KIND_AUTO, name="auto-approval", page=PageRequest(size=2))
    first = await admin.policy.ListPolicies(of_one)
    assert [policy.version for policy in first.policies] == [3, 2]
    of_one.page.token = first.next_page_token
    assert [policy.version for policy in (await admin.policy.ListPolicies(of_one)).policies] == [1]
    for wrong in ("WyJhIl0=", "WzEsMiwzXQ=="):
        of_one.page.token = wrong
        async with answered(INVALID, "INVALID_FIELD"):
            await admin.policy.ListPolicies(of_one)
        async with answered(INVALID, "INVALID_FIELD"):
            await admin.policy.ListPolicies(policy_pb2.ListPoliciesRequest(page=PageRequest(token=wrong)))


async def test_a_policy_is_put_and_shown_as_a_document_of_aws(admin: Served) -> None:
    get = policy_pb2.GetPolicyRequest(kind=POLICY_KIND_AUTO, form=policy_pb2.POLICY_FORM_AWS)
    document = (await admin.policy.GetPolicy(get)).policy.text
    put = policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=document)
    assert (await admin.policy.PutPolicy(put)).policy.version == 2
    get.form = policy_pb2.POLICY_FORM_CEDAR
    assert (await admin.policy.GetPolicy(get)).policy.text == AUTO
    get = policy_pb2.GetPolicyRequest(kind=POLICY_KIND_MANUAL, name="databases", form=policy_pb2.POLICY_FORM_AWS)
    document = (await admin.policy.GetPolicy(get)).policy.text
    put = policy_pb2.PutPolicyRequest(kind=POLICY_KIND_MANUAL, text=document)
    findings = policy_pb2.PolicyFindings()
    async with answered(INVALID, "POLICY_INVALID", findings):
        await admin.policy.PutPolicy(put)
    assert "--name" in findings.findings[0].message
    put.name = "databases"
    assert (await admin.policy.PutPolicy(put)).policy.name == "databases"
    checked = policy_pb2.ValidatePolicyRequest(kind=POLICY_KIND_MANUAL, text=document, name="databases")
    assert not (await admin.policy.ValidatePolicy(checked)).findings
    get.form = 99  # type: ignore[assignment]  # as a newer client might
    async with answered(INVALID, "INVALID_FIELD"):
        await admin.policy.GetPolicy(get)


@pytest.mark.rule("R12")
async def test_findings_come_as_a_detail(admin: Served) -> None:
    text = "permit(principal, action == AWS::SSM::getTokenForInstanceAccess, resource);\n"
    findings, bad_request = policy_pb2.PolicyFindings(), BadRequest()
    put = policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=text)
    async with answered(INVALID, "POLICY_INVALID", findings, bad_request):
        await admin.policy.PutPolicy(put)
    finding = findings.findings[0]
    assert finding.line == 1
    assert finding.HasField("write_instead")
    assert bad_request.field_violations[0].field == "text"
    mended = text[: finding.replace_start] + finding.write_instead + text[finding.replace_end :]
    await admin.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=mended))


@pytest.mark.rule("R12")
async def test_more_findings_than_trailers_hold(admin: Served) -> None:
    text = "permit(principal, action, resource) when { principal.salary > 3 };\n" * 500
    findings = policy_pb2.PolicyFindings()
    async with answered(INVALID, "POLICY_INVALID", findings):
        await admin.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=text))
    every = await admin.policy.ValidatePolicy(policy_pb2.ValidatePolicyRequest(kind=POLICY_KIND_AUTO, text=text))
    assert len(every.findings) > len(findings.findings) > 0


async def test_warnings_and_overlap(admin: Served) -> None:
    ghost = manual("ghosts", targets="all", levels="[{approvers: [{group: ghosts}]}]")
    put = await admin.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=POLICY_KIND_MANUAL, text=ghost))
    assert any("ghosts has no members" in warning for warning in put.warnings)
    other = policy_pb2.PutPolicyRequest(kind=POLICY_KIND_MANUAL, text=manual("more", targets="all"))
    async with answered(grpc.StatusCode.ALREADY_EXISTS, "POLICY_OVERLAP"):
        await admin.policy.PutPolicy(other)


async def test_kinds_that_are_none(admin: Served) -> None:
    for kind in (POLICY_KIND_UNSPECIFIED, 99):
        async with answered(INVALID, "INVALID_FIELD"):
            await admin.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=kind, text=AUTO))  # type: ignore[arg-type]
        async with answered(INVALID, "INVALID_FIELD"):
            await admin.policy.GetPolicy(policy_pb2.GetPolicyRequest(kind=kind))  # type: ignore[arg-type]


@pytest.mark.rule("R32")
async def test_strangers_neither_write_nor_read(served: Served) -> None:
    served.acting = "alice"
    denied = grpc.StatusCode.PERMISSION_DENIED
    async with answered(denied, "NOT_PERMITTED"):
        await served.policy.PutPolicy(policy_pb2.PutPolicyRequest(kind=POLICY_KIND_AUTO, text=AUTO))
    async with answered(denied, "NOT_PERMITTED"):
        await served.policy.ListPolicies(policy_pb2.ListPoliciesRequest())
    async with answered(denied, "NOT_PERMITTED"):
        await served.policy.Explain(policy_pb2.ExplainRequest(user_id="bob", node="web-1"))
    checked = await served.policy.ValidatePolicy(
        policy_pb2.ValidatePolicyRequest(kind=POLICY_KIND_AUTO, text=AUTO)
    )
    assert not checked.findings


@pytest.mark.rule("R14")
async def test_explain(admin: Served) -> None:
    answer = await admin.policy.Explain(policy_pb2.ExplainRequest(user_id="alice", node="web-1"))
    assert answer.outcome == "auto_approved"
    assert answer.summary == "alice asking for web-1: approved at once."
    assert MessageToDict(answer.explanation)["auto"]["statements"][0]["match"] == "matched"
    async with answered(grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND"):
        await admin.policy.Explain(policy_pb2.ExplainRequest(user_id="nobody", node="web-1"))
