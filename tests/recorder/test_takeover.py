"""A takeover that dies at any step: the next start finds one recording, whole, whatever folders are there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from recorder.object_stores.local_folder import LocalFolder
from recorder.spool import SessionFolder, newest
from tests.recorder.conftest import Rig
from tests.recorder.epochs import HELD, ID, begun, check, lines, output_of, reborn, write
from tests.recorder.test_recovery import Fuse, FusedStore, Killed

_STEPS = ("create", "remove", "note_stored", "_write_durably")


def lay_fuse(patched: pytest.MonkeyPatch, fuse: Fuse) -> None:
    """Every step that changes a spool may be the last one, before it and after it."""
    for name in _STEPS:
        real = getattr(SessionFolder, name)

        def burning(*args: Any, _real: Any = real) -> Any:
            fuse.burn()
            done = _real(*args)
            fuse.burn()
            return done

        patched.setattr(SessionFolder, name, burning)


async def taken_over(rig: Rig, fuse: Fuse) -> bool:
    """Hold, resume and write a little; whether it came to its end."""
    recorder = rig.recorder(segment_bytes=500)
    try:
        await recorder.start(hold=HELD)
        recording = await recorder.resume(ID)
        write(recording, 12, 15)
        recording.suspend()
    except Killed:
        return False
    finally:
        fuse.left = -1
        await recorder.stop(timeout=0)
    return True


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("with_log", [True, False])
@pytest.mark.rule("R27")
async def test_a_takeover_killed_at_any_step_is_done_by_the_next(
    rig: Rig, epoch: int, with_log: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await begun(rig)
    for _ in range(1, epoch):
        recording = await (await reborn(rig, recording)).resume(ID)
    write(recording, 0, 12)
    recording.suspend()
    await rig.started[-1].stop(timeout=0)
    pristine = rig.root / "pristine"
    shutil.copytree(rig.spool, pristine / "spool")
    shutil.copytree(rig.objects, pristine / "objects", dirs_exist_ok=True) if rig.objects.exists() else None
    both = 0
    for steps in range(60):
        for name in ("spool", "objects"):
            shutil.rmtree(rig.root / name, ignore_errors=True)
            shutil.copytree(pristine / name, rig.root / name) if (pristine / name).exists() else None
        rig.ears.manifests.clear()
        fuse = Fuse(steps)
        rig.store = FusedStore(rig.objects, fuse)
        with monkeypatch.context() as patched:
            lay_fuse(patched, fuse)
            whole = await taken_over(rig, fuse)
        rig.store = LocalFolder(rig.objects)
        both += len(list(rig.spool.glob("w-*/s-*/head.json"))) == 2
        if not with_log:
            for log in rig.spool.glob("w-*/s-*/stored.jsonl"):
                log.unlink()
        recorder = await reborn(rig)
        assert len(list(rig.spool.glob("w-*/s-*"))) == 1
        recording = await recorder.resume(ID)
        written = recording.recorded
        assert written == (1500 if whole else 1200)
        write(recording, written // 100, 20)
        manifest = await recording.close("logout")
        assert await output_of(rig, manifest) == lines(0, 20)
        assert manifest.gaps == ()
        assert len(manifest.epochs) in (epoch + 1, epoch + 2)
        await check(rig, manifest)
        if whole:
            break
    else:
        pytest.fail("it never came to its end")
    assert steps > 15
    assert both > 0


def folder(rig: Rig, writer: str, epoch: bytes | None) -> SessionFolder:
    made = SessionFolder(rig.spool / writer / ID)
    made.path.mkdir(parents=True)
    if epoch is not None:
        (made.path / "head.json").write_bytes(epoch)
    return made


async def test_the_highest_epoch_counts_and_no_other_is_left(rig: Rig) -> None:
    recording = await begun(rig)
    heads: list[bytes] = []
    for _ in range(3):
        heads.append(next(rig.spool.glob("w-*/s-*/head.json")).read_bytes())
        recording = await (await reborn(rig, recording)).resume(ID)
    await recording.close("logout")
    for order in ((0, 2, 1), (2, 1, 0), (1, 0, 2)):
        made = [folder(rig, f"w-{place}", heads[number]) for place, number in enumerate(order)]
        (kept,) = newest(made)
        assert kept.head().epoch == 3
        assert [each.path.exists() for each in made] == [each == kept for each in made]
        shutil.rmtree(kept.path)


async def test_a_head_that_cannot_be_read_replaces_none(rig: Rig) -> None:
    recording = await begun(rig)
    head = next(rig.spool.glob("w-*/s-*/head.json")).read_bytes()
    await recording.close("logout")
    made = [folder(rig, "w-1", b"{"), folder(rig, "w-2", head), folder(rig, "w-3", None)]
    assert {each.path for each in newest(made)} == {each.path for each in made}
    assert all(Path(each.path).exists() for each in made)
