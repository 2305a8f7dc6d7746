"""PolicyService: what is taken from auto-approval, approved at once, or asked of people."""

# ruff: noqa: N802  # methods are named by the contract

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.access.model import StoredPolicy
from gateway.access.policies import Policies, PolicyInvalid
from gateway.access.policy_reading import PolicyReader
from gateway.api import values
from gateway.api.access_messages import struct
from gateway.api.current import caller
from gateway.errors import Refused, invalid
from jitgate.v1 import common_pb2, identity_pb2, policy_pb2, policy_pb2_grpc
from policy.findings import Finding
from policy.model import PolicyKind
from policy.written import Form

_KINDS = {
    identity_pb2.POLICY_KIND_DENY: PolicyKind.DENY,
    identity_pb2.POLICY_KIND_AUTO: PolicyKind.AUTO,
    identity_pb2.POLICY_KIND_MANUAL: PolicyKind.MANUAL,
}
_FORMS = {
    policy_pb2.POLICY_FORM_UNSPECIFIED: None,
    policy_pb2.POLICY_FORM_CEDAR: Form.CEDAR,
    policy_pb2.POLICY_FORM_YAML: Form.YAML,
    policy_pb2.POLICY_FORM_JSON: Form.JSON,
    policy_pb2.POLICY_FORM_AWS: Form.AWS,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
# gRPC clients take 8 KiB of trailing metadata unless told otherwise; the rest of a refusal needs room as well.
_MAX_FINDINGS_BYTES = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    def __init__(self, policies: Policies, reader: PolicyReader) -> None:
        self._policies = policies
        self._reader = reader

    async def PutPolicy(
        self, request: policy_pb2.PutPolicyRequest, context: object
    ) -> policy_pb2.PutPolicyResponse:
        try:
            stored, warnings = await self._policies.put(
                caller(),
                _kind(request.kind),
                values.scope(request.scope),
                request.text,
                name=request.name,
                expected_version=request.expected_version or None,
                create_only=request.create_only,
            )
        except PolicyInvalid as refused:
            raise _with_findings(refused) from None
        return policy_pb2.PutPolicyResponse(policy=_policy(stored), warnings=warnings)

    async def GetPolicy(
        self, request: policy_pb2.GetPolicyRequest, context: object
    ) -> policy_pb2.GetPolicyResponse:
        stored = await self._reader.get(
            caller(),
            _kind(request.kind),
            values.scope(request.scope),
            request.name,
            request.version,
            form=_form(request.form),
        )
        return policy_pb2.GetPolicyResponse(policy=_policy(stored))

    async def ListPolicies(
        self, request: policy_pb2.ListPoliciesRequest, context: object
    ) -> policy_pb2.ListPoliciesResponse:
        limit, key = values.page(request.page)
        scope = values.scope(request.scope)
        if request.name:
            found, more = await self._reader.versions(
                caller(), _kind(request.kind), scope, request.name, limit=limit, below=_below(key)
            )
            token = values.page_token(found[-1].version) if more else ""
        else:
            kind = _kind(request.kind) if request.kind else None
            found, more = await self._reader.newest(caller(), scope, kind, limit, _after(key))
            token = _page_token(found[-1]) if more else ""
        return policy_pb2.ListPoliciesResponse(
            policies=[_policy(stored) for stored in found], next_page_token=token
        )

    async def DeletePolicy(
        self, request: policy_pb2.DeletePolicyRequest, context: object
    ) -> policy_pb2.DeletePolicyResponse:
        await self._policies.delete(caller(), _kind(request.kind), values.scope(request.scope), request.name)
        return policy_pb2.DeletePolicyResponse()

    async def ValidatePolicy(
        self, request: policy_pb2.ValidatePolicyRequest, context: object
    ) -> policy_pb2.ValidatePolicyResponse:
        checked = await self._policies.validate(
            caller(), _kind(request.kind), values.scope(request.scope), request.text, name=request.name
        )
        return policy_pb2.ValidatePolicyResponse(
            findings=[_finding(finding) for finding in checked.findings], warnings=checked.warnings
        )

    async def Explain(self, request: policy_pb2.ExplainRequest, context: object) -> policy_pb2.ExplainResponse:
        explained = await self._reader.explain(
            caller(), values.scope(request.scope), request.user_id, request.node
        )
        return policy_pb2.ExplainResponse(
            outcome=explained.outcome, summary=explained.summary, explanation=struct(explained.explanation)
        )


def _with_findings(refused: PolicyInvalid) -> Refused:
    """As many findings as trailing metadata can hold; ValidatePolicy answers them all."""
    details = policy_pb2.PolicyFindings()
    for finding in refused.findings:
        details.findings.append(_finding(finding))
        if details.ByteSize() > _MAX_FINDINGS_BYTES:
            del details.findings[-1]
            break
    return Refused(
        refused.kind,
        refused.reason,
        refused.message,
        refused.what_to_do,
        fields=refused.fields,
        details=(details,),
    )


def _kind(number: "identity_pb2.PolicyKind.ValueType") -> PolicyKind:
    kind = _KINDS.get(number)
    if kind is None:
        raise invalid("kind", "is none of deny, auto, manual", "Say which kind of policy is meant.")
    return kind


def _form(number: "policy_pb2.PolicyForm.ValueType") -> Form | None:
    if number not in _FORMS:
        raise invalid("form", "is none of cedar, yaml, json, aws", "Leave it out for the policy as it was put.")
    return _FORMS[number]


def _policy(stored: StoredPolicy) -> policy_pb2.Policy:
    key = stored.key
    everywhere = key.kind is PolicyKind.DENY
    return policy_pb2.Policy(
        kind=_NUMBERS[key.kind],
        name=key.name,
        version=stored.version,
        scope=None if everywhere else common_pb2.Scope(account=key.account, region=key.region),
        text=stored.text,
        author_id=stored.author_id,
        created_at=values.timestamp(stored.created_at),
        description=stored.description,
    )


def _finding(finding: Finding) -> policy_pb2.PolicyFinding:
    """A finding that neither replaces nor inserts anything leaves what to write to the author."""
    mends = finding.write_instead != "" or finding.start != finding.end
    return policy_pb2.PolicyFinding(
        line=finding.line,
        column=finding.column,
        message=finding.message,
        write_instead=finding.write_instead if mends else None,
        replace_start=finding.start,
        replace_end=finding.end,
    )


def _page_token(last: StoredPolicy) -> str:
    microseconds = (last.created_at - _EPOCH) // timedelta(microseconds=1)
    return values.page_token(microseconds, last.key.kind.value, last.key.name)


def _after(key: list[Any]) -> tuple[datetime, str, str] | None:
    match key:
        case []:
            return None
        case [int() as microseconds, str() as kind, str() as name] if 0 <= microseconds < 1 << 53:
            return _EPOCH + timedelta(microseconds=microseconds), kind, name
        case _:
            raise values.foreign_token()


def _below(key: list[Any]) -> int | None:
    match key:
        case []:
            return None
        case [int() as version] if 0 < version < 1 << 31:
            return version
        case _:
            raise values.foreign_token()
