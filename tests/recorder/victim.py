"""A writer that a test kills: records random chunks and passes each on to stdout, as a relay would.

    python -m tests.recorder.victim FOLDER SEED [LIMIT]

LIMIT: no file of this process may grow beyond that many bytes (a full disk); then it says why it ended.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sys
from pathlib import Path

from recorder.errors import RecordingFailed
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import SessionInfo
from recorder.object_stores.local_folder import LocalFolder
from recorder.service import Recorder
from recorder.signing import LocalSigner


async def main(root: Path, seed: int, limit: int) -> None:
    keys, signer = LocalKeyFile(root / "keys"), LocalSigner.load(root / "signing.pem")
    store = LocalFolder(root / "objects")
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
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        manifest = await recording.close("the session was ended")
        print(manifest.ended, file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
