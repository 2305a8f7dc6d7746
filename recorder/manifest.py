"""The manifest's file: canonical JSON, signed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from recorder import canonical
from recorder.errors import DamagedManifest, DamagedRecording
from recorder.model import Manifest
from recorder.ports import ManifestSigner
from recorder.signatures import ALGORITHMS, Signature, sign

FORMAT: Final = "jitgate-recording-1"
SIGNED_PREFIX: Final = b"jitgate manifest v1\n"
"""Stands before the canonical JSON in what is signed, so that no other signature of the key fits."""


@dataclass(frozen=True, slots=True)
class _File:
    format: str
    manifest: Manifest
    signature: Signature


async def sign_manifest(manifest: Manifest, signer: ManifestSigner) -> bytes:
    """The manifest's file. Raises KeyUnavailable or KeyRefused."""
    signature = await sign(SIGNED_PREFIX + canonical.dump(manifest), signer)
    return canonical.dump(_File(FORMAT, manifest, signature))


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in a file, its signature unchecked. Raises DamagedManifest."""
    return _parse(data).manifest


def check_manifest(data: bytes, public_keys: Collection[bytes]) -> Manifest:
    """The manifest in a file, if one of the raw `public_keys` signed it. Raises DamagedManifest."""
    parsed = _parse(data)
    message = SIGNED_PREFIX + canonical.dump(parsed.manifest)
    if problem := parsed.signature.problem(message, public_keys):
        raise DamagedManifest(f"the manifest {problem}")
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
