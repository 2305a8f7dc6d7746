"""The documented form is the real one: a program that knows only the page reads what we write."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import DamagedManifest, KeyRefused
from recorder.inventory import Entry, Inventory, Scope, sign_inventory
from recorder.manifest import parse_manifest
from recorder.model import Kind, Manifest, Stream, encryption_context, manifest_name
from recorder.playback import Playback
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


def test_the_outsider_is_one() -> None:
    imports = [line for line in OUTSIDER.read_text().splitlines() if line.startswith(("import ", "from "))]
    foreign = {"base64", "hashlib", "json", "pathlib", "struct", "sys", "typing", "zstandard", "cryptography"}
    assert {line.split()[1].partition(".")[0] for line in imports} == foreign
