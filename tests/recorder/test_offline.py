"""Whoever touches a folder of recordings is found out by files alone; an inventory misses what is gone."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from recorder.comparison import Checked, Verdict
from recorder.errors import DamagedInventory, UnusableFile
from recorder.inventory import Deletion, Entry, Inventory, Scope, check_inventory, sign_inventory
from recorder.manifest import sign_manifest
from recorder.model import Manifest
from recorder.offline import check, read_inventory, read_public_key
from recorder.signatures import key_id_of, public_key_of
from recorder.signing import LocalSigner
from tests.recorder.conftest import Rig, session
from tests.recorder.test_verification import flip, swap

ONE, TWO, THREE = (session(number).session_id for number in (1, 2, 3))


@dataclass
class Tree:
    """Two recordings of three segments each, in the form that a local store has."""

    rig: Rig
    manifests: dict[str, Manifest]

    def folder(self, session_id: str = ONE) -> Path:
        return self.rig.objects / self.manifests[session_id].prefix

    def manifest_file(self, session_id: str = ONE) -> Path:
        return self.folder(session_id) / "manifest-0001.json"

    def entry(self, session_id: str) -> Entry:
        manifest = self.manifests[session_id]
        digest = hashlib.sha256(self.manifest_file(session_id).read_bytes()).hexdigest()
        about = (session_id, manifest.session.request_id, "default", "default", manifest.started_at)
        return Entry(*about, "complete", manifest.prefix, digest)

    def inventory(self, *entries: Entry, after: timedelta = timedelta(hours=1)) -> Inventory:
        """Of both recordings unless told otherwise, made so long `after` the first began."""
        listed = entries or tuple(map(self.entry, self.manifests))
        return Inventory(self.manifests[ONE].started_at + after, (Scope("*", "*"),), listed)

    async def check(self, inventory: Inventory | None = None, root: Path | None = None) -> dict[str, Checked]:
        found = await check(root or self.rig.objects, self.rig.public_keys, inventory)
        checked = {each.session_id: each for each in found}
        assert len(checked) == len(found)
        return checked


async def recorded(rig: Rig, number: int) -> Manifest:
    recorder = rig.recorder(segment_bytes=500)
    await recorder.start()
    recording = await recorder.open(session(number))
    for line in range(12):
        recording.output(b"%099d\n" % line, line * 100)
    manifest = await recording.close("logout")
    assert len(manifest.epochs[0].segments) == 3
    return manifest


@pytest.fixture
async def tree(rig: Rig) -> Tree:
    return Tree(rig, {ONE: await recorded(rig, 1), TWO: await recorded(rig, 2)})


def forge(manifest: Path) -> None:
    """Another letter in its signature: what is no letter would not even be read."""
    data = bytearray(manifest.read_bytes())
    data[-20] = ord("B" if data[-20] == ord("A") else "A")
    manifest.write_bytes(data)


def say(checked: Checked) -> list[tuple[str, str]]:
    return [(problem.where, problem.what) for problem in checked.problems]


@pytest.mark.rule("R27")
async def test_a_tree_that_nobody_touched_is_intact_from_wherever_one_looks(tree: Tree, tmp_path: Path) -> None:
    download = tmp_path / "evidence"  # a download has no folders, and a name of the auditor's own
    shutil.copytree(tree.folder(), download)
    for inventory in (None, tree.inventory()):
        checked = await tree.check(inventory)
        assert {each.verdict for each in checked.values()} == {Verdict.INTACT}
        assert (checked[ONE].segments, checked[ONE].folder + "/") == (3, tree.manifests[ONE].prefix)
    assert (await tree.check(root=download))[ONE].folder == "."
    assert (await tree.check(root=tree.folder()))[ONE].verdict is Verdict.INTACT
    assert set(await tree.check(root=tree.folder().parent)) == {ONE, TWO}


@pytest.mark.rule("R27")
@pytest.mark.parametrize(
    ("touch", "named", "said"),
    [
        (lambda f: (f / "0001-000001.seg").unlink(), ["0001-000001.seg"], "deleted"),
        (
            lambda f: swap(f / "0001-000000.seg", f / "0001-000001.seg"),
            ["0001-000000.seg", "0001-000001.seg"],
            "reord",
        ),
        (
            lambda f: shutil.copy(f / "0001-000000.seg", f / "0001-000002.seg"),
            ["0001-000002.seg"],
            "holds segment",
        ),
        (
            lambda f: shutil.copy(f / "0001-000000.seg", f / "0002-000000.seg"),
            ["0002-000000.seg"],
            "not in the manif",
        ),
        (lambda f: (f / "0001-000002.seg").write_bytes(b"JG"), ["0001-000002.seg"], "truncated"),
        (lambda f: flip(f / "0001-000001.seg", -1), ["0001-000001.seg"], "changed"),
        (lambda f: (f / "manifest-0001.json").unlink(), ["manifest"], "missing"),
        (lambda f: (f / "manifest-0001.json").write_bytes(b"{}"), ["manifest-0001.json"], "cannot be read"),
        (lambda f: os.truncate(f / "manifest-0001.json", 65 << 20), ["manifest-0001.json"], "too much"),
        (lambda f: forge(f / "manifest-0001.json"), ["manifest-0001.json"], "does not hold"),
        (
            lambda f: (f / "manifest-0001.json").rename(f / "manifest-0002.json"),
            ["manifest-0002.json"],
            "another epoch",
        ),
    ],
)
async def test_what_was_touched_is_named_and_the_other_recording_is_intact(
    tree: Tree, touch: Callable[[Path], None], named: list[str], said: str
) -> None:
    touch(tree.folder())
    checked = await tree.check()
    assert checked[TWO].verdict is Verdict.INTACT
    assert checked[ONE].verdict is Verdict.DAMAGED
    assert [where for where, _ in say(checked[ONE])] == named
    assert all(said in what for _, what in say(checked[ONE]))


async def test_a_segment_or_a_recording_of_another_session_is_named(tree: Tree) -> None:
    shutil.copy(tree.folder(TWO) / "0001-000001.seg", tree.folder() / "0001-000001.seg")
    ((where, what),) = say((await tree.check())[ONE])
    assert where == "0001-000001.seg"
    assert TWO in what
    shutil.rmtree(tree.folder())
    shutil.copytree(tree.folder(TWO), tree.folder())
    ((where, what),) = say((await tree.check())[ONE])
    assert where == "folder"
    assert tree.manifests[TWO].prefix in what


async def test_a_recording_replayed_at_another_day_is_named(tree: Tree) -> None:
    shutil.copytree(tree.folder(), tree.rig.objects / f"default/default/2031/01/01/{THREE}")
    shutil.move(tree.folder(), tree.rig.objects / f"default/default/2031/01/02/{ONE}")
    checked = await tree.check()
    assert {each for each in checked if not checked[each].passed} == {ONE, THREE}
    assert "swapped or replayed" in say(checked[ONE])[0][1]
    assert "swapped or replayed" in say(checked[THREE])[0][1]


async def test_a_forged_signature_and_another_key_do_not_pass(tree: Tree, tmp_path: Path) -> None:
    stranger = LocalSigner.create(tmp_path / "stranger.pem")
    forged = await sign_manifest(replace(tree.manifests[ONE], bytes_out=1), stranger)
    tree.manifest_file().write_bytes(forged)
    assert "not among the trusted" in say((await tree.check())[ONE])[0][1]
    tree.manifest_file().write_bytes(forged.replace(stranger.key_id.encode(), tree.rig.signer.key_id.encode()))
    assert "does not hold" in say((await tree.check())[ONE])[0][1]
    every = await check(tree.rig.objects, [stranger.public_key])
    assert [each.verdict for each in every] == [Verdict.DAMAGED] * 2


async def test_segments_without_manifest_and_name_say_whose_they_are(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    folder.mkdir()
    shutil.copy(tree.folder() / "0001-000001.seg", folder)
    assert (await tree.check(root=folder))[ONE].verdict is Verdict.DAMAGED
    (folder / "0001-000001.seg").write_bytes(b"x")
    assert set(await tree.check(root=folder)) == {""}


@pytest.mark.rule("R27")
async def test_an_inventory_misses_what_was_removed_as_a_whole(tree: Tree) -> None:
    inventory = tree.inventory()
    for path in tree.folder().iterdir():
        path.unlink()
    assert (await tree.check(inventory))[ONE].verdict is Verdict.DAMAGED  # its folder is still there
    tree.folder().rmdir()
    assert set(await tree.check()) == {TWO}
    gone = (await tree.check(inventory))[ONE]
    assert (gone.verdict, gone.folder) == (Verdict.MISSING, "")
    assert say(gone) == [(tree.manifests[ONE].prefix, "is missing as a whole: it was removed, or not copied here")]


@pytest.mark.rule("R27")
async def test_a_manifest_that_the_signer_wrote_later_is_found_against_the_inventory(tree: Tree) -> None:
    inventory = tree.inventory()
    later = await sign_manifest(replace(tree.manifests[ONE], bytes_out=1), tree.rig.signer)
    tree.manifest_file().write_bytes(later)
    assert (await tree.check())[ONE].verdict is Verdict.INTACT  # only the data key could tell
    assert "the inventory notes" in say((await tree.check(inventory))[ONE])[0][1]


@pytest.mark.rule("R27")
async def test_what_is_not_in_the_inventory_is_extra_unless_it_is_younger_or_elsewhere(tree: Tree) -> None:
    extra = (await tree.check(tree.inventory(tree.entry(TWO))))[ONE]
    assert extra.verdict is Verdict.DAMAGED
    assert "does not list this recording" in say(extra)[0][1]
    older = tree.inventory(tree.entry(TWO), after=timedelta(hours=-1))
    younger = (await tree.check(older))[ONE]
    assert (younger.verdict, younger.note) == (Verdict.INTACT, "it began after the inventory was made")
    elsewhere = replace(tree.inventory(tree.entry(TWO)), scopes=(Scope("other", "*"),))
    other = (await tree.check(elsewhere))[ONE]
    assert (other.verdict, other.note) == (Verdict.INTACT, "the inventory says nothing of default/default")
    flip(tree.folder() / "0001-000000.seg", -1)
    assert (await tree.check(older))[ONE].verdict is Verdict.DAMAGED


async def test_an_older_inventory_knows_that_a_recording_was_not_complete(tree: Tree) -> None:
    was = replace(tree.entry(ONE), status="recording", folder=None, manifest_sha256=None)
    inventory = tree.inventory(was, tree.entry(TWO))
    since = (await tree.check(inventory))[ONE]
    assert (since.verdict, since.note) == (Verdict.INTACT, "the inventory says: recording; it was completed since")
    tree.manifest_file().write_bytes(b"garbage")
    assert (await tree.check(inventory))[ONE].verdict is Verdict.DAMAGED
    tree.manifest_file().unlink()
    assert (await tree.check(inventory))[ONE].verdict is Verdict.NOT_COMPLETE
    shutil.rmtree(tree.folder())
    absent = (await tree.check(inventory))[ONE]
    assert (absent.verdict, absent.note, absent.passed) == (
        Verdict.NOT_COMPLETE,
        "the inventory says: recording",
        True,
    )


@pytest.mark.rule("R27")
async def test_what_was_lawfully_deleted_is_not_missing_and_the_inventory_says_by_whom(tree: Tree) -> None:
    gone = Deletion(datetime(2026, 11, 28, 9, 30, tzinfo=UTC), "root", "a customer asked")
    entry = replace(tree.entry(ONE), status="deleted", folder=None, deletion=gone)
    data = await sign_inventory(tree.inventory(entry, tree.entry(TWO)), tree.rig.signer)
    inventory = check_inventory(data, tree.rig.public_keys)
    told = "deleted on 2026-11-28 09:30:00 UTC by root: a customer asked"
    copy = (await tree.check(inventory))[ONE]
    assert (copy.verdict, copy.note) == (Verdict.INTACT, f"{told}; this is a copy from before")
    other = replace(entry, manifest_sha256="0" * 64)
    assert (await tree.check(tree.inventory(other, tree.entry(TWO))))[ONE].verdict is Verdict.DAMAGED
    tree.manifest_file().unlink()
    assert (await tree.check(inventory))[ONE].verdict is Verdict.DELETED
    shutil.rmtree(tree.folder())
    absent = (await tree.check(inventory))[ONE]
    assert (absent.verdict, absent.note, absent.passed) == (Verdict.DELETED, told, True)
    kept = replace(gone, by="")
    retained = (await tree.check(tree.inventory(replace(entry, deletion=kept), tree.entry(TWO))))[ONE]
    assert "by the retention" in retained.note
    assert (await tree.check(tree.inventory(tree.entry(TWO)))).keys() == {TWO}


async def test_an_inventory_from_before_it_told_of_deletions_is_read(tree: Tree) -> None:
    data = await sign_inventory(tree.inventory(), tree.rig.signer)
    assert b"deletion" not in data
    assert check_inventory(data, tree.rig.public_keys) == tree.inventory()


async def test_an_inventory_is_what_was_signed_or_it_is_refused(tree: Tree, tmp_path: Path) -> None:
    inventory = tree.inventory()
    data = await sign_inventory(inventory, tree.rig.signer)
    keys = tree.rig.public_keys
    assert check_inventory(data, keys) == inventory
    stranger = LocalSigner.create(tmp_path / "stranger.pem")
    for wrong, said in (
        (data.replace(b'"status":"complete"', b'"status":"deleted"', 1), "does not hold"),
        (data.replace(b"jitgate-inventory-1", b"jitgate-inventory-9"), "this version reads"),
        (data + b"\n", "canonical"),
        (b"{}", "cannot be read"),
        (tree.manifest_file().read_bytes(), "cannot be read"),
        (await sign_inventory(inventory, stranger), "not among the trusted"),
    ):
        (tmp_path / "inventory").write_bytes(wrong)
        with pytest.raises(DamagedInventory, match=said):
            read_inventory(tmp_path / "inventory", keys)


async def test_an_inventory_signed_by_a_key_of_a_kms_is_read(tree: Tree) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public = public_key_of(pem)

    class Kms:
        key_id = key_id_of(public)
        public_key = public

        async def sign(self, message: bytes) -> bytes:
            return key.sign(message, ec.ECDSA(SHA256()))

    inventory = tree.inventory()
    data = await sign_inventory(inventory, Kms())
    assert check_inventory(data, [*tree.rig.public_keys, public]) == inventory
    with pytest.raises(DamagedInventory, match="does not hold"):
        check_inventory(data.replace(b'"region":"*"', b'"region":"x"'), [public])


async def test_files_that_are_not_what_they_should_be(tree: Tree, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_text(tree.rig.signer.public_pem)
    assert read_public_key(pem) == tree.rig.signer.public_key
    for content in (b"", b"no key", (tmp_path / "signing.pem").read_bytes(), b"-" * 70_000):
        pem.write_bytes(content)
        with pytest.raises(UnusableFile):
            read_public_key(pem)
    for attempt in (lambda: read_public_key(tmp_path / "no"), lambda: read_inventory(tmp_path / "no", [])):
        with pytest.raises(UnusableFile, match="cannot be read"):
            attempt()
    with pytest.raises(UnusableFile, match="no folder"):
        await check(pem, tree.rig.public_keys)


def say_epoch(manifest: Path, number: int) -> None:
    """The manifest in its form, with an epoch that nobody signed."""
    manifest.write_bytes(manifest.read_bytes().replace(b'"epoch":1,', b'"epoch":%d,' % number))


def say_much(manifest: Path) -> None:
    manifest.write_bytes(b'{"%s":0}' % (b"x" * 1_000_000))


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.rule("R27")
@pytest.mark.parametrize(
    ("touch", "named"),
    [
        (lambda f: say_epoch(f / "manifest-0001.json", 10**250), "manifest-0001.json"),
        (lambda f: say_much(f / "manifest-0001.json"), "manifest-0001.json"),
        (lambda f: replace_by_pipe(f / "manifest-0001.json"), "manifest"),
        (lambda f: replace_by_pipe(f / "0001-000000.seg"), "0001-000000.seg"),
    ],
)
async def test_hostile_files_hold_up_no_check_of_the_others(
    tree: Tree, touch: Callable[[Path], None], named: str
) -> None:
    touch(tree.folder())
    async with asyncio.timeout(30):
        checked = await tree.check()
    assert checked[ONE].verdict is Verdict.DAMAGED
    assert named in {where for where, _ in say(checked[ONE])}
    assert all(len(what) < 600 for _, what in say(checked[ONE]))
    assert checked[TWO].verdict is Verdict.INTACT


@pytest.mark.rule("R27")
@pytest.mark.parametrize("said", [0, 1 << 40])
async def test_what_is_longer_than_a_segment_can_be_is_not_read_to_its_end(tree: Tree, said: int) -> None:
    segment = tree.folder() / "0001-000001.seg"
    os.truncate(segment, 1 << 30)
    if said:
        size = tree.manifests[ONE].epochs[0].segments[1].size
        file = tree.manifest_file()
        file.write_bytes(file.read_bytes().replace(b'"size":%d' % size, b'"size":%d' % said))
    tracemalloc.start()
    try:
        checked = await tree.check()
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
    assert "0001-000001.seg" in {where for where, _ in say(checked[ONE])}
    assert checked[TWO].verdict is Verdict.INTACT


@pytest.mark.rule("R27")
async def test_a_manifest_by_digits_of_another_script_stands_in_for_none(tree: Tree) -> None:
    shutil.copy(tree.manifest_file(), tree.folder() / "manifest-\N{ARABIC-INDIC DIGIT ONE}001.json")
    forge(tree.manifest_file())
    assert (await tree.check())[ONE].verdict is Verdict.DAMAGED
