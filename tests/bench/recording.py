"""What recording costs.

    python -m tests.bench.recording

`recording.vs_bare_zstd1_256B`: the stages from an event to a finished segment (encode, zstd-1, AES-256-GCM and
SHA-256) against a bare zstd-1 stream that is fed the same 256-byte payloads.
`recording.journal_256B_us`: what such an event costs before it goes on, sealed and in the kernel.
`recording.verify_mb_s`: `verify` over a stored recording, MB of ciphertext a CPU second.
Run as a program it also prints the time of each stage.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard

from recorder.events import Batch, Tally
from recorder.journal import Part
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import GENESIS, Kind, SessionInfo, manifest_name
from recorder.object_stores.local_folder import LocalFolder
from recorder.sealing import journal_seal
from recorder.segment import Place, seal_segment
from recorder.service import Recorder
from recorder.signing import LocalSigner
from recorder.verification import verify

EVENT = 256
SIZE = 8 * 1024 * 1024
ROUNDS = 9
OUTPUT = int(Kind.OUTPUT)
KEY = bytes(range(32))
SESSION = SessionInfo("s-" + "0" * 20, "oi-0123456789ab", "alice", "i-0123456789abcdef0")
PLACE = Place(SESSION.session_id, 1, 0, GENESIS)


def terminal_text(size: int) -> bytes:
    """Listings as a shell prints them: compresses about four times."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(2000)]
    lines, length = [], 0
    while length < size:
        number, day, minute = chance.randint(1, 99_999), chance.randint(1, 31), chance.randint(0, 59)
        name = f"{chance.choice(words)}.{chance.choice(words)}"
        line = f"-rw-r--r-- 1 root root {number:6d} Jan {day:2d} 12:{minute:02d} \x1b[0m{name}\x1b[0m\r\n"
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()[:size]


def happened(text: bytes) -> list[tuple[int, bytes]]:
    """Events of 256 bytes at times that are no pattern."""
    chance, now, events = random.Random(2), 0, []
    for start in range(0, len(text), EVENT):
        now += chance.randint(20, 2_000)
        events.append((now, text[start : start + EVENT]))
    return events


def bare_zstd(events: list[tuple[int, bytes]]) -> None:
    stream = zstandard.ZstdCompressor(level=1).compressobj()
    for _, payload in events:
        stream.compress(payload)
    stream.flush()


def encode(events: list[tuple[int, bytes]]) -> Batch:
    batch = Batch(Tally(80, 24))
    for now, payload in events:
        batch.add(OUTPUT, now, payload)
    return batch


def all_stages(events: list[tuple[int, bytes]]) -> None:
    seal_segment(PLACE, KEY, encode(events))


def journal_only(events: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = Part(Path(folder) / "part", 0, journal_seal(KEY), Tally(80, 24))
        offset = 0
        for now, payload in events:
            part.write(OUTPUT, now, offset, payload)
            offset += EVENT
        part.close()


def interleaved(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median CPU seconds of each way, run in turns so that a noisy neighbour meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            way()
            taken[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


async def verify_rate() -> float:
    """MB of ciphertext that a CPU second verifies."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        signer, store = LocalSigner.create(root / "signing.pem"), LocalFolder(root / "objects")
        recorder = Recorder(root / "spool", store, LocalKeyFile.create(root / "keys"), signer)
        await recorder.start()
        recording = await recorder.open(SESSION)
        for number in range(96):
            recording.output(os.urandom(1024 * 1024), number * 1024 * 1024)
            await asyncio.sleep(0)
        manifest = await recording.close("done")
        await recorder.stop()
        data = await store.get(manifest_name(manifest.prefix))
        rates = []
        for _ in range(ROUNDS):
            began = time.process_time()
            checked = await verify(data, store, [signer.public_key])
            rates.append(checked.size / 1e6 / (time.process_time() - began))
            assert checked.intact
        return statistics.median(rates)


def rows() -> dict[str, tuple[float, str]]:
    """Name of the row → value, unit."""
    events = happened(terminal_text(SIZE))
    cost = interleaved(
        {
            "bare": lambda: bare_zstd(events),
            "segment": lambda: all_stages(events),
            "journal": lambda: journal_only(events),
        }
    )
    return {
        "recording.vs_bare_zstd1_256B": (cost["bare"] / cost["segment"], "ratio"),
        "recording.journal_256B_us": (cost["journal"] / len(events) * 1e6, "µs"),
        "recording.verify_mb_s": (asyncio.run(verify_rate()), "MB/s a core"),
    }


def main() -> None:
    for name, (value, unit) in rows().items():
        print(f"{name} {value:.2f} {unit}")
    events = happened(terminal_text(SIZE))
    batch = encode(events)
    heads, payloads = batch.heads, batch.payloads
    squeeze = zstandard.ZstdCompressor(level=1).compress
    cost = interleaved(
        {
            "bare zstd-1, stream of 256 B": lambda: bare_zstd(events),
            "bare zstd-1, one shot": lambda: _ignore(squeeze(payloads)),
            "all stages of a segment": lambda: all_stages(events),
            "  encode": lambda: _ignore(encode(events)),
            "  zstd-1 of the heads": lambda: _ignore(squeeze(heads)),
            "  zstd-1 of the payloads": lambda: _ignore(squeeze(payloads)),
            "  seal_segment (columns, zstd, AES, SHA)": lambda: _ignore(seal_segment(PLACE, KEY, batch)),
            "journal: seal and write() each event": lambda: journal_only(events),
        }
    )
    for name, seconds in cost.items():
        print(f"{name:45} {SIZE / 1e6 / seconds:8.0f} MB/s {seconds / len(events) * 1e6:7.2f} µs an event")


def _ignore(_: object) -> None:
    """The result is not what is measured."""


if __name__ == "__main__":
    main()
