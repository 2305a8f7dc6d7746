"""`jit preferences`: how sessions run in an account and Region (R26)."""

from enum import StrEnum
from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import ADMINISTRATION, Account, Output, Region, printed, set_scope
from clients.cli.gateway import gateway
from clients.cli.view import Format
from clients.cli.wire.channel import Channel
from jitgate.v1 import administration_pb2 as administration

preferences = typer.Typer(help="How sessions run.", no_args_is_help=True)
SERVICE = "/jitgate.v1.AdministrationService"


class Mode(StrEnum):
    """What happens where a session can't be recorded."""

    STRICT = "strict"
    BEST_EFFORT = "best-effort"


def add_to(app: typer.Typer) -> None:
    app.add_typer(preferences, name="preferences", rich_help_panel=ADMINISTRATION)


@preferences.command()
def show(account: Account = "", region: Region = "", output: Output = Format.TABLE) -> None:
    """Show the preferences of an account and Region."""
    with gateway() as channel:
        answer = _get(channel, account, region)
    if not printed(answer, output):
        _show(answer.preferences)


@preferences.command("set")
def set_(
    *,
    maximum_duration: Annotated[
        int | None,
        typer.Option(metavar="MINUTES", min=0, max=1440, help="Longest session; 0: as long as the window."),
    ] = None,
    idle_timeout: Annotated[
        int | None, typer.Option(metavar="MINUTES", min=0, max=60, help="End idle sessions; 0: never.")
    ] = None,
    run_as: Annotated[str | None, typer.Option(metavar="LOGIN", help="Login on nodes that name none.")] = None,
    shell_profile: Annotated[
        str | None, typer.Option(metavar="LINE", help="Runs in each new shell before the user types.")
    ] = None,
    recording: Annotated[Mode | None, typer.Option(help="strict: no session without a recording.")] = None,
    record_input: Annotated[
        bool | None, typer.Option("--record-input/--no-record-input", help="Record what is typed, too.")
    ] = None,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Change what is given and keep the rest."""
    given = {
        "maximum_duration_minutes": maximum_duration,
        "idle_timeout_minutes": idle_timeout,
        "run_as": run_as,
        "shell_profile": shell_profile,
        "recording": recording and administration.RecordingMode.Value(f"RECORDING_MODE_{recording.name}"),
        "record_input_content": record_input,
    }
    with gateway() as channel:
        wanted = administration.PutPreferencesRequest(preferences=_get(channel, account, region).preferences)
        set_scope(wanted.preferences, account, region)
        for name, value in given.items():
            if value is not None:
                setattr(wanted.preferences, name, value)
        answer = channel.unary(f"{SERVICE}/PutPreferences", wanted, administration.PutPreferencesResponse)
    if not printed(answer, output):
        _show(answer.preferences)


def _get(channel: Channel, account: str, region: str) -> administration.GetPreferencesResponse:
    wanted = administration.GetPreferencesRequest()
    set_scope(wanted, account, region)
    return channel.unary(f"{SERVICE}/GetPreferences", wanted, administration.GetPreferencesResponse)


def _show(item: administration.Preferences) -> None:
    minutes = item.maximum_duration_minutes
    best_effort = item.recording == administration.RECORDING_MODE_BEST_EFFORT
    view.print_facts(
        [
            ("where", f"{item.scope.account or 'default'}/{item.scope.region or 'default'}"),
            ("maximum duration", f"{minutes} min" if minutes else "as long as the window"),
            ("idle timeout", f"{item.idle_timeout_minutes} min" if item.idle_timeout_minutes else "none"),
            ("run as", item.run_as or "the node's own login"),
            ("shell profile", item.shell_profile or "none"),
            ("recording", "best effort" if best_effort else "strict"),
            ("records input", "content" if item.record_input_content else "time and length only"),
        ]
    )
