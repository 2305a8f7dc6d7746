"""The spool on disk: one folder a writer, locked while it lives; in it one folder a session.

<spool>/.claims                       lock: one process at a time takes writers' folders
<spool>/w-<16 hex>/.lock              held by the living writer
<spool>/w-<16 hex>/<session id>/      head.json, stored.jsonl, 000000.journal, 000001.journal, …
                                      lost: it stands for one that is gone
<spool>/quarantine/<session id>-<n>/  what could not be finished, and reason.txt
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from recorder import canonical
from recorder.errors import DamagedRecording
from recorder.events import Tally
from recorder.model import Epoch, Pending, Quarantined, SegmentEntry, SessionInfo
from recorder.syncing import sync_folder

SPOOL_FORMAT: Final = "jitgate-spool-2"
_BEFORE_EPOCHS: Final = "jitgate-spool-1"
"""The format before a recording could go on in a second epoch: nothing is earlier."""
_QUARANTINE: Final = "quarantine"
_REASON: Final = "reason.txt"
_LOST: Final = "lost"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the epochs before this one left, all of it in the object store; `tally` is where they ended."""

    epochs: tuple[Epoch, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class SpoolHead:
    """What a session's folder is good for without its writer: wrapped keys, never a key in the clear.

    `earlier` is None in the first epoch. With it a folder needs none of the folders before it.
    """

    format: str
    session: SessionInfo
    started_at: datetime
    epoch: int
    key_provider: str
    wrapped_key: bytes
    wrapped_input_key: bytes | None
    boot_id: str
    durability: str
    earlier: Earlier | None


def parse_head(data: bytes) -> SpoolHead:
    """Raises DamagedRecording."""
    value = canonical.load(data)
    found = value.get("format") if isinstance(value, dict) else None
    if found == _BEFORE_EPOCHS:
        value |= {"format": SPOOL_FORMAT, "earlier": None}
    elif found != SPOOL_FORMAT:
        raise DamagedRecording(f"spool format {found!r}; this version reads {SPOOL_FORMAT}")
    return canonical.build(SpoolHead, value, "head")


@dataclass(frozen=True, slots=True)
class StoredLine:
    """One line of stored.jsonl: a segment that the object store has, and the tally after it."""

    entry: SegmentEntry
    tally: Tally


def boot_id() -> str:
    """Which run of the machine this is; empty where the system does not tell."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """The folder of one session. Everything raises OSError."""

    path: Path

    def create(self, head: SpoolHead, *, is_lost: bool = False) -> None:
        """Make the folder with its head, durably. FileExistsError: the session is already there.

        `is_lost`: it stands for a folder that is gone, with what was not stored.
        """
        self.path.mkdir(mode=0o700)
        try:
            if is_lost:
                (self.path / _LOST).touch(mode=0o600)
            self._write_durably("head.json", canonical.dump(head))
            sync_folder(self.path.parent)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def replace(self, before: SessionFolder, head: SpoolHead) -> None:
        """Make this folder, as `create` does, and only then remove the folder of the epoch before.

        Killed in between, both are there: `newest` tells which one counts.
        """
        self.create(head)
        try:
            before.remove()
        except OSError:
            self.remove()
            raise
        with contextlib.suppress(OSError):  # where a power cut brings it back, `newest` removes it again
            sync_folder(before.path.parent)

    def head(self) -> SpoolHead:
        """Raises DamagedRecording, FileNotFoundError."""
        return parse_head((self.path / "head.json").read_bytes())

    @property
    def is_lost(self) -> bool:
        """It stands for a folder that is gone: what the store has is all there is."""
        return (self.path / _LOST).exists()

    def part(self, number: int) -> Path:
        return self.path / f"{number:06d}.journal"

    def parts(self) -> list[int]:
        """Numbers of the parts that are there, in order."""
        return sorted(int(file.stem) for file in self.path.glob("*.journal") if file.stem.isdecimal())

    def note_stored(self, line: StoredLine) -> None:
        """Remember, durably, that a segment is stored: saves a recovery from fetching it."""
        with (self.path / "stored.jsonl").open("ab") as log:
            log.write(canonical.dump(line) + b"\n")
            log.flush()
            os.fdatasync(log.fileno())

    def stored(self) -> list[StoredLine]:
        """What was noted, up to the first line that cannot be read: the rest is found in the store again."""
        try:
            lines = (self.path / "stored.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        noted: list[StoredLine] = []
        for line in lines:
            try:
                found = canonical.build(StoredLine, canonical.load(line))
            except DamagedRecording:
                break
            if found.entry.sequence != len(noted):
                break
            noted.append(found)
        return noted

    def pending(self) -> Pending:
        """What of it is here and not stored, its writer being gone."""
        parts = self.parts()
        stored = len(self.stored())
        waiting = sum(number >= stored for number in parts)
        with contextlib.suppress(DamagedRecording, FileNotFoundError):
            head = self.head()
            stored += sum(len(epoch.segments) for epoch in head.earlier.epochs) if head.earlier else 0
        size = 0
        for number in parts:
            with contextlib.suppress(FileNotFoundError):  # stored just now
                size += self.part(number).stat().st_size
        return Pending(self.path.name, size, stored, waiting, is_open=False)

    def remove(self) -> None:
        """Free the spool. Renamed first, so that a half-removed folder is never taken for a recording."""
        done = self.path.with_name(f".done-{self.path.name}-{secrets.token_hex(4)}")
        self.path.rename(done)
        shutil.rmtree(done, ignore_errors=True)

    def quarantine(self, spool: Path, reason: str) -> Quarantined:
        """Move the folder aside with its reason."""
        aside = spool / _QUARANTINE
        aside.mkdir(mode=0o700, exist_ok=True)
        target = aside / f"{self.path.name}-{secrets.token_hex(4)}"
        self.path.rename(target)
        with contextlib.suppress(OSError):  # a full disk must not keep it among the living
            (target / _REASON).write_text(reason + "\n", encoding="utf-8")
        return Quarantined(self.path.name, str(target), reason)

    def _write_durably(self, name: str, data: bytes) -> None:
        fd = os.open(self.path / f"{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        (self.path / f"{name}.tmp").rename(self.path / name)
        sync_folder(self.path)


@dataclass(slots=True)
class WriterFolder:
    """A writer's folder, held by its lock."""

    path: Path
    lock: int

    def sessions(self) -> list[SessionFolder]:
        return [SessionFolder(each) for each in sorted(self.path.glob("s-*")) if each.is_dir()]

    def release(self) -> None:
        """Let go; the folder goes too where nothing is left in it."""
        if not self.sessions():
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def newest(folders: Iterable[SessionFolder]) -> list[SessionFolder]:
    """One folder a session, that of its highest epoch; the others are removed, for that one has all they left.

    A folder whose head cannot be read replaces none and is replaced by none.
    """
    named: dict[str, list[SessionFolder]] = {}
    for folder in folders:
        named.setdefault(folder.path.name, []).append(folder)
    return [folder for each in named.values() for folder in (each if len(each) == 1 else _newest(each))]


def _newest(folders: list[SessionFolder]) -> list[SessionFolder]:
    kept: list[SessionFolder] = []
    epochs: list[tuple[int, SessionFolder]] = []
    for folder in folders:
        try:
            epochs.append((folder.head().epoch, folder))
        except (DamagedRecording, OSError):
            kept.append(folder)
    highest = max((epoch for epoch, _ in epochs), default=0)
    for epoch, folder in epochs:
        if epoch == highest:
            kept.append(folder)
            continue
        with contextlib.suppress(OSError):  # it is not among those kept, and the next look finds it again
            folder.remove()
    return kept


def claim_new(spool: Path) -> WriterFolder:
    """A folder of our own. Raises OSError."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _claims(spool):
        path = spool / f"w-{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        sync_folder(spool)  # else a power cut may take the folder, and all that is durable in it
        return WriterFolder(path, _lock(path / ".lock", wait=True))


def claim_dead(spool: Path) -> list[WriterFolder]:
    """The folders whose writers are gone; they are ours now. Raises OSError."""
    claimed = []
    with _claims(spool):
        for path in sorted(spool.glob("w-*")):
            try:
                claimed.append(WriterFolder(path, _lock(path / ".lock", wait=False)))
            except (BlockingIOError, FileNotFoundError):
                continue
    return claimed


def quarantined(spool: Path) -> list[Quarantined]:
    """What is in quarantine. Raises OSError."""
    found = []
    for path in sorted((spool / _QUARANTINE).glob("s-*-*")):
        try:
            reason = (path / _REASON).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            reason = "unknown: its reason could not be written"
        found.append(Quarantined(path.name.rpartition("-")[0], str(path), reason))
    return found


def has(spool: Path, session_id: str) -> bool:
    """Whether anything of the session is in the spool, whoever writes it, or in its quarantine."""
    return any(spool.glob(f"w-*/{session_id}")) or any(spool.glob(f"{_QUARANTINE}/{session_id}-*"))


def stand_in(spool: Path, head: SpoolHead) -> tuple[WriterFolder, SessionFolder]:
    """A folder for a session whose own is lost, in a writer's folder that is ours. Raises OSError."""
    writer = claim_new(spool)
    folder = SessionFolder(writer.path / head.session.session_id)
    try:
        folder.create(head, is_lost=True)
    except OSError:
        writer.release()
        raise
    return writer, folder


def readmit(spool: Path, session_id: str) -> WriterFolder | None:
    """A recording out of the quarantine, in a writer's folder that is ours; None: it is not in there.

    Where it is there more than once, as after another try, the latest comes back. Raises OSError.
    """
    aside = [Path(each.path) for each in quarantined(spool) if each.session_id == session_id]
    if not aside:
        return None
    writer = claim_new(spool)
    try:
        latest = max(aside, key=lambda path: path.stat().st_ctime_ns)
        latest.rename(writer.path / session_id)
        (writer.path / session_id / _REASON).unlink(missing_ok=True)
    except OSError:
        writer.release()
        raise
    return writer


@contextlib.contextmanager
def _claims(spool: Path) -> Iterator[None]:
    lock = _lock(spool / ".claims", wait=True)
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path, *, wait: bool) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(fd)
        raise
    return fd
