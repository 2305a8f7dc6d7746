"""`jit targets`: where just-in-time access is enabled (R4)."""

from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import ADMINISTRATION, Account, Output, Region, printed, set_scope
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import administration_pb2 as administration

targets = typer.Typer(help="Accounts, Regions and units where access can be requested.", no_args_is_help=True)
SERVICE = "/jitgate.v1.AdministrationService"

Unit = Annotated[str, typer.Option("--unit", metavar="NAME", help="An organizational unit; alone, all of it.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(targets, name="targets", rich_help_panel=ADMINISTRATION)


@targets.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show where access is enabled."""
    with gateway() as channel:
        path = f"{SERVICE}/ListTargets"
        answer = channel.unary(path, administration.ListTargetsRequest(), administration.ListTargetsResponse)
    if not printed(answer, output):
        _show(list(answer.targets))


@targets.command()
def enable(unit: Unit = "", account: Account = "", region: Region = "", output: Output = Format.TABLE) -> None:
    """Let access be requested there."""
    _set(unit, account, region, output, enabled=True)


@targets.command()
def disable(unit: Unit = "", account: Account = "", region: Region = "", output: Output = Format.TABLE) -> None:
    """Let no access be requested there; open windows end as revoked."""
    _set(unit, account, region, output, enabled=False)


def _set(unit: str, account: str, region: str, output: Format, *, enabled: bool) -> None:
    wanted = administration.SetTargetRequest(organizational_unit=unit, enabled=enabled)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/SetTarget", wanted, administration.SetTargetResponse)
    if not printed(answer, output):
        _show(list(answer.targets))


def _show(found: list[administration.Target]) -> None:
    rows = [
        (
            f"{item.scope.account or 'default'}/{item.scope.region or 'default'}",
            item.organizational_unit,
            "enabled" if item.enabled else "disabled",
            view.moment(item.changed_at),
            item.changed_by,
        )
        for item in found
    ]
    view.print_table(("where", "unit", "access", "changed", "by"), rows, "Nothing was ever enabled or disabled.")
