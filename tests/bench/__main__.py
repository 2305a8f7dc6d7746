"""`make bench`: measures, holds each figure against its target, writes bench.json.

python -m tests.bench [PART …]     parts: policy, recording, recording_cost, ssh, agent, session
"""

import argparse
import importlib
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from tests.bench.figure import Figure

Rows = dict[str, Figure]

PARTS = ("policy", "recording", "recording_cost", "ssh", "agent", "session")
TARGETS = [pathlib.Path(__file__).with_name(name) for name in ("targets.json", "further_targets.json")]


def measure(part: str) -> Rows:
    rows: Callable[[], dict[str, tuple[Any, ...]]] = importlib.import_module(f"tests.bench.{part}").rows
    return {name: Figure(*row) for name, row in rows().items()}


def judge(name: str, figure: Figure, target: dict[str, Any]) -> dict[str, Any]:
    """One row of bench.json; `holds` is None for figures that are only reported."""
    holds: bool | None = None
    if "max" in target:
        holds = figure.value <= target["max"]
    if "min" in target:
        holds = figure.value >= target["min"]
    bound = {key: target[key] for key in ("min", "max") if key in target}
    row = {"name": name, "value": round(figure.value, 3), "unit": figure.unit, "target": bound or "report"}
    return row | {"holds": holds, "where": figure.where}


def show(row: dict[str, Any], what: str) -> None:
    verdict = {True: "holds", False: "MISSED", None: "reported"}[row["holds"]]
    bound = (
        row["target"] if isinstance(row["target"], str) else " ".join(f"{k} {v}" for k, v in row["target"].items())
    )
    print(f"{row['name']:<34} {row['value']:>10} {row['unit']:<8} {bound:<10} {verdict:<9} {what}", flush=True)
    if row["holds"] is False and row["where"]:
        print(f"    {row['where']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measures against the targets.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all by default")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("bench.json"))
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    targets: dict[str, Any] = {}
    for file in TARGETS:
        targets |= json.loads(file.read_text())
    rows = []
    for part in arguments.parts or PARTS:
        print(f"measuring {part} …", file=sys.stderr, flush=True)
        for name, figure in measure(part).items():
            target = targets.get(name, {})
            row = judge(name, figure, target)
            show(row, target.get("what", ""))
            rows.append(row)
    measured = {row["name"] for row in rows}
    if not arguments.parts:
        for name in targets.keys() - measured - {"_"}:
            print(f"{name:<34} {'not built yet':>10}")
    arguments.output.write_text(json.dumps(rows, indent=2) + "\n")
    missed = [row["name"] for row in rows if row["holds"] is False]
    print(f"{len(rows)} figures, {len(missed)} missed{': ' + ', '.join(missed) if missed else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
