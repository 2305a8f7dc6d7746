"""What a recording costs those whose session it is, and those who look at it.

`recording.bulk_cost_percent`: by how much longer an exec of 128 MiB takes through a gateway that records than
through the same one with a recorder that keeps nothing. `recording.keystroke_cost_ms`: the same of a key's echo.
Both by turns. `recording.seek_24h_s`: from asking for a moment of a recording of 24 hours to its first event.
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import SessionInfo, encryption_context
from recorder.object_stores.local_folder import LocalFolder
from recorder.playback import Playback
from recorder.service import Recorder
from recorder.signing import LocalSigner
from tests.bench.figure import Figure
from tests.bench.ways import Way, Ways
from tests.bench.world import NODE, World, request_access, running_world
from tests.processes import BIN

KEYS = 500
BULK_BYTES = 128 << 20
BULK_ROUNDS = 9
UNRECORDED = (sys.executable, "-m", "tests.bench.unrecorded", "serve")

MINUTES = 24 * 60
BYTES_A_MINUTE = 64 * 1024
SEEKS = 100
SESSION = SessionInfo("s-" + "0" * 20, "oi-0123456789ab", "alice", "i-0123456789abcdef0")


def rows() -> dict[str, Figure]:
    """By name."""
    with running_world() as recorded, running_world(UNRECORDED) as bare:
        for world in (recorded, bare):
            channel = world.channel(world.alice)
            request_access(channel, NODE)
            channel.close()
            world.alice.jit("exec", NODE, "--", "true")  # leaves the token
        ours, theirs, where = _ways(recorded, bare, "shell").type(KEYS)
        file = recorded.directory / "incompressible"
        file.write_bytes(os.urandom(BULK_BYTES))
        bulk, bare_bulk, bulk_where = _ways(recorded, bare, "exec", f"cat {file}").run(BULK_ROUNDS)
    return {
        "recording.bulk_cost_percent": Figure((bulk / bare_bulk - 1) * 100, "%", bulk_where),
        "recording.keystroke_cost_ms": Figure((ours - theirs) * 1000, "ms", where),
        "recording.seek_24h_s": asyncio.run(seek()),
    }


def _ways(recorded: World, bare: World, kind: str, command: str = "") -> Ways:
    def way(world: World) -> Way:
        return [BIN / "jit", kind, NODE, *(["--", command] if command else [])], world.alice.environment

    assert recorded.gateway.process is not None
    assert bare.gateway.process is not None
    through = {"recording gateway": recorded.gateway.process.pid, "other gateway": bare.gateway.process.pid}
    return Ways(way(recorded), way(bare), through)


async def seek() -> Figure:
    """The slowest of many, each at another moment; the recording is made in seconds, its clock is ours."""
    now = [0]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store, keys = LocalFolder(root / "objects"), LocalKeyFile.create(root / "keys")
        signer = LocalSigner.create(root / "signing.pem")
        recorder = Recorder(
            root / "spool", store, keys, signer, ticks=lambda: now[0], segment_bytes=BYTES_A_MINUTE
        )
        await recorder.start()
        recording = await recorder.open(SESSION)
        for minute in range(MINUTES):
            now[0] = minute * 60_000_000_000
            recording.output(os.urandom(BYTES_A_MINUTE), minute * BYTES_A_MINUTE)
            await asyncio.sleep(0)
        manifest = await recording.close("done")
        await recorder.stop()
        playback = await Playback.open(manifest, store, keys, encryption_context(SESSION))
        chance, taken = random.Random(1), []
        for _ in range(SEEKS):
            moment = chance.randrange(1, manifest.duration_us)
            began = time.perf_counter()
            await anext(playback.events(moment))
            taken.append(time.perf_counter() - began)
    segments = sum(len(epoch.segments) for epoch in manifest.epochs)
    where = f"of {SEEKS} in {segments} segments: median {statistics.median(taken) * 1000:.1f} ms"
    return Figure(max(taken), "s", where)
