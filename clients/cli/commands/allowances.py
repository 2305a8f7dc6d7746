"""`jit allowances`: what of AWS the preferences of an account may name (R26)."""

from enum import StrEnum
from typing import Annotated

import typer

from clients.cli import view
from clients.cli.asking import confirm
from clients.cli.commands.parameters import ADMINISTRATION, Account, Output, Yes, printed
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import allowance_pb2 as allowance

allowances = typer.Typer(help="What of AWS an account's preferences may name.", no_args_is_help=True)
SERVICE = "/jitgate.v1.AllowanceService"


class Kind(StrEnum):
    """What there is to allow."""

    BUCKET = "bucket"
    KEY = "key"
    ROLE = "role"
    LOG_GROUP = "log-group"


KindOf = Annotated[Kind, typer.Argument(metavar="KIND", help="bucket, key, role or log-group.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A bucket's name; the ARN of anything else.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(allowances, name="allowances", rich_help_panel=ADMINISTRATION)


@allowances.command("list")
def list_(account: Account = "", output: Output = Format.TABLE) -> None:
    """Show what accounts may use; without --account, of all."""
    wanted = allowance.ListAllowancesRequest(account=account)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/ListAllowances", wanted, allowance.ListAllowancesResponse)
    if not printed(answer, output):
        _show(list(answer.allowances))


@allowances.command()
def add(
    *,
    kind: KindOf,
    name: Name,
    owner: Annotated[
        str, typer.Option("--owner", metavar="ID", help="Of a bucket: the AWS account that it belongs to.")
    ] = "",
    aws_region: Annotated[str, typer.Option("--aws-region", metavar="NAME", help="Of a bucket.")] = "",
    external_id: Annotated[
        str, typer.Option("--external-id", metavar="TEXT", help="Of a role: sent when it is assumed.")
    ] = "",
    account: Account = "",
    output: Output = Format.TABLE,
) -> None:
    """Let the preferences of an account name it; again replaces what was said of it."""
    wanted = allowance.Allowance(
        account=account,
        kind=_number(kind),
        name=name,
        owner=owner,
        aws_region=aws_region,
        external_id=external_id,
    )
    with gateway() as channel:
        request = allowance.AllowRequest(allowance=wanted)
        answer = channel.unary(f"{SERVICE}/Allow", request, allowance.AllowResponse)
    if not printed(answer, output):
        _show([answer.allowance])


@allowances.command()
def remove(kind: KindOf, name: Name, account: Account = "", yes: Yes = False) -> None:
    """Let no new session use it. What was recorded with it stays readable."""
    confirm(f"Withdraw {name} from account {account or 'default'}?", sure=yes)
    wanted = allowance.DisallowRequest(account=account, kind=_number(kind), name=name)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/Disallow", wanted, allowance.DisallowResponse)
    view.say(f"Withdrew {name}.")


def _number(kind: Kind) -> "allowance.AllowanceKind.ValueType":
    return allowance.AllowanceKind.Value(f"ALLOWANCE_KIND_{kind.name}")


def _show(found: list[allowance.Allowance]) -> None:
    rows = [
        (
            item.account,
            allowance.AllowanceKind.Name(item.kind).removeprefix("ALLOWANCE_KIND_").lower().replace("_", " "),
            item.name,
            " ".join(filter(None, (item.owner, item.aws_region, item.external_id))),
            view.moment(item.changed_at),
            item.changed_by,
        )
        for item in found
    ]
    view.print_table(("account", "kind", "name", "more", "changed", "by"), rows, "Nothing is allowed.")
