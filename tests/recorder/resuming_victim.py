"""A writer that a test kills and starts again: each goes on with the recording that the one before left.

    python -m tests.recorder.resuming_victim FOLDER SEED

It relays a stream that SEED alone decides, from the byte on that the recording has come to, and passes each chunk
on to stdout. On stderr it says where it is: `starting`, then the byte it goes on at.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import SessionInfo
from recorder.object_stores.local_folder import LocalFolder
from recorder.service import Recorder
from recorder.signing import LocalSigner

BLOCK = 65536


def stream(seed: int, start: int, length: int) -> bytes:
    """`length` bytes of the stream that `seed` decides, from `start` on."""
    first, last = start // BLOCK, (start + length) // BLOCK
    blocks = b"".join(random.Random(f"{seed}/{block}").randbytes(BLOCK) for block in range(first, last + 1))
    return blocks[start - first * BLOCK :][:length]


def recorder_in(root: Path) -> Recorder:
    keys, signer = LocalKeyFile(root / "keys"), LocalSigner.load(root / "signing.pem")
    return Recorder(root / "spool", LocalFolder(root / "objects"), keys, signer, segment_bytes=20_000)


def session_of(seed: int) -> SessionInfo:
    return SessionInfo(f"s-{seed:020x}", "oi-0123456789ab", "alice", "i-0123456789abcdef0")


async def main(root: Path, seed: int) -> None:
    recorder = recorder_in(root)
    session = session_of(seed)
    chance = random.Random()
    print("starting", file=sys.stderr, flush=True)
    recovery = await recorder.start(hold=frozenset({session.session_id}))
    recording = await (recorder.resume(session.session_id) if recovery.held else recorder.open(session))
    offset = recording.recorded
    print(offset, file=sys.stderr, flush=True)
    while True:
        chunk = stream(seed, offset, chance.choice((1, 30, 300, 3000)))
        recording.output(chunk, offset)
        os.write(1, chunk)
        offset += len(chunk)
        if chance.random() < 0.2:
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
