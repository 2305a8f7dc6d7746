"""`jit recordings verify --offline` and `jit recordings inventory`: recordings checked without a gateway (R27).

The one door from the clients into `recorder`: a recording's form has one implementation, and who audits needs it
where no gateway answers.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clients.cli import view
from clients.cli.commands.parameters import Account, Region, set_scope
from clients.cli.errors import REFUSED, USAGE, Failure
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import recording_pb2 as recording

if TYPE_CHECKING:
    from recorder.comparison import Checked


def inventory(
    file: Annotated[
        Path | None, typer.Option("-o", "--file", metavar="FILE", help="Where to; default: standard output.")
    ] = None,
    account: Account = "",
    region: Region = "",
) -> None:
    """Write the signed list of recordings that there should be. This is an event."""
    from clients.cli.transfer import new_file

    wanted = recording.InventoryRecordingsRequest()
    set_scope(wanted, account, region)
    with gateway() as channel:
        path = "/jitgate.v1.RecordingService/InventoryRecordings"
        answers = channel.stream(path, wanted, recording.InventoryRecordingsResponse)
        with new_file(file) if file is not None else nullcontext(sys.stdout.buffer) as target:
            for answer in answers:
                target.write(answer.chunk)
            target.flush()


def verify_folder(folder: Path, public_keys: list[Path], against: Path | None, output: Format) -> None:
    """Checks what is in a folder and prints it. Raises Failure where anything is not intact, or missing."""
    checked = _checked(folder, public_keys, against)
    if output is Format.JSON:
        print(
            json.dumps(
                {"intact": all(each.passed for each in checked), "recordings": list(map(_plain, checked))},
                indent=2,
            )
        )
    else:
        view.print_table(
            ("session", "folder", "verdict", "problems"), map(_row, checked), "There is no recording."
        )
    bad = sum(not each.passed for each in checked)
    if not checked:
        raise Failure(f"there is no recording in {folder}", "Name the folder of one, or one above it.", REFUSED)
    if bad:
        what_to_do = "Keep everything as it is and tell the gateway's operator."
        raise Failure(f"{bad} of {len(checked)} recordings are not intact, or missing", what_to_do, REFUSED)


def _checked(folder: Path, public_keys: list[Path], against: Path | None) -> "list[Checked]":
    import asyncio

    from recorder.errors import DamagedInventory, UnusableFile
    from recorder.offline import check, read_inventory, read_public_key

    try:
        keys = [read_public_key(file) for file in public_keys]
        expected = read_inventory(against, keys) if against is not None else None
        return asyncio.run(check(folder, keys, expected))
    except UnusableFile as unusable:
        raise Failure(str(unusable), "Name what is needed: jit recordings verify --help", USAGE) from unusable
    except DamagedInventory as damaged:
        raise Failure(
            f"{against}: {damaged}", "Take one that the gateway signed: jit recordings inventory"
        ) from damaged


def _row(checked: "Checked") -> tuple[view.Cell, ...]:
    style = "green" if checked.passed else "red"
    said = [f"{problem.where}: {problem.what}" for problem in checked.problems]
    if checked.note:
        said.append(checked.note)
    verdict = Text(checked.verdict.value, style=style)
    return (checked.session_id or "unknown", checked.folder, verdict, "; ".join(said))


def _plain(checked: "Checked") -> dict[str, object]:
    return {
        "session_id": checked.session_id,
        "folder": checked.folder,
        "verdict": checked.verdict.value,
        "problems": [{"where": each.where, "what": each.what} for each in checked.problems],
        "note": checked.note,
        "segments": checked.segments,
        "stored_bytes": checked.size,
    }
