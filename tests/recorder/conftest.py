"""A recorder on real files, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recorder.errors import StoreUnavailable
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import Manifest, Quarantined, SessionInfo, manifest_name
from recorder.object_stores.local_folder import LocalFolder
from recorder.ports import KeyProvider, ObjectStore, Receipt, RecordingObserver
from recorder.service import Recorder
from recorder.signing import LocalSigner


def session(number: int = 1, **changes: object) -> SessionInfo:
    values: dict[str, object] = {
        "session_id": f"s-{number:020x}",
        "request_id": "oi-0123456789ab",
        "user": "alice",
        "node": "i-0123456789abcdef0",
        "organization": "acme",
    }
    return SessionInfo(**{**values, **changes})  # type: ignore[arg-type]  # the test names the fields


@dataclass
class Ticks:
    """Nanoseconds that pass as the test says."""

    now: int = 5_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)


@dataclass
class Ears:
    """An observer that remembers."""

    manifests: list[Manifest] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    aside: list[Quarantined] = field(default_factory=list)
    waits: list[tuple[str, str]] = field(default_factory=list)

    async def finished(self, manifest: Manifest, file: bytes) -> None:
        self.manifests.append(manifest)
        self.files.append(file)

    async def quarantined(self, spool: Quarantined) -> None:
        self.aside.append(spool)

    async def waiting(self, session_id: str, reason: str, again_in: float) -> None:
        self.waits.append((session_id, reason))


class Rig:
    """One spool, one store, one set of keys; as many recorders over them as a test needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool = root / "spool"
        self.objects = root / "objects"
        self.store: ObjectStore = LocalFolder(self.objects)
        self.keys: KeyProvider = LocalKeyFile.create(root / "keys")
        self.signer = LocalSigner.create(root / "signing.pem")
        self.ears = Ears()
        self.ticks = Ticks()
        self.started: list[Recorder] = []

    def recorder(self, **changes: object) -> Recorder:
        values: dict[str, object] = {"observer": self.ears, "ticks": self.ticks}
        recorder = Recorder(self.spool, self.store, self.keys, self.signer, **{**values, **changes})  # type: ignore[arg-type]  # the test names them
        self.started.append(recorder)
        return recorder

    async def manifest_file(self, manifest: Manifest) -> bytes:
        return await self.store.get(manifest_name(manifest.prefix, manifest.epochs[-1].epoch))

    @property
    def public_keys(self) -> list[bytes]:
        return [self.signer.public_key]

    def left_in_spool(self) -> list[Path]:
        return [path for path in self.spool.rglob("*") if path.is_file() and path.name not in (".lock", ".claims")]


class Flaky:
    """A store that is away for some puts."""

    def __init__(self, rig: Rig, failures: int) -> None:
        self._inner = rig.store
        self.left = failures
        self.get = rig.store.get
        self.get_range = rig.store.get_range
        self.list = rig.store.list
        self.delete = rig.store.delete

    async def put_if_absent(self, name: str, data: bytes, sha256: str) -> Receipt:
        if self.left:
            self.left -= 1
            raise StoreUnavailable("the store is away")
        return await self._inner.put_if_absent(name, data, sha256)


_: type[RecordingObserver] = Ears


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    for recorder in made.started:
        await recorder.stop(timeout=0)


@pytest.fixture
def flaky(rig: Rig) -> Flaky:
    """The store, which is away for as many puts as the test says."""
    rig.store = made = Flaky(rig, 0)
    return made
