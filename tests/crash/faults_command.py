"""`python -m tests.crash faults [N] [--only NAME]…`: every fault that recordings survive, and one table of them.

N is how often the gateway is killed, 200 if not said; the other faults have numbers of their own, at most N. Lost
is what was passed on to somebody and is not in its recording. Exit code 1: a row failed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time
from pathlib import Path
from random import Random

from tests.aws.servers import ENVIRONMENT, running_moto
from tests.crash.faults.outcome import Fault, Outcome, Where
from tests.crash.faults.table import FAULTS

_ROW = "{:<40} {:>5} {:>13} {:>8} {:>8} {:>5} {:>9}  {}"
_NAMES = tuple(fault.name for fault in FAULTS)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash faults", description=__doc__)
    parser.add_argument("times", nargs="?", type=int, default=200, metavar="N")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of: {'; '.join(_NAMES)}")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="to choose the same points again")
    given = parser.parse_args(arguments)
    unknown = set(given.only or ()) - set(_NAMES)
    if given.times < 1 or unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}" if unknown else "N is at least 1")
    chosen = [fault for fault in FAULTS if not given.only or fault.name in given.only]
    os.environ.update(ENVIRONMENT)
    print(f"seed {given.seed}")
    print(_ROW.format("fault", "runs", "delivered", "lost", "lost ms", "gaps", "verified", "verdict"))
    began = time.monotonic()
    well = []
    with tempfile.TemporaryDirectory(prefix="jitgate-faults-") as folder, running_moto() as moto:
        for number, fault in enumerate(chosen):
            where = Where(Path(folder) / str(number), moto)
            where.folder.mkdir()
            well.append(_row(fault, where, Random(f"{given.seed}/{fault.name}"), min(fault.runs, given.times)))
    print(f"{sum(well)} of {len(well)} rows passed; {time.monotonic() - began:.0f} s")
    return 0 if all(well) else 1


def _row(fault: Fault, where: Where, random: Random, runs: int) -> bool:
    total = Outcome()
    for outcome in fault.play(where, random, runs):
        total.add(outcome)
    well = fault.is_well(total)
    numbers = (f"{total.delivered:,}", f"{total.lost:,}", f"{total.lost_ms:.0f}" if total.lost_ms else "-")
    verified = f"{total.verified}/{total.recordings}"
    print(
        _ROW.format(fault.name, runs, *numbers, total.gaps, verified, "passed" if well else "FAILED"), flush=True
    )
    for problem in total.problems:
        print(f"      {problem}", flush=True)
    return well
