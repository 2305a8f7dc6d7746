"""`jit events`: the audit log (R29)."""

from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import OVERSIGHT, Limit, Output, printed, since
from clients.cli.gateway import gateway, listing
from clients.cli.view import Format
from jitgate.v1 import administration_pb2 as administration

events = typer.Typer(help="The audit log.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(events, name="events", rich_help_panel=OVERSIGHT)


@events.command("list")
def list_(
    *,
    kind: Annotated[
        str, typer.Option("--type", metavar="PREFIX", help="For example access_request. or session.")
    ] = "",
    subject: Annotated[
        str, typer.Option(metavar="ID", help="About this request, session, node, user or policy.")
    ] = "",
    after: Annotated[str, typer.Option(metavar="TIME", help="2026-01-31, 2026-01-31T12:00, 90m, 12h or 7d.")] = "",
    before: Annotated[str, typer.Option(metavar="TIME", help="Likewise.")] = "",
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show what happened, newest first."""
    wanted = administration.ListEventsRequest(type_prefix=kind, subject=subject)
    if after:
        wanted.after.CopyFrom(since(after))
    if before:
        wanted.before.CopyFrom(since(before))
    with gateway() as channel:
        path = "/jitgate.v1.AdministrationService/ListEvents"
        answer = listing(channel, path, wanted, administration.ListEventsResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            str(item.sequence),
            view.moment(item.at),
            item.type,
            item.actor_id,
            item.source_address,
            item.subject,
            item.summary,
        )
        for item in answer.events
    ]
    columns = ("number", "at", "type", "by", "from", "about", "what")
    view.print_table(columns, rows, "There are no such events.")
    view.note_more(answer.next_page_token)
