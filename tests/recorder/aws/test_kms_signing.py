"""Manifests signed by a key of KMS. moto hashes a digest once more, so a stand-in signs as KMS does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from recorder.errors import DamagedManifest, KeyRefused, KeyUnavailable
from recorder.kms_signing import KmsSigner
from recorder.manifest import check_manifest
from recorder.model import encryption_context, manifest_name
from recorder.service import Recorder
from recorder.signatures import is_valid, pem_of
from recorder.verification import verify
from tests.aws.making import ONCE, TWICE, kms_client
from tests.aws.signer import PUBLIC, signing
from tests.aws.trouble import Troubled, hang, kms_error
from tests.recorder.conftest import Rig, session

OUTSIDER = Path(__file__).parents[1] / "outsider.py"


async def test_a_signature_of_kms_is_that_of_the_key(troubled_moto: Troubled) -> None:
    troubled_moto.trouble = signing
    async with kms_client(troubled_moto.url) as client:
        signer = KmsSigner(client, "alias/manifests", PUBLIC)
        for message in (b"", b"short", b"long" * 5000):
            assert is_valid(PUBLIC, await signer.sign(message), message)


async def test_what_does_not_fit_the_public_half_is_never_used(troubled_moto: Troubled) -> None:
    troubled_moto.trouble = signing
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    async with kms_client(troubled_moto.url) as client:
        signer = KmsSigner(
            client, "alias/manifests", other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        )
        with pytest.raises(KeyUnavailable, match="signing_public_key"):
            await signer.sign(b"message")


async def test_refusals_are_those_of_every_key(troubled_moto: Troubled) -> None:
    async with kms_client(troubled_moto.url, ONCE) as client:
        signer = KmsSigner(client, "alias/manifests", PUBLIC)
        for code, kind in (("DisabledException", KeyUnavailable), ("NotFoundException", KeyRefused)):
            troubled_moto.trouble = lambda _call, _ask, code=code: kms_error(code)  # type: ignore[misc]  # bound now
            with pytest.raises(kind, match="alias/manifests"):
                await signer.sign(b"message")

    troubled_moto.trouble = hang
    async with kms_client(troubled_moto.url, replace(ONCE, silence_seconds=0.5)) as client:
        signer = KmsSigner(client, "alias/manifests", PUBLIC)
        with pytest.raises(KeyUnavailable, match="cannot be reached"):
            await signer.sign(b"message")


async def test_a_recording_waits_for_its_signature_and_an_outsider_verifies_it(
    rig: Rig, troubled_moto: Troubled, tmp_path: Path
) -> None:
    async with kms_client(troubled_moto.url, TWICE) as client:
        signer = KmsSigner(client, "alias/manifests", PUBLIC)
        recorder = Recorder(rig.spool, rig.store, rig.keys, signer, observer=rig.ears)
        await recorder.start()
        recording = await recorder.open(session())
        recording.output(b"signed by KMS", 0)
        refusals = iter([1, 2])
        troubled_moto.trouble = lambda call, ask: (
            kms_error("DisabledException") if next(refusals, None) else signing(call, ask)
        )
        manifest = await recording.close("exit")
        assert "disabled" in rig.ears.waits[0][1]
        await recorder.stop()
    data = await rig.manifest_file(manifest)
    assert b'"algorithm":"ECDSA-P256-SHA256"' in data
    assert (await verify(data, rig.store, [*rig.public_keys, PUBLIC])).intact
    with pytest.raises(DamagedManifest, match="not among the trusted"):
        check_manifest(data, rig.public_keys)
    for damaged in (
        data.replace(b'"exit_status":null', b'"exit_status":0'),
        data.replace(b"ECDSA-P256-SHA256", b"Ed25519"),
    ):
        assert damaged != data
        with pytest.raises(DamagedManifest):
            check_manifest(damaged, [PUBLIC])
    pem = tmp_path / "public.pem"
    pem.write_text(pem_of(PUBLIC))
    said = subprocess.run(
        [
            *(sys.executable, OUTSIDER, rig.objects / manifest_name(manifest.prefix), pem, rig.root / "keys"),
            json.dumps(encryption_context(session())),
        ],
        capture_output=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, b"signed by KMS"), said.stderr
