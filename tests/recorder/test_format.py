"""The documented form is the real one: a program that knows only the page reads what we write."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import DamagedManifest, KeyRefused
from recorder.events import Batch
from recorder.inventory import Entry, Inventory, Scope, sign_inventory
from recorder.manifest import parse_manifest
from recorder.model import (
    Kind,
    Manifest,
    Purpose,
    Stream,
    encryption_context,
    key_context,
    manifest_name,
    segment_name,
)
from recorder.playback import Playback
from recorder.segment import Place, open_segment, seal_segment
from tests.recorder.conftest import Rig, session

OUTSIDER = Path(__file__).with_name("outsider.py")


async def recorded(rig: Rig, organization: str | None = "acme") -> tuple[Manifest, bytes]:
    recorder = rig.recorder(segment_bytes=3000)
    await recorder.start()
    recording = await recorder.open(
        session(record_input_content=True, command="käse 🧀", organization=organization)
    )
    output = b""
    for _ in range(40):
        chunk = os.urandom(200)
        recording.output(chunk, len(output))
        output += chunk
        rig.ticks.pass_seconds(0.25)
    recording.input(b"make ", 0)
    recording.input(9, 5)
    recording.input(b"test\n", 20)  # six bytes never arrived
    recording.stderr(b"warning", 0)
    recording.resize(100, 40)
    recording.signal("INT")
    recording.eof(Stream.INPUT)
    recording.notice("soon over")
    recording.exit(-1, "KILL")
    return await recording.close("logout"), output


def outsider(rig: Rig, manifest: Manifest, *more: Path, **changes: str) -> subprocess.CompletedProcess[bytes]:
    (rig.root / "public.pem").write_text(rig.signer.public_pem)
    known = {**encryption_context(session(organization=None)), **changes}
    paths = (
        rig.objects / manifest_name(manifest.prefix, manifest.epochs[-1].epoch),
        rig.root / "public.pem",
        rig.root / "keys",
    )
    command: list[Any] = [sys.executable, "-I", OUTSIDER, *paths, json.dumps(known), *more]
    return subprocess.run(command, capture_output=True, check=False, timeout=30, cwd="/")


@pytest.mark.rule("R27")
async def test_an_outsider_verifies_and_decrypts(rig: Rig) -> None:
    manifest, output = await recorded(rig)
    done = outsider(rig, manifest)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
    summary = json.loads(done.stderr)
    assert summary == {
        "typed": "make test\n",
        "kinds": [1] * 40 + [4, 3, 10, 4, 2, 5, 6, 7, 8, 9, 11],
        "ended": "logout",
    }


@pytest.mark.rule("R27")
async def test_an_outsider_sees_a_changed_byte_and_another_session(rig: Rig) -> None:
    manifest, _ = await recorded(rig)
    assert outsider(rig, manifest, request="oi-ffffffffffff").returncode == 1
    path = rig.objects / manifest.prefix / "0001-000001.seg"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    done = outsider(rig, manifest)
    assert done.returncode == 1
    assert b"0001-000001.seg: wrong hash" in done.stderr


@pytest.mark.rule("R27")
async def test_what_was_recorded_before_keys_were_bound_to_an_organization_stays_readable(rig: Rig) -> None:
    manifest, output = await recorded(rig, organization=None)
    assert b"organization" not in await rig.manifest_file(manifest)
    assert outsider(rig, manifest).stdout == output
    playback = await Playback.open(manifest, rig.store, rig.keys, encryption_context(manifest.session))
    assert b"".join([e.payload async for e in playback.events() if e.kind is Kind.OUTPUT]) == output


@pytest.mark.rule("R27")
async def test_a_recording_opens_under_its_own_organization_only(rig: Rig) -> None:
    manifest, _ = await recorded(rig)
    assert manifest.session.organization == "acme"
    for other in ("umbrella", None):
        context = encryption_context(session(organization=other))
        with pytest.raises(KeyRefused):
            await Playback.open(manifest, rig.store, rig.keys, context)


async def test_an_organization_that_is_null_is_not_the_canonical_form(rig: Rig) -> None:
    manifest, _ = await recorded(rig, organization=None)
    file = json.loads(await rig.manifest_file(manifest))
    file["manifest"]["session"]["organization"] = None
    with pytest.raises(DamagedManifest, match="canonical"):
        parse_manifest(json.dumps(file, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.rule("R27")
async def test_an_outsider_reads_an_inventory(rig: Rig) -> None:
    manifest, _ = await recorded(rig)
    digest = hashlib.sha256(await rig.manifest_file(manifest)).hexdigest()
    about = (session().session_id, session().request_id, "default", "default", manifest.started_at, "complete")
    file = rig.root / "inventory.json"
    for noted, said in ((digest, b""), ("0" * 64, b"not the manifest of the inventory")):
        entries = (Entry(*about, manifest.prefix, noted),)
        inventory = Inventory(manifest.ended_at, (Scope("*", "*"),), entries)
        file.write_bytes(await sign_inventory(inventory, rig.signer))
        done = outsider(rig, manifest, file)
        assert (done.returncode, said in done.stderr) == (1 if said else 0, True), done.stderr
    file.write_bytes(file.read_bytes().replace(b"complete", b"deleted"))
    assert b"InvalidSignature" in outsider(rig, manifest, file).stderr


@pytest.mark.rule("R27")
async def test_an_outsider_compares_all_that_the_manifest_counts(rig: Rig) -> None:
    """A signature makes nothing true: the manifests here are signed."""
    manifest, _ = await recorded(rig)
    path = rig.objects / manifest_name(manifest.prefix)
    file = json.loads(path.read_bytes())

    async def said_of(**changes: object) -> bytes:
        await _sign(rig, path, file, changes)
        return outsider(rig, manifest).stderr

    assert b"ended" in await said_of()
    (epoch,) = file["manifest"]["epochs"]
    *before, last = epoch["segments"]
    for name in ("size", "raw_size", "events", "first_us", "last_us", "columns", "rows"):
        segments = [*before, {**last, name: last[name] + 1}]
        assert f"seg: wrong {name}\n".encode() in await said_of(epochs=[{**epoch, "segments": segments}])
    for name, value in (
        *((name, 0) for name in ("bytes_out", "bytes_stderr", "bytes_in")),
        *(("gaps", []), ("exit_status", 0), ("ended", "something else")),
    ):
        assert f"the manifest: wrong {name}\n".encode() in await said_of(**{name: value})
    assert before
    (rig.objects / manifest.prefix / f"0001-{last['sequence']:06d}.seg").unlink()
    without = {**epoch, "segments": before, "head": before[-1]["sha256"]}
    assert b"no end" in await said_of(epochs=[without])


@pytest.mark.rule("R27")
@pytest.mark.parametrize("name", ["0001-000009.seg", "0002-000000.seg", "manifest-0002.json"])
async def test_an_outsider_sees_what_no_manifest_lists(rig: Rig, name: str) -> None:
    manifest, _ = await recorded(rig)
    (rig.objects / manifest.prefix / name).write_bytes(b"a stranger")
    done = outsider(rig, manifest)
    assert (done.returncode, done.stderr) == (1, f"unlisted: {{'{name}'}}\n".encode())


@pytest.mark.rule("R27")
async def test_an_outsider_sees_what_comes_after_the_end_and_time_that_goes_back(rig: Rig) -> None:
    """Of a writer that has the keys and makes the mistake."""
    manifest, _ = await recorded(rig)
    path = rig.objects / manifest_name(manifest.prefix)
    file = json.loads(path.read_bytes())
    (epoch,) = manifest.epochs
    last = epoch.segments[-1].sequence
    place = Place(manifest.session.session_id, 1, last, bytes.fromhex(epoch.segments[-2].sha256))
    context = key_context(encryption_context(manifest.session), 1, Purpose.RECORDING)
    key = await rig.keys.unwrap(epoch.wrapped_key, context)
    segment = rig.objects / segment_name(manifest.prefix, 1, last)
    batch = open_segment(segment.read_bytes(), place, key)
    after, back = Batch(batch.start, bytearray(batch.heads), bytearray(batch.payloads)), Batch(batch.start)
    after.add(Kind.NOTICE, batch.times()[1], b"one more word")
    for event in batch.events():
        back.add(event.kind, 0, event.payload)
    for changed, said in ((after, b"something comes after the end"), (back, b"begins before the segment before")):
        blob, entry = seal_segment(place, key, changed)
        segment.write_bytes(blob)
        (about,) = file["manifest"]["epochs"]
        segments = [*about["segments"][:-1], dataclasses.asdict(entry)]
        await _sign(rig, path, file, {"epochs": [{**about, "segments": segments, "head": entry.sha256}]})
        assert said in outsider(rig, manifest).stderr


async def _sign(rig: Rig, path: Path, file: dict[str, Any], changes: dict[str, object]) -> None:
    """Writes the manifest's file with another content, and a signature that fits."""
    about = {**file["manifest"], **changes}
    value = base64.b64encode(await rig.signer.sign(b"jitgate manifest v1\n" + _canonical(about))).decode()
    path.write_bytes(_canonical({**file, "manifest": about, "signature": {**file["signature"], "value": value}}))


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_outsider_is_one() -> None:
    imports = [line for line in OUTSIDER.read_text().splitlines() if line.startswith(("import ", "from "))]
    foreign = {"base64", "hashlib", "json", "pathlib", "struct", "sys", "typing", "zstandard", "cryptography"}
    assert {line.split()[1].partition(".")[0] for line in imports} == foreign
