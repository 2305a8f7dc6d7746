"""Whoever touches a recording is found out, and the place is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recorder import canonical
from recorder.errors import DamagedManifest, DamagedRecording, KeyRefused
from recorder.manifest import check_manifest, parse_manifest, sign_manifest
from recorder.model import Manifest, Purpose, SegmentEntry, encryption_context, key_context
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.segment import Place, open_segment, seal_segment
from recorder.signing import LocalSigner
from recorder.verification import Opening, verify
from tests.recorder.conftest import Rig, session


async def recorded(rig: Rig, number: int = 1) -> tuple[Manifest, bytes, Path]:
    """A recording of five segments, its manifest's file, and the folder with its objects."""
    recorder = rig.recorder(segment_bytes=500)
    await recorder.start()
    recording = await recorder.open(session(number))
    for line in range(20):
        recording.output(b"%099d\n" % line, line * 100)
    recording.exit(0)
    manifest = await recording.close("logout")
    assert len(manifest.epochs[0].segments) == 5
    return manifest, await rig.manifest_file(manifest), rig.objects / manifest.prefix


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def swap(one: Path, two: Path) -> None:
    held = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(held)


@pytest.mark.rule("R27")
async def test_an_untouched_recording_is_intact(rig: Rig) -> None:
    manifest, data, folder = await recorded(rig)
    checked = await verify(data, rig.store, rig.public_keys)
    assert checked.intact
    assert not checked.decrypted
    assert (checked.manifest, checked.segments) == (manifest, 5)
    assert checked.size == sum(path.stat().st_size for path in folder.glob("*.seg"))
    opening = Opening(rig.keys, encryption_context(session()))
    assert (await verify(data, rig.store, rig.public_keys, opening=opening)).intact
    alone = await verify(data, LocalFolder(folder), rig.public_keys, prefix="")
    assert alone.intact


@pytest.mark.rule("R27")
@pytest.mark.parametrize(
    ("touch", "named", "said"),
    [
        (lambda f: (f / "0001-000002.seg").unlink(), ["0001-000002.seg"], "deleted"),
        (lambda f: (f / "0001-000004.seg").unlink(), ["0001-000004.seg"], "deleted"),
        (lambda f: flip(f / "0001-000001.seg", -1), ["0001-000001.seg"], "changed"),
        (lambda f: flip(f / "0001-000001.seg", 50), ["0001-000001.seg"], "changed"),
        (lambda f: flip(f / "0001-000001.seg", 0), ["0001-000001.seg"], "changed"),
        (
            lambda f: swap(f / "0001-000001.seg", f / "0001-000003.seg"),
            ["0001-000001.seg", "0001-000003.seg"],
            "swapped",
        ),
        (
            lambda f: (f / "0001-000003.seg").write_bytes((f / "0001-000003.seg").read_bytes()[:-7]),
            ["0001-000003.seg"],
            "truncated",
        ),
        (lambda f: (f / "0001-000003.seg").write_bytes(b""), ["0001-000003.seg"], "truncated"),
        (lambda f: (f / "0001-000009.seg").write_bytes(b"extra"), ["0001-000009.seg"], "not in the manifest"),
    ],
)
async def test_what_was_touched_is_named(
    rig: Rig, touch: Callable[[Path], None], named: list[str], said: str
) -> None:
    manifest, data, folder = await recorded(rig)
    touch(folder)
    checked = await verify(data, rig.store, rig.public_keys)
    assert [finding.where for finding in checked.findings] == [manifest.prefix + name for name in named]
    assert all(said in finding.what for finding in checked.findings)


async def test_a_segment_of_another_recording_is_named(rig: Rig) -> None:
    _, data, folder = await recorded(rig, 1)
    _, _, other = await recorded(rig, 2)
    (folder / "0001-000001.seg").write_bytes((other / "0001-000001.seg").read_bytes())
    (finding,) = (await verify(data, rig.store, rig.public_keys)).findings
    assert session(2).session_id in finding.what


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"user":"alice"', b'"user":"mallo"'),
        (b'"bytes_out":2000', b'"bytes_out":2001'),
        (b'"format":', b' "format":'),
        (b'"user":"alice"', b'"user":"alice","x":1'),
    ],
)
async def test_a_changed_manifest_does_not_pass(rig: Rig, old: bytes, new: bytes) -> None:
    _, data, _ = await recorded(rig)
    changed = data.replace(old, new)
    assert changed != data
    checked = await verify(changed, rig.store, rig.public_keys)
    assert checked.findings[0].where == "manifest"
    with pytest.raises(DamagedManifest):
        check_manifest(changed, rig.public_keys)


async def test_a_manifest_of_an_unknown_key_does_not_pass(rig: Rig, tmp_path: Path) -> None:
    manifest, data, _ = await recorded(rig)
    stranger = LocalSigner.create(tmp_path / "stranger.pem")
    assert not (await verify(data, rig.store, [stranger.public_key])).intact
    assert not (await verify(data, rig.store, [])).intact
    forged = await sign_manifest(manifest, stranger)
    assert not (await verify(forged, rig.store, rig.public_keys)).intact
    assert (await verify(forged, rig.store, [stranger.public_key, *rig.public_keys])).intact
    renamed = forged.replace(stranger.key_id.encode(), rig.signer.key_id.encode())
    (finding,) = (await verify(renamed, rig.store, rig.public_keys)).findings
    assert "does not hold" in finding.what


async def test_garbage_is_no_manifest(rig: Rig) -> None:
    for garbage in (b"", b"{}", b"[]", b"\xff", b'{"format":1}'):
        checked = await verify(garbage, rig.store, rig.public_keys)
        assert checked.manifest is None
        assert not checked.intact


async def test_a_signer_that_lies_about_counts_is_found_with_the_key(rig: Rig) -> None:
    manifest, _, _ = await recorded(rig)
    opening = Opening(rig.keys, encryption_context(session()))
    for lie in (
        replace(manifest, bytes_out=5),
        replace(manifest, exit_status=1),
        replace(manifest, ended="otherwise"),
        relisted(manifest, lambda entries: (replace(entries[0], events=3), *entries[1:])),
    ):
        data = await sign_manifest(lie, rig.signer)
        assert (await verify(data, rig.store, rig.public_keys)).intact
        assert not (await verify(data, rig.store, rig.public_keys, opening=opening)).intact


async def test_a_signer_that_leaves_out_or_reorders_is_found_without_it(rig: Rig) -> None:
    manifest, _, _ = await recorded(rig)
    for change in (
        lambda entries: entries[:-1],
        lambda entries: entries[1:],
        lambda entries: (entries[1], entries[0], *entries[2:]),
        lambda entries: (replace(entries[0], sha256="zz"), *entries[1:]),
        lambda entries: (replace(entries[0], size=1), *entries[1:]),
    ):
        data = await sign_manifest(relisted(manifest, change), rig.signer)
        assert not (await verify(data, rig.store, rig.public_keys)).intact


async def test_a_segment_that_names_another_predecessor_breaks_the_chain(rig: Rig) -> None:
    manifest, _, folder = await recorded(rig)
    epoch = manifest.epochs[0]
    context = key_context(encryption_context(session()), 1, Purpose.RECORDING)
    data_key = await rig.keys.unwrap(epoch.wrapped_key, context)
    previous = bytes.fromhex(epoch.segments[3].sha256)
    place = Place(session().session_id, 1, 4, previous)
    path = folder / "0001-000004.seg"
    batch = open_segment(path.read_bytes(), place, data_key)
    blob, entry = seal_segment(replace(place, previous=bytes(32)), data_key, batch)
    path.write_bytes(blob)
    forged = replace(epoch, segments=(*epoch.segments[:4], entry), head=entry.sha256)
    data = await sign_manifest(replace(manifest, epochs=(forged,)), rig.signer)
    (finding,) = (await verify(data, rig.store, rig.public_keys)).findings
    assert "breaks the chain" in finding.what
    headless = replace(epoch, head="00" * 32)
    data = await sign_manifest(replace(manifest, epochs=(headless,)), rig.signer)
    assert any("head" in found.what for found in (await verify(data, rig.store, rig.public_keys)).findings)


def relisted(manifest: Manifest, change: Callable[..., tuple[SegmentEntry, ...]]) -> Manifest:
    epoch = manifest.epochs[0]
    return replace(manifest, epochs=(replace(epoch, segments=change(epoch.segments)),))


async def test_playback_refuses_what_verification_finds(rig: Rig) -> None:
    manifest, _, folder = await recorded(rig)
    flip(folder / "0001-000004.seg", -1)
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(session()))
    with pytest.raises(DamagedRecording, match=r"0001-000004\.seg"):
        _ = [event async for event in playback.events()]


@pytest.mark.rule("R27")
async def test_a_manifest_under_another_session_opens_nothing(rig: Rig) -> None:
    manifest, data, _ = await recorded(rig)
    other = encryption_context(session(2))
    with pytest.raises(KeyRefused):
        await Playback.open(manifest, rig.store, rig.keys, other)
    checked = await verify(data, rig.store, rig.public_keys, opening=Opening(rig.keys, other))
    assert "unwrap" in checked.findings[0].what


async def test_the_input_key_does_not_open_the_output(rig: Rig) -> None:
    recorder = rig.recorder()
    await recorder.start()
    asked = session(record_input_content=True)
    recording = await recorder.open(asked)
    recording.input(b"x", 0)
    manifest = await recording.close("logout")
    epoch = manifest.epochs[0]
    assert epoch.wrapped_input_key is not None
    swapped = replace(manifest, epochs=(replace(epoch, wrapped_key=epoch.wrapped_input_key),))
    with pytest.raises(KeyRefused):
        await Playback.open(swapped, rig.store, rig.keys, encryption_context(asked))


async def test_the_manifest_has_one_form(rig: Rig) -> None:
    manifest, data, _ = await recorded(rig)
    assert parse_manifest(data) == manifest
    assert canonical.dump(canonical.load(data)) == data
