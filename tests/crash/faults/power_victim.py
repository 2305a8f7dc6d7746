"""A writer on a disk that forgets what was not synced: it notes what each fsync and fdatasync made durable.

    python -m tests.crash.faults.power_victim FOLDER SEED DURABILITY

It passes on to stdout what it recorded, under `sync` once that is durable. FOLDER/synced.jsonl has a line for each
sync, written when that was over: of a file how long it was when the sync began, of a folder the names it had. It
has others, all with the time, for each round of syncs and each sync that begins and each chunk that is passed on.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import Durability
from recorder.object_stores.local_folder import LocalFolder
from recorder.service import Recorder
from recorder.signing import LocalSigner
from recorder.syncing import GroupSync
from tests.recorder.resuming_victim import session_of

LOG = "synced.jsonl"


def _noting(sync: Callable[[int], None], log: int) -> Callable[[int], None]:
    def noted(fd: int) -> None:
        found = os.fstat(fd)
        names = os.listdir(fd) if stat.S_ISDIR(found.st_mode) else None
        note = {"inode": found.st_ino, "size": found.st_size, "began": time.monotonic()}
        note["thread"] = threading.get_ident()
        _write(log, note)
        sync(fd)
        _write(log, {**note, "names": names, "ended": time.monotonic()})

    return noted


def _telling(begin: Callable[[GroupSync], None], log: int) -> Callable[[GroupSync], None]:
    def told(rounds: GroupSync) -> None:
        _write(log, {"round": time.monotonic()})
        begin(rounds)

    return told


def _write(log: int, note: Mapping[str, object]) -> None:
    os.write(log, json.dumps(note).encode() + b"\n")


async def main(root: Path, seed: int, durability: Durability) -> None:
    log = os.open(root / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.fsync, os.fdatasync = _noting(os.fsync, log), _noting(os.fdatasync, log)  # type: ignore[assignment]  # of an int
    GroupSync._begin = _telling(GroupSync._begin, log)  # type: ignore[assignment,method-assign]  # of an instance
    keys, signer = LocalKeyFile(root / "keys"), LocalSigner.load(root / "signing.pem")
    store = LocalFolder(root / "objects")
    recorder = Recorder(root / "spool", store, keys, signer, durability=durability, segment_bytes=1_000_000)
    await recorder.start()
    recording = await recorder.open(session_of(seed))
    chance = random.Random(seed)
    offset = 0
    while True:
        chunk = chance.randbytes(chance.choice((1, 30, 300, 3000)))
        recording.output(chunk, offset)
        offset += len(chunk)
        assert recording._part is not None
        journal = os.fstat(recording._part.fd)
        await recording.durable()
        passed = {"passed": time.monotonic(), "end": offset}
        _write(log, {**passed, "inode": journal.st_ino, "size": journal.st_size})
        os.write(1, chunk)
        if chance.random() < 0.2:
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Durability(sys.argv[3])))
