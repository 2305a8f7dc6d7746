"""Recordings in a folder checked on files alone: no gateway and no data key, public keys only.

The folder is one recording's or a tree of many, as a download, a local store or a bucket's copy leaves them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from recorder import canonical
from recorder.comparison import Checked, Found, alone, compared
from recorder.errors import DamagedRecording, StoreUnavailable, UnusableFile
from recorder.inventory import Inventory, check_inventory
from recorder.model import Manifest
from recorder.object_stores.local_folder import LocalFolder
from recorder.segment import HEADER, parse_header
from recorder.signatures import public_key_of
from recorder.verification import Finding, verify

_SESSION: Final = re.compile(r"s-[0-9a-f]{20}")
# No \d: digits of other scripts are in no object's name, so what is called by them would be nobody's to compare.
_MANIFEST: Final = re.compile(r"manifest-[0-9]{4,}\.json")
_SEGMENT: Final = re.compile(r"[0-9]{4,}-[0-9]{6,}\.seg")
_FULL_PLACE: Final = re.compile(r"(?:.*/)?([^/]+/[^/]+/\d{4}/\d\d/\d\d/s-[0-9a-f]{20}/)")
_MAX_KEY: Final = 64 * 1024
_MAX_SAID: Final = 500


def read_public_key(file: Path) -> bytes:
    """The raw public key in a PEM file. Raises UnusableFile."""
    try:
        return public_key_of(_read(file, _MAX_KEY))
    except ValueError:
        raise UnusableFile(f"{file} holds no Ed25519 or P-256 public key in PEM") from None


def read_inventory(file: Path, public_keys: Collection[bytes]) -> Inventory:
    """Raises UnusableFile, DamagedInventory."""
    return check_inventory(_read(file, canonical.MAX_BYTES), public_keys)


async def check(root: Path, public_keys: Collection[bytes], inventory: Inventory | None = None) -> list[Checked]:
    """Every recording below `root`, and with an `inventory` those that are not there. Raises UnusableFile."""
    found = [await _look(folder, below, public_keys) for folder, below in _folders(root)]
    return alone(found) if inventory is None else compared(found, inventory)


def _folders(root: Path) -> Iterator[tuple[Path, str]]:
    """Where a recording is, or was: what is named like a session, and what holds objects of one.

    Each with its path below `root`.
    """

    def unreadable(failure: OSError) -> None:
        raise UnusableFile(f"{failure.filename} cannot be read: {failure.strerror}") from failure

    top = root.resolve()  # so that the names above `root` say where a recording lies
    if not top.is_dir():
        raise UnusableFile(f"{root} is no folder")
    for place, below, files in os.walk(top, onerror=unreadable):
        below.sort()
        folder = Path(place)
        if _named(folder) or any(map(_is_object, files)):
            yield folder, folder.relative_to(top).as_posix()


def _is_object(name: str) -> bool:
    return bool(_MANIFEST.fullmatch(name) or _SEGMENT.fullmatch(name))


async def _look(folder: Path, below: str, public_keys: Collection[bytes]) -> Found:
    file = _manifest_in(folder)
    if file is None:
        gone = Finding("manifest", "is missing: it was deleted, or the recording was never finished")
        return Found(_session_of(folder), below, None, "", (gone,))
    try:
        data = _read(file, canonical.MAX_BYTES)
        verification = await verify(data, LocalFolder(folder), public_keys, prefix="")
    except (UnusableFile, StoreUnavailable) as failure:
        unreadable = Finding(file.name, f"or an object beside it could not be checked: {failure}")
        return Found(_session_of(folder), below, None, "?", (unreadable,))
    problems = [
        replace(each, where=file.name if each.where == "manifest" else each.where, what=_short(each.what))
        for each in verification.findings
    ]
    manifest = verification.manifest
    if manifest is not None and (problem := _misplaced(folder, manifest)):
        problems.insert(0, Finding("folder", problem))
    session_id = _named(folder) or (manifest.session.session_id if manifest else _session_of(folder))
    sha256 = hashlib.sha256(data).hexdigest()
    return Found(session_id, below, manifest, sha256, tuple(problems), verification.segments, verification.size)


def _short(text: str) -> str:
    """What is not as it must be is quoted, and may be as long as a manifest."""
    return text if len(text) <= _MAX_SAID else f"{text[:_MAX_SAID]}…"


def _manifest_in(folder: Path) -> Path | None:
    """That of the last epoch, as the true one is; more of them are found by what verifies it."""
    manifests = [path for path in folder.iterdir() if _MANIFEST.fullmatch(path.name) and path.is_file()]
    return max(manifests, key=lambda path: (len(path.name), path.name), default=None)


def _misplaced(folder: Path, manifest: Manifest) -> str:
    """What is wrong with where the recording lies; folders that people named themselves say nothing."""
    full = _FULL_PLACE.fullmatch(f"{folder.as_posix()}/")
    if full is not None and full.group(1) != manifest.prefix:
        return f"holds the recording that belongs in {manifest.prefix}: it was swapped or replayed"
    if full is None and _named(folder) not in ("", manifest.session.session_id):
        return f"holds the recording of {manifest.session.session_id}: it was swapped or replayed"
    return ""


def _named(folder: Path) -> str:
    return folder.name if _SESSION.fullmatch(folder.name) else ""


def _session_of(folder: Path) -> str:
    """Whose recording it was, by the folder's name or by what its segments say; empty: nobody can tell."""
    if named := _named(folder):
        return named
    for path in sorted(path for path in folder.iterdir() if _SEGMENT.fullmatch(path.name) and path.is_file()):
        try:
            with path.open("rb") as file:
                return parse_header(file.read(HEADER.size))[0].session_id
        except (DamagedRecording, OSError):
            continue
    return ""


def _read(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as failure:
        raise UnusableFile(f"{file} cannot be read: {failure.strerror}") from failure
    if len(data) > most:
        raise UnusableFile(f"{file} has more than {most} bytes, which is too much for what it should be")
    return data
