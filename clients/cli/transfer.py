"""Files that come from the gateway: in place as a whole or not at all, with a view of how far it is."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from clients.cli import view
from clients.cli.errors import Failure
from clients.cli.text import clean


class Progress(AbstractContextManager["Progress"]):
    """How many bytes have come, on a terminal; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        from rich.progress import DownloadColumn, SpinnerColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        shown = view.console(error=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
        self._bars = Bars(*columns, console=shown, transient=True, disable=not shown.is_terminal)
        self._task = self._bars.add_task(clean(what), total=None)

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def add(self, size: int) -> None:
        self._bars.advance(self._task, size)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete; for its owner only. Raises Failure."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failure(f"{path} can't be written: {error.strerror}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def save_files(folder: Path, pieces: Iterable[tuple[str, bytes]], progress: Progress) -> int:
    """Writes named pieces as files; a piece without a name goes on with the file before. How many files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder} can't be made: {error.strerror}") from error
    count = 0
    waiting = iter(pieces)
    piece = next(waiting, None)
    while piece is not None:
        name, chunk = piece
        with new_file(_inside(folder, name)) as file:
            file.write(chunk)
            progress.add(len(chunk))
            while (piece := next(waiting, None)) is not None and not piece[0]:
                file.write(piece[1])
                progress.add(len(piece[1]))
        count += 1
    return count


def _inside(folder: Path, name: str) -> Path:
    """The file of that name in the folder, wherever the gateway would like to have it. Raises Failure."""
    flat = name.replace("/", "_")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", flat):
        raise Failure(f"the gateway sent a file with the name {name!r}, which is not safe")
    return folder / flat
