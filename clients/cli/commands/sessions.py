"""`jit sessions`: live and past sessions."""

from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import OVERSIGHT, Account, Limit, Output, Region, printed, set_scope
from clients.cli.gateway import gateway, listing
from clients.cli.view import Format
from jitgate.v1 import session_pb2 as session

sessions = typer.Typer(help="Sessions on nodes.", no_args_is_help=True)
SERVICE = "/jitgate.v1.SessionService"


def add_to(app: typer.Typer) -> None:
    app.add_typer(sessions, name="sessions", rich_help_panel=OVERSIGHT)


@sessions.command("list")
def list_(
    *,
    live: Annotated[bool, typer.Option("--live", help="Only those that still run.")] = False,
    user: Annotated[str, typer.Option(metavar="ID", help="Those of this user.")] = "",
    node: Annotated[str, typer.Option(metavar="NODE", help="Those on this node.")] = "",
    request: Annotated[str, typer.Option(metavar="ID", help="Those of this access request.")] = "",
    account: Account = "",
    region: Region = "",
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show sessions, newest first."""
    wanted = session.ListSessionsRequest(live_only=live, user_id=user, node=node, access_request_id=request)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = listing(channel, f"{SERVICE}/ListSessions", wanted, session.ListSessionsResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            item.id,
            item.user_id,
            f"{item.login}@{item.node_name or item.node_id}",
            _what(item),
            view.moment(item.started_at),
            _state(item),
            item.access_request_id,
        )
        for item in answer.sessions
    ]
    columns = ("session", "user", "where", "what", "started", "state", "request")
    view.print_table(columns, rows, "There are no such sessions.")
    view.note_more(answer.next_page_token)


@sessions.command()
def terminate(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="Session id, s-….")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Shown to the user.")] = "",
) -> None:
    """End a live session within a second; its user reads who did it and why."""
    wanted = session.TerminateSessionRequest(session_id=session_id, reason=reason)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/TerminateSession", wanted, session.TerminateSessionResponse)
    view.say(f"Terminated {session_id}.")


@sessions.command()
def attach(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="Session id, s-….")],
    *,
    terminal: Annotated[
        bool, typer.Option("--terminal", "-t", help="The command runs on a terminal (jit exec -t).")
    ] = False,
) -> None:
    """Go on with a live session of yours from here; the terminal that has it now loses it.

    Only sessions on nodes with an agent can be gone on with. The exit code is that of jit shell and jit exec.
    """
    from clients.cli.attach import attach

    raise typer.Exit(attach(session_id, on_terminal=terminal))


def _what(item: session.Session) -> str:
    return "shell" if item.kind == session.SESSION_KIND_SHELL else item.command


def _state(item: session.Session) -> str:
    if item.ended_at.seconds:
        how = view.word(session.SessionEnd.Name(item.end), "SESSION_END_")
        return f"{how}: {item.end_message}" if item.end_message else how
    return f"live, ends {view.relative(item.ends_at)}" if item.ends_at.seconds else "live"
