"""`kill -9` of the gateway in the middle of busy sessions, and what the recordings have of what clients saw."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash.busy import Clients, Seen
from tests.crash.faults.outcome import common
from tests.e2e.stage import Stage, stage
from tests.processes import GatewayProcess, wait_for

LONGEST_BEFORE_KILL = 0.8  # seconds, once all sessions are busy
LONGEST_TO_START = 120.0  # seconds, on a machine that does much else; how long it took is told


@dataclass
class Kill:
    """One kill and what came of it."""

    number: int
    at: float  # seconds after all sessions were busy
    sessions: int = 0
    seen: int = 0
    """Bytes that clients saw, all sessions together."""
    recorded: int = 0
    missing: int = 0
    """Bytes that a client saw and its recording does not have."""
    verified: int = 0
    recordings: int = 0
    gaps: int = 0
    recovery: float = 0.0
    """Seconds from starting again to serving."""
    problems: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not self.missing and not self.problems and self.verified == self.recordings


@contextlib.contextmanager
def crash_stage(folder: Path) -> Iterator[Stage]:
    gateway = GatewayProcess(folder / "gateway", start_seconds=LONGEST_TO_START)
    gateway.start()
    try:
        with stage(gateway, folder) as on:
            _ = on.alice.person  # signed in, so that the clients can start at once
            yield on
    finally:
        gateway.stop()


def kill_once(on: Stage, number: int, random: Random, streams: int = 3) -> Kill:
    """Lets clients loose, kills, starts again, compares."""
    clients = Clients(on, random, number)
    kill = Kill(number, random.uniform(0.0, LONGEST_BEFORE_KILL))
    clients.start(streams)
    clients.until_busy()
    time.sleep(kill.at)  # the random point itself: there is nothing to wait for
    clients.killed()
    on.gateway.kill()
    clients.join()
    started = time.monotonic()
    on.gateway.start()
    kill.recovery = time.monotonic() - started
    kill.problems += [f"before the kill: {surprise}" for surprise in clients.surprises]
    on.settled_rows()
    _compare(on, kill, clients.seen)
    return kill


def _compare(on: Stage, kill: Kill, all_seen: list[Seen]) -> None:
    sessions = _sessions(on)
    for seen in all_seen:
        session_id = sessions.get(seen.salt)
        kill.seen += len(seen.output)
        if not seen.is_true:
            kill.problems.append(f"{seen.salt}: what the client saw is not what the node printed")
        if session_id is None:
            kill.missing += len(seen.output)
            continue
        kill.sessions += 1
        recording = _recording(on, session_id)
        if recording is None:
            kill.missing += len(seen.output)
            if seen.output:
                kill.problems.append(f"{session_id}: there is no recording")
            continue
        kill.recordings += 1
        kill.recorded += len(recording)
        kept = common(recording, seen.output)
        kill.missing += len(seen.output) - kept
        verdict = on.dave.call("RecordingService/VerifyRecording", session_id=session_id)
        kill.gaps += verdict.get("gaps", 0)
        if verdict.get("intact"):
            kill.verified += 1
        else:
            kill.problems.append(f"{session_id}: {verdict.get('problems')}")


def _sessions(on: Stage) -> dict[str, str]:
    """The salt of a session's command -> its id."""
    with on.database() as database:
        found = database.execute("SELECT command, id, ended_at FROM sessions").fetchall()
    assert all(ended_at for _, _, ended_at in found), "a session outlived its gateway"
    return {command.partition("line=b'")[2].partition(" ")[0]: session_id for command, session_id, _ in found}


def _recording(on: Stage, session_id: str) -> bytes | None:
    """The output as recorded; None where the session ended before its recording began."""
    with on.database() as database:
        row = database.execute("SELECT status FROM recordings WHERE session_id = ?", (session_id,)).fetchone()
    if row is None:
        return None
    wait_for(lambda: _status(on, session_id) == "RECORDING_STATUS_COMPLETE", what=f"{session_id}'s recording")
    answers = on.dave.client.receive(
        "RecordingService/ExportRecording", session_id=session_id, format="EXPORT_FORMAT_RAW"
    )
    return b"".join(answer.chunk for answer in answers)


def _status(on: Stage, session_id: str) -> str:
    return str(on.dave.call("RecordingService/GetRecording", session_id=session_id)["recording"]["status"])
