"""`python -m tests.crash [N] [--seed S]`: kills the real gateway at N random points of busy sessions (kill -9).

After each kill it starts the gateway again and compares what every client saw with what the recordings have.
Exit code 1: a byte was missing, a recording did not verify, or a session failed before its gateway was killed.
"""

import argparse
import secrets
import tempfile
import time
from pathlib import Path
from random import Random

from tests.crash.kills import Kill, crash_stage, kill_once

_ROW = "{:>5} {:>9} {:>9} {:>12} {:>12} {:>8} {:>9} {:>5} {:>9}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="to kill at the same points again")
    given = parser.parse_args(arguments)
    print(f"{given.kills} times kill -9, seed {given.seed}")
    print(
        _ROW.format(
            "kill", "after ms", "sessions", "bytes seen", "recorded", "missing", "verified", "gaps", "back ms"
        )
    )
    random = Random(given.seed)
    kills = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jitgate-crash-") as folder, crash_stage(Path(folder)) as on:
        for number in range(1, given.kills + 1):
            kill = kill_once(on, number, random)
            kills.append(kill)
            print(_row(str(number), kill), flush=True)
            for problem in kill.problems:
                print(f"      {problem}", flush=True)
    total = _sum(kills)
    print(_row("all", total))
    print(
        f"{total.missing} of {total.seen} bytes that clients saw are missing; "
        f"{total.verified} of {total.recordings} recordings verified; {time.monotonic() - started:.0f} s"
    )
    return 0 if all(kill.is_well for kill in kills) else 1


def _row(name: str, kill: Kill) -> str:
    verified = f"{kill.verified}/{kill.recordings}"
    return _ROW.format(
        name,
        round(kill.at * 1000),
        kill.sessions,
        kill.seen,
        kill.recorded,
        kill.missing,
        verified,
        kill.gaps,
        round(kill.recovery * 1000),
    )


def _sum(kills: list[Kill]) -> Kill:
    """Sums; the times are means."""
    count = len(kills) or 1
    return Kill(
        number=0,
        at=sum(kill.at for kill in kills) / count,
        sessions=sum(kill.sessions for kill in kills),
        seen=sum(kill.seen for kill in kills),
        recorded=sum(kill.recorded for kill in kills),
        missing=sum(kill.missing for kill in kills),
        verified=sum(kill.verified for kill in kills),
        recordings=sum(kill.recordings for kill in kills),
        gaps=sum(kill.gaps for kill in kills),
        recovery=sum(kill.recovery for kill in kills) / count,
    )
