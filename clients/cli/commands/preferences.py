"""`jit preferences`: how sessions run in an account and Region (R26)."""

from enum import StrEnum
from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import ADMINISTRATION, Account, Output, Region, printed, set_scope
from clients.cli.errors import USAGE, Failure
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
    bucket: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Bucket of recordings, of jit allowances; '': the gateway's."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="ARN", help="KMS key of recordings; '': the gateway's.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(metavar="ARN", help="Role that bucket, key and log group are used in.")
    ] = None,
    playback_role: Annotated[
        str | None, typer.Option(metavar="ARN", help="Role that opens data keys; '': --role.")
    ] = None,
    retention: Annotated[
        str | None, typer.Option(metavar="MODE:DAYS", help="Object Lock: governance:400, compliance:400, none.")
    ] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--no-log", help="Tell output as JSON lines while sessions run.")
    ] = None,
    log_group: Annotated[
        str | None, typer.Option(metavar="ARN", help="CloudWatch log group for that; '': the gateway's target.")
    ] = None,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Change what is given and keep the rest."""
    place = {"bucket": bucket, "key": key, "role": role, "playback_role": playback_role, **_retention(retention)}
    given = {
        "maximum_duration_minutes": maximum_duration,
        "idle_timeout_minutes": idle_timeout,
        "run_as": run_as,
        "shell_profile": shell_profile,
        "recording": recording and administration.RecordingMode.Value(f"RECORDING_MODE_{recording.name}"),
        "record_input_content": record_input,
        "log_sessions": log,
        "log_group": log_group,
    }
    with gateway() as channel:
        wanted = administration.PutPreferencesRequest(preferences=_get(channel, account, region).preferences)
        set_scope(wanted.preferences, account, region)
        for name, value in given.items():
            if value is not None:
                setattr(wanted.preferences, name, value)
        for name, chosen in place.items():
            if chosen is not None:
                setattr(wanted.preferences.recording_place, name, chosen)
        answer = channel.unary(f"{SERVICE}/PutPreferences", wanted, administration.PutPreferencesResponse)
    if not printed(answer, output):
        _show(answer.preferences)


def _retention(given: str | None) -> dict[str, int]:
    """`governance:400` as the contract's fields; nothing where nothing was given."""
    if given is None:
        return {}
    mode, _, days = given.partition(":")
    if mode == "none" and not days:
        return {"retention_mode": administration.RETENTION_MODE_UNSPECIFIED, "retention_days": 0}
    number = {
        "governance": administration.RETENTION_MODE_GOVERNANCE,
        "compliance": administration.RETENTION_MODE_COMPLIANCE,
    }.get(mode)
    if number is None or not (days.isascii() and days.isdigit() and len(days) <= 5):
        raise Failure(f"{given!r} is no retention", "Write it as governance:400, compliance:400 or none.", USAGE)
    return {"retention_mode": number, "retention_days": int(days)}


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
            ("bucket", item.recording_place.bucket or "the gateway's own store"),
            ("key", item.recording_place.key or "the gateway's own"),
            ("role", item.recording_place.role or "none"),
            ("playback role", item.recording_place.playback_role or "the same"),
            ("retention", _retained(item.recording_place)),
            ("logs output", _logged(item)),
        ]
    )


def _retained(place: administration.RecordingPlace) -> str:
    if not place.retention_days:
        return "as the store says"
    mode = administration.RetentionMode.Name(place.retention_mode).removeprefix("RETENTION_MODE_").lower()
    return f"{mode}, {place.retention_days} days"


def _logged(item: administration.Preferences) -> str:
    if not item.log_sessions:
        return "no"
    return item.log_group or "where the gateway's configuration says"
