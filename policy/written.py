"""The texts that policies are put as, whatever their form, and the forms that they can be shown in."""

import json
from enum import StrEnum

from policy.document import parse_manual, to_json, to_yaml
from policy.findings import Finding
from policy.model import CedarDocument, ManualPolicy, PolicyKind
from policy.reading.statements import read
from policy.ssm.cedar import accepted_cedar, read_cedar, write_cedar
from policy.ssm.manual import write_manual
from policy.ssm.shape import instead_of_cedar, is_document
from policy.validate import validate_cedar
from policy.yaml_tree import compose

Policy = ManualPolicy | CedarDocument


class Form(StrEnum):
    """How a policy can be written."""

    CEDAR = "cedar"
    YAML = "yaml"
    JSON = "json"
    AWS = "aws"


def read_policy(
    kind: PolicyKind, text: str, *, account: str, region: str, version: int = 0, name: str = ""
) -> Policy | list[Finding]:
    """The policy that a text is, or everything that is wrong with it. Takes any text.

    `name`: of a manual policy whose text doesn't say it, as the documents of AWS don't; one that does has to say
    the same. Empty: the text says it.
    """
    if kind is PolicyKind.MANUAL:
        return parse_manual(text, account=account, region=region, version=version, name=name)
    if instead_of_cedar(text):
        return read_cedar(kind, text, account, region, version)
    return validate_cedar(kind, text) or CedarDocument(kind, account, region, version, text)


def accepted_policy(
    kind: PolicyKind, text: str, *, account: str, region: str, version: int, name: str
) -> Policy | list[Finding]:
    """The policy that a stored text is. Cedar is not validated again: what is stored has been.

    A document that no longer reads is answered as the text that it is, which Cedar can't make anything of either:
    so it is as unusable as any Cedar that no longer compiles (R13).
    """
    if kind is PolicyKind.MANUAL:
        return parse_manual(text, account=account, region=region, version=version, name=name)
    document = accepted_cedar(kind, text, account, region, version) if instead_of_cedar(text) else None
    return document or CedarDocument(kind, account, region, version, text)


def says_nothing(policy: CedarDocument) -> bool:
    """Whether there is no statement in it: it approves nothing, or takes nothing from auto-approval."""
    return not read(policy.text)


def forms_of(kind: PolicyKind) -> tuple[Form, ...]:
    """The forms that a policy of this kind can have."""
    return (Form.YAML, Form.JSON, Form.AWS) if kind is PolicyKind.MANUAL else (Form.CEDAR, Form.AWS)


def in_form(policy: Policy, text: str, form: Form) -> str:
    """A policy in one of the forms of its kind; what has that form already stays as it was written.

    Raises NoCounterpart for what can't be said in that form.
    """
    if isinstance(policy, CedarDocument):
        if form is Form.CEDAR:
            return policy.text
        return text if instead_of_cedar(text) else write_cedar(policy)
    if form is _form_of_manual(text):
        return text
    return {Form.YAML: to_yaml, Form.JSON: to_json, Form.AWS: write_manual}[form](policy)


def _form_of_manual(text: str) -> Form:
    if is_document(compose(text)):
        return Form.AWS
    try:
        json.loads(text)
    except ValueError:
        return Form.YAML
    return Form.JSON
