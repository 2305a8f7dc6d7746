"""A writer that a test kills: records random chunks and passes each on to stdout, as a relay would.

    python -m tests.recorder.victim FOLDER SEED [LIMIT [S3 BUCKET]]

LIMIT: no file of this process may grow beyond that many bytes (a full disk); then it says why it ended. With a
store elsewhere, a bucket of the S3 at that address, the disk stays full to the end: from then on no file grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import sys
from pathlib import Path

from recorder.errors import RecordingFailed
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import SessionInfo
from recorder.object_stores.local_folder import LocalFolder
from recorder.object_stores.s3 import Bucket, S3Store
from recorder.ports import ObjectStore
from recorder.service import Recorder
from recorder.signing import LocalSigner
from tests.aws.making import s3_client


async def main(root: Path, seed: int, limit: int = 0, address: str = "", bucket: str = "") -> None:
    async with contextlib.AsyncExitStack() as stack:
        store: ObjectStore = LocalFolder(root / "objects")
        if address:
            store = S3Store(await stack.enter_async_context(s3_client(address)), Bucket(bucket))
        await record(root, seed, limit, store)


async def record(root: Path, seed: int, limit: int, store: ObjectStore) -> None:
    keys, signer = LocalKeyFile(root / "keys"), LocalSigner.load(root / "signing.pem")
    recorder = Recorder(root / "spool", store, keys, signer, segment_bytes=20_000)
    await recorder.start()
    session = SessionInfo(f"s-{seed:020x}", "oi-0123456789ab", "alice", "i-0123456789abcdef0")
    recording = await recorder.open(session)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    chance = random.Random(seed)
    offset = 0
    try:
        while offset < 50_000_000:
            chunk = chance.randbytes(chance.choice((1, 30, 300, 3000)))
            recording.output(chunk, offset)
            os.write(1, chunk)
            offset += len(chunk)
            if chance.random() < 0.2:
                await asyncio.sleep(0)
    except RecordingFailed as failure:
        print(failure, file=sys.stderr, flush=True)
        room = resource.RLIM_INFINITY if isinstance(store, LocalFolder) else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        manifest = await recording.close("the session was ended")
        print(manifest.ended, file=sys.stderr, flush=True)


if __name__ == "__main__":
    full_at = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), full_at, *sys.argv[4:]))
