"""Whoever touches an epoch of a recording is found out, and the epoch is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recorder.errors import DamagedRecording, KeyRefused
from recorder.manifest import sign_manifest
from recorder.model import Epoch, Manifest, Purpose, encryption_context, key_context
from recorder.segment import Place, open_segment, seal_segment
from recorder.verification import Opening, verify
from tests.recorder.conftest import Rig, session
from tests.recorder.epochs import begun, check, lines, output_of, played, reborn, write
from tests.recorder.test_verification import flip, swap


async def recorded(rig: Rig) -> tuple[Manifest, Path]:
    """Three epochs of two segments each, and the folder with their objects."""
    recording = await begun(rig)
    for epoch in range(3):
        write(recording, epoch * 8, epoch * 8 + 8)
        if epoch < 2:
            recording = await (await reborn(rig, recording)).resume(session().session_id)
    manifest = await recording.close("logout")
    assert [len(epoch.segments) for epoch in manifest.epochs] == [2, 2, 2]
    await check(rig, manifest)
    return manifest, rig.objects / manifest.prefix


def remove(folder: Path, epoch: int) -> None:
    for path in folder.glob(f"{epoch:04d}-*.seg"):
        path.unlink()


def swap_epochs(folder: Path) -> None:
    for number in range(2):
        swap(folder / f"0001-{number:06d}.seg", folder / f"0002-{number:06d}.seg")


def replay(folder: Path, epoch: int) -> None:
    """An old epoch stands where a later one was."""
    for number in range(2):
        shutil.copy(folder / f"0001-{number:06d}.seg", folder / f"{epoch:04d}-{number:06d}.seg")


@pytest.mark.rule("R27")
@pytest.mark.parametrize(
    ("touch", "named", "said"),
    [
        (lambda f: remove(f, 1), ["0001-000000.seg", "0001-000001.seg"], "deleted"),
        (lambda f: remove(f, 2), ["0002-000000.seg", "0002-000001.seg"], "deleted"),
        (lambda f: remove(f, 3), ["0003-000000.seg", "0003-000001.seg"], "deleted"),
        (swap_epochs, [f"000{e}-00000{n}.seg" for e in (1, 2) for n in (0, 1)], "swapped"),
        (lambda f: replay(f, 3), ["0003-000000.seg", "0003-000001.seg"], "holds segment 0001-"),
        (lambda f: replay(f, 4), ["0004-000000.seg", "0004-000001.seg"], "not in the manifest"),
        (lambda f: flip(f / "0002-000000.seg", 60), ["0002-000000.seg"], "changed"),
        (
            lambda f: shutil.copy(f / "manifest-0003.json", f / "manifest-0002.json"),
            ["manifest-0002.json"],
            "manifest of another epoch",
        ),
    ],
)
async def test_an_epoch_that_was_touched_is_named(
    rig: Rig, touch: Callable[[Path], None], named: list[str], said: str
) -> None:
    manifest, folder = await recorded(rig)
    data = await rig.manifest_file(manifest)
    touch(folder)
    checked = await verify(data, rig.store, rig.public_keys)
    assert [finding.where for finding in checked.findings] == [manifest.prefix + name for name in named]
    assert all(said in finding.what for finding in checked.findings)


def headed(epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """Numbered anew, as a signer would who hides what is missing."""
    return tuple(replace(epoch, epoch=number) for number, epoch in enumerate(epochs, 1))


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda e: (e[0], e[2]), "lists epoch 3 where 2 belongs"),
        (lambda e: (e[1], e[2]), "lists epoch 2 where 1 belongs"),
        (lambda e: (e[0], e[1]), "is not in the manifest"),
        (lambda e: (e[1], e[0], e[2]), "lists epoch 2 where 1 belongs"),
        (lambda e: (e[0], e[1], e[1]), "lists epoch 2 where 3 belongs"),
        (lambda e: headed((e[0], e[2])), "is not in the manifest"),
        (lambda e: headed((e[0], e[1], e[1])), "was changed"),
        (lambda e: (e[0], replace(e[1], segments=(), head=e[0].head), e[2]), "breaks the chain"),
        (lambda e: (e[0], replace(e[1], head=e[2].head), e[2]), "the head of epoch 2"),
    ],
)
async def test_a_signer_that_leaves_out_reorders_or_repeats_epochs_is_found(
    rig: Rig, lie: Callable[[tuple[Epoch, ...]], tuple[Epoch, ...]], said: str
) -> None:
    manifest, _ = await recorded(rig)
    data = await sign_manifest(replace(manifest, epochs=lie(manifest.epochs)), rig.signer)
    found = (await verify(data, rig.store, rig.public_keys)).findings
    assert any(said in finding.what for finding in found), found


async def forged(rig: Rig, manifest: Manifest, previous: bytes) -> Manifest:
    """The same epochs, but the third is sealed again by one who has its key, after `previous`."""
    *before, epoch = manifest.epochs
    context = key_context(encryption_context(session()), 3, Purpose.RECORDING)
    key = await rig.keys.unwrap(epoch.wrapped_key, context)
    entries = []
    was = bytes.fromhex(before[-1].head)
    for entry in epoch.segments:
        path = rig.objects / manifest.prefix / f"0003-{entry.sequence:06d}.seg"
        batch = open_segment(path.read_bytes(), Place(session().session_id, 3, entry.sequence, was), key)
        blob, new = seal_segment(Place(session().session_id, 3, entry.sequence, previous), key, batch)
        path.write_bytes(blob)
        entries.append(new)
        was, previous = bytes.fromhex(entry.sha256), bytes.fromhex(new.sha256)
    return replace(manifest, epochs=(*before, replace(epoch, segments=tuple(entries), head=previous.hex())))


async def test_an_epoch_that_begins_a_chain_of_its_own_breaks_the_chain(rig: Rig) -> None:
    manifest, _ = await recorded(rig)
    honest = await forged(rig, manifest, bytes.fromhex(manifest.epochs[1].head))
    data = await sign_manifest(honest, rig.signer)
    assert (await verify(data, rig.store, rig.public_keys)).intact  # the forger's work is good but for the place
    manifest = await forged(rig, honest, bytes(32))
    data = await sign_manifest(manifest, rig.signer)
    (finding,) = (await verify(data, rig.store, rig.public_keys)).findings
    assert finding.where.endswith("0003-000000.seg")
    assert "breaks the chain" in finding.what
    with pytest.raises(DamagedRecording, match="0003-000000"):
        await output_of(rig, manifest)


async def test_the_key_of_one_epoch_opens_no_other(rig: Rig) -> None:
    manifest, _ = await recorded(rig)
    first, second, third = manifest.epochs
    lie = replace(manifest, epochs=(first, replace(second, wrapped_key=first.wrapped_key), third))
    with pytest.raises(KeyRefused):
        await played(rig, lie)
    data = await sign_manifest(lie, rig.signer)
    opening = Opening(rig.keys, encryption_context(session()))
    (finding,) = (await verify(data, rig.store, rig.public_keys, opening=opening)).findings
    assert "the data key of epoch 2 does not unwrap" in finding.what


@pytest.mark.parametrize("change", [{"bytes_out": 800}, {"exit_status": None}, {"ended": "otherwise"}])
async def test_counts_are_those_of_all_epochs(rig: Rig, change: dict[str, object]) -> None:
    recording = await begun(rig)
    write(recording, 0, 8)
    recording.exit(4)
    recording = await (await reborn(rig, recording)).resume(session().session_id)
    write(recording, 8, 10)
    manifest = await recording.close("logout")
    assert (manifest.bytes_out, manifest.exit_status) == (1000, 4)
    assert await output_of(rig, manifest) == lines(0, 10)
    await check(rig, manifest)
    data = await sign_manifest(replace(manifest, **change), rig.signer)  # type: ignore[arg-type]  # fields by name
    opening = Opening(rig.keys, encryption_context(session()))
    (finding,) = (await verify(data, rig.store, rig.public_keys, opening=opening)).findings
    assert (finding.where, finding.what) == ("manifest", "its counts are not those of the segments")
