"""The manifest's file: canonical JSON, signed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from recorder import canonical
from recorder.errors import DamagedManifest, DamagedRecording
from recorder.model import Manifest
from recorder.ports import ManifestSigner
from recorder.signatures import ALGORITHMS, algorithm_of, is_valid, key_id_of

FORMAT: Final = "jitgate-recording-1"
SIGNED_PREFIX: Final = b"jitgate manifest v1\n"
"""Stands before the canonical JSON in what is signed, so that no other signature of the key fits."""


@dataclass(frozen=True, slots=True)
class _Signature:
    algorithm: str
    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class _File:
    format: str
    manifest: Manifest
    signature: _Signature


async def sign_manifest(manifest: Manifest, signer: ManifestSigner) -> bytes:
    """The manifest's file. Raises KeyUnavailable or KeyRefused."""
    value = await signer.sign(SIGNED_PREFIX + canonical.dump(manifest))
    algorithm = algorithm_of(signer.public_key)
    return canonical.dump(_File(FORMAT, manifest, _Signature(algorithm, signer.key_id, value)))


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in a file, its signature unchecked. Raises DamagedManifest."""
    return _parse(data).manifest


def check_manifest(data: bytes, public_keys: Collection[bytes]) -> Manifest:
    """The manifest in a file, if one of the raw `public_keys` signed it. Raises DamagedManifest."""
    parsed = _parse(data)
    key_id = parsed.signature.key_id
    for key in public_keys:
        if key_id_of(key) == key_id:
            break
    else:
        raise DamagedManifest(f"the manifest is signed by key {key_id}, which is not among the trusted ones")
    message = SIGNED_PREFIX + canonical.dump(parsed.manifest)
    if parsed.signature.algorithm != algorithm_of(key) or not is_valid(key, parsed.signature.value, message):
        raise DamagedManifest("the manifest's signature does not hold: it was changed")
    return parsed.manifest


def _parse(data: bytes) -> _File:
    try:
        parsed = canonical.build(_File, canonical.load(data), "file")
    except DamagedRecording as damaged:
        raise DamagedManifest(f"the manifest cannot be read: {damaged}") from None
    if parsed.format != FORMAT or parsed.signature.algorithm not in ALGORITHMS:
        raise DamagedManifest(f"the manifest is of format {parsed.format!r}; this version reads {FORMAT}")
    if canonical.dump(parsed) != data:
        raise DamagedManifest("the manifest is not in its canonical form: it was changed")
    return parsed
