"""A manifest that is in the store already frees the spool only if it is ours and says what this one would."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from recorder.errors import RecordingFailed
from recorder.manifest import parse_manifest, sign_manifest
from recorder.model import Manifest
from recorder.object_stores.local_folder import LocalFolder
from recorder.ports import ManifestSigner, Receipt
from recorder.signing import LocalSigner
from tests.recorder.conftest import Rig, session

Forge = Callable[[bytes], Awaitable[bytes]]


class Meddled(LocalFolder):
    """Somebody is faster with each manifest, and stores what `forge` makes of it."""

    def __init__(self, rig: Rig, forge: Forge) -> None:
        super().__init__(rig.objects)
        self._forge = forge

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        if "manifest" in name:
            other = await self._forge(data)
            await super().put_if_absent(name, other, hashlib.sha256(other).hexdigest())
        return await super().put_if_absent(name, data, sha256)


async def ended(rig: Rig, forge: Forge, **changes: object) -> Manifest:
    rig.store = Meddled(rig, forge)
    recorder = rig.recorder(**changes)
    await recorder.start()
    recording = await recorder.open(session())
    recording.output(b"what happened", 0)
    return await recording.close("logout")


def saying(signer: ManifestSigner, **other: object) -> Forge:
    async def forge(data: bytes) -> bytes:
        return await sign_manifest(replace(parse_manifest(data), **other), signer)  # type: ignore[arg-type]  # of each test

    return forge


OTHERS = [{"ended": "nothing happened"}, {"bytes_out": 1}, {"exit_status": 0}, {"gaps": ()}, {}]


@pytest.mark.rule("R27")
@pytest.mark.parametrize("other", OTHERS)
async def test_what_a_stranger_signed_frees_no_spool(rig: Rig, other: dict[str, object]) -> None:
    stranger = LocalSigner.create(rig.root / "stranger.pem")
    with pytest.raises(RecordingFailed, match="not among the trusted ones"):
        await ended(rig, saying(stranger, **other))
    assert [aside.session_id for aside in rig.ears.aside] == [session().session_id]
    assert not rig.ears.manifests
    assert list((rig.spool / "quarantine").glob("*/head.json"))


@pytest.mark.parametrize("other", OTHERS[:3])
async def test_nor_does_what_we_signed_and_says_something_else(rig: Rig, other: dict[str, object]) -> None:
    with pytest.raises(RecordingFailed, match="other content"):
        await ended(rig, saying(rig.signer, **other))
    assert rig.ears.aside
    assert not rig.ears.manifests


async def test_nor_does_one_with_a_broken_signature(rig: Rig) -> None:
    async def forge(data: bytes) -> bytes:
        at = data.rindex(b"value") + 12
        return data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]

    with pytest.raises(RecordingFailed, match="a signature that does not hold"):
        await ended(rig, forge)
    assert rig.ears.aside
    assert not rig.ears.manifests


async def test_the_same_by_a_key_before_is_adopted_and_told_as_it_is_stored(rig: Rig) -> None:
    before = LocalSigner.create(rig.root / "before.pem")
    manifest = await ended(rig, saying(before, recovered=True), public_keys=[before.public_key])
    assert manifest.recovered
    assert rig.ears.manifests == [manifest]
    assert rig.ears.files == [await rig.manifest_file(manifest)]
    assert not rig.left_in_spool()
