"""`jit policies`: what is approved at once, what people are asked for, what never goes by itself."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clients.cli import view
from clients.cli.asking import confirm
from clients.cli.commands.parameters import (
    ADMINISTRATION,
    Account,
    Limit,
    Node,
    Output,
    Region,
    Yes,
    printed,
    set_scope,
)
from clients.cli.commands.roles import KindName
from clients.cli.details import Details
from clients.cli.errors import REFUSED, USAGE, Failure
from clients.cli.findings import lines
from clients.cli.gateway import gateway, listing
from clients.cli.text import clean
from clients.cli.view import Format
from clients.cli.wire.failure import CallFailed
from jitgate.v1 import identity_pb2 as identity
from jitgate.v1 import policy_pb2 as policy

policies = typer.Typer(help="Approval policies.", no_args_is_help=True)
SERVICE = "/jitgate.v1.PolicyService"
FIXED_NAMES = {KindName.DENY: "deny-access", KindName.AUTO: "auto-approval"}

File = Annotated[Path, typer.Argument(metavar="FILE", help="The policy; '-' reads standard input.")]
Kind = Annotated[
    KindName | None, typer.Option("--kind", help="Inferred: .cedar is auto, .yaml, .yml and .json are manual.")
]
Deny = Annotated[bool, typer.Option("--deny", help="Short for --kind deny.")]
Called = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        help="What a manual policy is called whose text is an AWS document, which can't say.",
    ),
]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="deny-access, auto-approval, or a manual policy's name.")
]


class PolicyForm(StrEnum):
    """How a policy can be written: deny and auto in cedar or aws, manual in yaml, json or aws."""

    CEDAR = "cedar"
    YAML = "yaml"
    JSON = "json"
    AWS = "aws"


def add_to(app: typer.Typer) -> None:
    app.add_typer(policies, name="policies", rich_help_panel=ADMINISTRATION)


@policies.command()
def put(
    *,
    file: File,
    kind: Kind = None,
    deny: Deny = False,
    expect: Annotated[int, typer.Option(metavar="N", min=0, help="Refuse unless N is the latest version.")] = 0,
    create: Annotated[bool, typer.Option("--create", help="Refuse if there is one already.")] = False,
    name: Called = "",
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Store a policy as its next version. A policy that is not valid is refused with all that is wrong."""
    wanted = policy.PutPolicyRequest(
        kind=_kind(file, kind, deny=deny),
        text=_text(file),
        expected_version=expect,
        create_only=create,
        name=name,
    )
    set_scope(wanted, account, region)
    try:
        with gateway() as channel:
            answer = channel.unary(f"{SERVICE}/PutPolicy", wanted, policy.PutPolicyResponse)
    except CallFailed as failed:
        findings = Details(failed.details).findings
        if not findings.findings:
            raise
        if output is Format.JSON:
            view.print_json(findings)
        _show_findings(file, wanted.text, list(findings.findings), quiet=output is Format.JSON)
        raise Failure(failed.message, "Nothing was stored. Change it and put it again.", REFUSED) from None
    if printed(answer, output):
        return
    view.say(f"Stored {answer.policy.name}, version {answer.policy.version}.")
    _warn(list(answer.warnings))


@policies.command()
def validate(
    *,
    file: File,
    kind: Kind = None,
    deny: Deny = False,
    name: Called = "",
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Check a policy without storing it. Exit code 1: it is not valid."""
    wanted = policy.ValidatePolicyRequest(kind=_kind(file, kind, deny=deny), text=_text(file), name=name)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/ValidatePolicy", wanted, policy.ValidatePolicyResponse)
    if not printed(answer, output):
        _show_findings(file, wanted.text, list(answer.findings))
        _warn(list(answer.warnings))
    if answer.findings:
        raise typer.Exit(REFUSED)
    view.note("It is valid.")


@policies.command("list")
def list_(
    *,
    kind: Annotated[KindName | None, typer.Option("--kind", help="Only this kind.")] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="All versions of this policy.")] = "",
    account: Account = "",
    region: Region = "",
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show the policies in force, or with --name one policy's versions."""
    wanted = policy.ListPoliciesRequest(name=name, kind=_value(kind) if kind else identity.POLICY_KIND_UNSPECIFIED)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = listing(channel, f"{SERVICE}/ListPolicies", wanted, policy.ListPoliciesResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            item.name,
            view.word(identity.PolicyKind.Name(item.kind), "POLICY_KIND_"),
            str(item.version),
            _where(item),
            item.author_id,
            view.relative(item.created_at),
            item.description,
        )
        for item in answer.policies
    ]
    columns = ("name", "kind", "version", "where", "author", "stored", "description")
    view.print_table(columns, rows, "There are no such policies.")
    view.note_more(answer.next_page_token)


@policies.command()
def show(
    *,
    name: Name,
    version: Annotated[int, typer.Option(metavar="N", min=0, help="An earlier version; default: the latest.")] = 0,
    form: Annotated[
        PolicyForm | None,
        typer.Option("--form", help="Another form than it was put in; aws is a Systems Manager document."),
    ] = None,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Print a policy's text, as it was put or in another form."""
    wanted = policy.GetPolicyRequest(kind=_kind_of(name), name=name, version=version)
    if form is not None:
        wanted.form = policy.PolicyForm.Value(f"POLICY_FORM_{form.name}")
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/GetPolicy", wanted, policy.GetPolicyResponse)
    if printed(answer, output):
        return
    item = answer.policy
    stored = f"stored {view.moment(item.created_at)} by {item.author_id}"
    view.note(Text(clean(f"{item.name}, version {item.version}, {_where(item)}, {stored}"), style="dim"))
    view.say(item.text.removesuffix("\n"))


@policies.command()
def explain(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    node: Node,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what a request of that user for that node would meet, statement by statement. Makes no request."""
    wanted = policy.ExplainRequest(user_id=user, node=node)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/Explain", wanted, policy.ExplainResponse)
    if printed(answer, output):
        return
    from clients.cli.explanation import lines as explained

    view.say(f"{answer.outcome.replace('_', ' ')}: {answer.summary}")
    for line in explained(answer.explanation):
        view.say(line)


@policies.command()
def delete(name: Name, yes: Yes = False, account: Account = "", region: Region = "") -> None:
    """Delete a policy. Requests that were made under it go on under it."""
    confirm(f"Delete the policy {name}?", sure=yes)
    wanted = policy.DeletePolicyRequest(kind=_kind_of(name), name=name)
    set_scope(wanted, account, region)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/DeletePolicy", wanted, policy.DeletePolicyResponse)
    view.say(f"Deleted {name}.")


def _kind(file: Path, kind: KindName | None, *, deny: bool) -> identity.PolicyKind.ValueType:
    if deny:
        return identity.POLICY_KIND_DENY
    if kind is not None:
        return _value(kind)
    inferred = {
        ".cedar": KindName.AUTO,
        ".yaml": KindName.MANUAL,
        ".yml": KindName.MANUAL,
        ".json": KindName.MANUAL,
    }
    if file.suffix not in inferred:
        raise Failure(f"of which kind is {file}?", "Say it: --kind deny, auto or manual.", USAGE)
    return _value(inferred[file.suffix])


def _kind_of(name: str) -> identity.PolicyKind.ValueType:
    fixed = {fixed: kind for kind, fixed in FIXED_NAMES.items()}
    return _value(fixed.get(name, KindName.MANUAL))


def _value(kind: KindName) -> identity.PolicyKind.ValueType:
    return identity.PolicyKind.Value(f"POLICY_KIND_{kind.name}")


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise Failure(f"{file} can't be read: {error.strerror}", "", USAGE) from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is no UTF-8 text", "", USAGE) from None


def _show_findings(file: Path, text: str, findings: list[policy.PolicyFinding], *, quiet: bool = False) -> None:
    if not quiet:
        for line in lines("standard input" if str(file) == "-" else str(file), text, findings):
            view.note(line)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        view.note(Text("warning: ", style="yellow").append(clean(warning), style=""))


def _where(item: policy.Policy) -> str:
    if item.kind == identity.POLICY_KIND_DENY:
        return "organization"
    return f"{item.scope.account or 'default'}/{item.scope.region or 'default'}"
