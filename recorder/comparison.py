"""What was found in a folder, held against what the gateway says there should be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from recorder.inventory import COMPLETE, DELETED, Entry, Inventory
from recorder.model import Manifest
from recorder.verification import Finding

_SETTLING: Final = timedelta(minutes=1)
"""A recording that began so shortly before an inventory may not have been written down yet."""


class Verdict(StrEnum):
    """What became of a recording. DELETED, NOT_COMPLETE: the inventory says so, and nothing is there to check."""

    INTACT = "intact"
    DAMAGED = "not intact"
    MISSING = "missing"
    DELETED = "deleted"
    NOT_COMPLETE = "not complete"


@dataclass(frozen=True, slots=True)
class Checked:
    """One recording. `folder` is its path below the one that was named (`.`: that itself; empty: there is none).

    `size` counts the bytes of its `segments` that were read. `problems` are empty unless it is DAMAGED or MISSING.
    """

    session_id: str
    folder: str
    verdict: Verdict
    problems: tuple[Finding, ...] = ()
    note: str = ""
    segments: int = 0
    size: int = 0

    @property
    def passed(self) -> bool:
        return self.verdict in (Verdict.INTACT, Verdict.DELETED, Verdict.NOT_COMPLETE)


@dataclass(frozen=True, slots=True)
class Found:
    """A folder and what is wrong in it. `manifest` is None where none can be read.

    `sha256` is that of the manifest's file: empty where there is none.
    """

    session_id: str
    folder: str
    manifest: Manifest | None
    sha256: str
    problems: tuple[Finding, ...]
    segments: int = 0
    size: int = 0


def alone(found: Collection[Found]) -> list[Checked]:
    """Each by itself: a recording that is not there at all is not missed."""
    return [_checked(each) for each in found]


def compared(found: Collection[Found], inventory: Inventory) -> list[Checked]:
    """Each as the inventory has it, then those that only the inventory has."""
    entries = {entry.session_id: entry for entry in inventory.recordings}
    checked = [_against(each, entries.get(each.session_id), inventory) for each in found]
    there = {each.session_id for each in found}
    return checked + [_absent(entry) for entry in inventory.recordings if entry.session_id not in there]


def _against(found: Found, entry: Entry | None, inventory: Inventory) -> Checked:
    checked = _checked(found)
    if entry is None:
        return _unlisted(found, checked, inventory)
    if entry.status != COMPLETE:
        if not found.sha256:
            return replace(checked, verdict=_unchecked(entry), problems=(), note=_said(entry))
        if entry.status != DELETED:
            return replace(checked, note=f"{_said(entry)}; it was completed since")
        checked = replace(checked, note=f"{_said(entry)}; this is a copy from before")
    if found.sha256 and found.sha256 != entry.manifest_sha256:
        return _worse(
            checked, Finding("manifest", "is not the manifest that the inventory notes: it was exchanged")
        )
    return checked


def _unlisted(found: Found, checked: Checked, inventory: Inventory) -> Checked:
    """A recording that the inventory does not know; a manifest that is trusted says whether it should."""
    if found.manifest is None or found.problems:
        return _worse(checked, Finding("inventory", "does not list this recording"))
    session = found.manifest.session
    if not inventory.covers(session.account, session.region):
        return replace(checked, note=f"the inventory says nothing of {session.account}/{session.region}")
    if found.manifest.started_at > inventory.created_at - _SETTLING:
        return replace(checked, note="it began after the inventory was made")
    return _worse(checked, Finding("inventory", "does not list this recording, which is older than it"))


def _absent(entry: Entry) -> Checked:
    if entry.status != COMPLETE:
        return Checked(entry.session_id, "", _unchecked(entry), note=_said(entry))
    missing = Finding(entry.folder or "", "is missing as a whole: it was removed, or not copied here")
    return Checked(entry.session_id, "", Verdict.MISSING, (missing,))


def _unchecked(entry: Entry) -> Verdict:
    return Verdict.DELETED if entry.status == DELETED else Verdict.NOT_COMPLETE


def _said(entry: Entry) -> str:
    if gone := entry.deletion:
        return f"deleted on {gone.at:%Y-%m-%d %H:%M:%S} UTC by {gone.by or 'the retention'}: {gone.reason}"
    return f"the inventory says: {entry.status}"


def _worse(checked: Checked, finding: Finding) -> Checked:
    return replace(checked, verdict=Verdict.DAMAGED, problems=(*checked.problems, finding))


def _checked(found: Found) -> Checked:
    verdict = Verdict.DAMAGED if found.problems else Verdict.INTACT
    return Checked(
        found.session_id, found.folder, verdict, found.problems, segments=found.segments, size=found.size
    )
