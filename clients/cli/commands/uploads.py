"""`jit recordings uploads`: recordings that are not in their store yet, and why (R27)."""

from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import Account, Limit, Output, Region, printed, set_scope
from clients.cli.commands.recordings import recordings
from clients.cli.gateway import gateway, listing
from clients.cli.view import Format
from jitgate.v1 import recording_pb2 as recording
from jitgate.v1 import upload_pb2 as upload

SERVICE = "/jitgate.v1.UploadService"


def add_to(app: typer.Typer) -> None:
    recordings.command("uploads")(uploads)


def uploads(
    *,
    retry: Annotated[
        str, typer.Option("--retry", metavar="SESSION", help="Take this one out of quarantine, and try it again.")
    ] = "",
    account: Account = "",
    region: Region = "",
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show what is not in its store yet and why, newest session first."""
    if retry:
        with gateway() as channel:
            wanted_again = upload.RetryUploadRequest(session_id=retry)
            channel.unary(f"{SERVICE}/RetryUpload", wanted_again, upload.RetryUploadResponse)
        view.note(f"{retry} is tried again. See what becomes of it: jit recordings uploads")
        return
    wanted = upload.ListUploadsRequest()
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = listing(channel, f"{SERVICE}/ListUploads", wanted, upload.ListUploadsResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            item.session_id,
            item.node_name or item.node_id,
            _status(item),
            view.size(item.spool_bytes),
            f"{item.segments_stored} / {item.segments_waiting}",
            view.moment(item.waiting_since),
            item.failure,
            view.relative(item.next_try_at) if item.HasField("next_try_at") else "",
            item.replica,
        )
        for item in answer.uploads
    ]
    columns = ("session", "node", "status", "in spool", "stored / waiting", "since", "why", "next try", "gateway")
    view.print_table(columns, rows, "Nothing waits, and nothing is in quarantine.")
    view.note_more(answer.next_page_token)


def _status(item: upload.Upload) -> str:
    if item.retry_wanted:
        return "to be tried again"
    return view.word(recording.RecordingStatus.Name(item.status), "RECORDING_STATUS_")
