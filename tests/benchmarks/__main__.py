"""`python -m tests.benchmarks`: run scenarios, store what they tell, hold it against the goals.

Knows: the command line. Must not know: how anything is measured or judged.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.goals import slow
from tests.benchmarks.runner import Missing, Plan, profiles, run
from tests.benchmarks.scenario import Scenario, store
from tests.benchmarks.scenarios import SCENARIOS
from tests.benchmarks.tables import missed

__all__ = ["main", "verdict"]

OURS = {"decoder", "decoder@new", "reader", "dispatch", "routes", "writer", "sink"}
"""How the names of our own peers begin: one that fails makes the run fail."""


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; the exit code."""
    options = _parser().parse_args(arguments)
    plan = Plan(
        scenarios=_chosen(options.only),
        rounds=options.rounds or (1 if options.quick else 3),
        quick=options.quick,
        peers=options.peers.split(",") if options.peers else (),
        new=options.new,
        lenient=options.lenient or bool(options.peers),
        say=lambda line: print(line, flush=True),
    )
    try:
        told = run(plan, _told(arguments))
    except Missing as missing:
        print(f"not installed, but required: {missing}", file=sys.stderr)
        return 2
    told["profiles"] = profiles(plan, slow(told["scenarios"])) if options.profile else []
    path: Path = options.out or store() / "result.json"
    path.write_text(json.dumps(told, indent=1) + "\n")
    for name, why in told["skipped"].items():
        print(f"skipped: {name}: {why}")
    print(f"{path}: {told['took']} s")
    return verdict(told)


def verdict(told: Mapping[str, Any]) -> int:
    """Says which goals are missed; 1 where a full run misses one by more than its slack.

    A quick run is too small and too short to be held to anything but that we can be measured.
    """
    for line in missed(told["scenarios"]):
        print(f"missed: {line}")
    failed = [each for each in told["failed"] if each["peer"].split("-")[0] in OURS]
    broken = [] if told["quick"] else missed(told["scenarios"], broken=True)
    for line in broken:
        print(f"missed by more than its slack: {line}")
    return 1 if broken or failed else 0


def _told(arguments: Sequence[str]) -> list[str]:
    """The command, without the places where this machine keeps things."""
    return ["python -m tests.benchmarks", *(Path(each).name for each in arguments)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small bodies, one round: 2 minutes")
    parser.add_argument("--only", help="scenarios, with commas: S3, or S5 for all that begin so")
    parser.add_argument("--peers", help="these peers only, with commas")
    parser.add_argument("--rounds", type=int, help="rounds (default: 3; 1 with --quick)")
    parser.add_argument("--new", help="a newer Python, for peers that need one")
    parser.add_argument("--lenient", action="store_true", help="skip whatever is not installed")
    parser.add_argument("--profile", action="store_true", help="profile who misses a goal of time")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    return parser


def _chosen(only: str | None) -> list[Scenario]:
    """The scenarios that are asked for; `S5` is all of `S5-...` as well."""
    if only is None:
        return list(SCENARIOS.values())
    found: list[Scenario] = []
    for wanted in only.split(","):
        names = [name for name in SCENARIOS if name == wanted or name.startswith(f"{wanted}-")]
        if not names:
            sys.exit(f"no scenario {wanted}; there are {', '.join(SCENARIOS)}")
        found += [SCENARIOS[name] for name in names]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
