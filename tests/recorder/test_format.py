"""The documented form is the real one: a program that knows only the page reads what we write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recorder.model import Manifest, Stream, encryption_context, manifest_name
from tests.recorder.conftest import Rig, session

OUTSIDER = Path(__file__).with_name("outsider.py")


async def recorded(rig: Rig) -> tuple[Manifest, bytes]:
    recorder = rig.recorder(segment_bytes=3000)
    await recorder.start()
    recording = await recorder.open(session(record_input_content=True, command="käse 🧀"))
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


def outsider(rig: Rig, manifest: Manifest, **changes: str) -> subprocess.CompletedProcess[bytes]:
    (rig.root / "public.pem").write_text(rig.signer.public_pem)
    known = {**encryption_context(session()), **changes}
    paths = (
        rig.objects / manifest_name(manifest.prefix, manifest.epochs[-1].epoch),
        rig.root / "public.pem",
        rig.root / "keys",
    )
    command: list[Any] = [sys.executable, "-I", OUTSIDER, *paths, json.dumps(known)]
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


def test_the_outsider_is_one() -> None:
    imports = [line for line in OUTSIDER.read_text().splitlines() if line.startswith(("import ", "from "))]
    foreign = {"base64", "hashlib", "json", "pathlib", "struct", "sys", "zstandard", "cryptography"}
    assert {line.split()[1].partition(".")[0] for line in imports} == foreign
