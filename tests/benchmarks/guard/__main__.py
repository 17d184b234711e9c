"""The guard: counts the work of a few small jobs and holds it to stored budgets.

    python -m tests.benchmarks.guard [--store]

Knows: what is counted and judged in which order, and what is told.
Must not know: how it is counted.

Ends with 1 where a count is over its budget by more than the slack, with 2 where other versions
are installed than those of the budgets. `--store` writes what was counted as the new budget.
"""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks.guard.budgets import FILE, HEADING, SLACK, Budgets, Verdict, judge
from tests.benchmarks.guard.measuring import (
    build,
    count_instructions,
    count_portably,
    has_valgrind,
    installed,
)

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def check(budgets: Budgets) -> list[Verdict]:
    """Count everything, print it, and put it into `budgets`."""
    print(HEADING)
    verdicts: list[Verdict] = []
    for way, counts in count_portably().items():
        verdicts += _tell(judge(way, counts, budgets.of(way, MINOR)))
        budgets.put(way, MINOR, counts)
    if not has_valgrind():
        print("instructions are not counted: expected valgrind to be installed")
        return verdicts
    counts = count_instructions()
    budget = budgets.of("instructions", build())
    comparable = budgets.are_comparable(build(), counts["calibration"])
    verdicts += _tell(judge("instructions", counts, budget if comparable else {}))
    if not comparable:
        why = "its processor differs from the budget's" if budget else "it has no budget"
        print(f"instructions are not judged for this Python, as {why}: {build()}")
    budgets.put("instructions", build(), counts)
    return verdicts


def _tell(verdicts: list[Verdict]) -> list[Verdict]:
    for verdict in verdicts:
        print(verdict, flush=True)
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(prog="guard", description="Count work, not time.")
    parser.add_argument("--store", action="store_true", help="store what was counted as budget")
    options = parser.parse_args()
    budgets = Budgets.load()
    found = installed(budgets.versions)
    if found != budgets.versions:
        print(f"expected the versions of the budgets {budgets.versions}, got {found}")
        return 2
    verdicts = check(budgets)
    if options.store:
        budgets.save()
        print(f"stored in {FILE.name}")
        return 0
    if all(verdict.budget is None for verdict in verdicts):
        print(f"NOTHING WAS JUDGED: there is no budget for Python {MINOR}")
    if any(verdict.is_over for verdict in verdicts):
        print(
            f"more than {SLACK:.0%} over the budget. If that is what it has to cost, store the new "
            "budget in the same change and say why: nox -s guard -- --store"
        )
        return 1
    if any(verdict.is_under for verdict in verdicts):
        print(f"more than {SLACK:.0%} better: keep it with nox -s guard -- --store")
    return 0


if __name__ == "__main__":
    sys.exit(main())
