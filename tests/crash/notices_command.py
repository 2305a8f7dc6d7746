"""`python -m tests.crash notices [N]`: N requests' notices while the gateway is killed (kill -9) over and over.

Mails go to a real mail server, events to a receiver of webhooks, messages to stand-ins of Slack and Teams. Before
that, on a gateway that nobody kills: how long it takes from what happened until the first attempt (the mail server
is called, anything else has arrived), and whether that keeps the promise. That is only told: the machine may have
other things to do. Exit code 1 when anything was lost, given up, or told twice so that nobody could tell.
"""

import argparse
import logging
import statistics
import tempfile
from pathlib import Path

from tests.crash.notices.run import latency, run, scene

PROMISE = 0.25
"""Seconds from the commit to the first attempt, at the 99th percentile, while nothing goes wrong."""

_ROW = "{:<8} {:>9} {:>6} {:>8} {:>9}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash notices", description=__doc__)
    parser.add_argument("requests", nargs="?", type=int, default=1000, metavar="N")
    parser.add_argument("--quiet", type=int, default=200, metavar="N", help="requests to measure the time by")
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds that a gateway serves before it is killed; default: 1"
    )
    given = parser.parse_args(arguments)
    for cut_off in ("mail.log", "aiohttp.server"):  # they complain of connections that a kill cut
        logging.getLogger(cut_off).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="jitgate-notices-") as folder, scene(Path(folder)) as at:
        if given.quiet:
            for name, seconds in latency(at, given.quiet).items():
                cut = _percentiles(seconds)[98]
                promise = f"promised {PROMISE * 1000:.0f} ms: {'holds' if cut <= PROMISE else 'missed'}"
                print(
                    f"quiet, from the commit to the first attempt, {name}: {_shown(seconds)} ({promise})",
                    flush=True,
                )
        outcome = run(at, given.requests, given.every)
    print(
        f"{outcome.requests} requests, {outcome.waiting} untold at the first of {outcome.kills} times kill -9, "
        f"{outcome.seconds:.0f} s until all was told"
    )
    print(f"killed, from the commit to the first attempt, webhook: {_shown(outcome.delays)}")
    print(_ROW.format("channel", "expected", "lost", "doubled", "repeated"))
    for each in outcome.channels:
        print(_ROW.format(each.name, each.expected, each.lost, each.doubled, each.repeated))
    print(
        f"{outcome.given_up} given up. Repeated: arrived again, by mail and webhook under the same id, by which a"
    )
    print(
        "receiver can tell; in Teams, which has no key against it, as a second message. Replies: denials, in Slack"
    )
    return 0 if outcome.is_well else 1


def _percentiles(seconds: list[float]) -> list[float]:
    return statistics.quantiles(seconds, n=100, method="inclusive")


def _shown(seconds: list[float]) -> str:
    cuts = _percentiles(seconds)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, {len(seconds)} messages"
