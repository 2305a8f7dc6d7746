"""`jit recordings`: what was seen in sessions (R27)."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clients.cli import view
from clients.cli.asking import confirm
from clients.cli.commands.offline import inventory, verify_folder
from clients.cli.commands.parameters import OVERSIGHT, Account, Limit, Output, Region, printed, set_scope, since
from clients.cli.errors import REFUSED, USAGE, Failure
from clients.cli.gateway import gateway, listing
from clients.cli.text import clean
from clients.cli.view import Format
from jitgate.v1 import recording_pb2 as recording

recordings = typer.Typer(help="Recordings of sessions.", no_args_is_help=True)
SERVICE = "/jitgate.v1.RecordingService"
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Session id, s-….")]


class ExportFormat(StrEnum):
    """What a recording can be exported as."""

    ASCIICAST = "asciicast"
    TEXT = "text"
    RAW = "raw"


_FORMATS = {
    ExportFormat.ASCIICAST: recording.EXPORT_FORMAT_ASCIICAST_V2,
    ExportFormat.TEXT: recording.EXPORT_FORMAT_TEXT,
    ExportFormat.RAW: recording.EXPORT_FORMAT_RAW,
}


def add_to(app: typer.Typer) -> None:
    recordings.command()(inventory)
    app.add_typer(recordings, name="recordings", rich_help_panel=OVERSIGHT)


@recordings.command("list")
def list_(
    *,
    user: Annotated[str, typer.Option(metavar="ID", help="Sessions of this user.")] = "",
    node: Annotated[str, typer.Option(metavar="NODE", help="Sessions on this node.")] = "",
    request: Annotated[str, typer.Option(metavar="ID", help="Sessions of this access request.")] = "",
    after: Annotated[str, typer.Option(metavar="TIME", help="2026-01-31, 2026-01-31T12:00, 90m, 12h or 7d.")] = "",
    before: Annotated[str, typer.Option(metavar="TIME", help="Likewise.")] = "",
    account: Account = "",
    region: Region = "",
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show recordings, newest first."""
    wanted = recording.ListRecordingsRequest(user_id=user, node=node, access_request_id=request)
    if after:
        wanted.started_after.CopyFrom(since(after))
    if before:
        wanted.started_before.CopyFrom(since(before))
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = listing(channel, f"{SERVICE}/ListRecordings", wanted, recording.ListRecordingsResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            item.session_id,
            item.user_id,
            item.node_name or item.node_id,
            view.moment(item.started_at),
            view.length(item.duration),
            view.size(item.output_bytes),
            _status(item),
            item.access_request_id,
        )
        for item in answer.recordings
    ]
    columns = ("session", "user", "node", "started", "length", "output", "status", "request")
    view.print_table(columns, rows, "There are no such recordings.")
    view.note_more(answer.next_page_token)


@recordings.command()
def show(session_id: SessionId, output: Output = Format.TABLE) -> None:
    """Show what is known of a recording."""
    with gateway() as channel:
        wanted = recording.GetRecordingRequest(session_id=session_id)
        answer = channel.unary(f"{SERVICE}/GetRecording", wanted, recording.GetRecordingResponse)
    if printed(answer, output):
        return
    item = answer.recording
    view.print_facts(
        [
            ("session", item.session_id),
            ("user", item.user_id),
            ("node", f"{item.node_name} ({item.node_id})"),
            ("request", item.access_request_id),
            ("started", view.moment(item.started_at)),
            ("length", view.length(item.duration)),
            ("status", _status(item)),
            ("output", view.size(item.output_bytes)),
            ("input", view.size(item.input_bytes)),
            ("stored", _stored(item)),
            ("gaps", str(item.gaps)),
            ("manifest", _manifest(item, len(answer.manifest))),
            *_deletion(item),
        ]
    )


@recordings.command()
def play(
    session_id: SessionId,
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="How many times as fast.")] = 1.0,
    idle_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Longest pause to show; 0: as long as it was.")
    ] = 2.0,
    start: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Begin there.")] = 0.0,
) -> None:
    """Replay a session in this terminal. Space pauses, the arrows go 10 s back and forth, q quits."""
    from clients.cli.playback import Player

    with gateway() as channel:
        Player(channel, session_id, speed=speed, idle_limit=idle_limit).play(start)


@recordings.command()
def export(
    session_id: SessionId,
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="asciicast plays in asciinema.")
    ] = ExportFormat.ASCIICAST,
    file: Annotated[
        Path | None, typer.Option("-o", "--file", metavar="FILE", help="Where to; default: standard output.")
    ] = None,
) -> None:
    """Write a whole recording in plain. This leaves the gateway's protection and is an event."""
    from clients.cli.transfer import Progress, new_file

    if file is None and sys.stdout.isatty() and format_ is ExportFormat.RAW:
        raise Failure(
            "raw output would act on this terminal", "Name a file with -o, or use jit recordings play.", USAGE
        )
    wanted = recording.ExportRecordingRequest(session_id=session_id, format=_FORMATS[format_])
    with gateway() as channel:
        chunks = channel.stream(f"{SERVICE}/ExportRecording", wanted, recording.ExportRecordingResponse)
        if file is None:
            for answer in chunks:
                sys.stdout.buffer.write(answer.chunk)
            sys.stdout.buffer.flush()
            return
        with new_file(file) as target, Progress(f"Exporting to {file}") as progress:
            for answer in chunks:
                target.write(answer.chunk)
                progress.add(len(answer.chunk))
    view.note(f"Wrote {file}.")


@recordings.command()
def verify(
    session_id: Annotated[str, typer.Argument(metavar="[SESSION]", help="Session id, s-….")] = "",
    *,
    offline: Annotated[
        Path | None, typer.Option("--offline", metavar="DIR", help="Check files instead, and ask no gateway.")
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            "--public-key", metavar="FILE", help="A trusted key in PEM, with --offline; can be repeated."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="An inventory: find missing and exchanged recordings too."),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Check signature, chain and every object as stored now. Exit code 1: it is not intact."""
    if offline is not None:
        if session_id or not public_key:
            raise Failure(
                "--offline takes a folder and the public key, and no session",
                "jit recordings verify --offline DIR --public-key FILE",
                USAGE,
            )
        verify_folder(offline, public_key, against, output)
    elif public_key or against is not None or not session_id:
        raise Failure("nothing to verify", "Name a session, or a folder: --offline DIR --public-key FILE", USAGE)
    else:
        _verify_there(session_id, output)


def _verify_there(session_id: str, output: Format) -> None:
    with gateway() as channel:
        wanted = recording.VerifyRecordingRequest(session_id=session_id)
        path = f"{SERVICE}/VerifyRecording"
        answer = channel.unary(path, wanted, recording.VerifyRecordingResponse, timeout=3600)
    if not printed(answer, output):
        if answer.intact:
            what = f"{answer.objects} objects, {view.size(answer.stored_bytes)}, {answer.gaps} gaps"
            view.say(
                Text("✓ intact: ", style="green").append(f"{what}, signed by key {clean(answer.signing_key_id)}")
            )
        for problem in answer.problems:
            view.say(Text("✗ ", style="red").append(clean(problem), style=""))
    if not answer.intact:
        raise Failure(
            "the recording is not intact", "Keep everything as it is and tell the gateway's operator.", REFUSED
        )


@recordings.command()
def download(
    session_id: SessionId,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder; made if missing.")],
) -> None:
    """Save manifest and objects, still encrypted: what offline verification needs."""
    from clients.cli.transfer import Progress, save_files

    wanted = recording.DownloadRecordingRequest(session_id=session_id)
    with gateway() as channel, Progress(f"Saving to {folder}") as progress:
        answers = channel.stream(f"{SERVICE}/DownloadRecording", wanted, recording.DownloadRecordingResponse)
        count = save_files(folder, ((answer.name, answer.chunk) for answer in answers), progress)
    view.note(f"Saved {count} files in {folder}.")


@recordings.command()
def delete(
    session_id: SessionId,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept for ever, with your name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a complete recording from its store for good. Who did it and why stays."""
    confirm(f"Delete the recording of {session_id} for good?", sure=yes)
    wanted = recording.DeleteRecordingRequest(session_id=session_id, reason=reason)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/DeleteRecording", wanted, recording.DeleteRecordingResponse)
    view.note(f"{session_id} is being deleted. See when it is gone: jit recordings list")


def _status(item: recording.Recording) -> str:
    words = view.word(recording.RecordingStatus.Name(item.status), "RECORDING_STATUS_")
    if item.deletion.HasField("deleted_at"):
        return f"{words} {view.moment(item.deletion.deleted_at)} by {_by(item.deletion)}"
    if item.HasField("deletion"):
        words = f"{words}, wanted by {_by(item.deletion)}"
    return f"{words}: {item.status_reason}" if item.status_reason else words


def _by(deletion: recording.RecordingDeletion) -> str:
    return deletion.actor_id or "the retention"


def _manifest(item: recording.Recording, size: int) -> str:
    if item.HasField("deletion"):
        return f"SHA-256 {item.deletion.manifest_sha256}"
    return f"signed, {view.size(size)}" if size else "not finished yet"


def _stored(item: recording.Recording) -> str:
    size = view.size(item.stored_bytes)
    return f"nothing; it was {size}" if item.deletion.HasField("deleted_at") else f"{size}, encrypted"


def _deletion(item: recording.Recording) -> list[tuple[str, str]]:
    """When, by whom and why; nothing where it is kept."""
    if not item.HasField("deletion"):
        return []
    gone = item.deletion
    at = view.moment(gone.deleted_at) if gone.HasField("deleted_at") else "not gone yet"
    wanted = f"{_by(gone)}, {view.moment(gone.wanted_at)}"
    return [("deleted", at), ("deleted by", wanted), ("why", gone.reason)]
