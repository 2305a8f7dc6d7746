"""`jit recordings verify --offline` and `jit recordings inventory`, as people and scripts run them."""

import asyncio
import json
from pathlib import Path

import pytest

from jitgate.v1 import recording_pb2
from recorder.inventory import Inventory, Scope, sign_inventory
from recorder.model import Manifest
from recorder.signing import LocalSigner
from tests.clients.conftest import Jit
from tests.clients.standin import StandIn
from tests.recorder.conftest import Rig, session

ID = session().session_id


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, Manifest]:
    rig = Rig(tmp_path_factory.mktemp("taken"))

    async def record() -> Manifest:
        recorder = rig.recorder(segment_bytes=500)
        await recorder.start()
        recording = await recorder.open(session())
        recording.output(b"x" * 1200, 0)
        manifest = await recording.close("logout")
        await recorder.stop()
        return manifest

    manifest = asyncio.run(record())
    (rig.root / "key.pem").write_text(rig.signer.public_pem)
    return rig, manifest


@pytest.mark.rule("R27")
def test_a_folder_is_verified_without_a_gateway(jit: Jit, taken: tuple[Rig, Manifest], tmp_path: Path) -> None:
    rig, manifest = taken
    offline = ("recordings", "verify", "--offline", str(rig.objects), "--public-key", str(rig.root / "key.pem"))
    done = jit(*offline)
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert header.split() == ["SESSION", "FOLDER", "VERDICT", "PROBLEMS"]
    assert row.split() == [ID, manifest.prefix.rstrip("/"), "intact"]
    segment = rig.objects / manifest.prefix / "0001-000000.seg"
    content = segment.read_bytes()
    segment.unlink()
    done = jit(*offline)
    assert done.returncode == 1
    assert "not intact" in done.stdout
    assert "0001-000000.seg: is missing: it was deleted" in done.stdout
    done = jit(*offline, "--output", "json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["intact"]) == (1, False)
    assert said["recordings"][0]["problems"] == [
        {"where": "0001-000000.seg", "what": "is missing: it was deleted"}
    ]
    segment.write_bytes(content)
    inventory = Inventory(manifest.ended_at.replace(year=2100), (Scope("*", "*"),), ())
    file = tmp_path / "inventory.json"
    file.write_bytes(asyncio.run(sign_inventory(inventory, rig.signer)))
    done = jit(*offline, "--against", str(file))
    assert done.returncode == 1
    assert "does not list this recording" in done.stdout
    file.write_bytes(file.read_bytes().replace(b"2100", b"2000"))
    done = jit(*offline, "--against", str(file))
    assert done.returncode == 1
    assert "does not hold" in done.stderr


def test_what_was_named_wrongly_is_told_apart_from_what_is_damaged(
    jit: Jit, taken: tuple[Rig, Manifest], tmp_path: Path
) -> None:
    rig, _ = taken
    key = rig.root / "key.pem"
    (tmp_path / "empty").mkdir()
    LocalSigner.create(tmp_path / "private.pem")
    for arguments, code, said in (
        (
            ("--offline", rig.objects, "--public-key", tmp_path / "private.pem"),
            2,
            "no Ed25519 or P-256 public key",
        ),
        (("--offline", rig.objects, "--public-key", tmp_path / "none.pem"), 2, "cannot be read"),
        (("--offline", tmp_path / "none", "--public-key", key), 2, "no folder"),
        (("--offline", rig.objects, "--public-key", key, "--against", tmp_path / "no"), 2, "cannot be read"),
        (("--offline", tmp_path / "empty", "--public-key", key), 1, "there is no recording"),
        (("--offline", rig.objects), 2, "--public-key FILE"),
        ((ID, "--offline", rig.objects, "--public-key", key), 2, "--public-key FILE"),
        ((ID, "--public-key", key), 2, "nothing to verify"),
        ((), 2, "nothing to verify"),
    ):
        done = jit("recordings", "verify", *map(str, arguments))
        assert (done.returncode, said in done.stderr) == (code, True), done


def test_an_inventory_goes_to_standard_output_or_a_file(server: StandIn, jit: Jit, tmp_path: Path) -> None:
    async def inventory(*_: object) -> object:
        for chunk in (b'{"inventory":', b"{}}"):
            yield recording_pb2.InventoryRecordingsResponse(chunk=chunk)

    server.world.answers["InventoryRecordings"] = inventory
    done = jit("recordings", "inventory", "--account", "shop", "--region", "eu")
    assert done.stdout == '{"inventory":{}}'
    _, _, asked = next(call for call in server.world.calls if call[0] == "InventoryRecordings")
    assert (asked.scope.account, asked.scope.region) == ("shop", "eu")
    file = tmp_path / "inventory.json"
    assert jit("recordings", "inventory", "-o", str(file)).stdout == ""
    assert file.read_bytes() == b'{"inventory":{}}'
