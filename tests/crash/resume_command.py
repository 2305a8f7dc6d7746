"""`python -m tests.crash resume [N]`: N times kill -9 of the gateway and N network cuts under busy shells.

All shells are real `jit shell` sessions through a real agent. What their programs printed and took on the node is
compared with what their clients saw and typed, and with the recordings: one each, whatever happened meanwhile.
Exit code 1 unless no session, byte or input was lost or repeated and every recording is whole and verified.
"""

import argparse
import secrets
import tempfile
import time
from pathlib import Path
from random import Random

from tests.crash.resume.run import Outcome, Result, run
from tests.crash.resume.world import resume_world

_ROW = "{:>5} {:<8} {:<8} {:>9} {:>8} {:>7} {:>14}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash resume", description=__doc__)
    parser.add_argument("times", nargs="?", type=int, default=100, metavar="N")
    parser.add_argument("--cuts", type=int, help="network cuts, if not as many as kills")
    parser.add_argument("--shells", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="to do the same again")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave everything in this new folder")
    given = parser.parse_args(arguments)
    cuts = given.times if given.cuts is None else given.cuts
    print(f"{given.times} times kill -9 and {cuts} cuts under {given.shells} shells, seed {given.seed}")
    print(_ROW.format("", "what", "where", "lasts ms", "back ms", "shells", "bytes seen"))
    began = time.monotonic()
    if given.keep:
        given.keep.mkdir(parents=True)
        result = _run(given.keep, given.shells, given.times, cuts, given.seed)
    else:
        with tempfile.TemporaryDirectory(prefix="jitgate-crash-") as folder:
            result = _run(Path(folder), given.shells, given.times, cuts, given.seed)
    _show(result)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if result.is_well else 1


def _run(folder: Path, shells: int, kills: int, cuts: int, seed: int) -> Result:
    with resume_world(folder) as world:
        return run(world, shells, kills, cuts, Random(seed), _tell)


def _tell(outcome: Outcome) -> None:
    incident = outcome.incident
    back = "-" if outcome.back is None else f"{outcome.back * 1000:.0f}"
    lasts = f"{incident.lasts * 1000:.0f}"
    print(
        _ROW.format(
            incident.number, incident.kind.value, incident.where, lasts, back, outcome.alive, outcome.seen
        ),
        flush=True,
    )
    if outcome.away:
        print(f"      not back in time: {', '.join(outcome.away)}", flush=True)


def _show(result: Result) -> None:
    verdicts = result.verdicts
    for verdict in verdicts:
        for problem in verdict.problems:
            print(f"{verdict.name}: {problem}")
    rows = (
        ("sessions lost", sum(each.sessions_lost for each in verdicts), f"of {len(verdicts)}"),
        ("bytes lost", sum(each.bytes_lost for each in verdicts), f"of {sum(v.printed for v in verdicts):,}"),
        ("bytes repeated", sum(each.bytes_repeated for each in verdicts), ""),
        ("inputs lost", sum(each.inputs_lost for each in verdicts), f"of {sum(v.typed for v in verdicts):,}"),
        ("inputs repeated", sum(each.inputs_repeated for each in verdicts), ""),
        ("recordings with gaps", sum(each.recordings_with_gaps for each in verdicts), ""),
        ("recordings verified", sum(each.recordings_verified for each in verdicts), f"of {len(verdicts)}"),
        ("shells that came back late", result.away, ""),
    )
    for name, count, of in rows:
        print(f"{name:<28} {count:>8} {of}")
    print(f"most memory: gateway {result.gateway_mib:.0f} MiB, agent {result.agent_mib:.0f} MiB")
