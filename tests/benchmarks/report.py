"""A result, written into docs/performance.md: its tables, and its plots beside it.

Knows: where the tables stand in the document. Must not know: what is in them, what was measured.

    python -m tests.benchmarks.report RESULT.json [--docs FOLDER]

What stands between `<!-- NAME begins -->` and `<!-- NAME ends -->` is replaced; all else is prose
and stays. NAME is `machine`, `goals`, `profiles`, or a scenario. Several results may be given:
scenarios and profiles that a later one has stand in place of those of an earlier one, and all are
named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.plots import plot
from tests.benchmarks.scenario import ROOT
from tests.benchmarks.scenarios import SCENARIOS
from tests.benchmarks.tables import goals_table, machine_table, profiles_tables, scenario_table

__all__ = ["fill", "main"]


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """The text with its blocks filled. Raises `LookupError` for one that it has no place for."""
    for name, block in blocks.items():
        begins, ends = f"<!-- {name} begins -->\n", f"<!-- {name} ends -->"
        before, found, rest = text.partition(begins)
        _, closed, after = rest.partition(ends)
        if not (found and closed):
            raise LookupError(f"the document has no place for {name}")
        text = f"{before}{begins}\n{block}\n\n{ends}{after}"
    return text


def blocks_of(results: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Each block by its name; the plots are written into the folder."""
    scenarios: dict[str, Any] = {}
    for result in results:
        scenarios |= result["scenarios"]
    folder.mkdir(parents=True, exist_ok=True)
    packages = {
        peer.distribution
        for scenario in SCENARIOS.values()
        for peer in scenario.peers
        if peer.distribution is not None
    }
    blocks = {
        "machine": "\n\n".join(machine_table(result, packages) for result in results),
        "goals": goals_table(scenarios),
    }
    profiles = {
        (profile["scenario"], profile["peer"]): profile
        for result in results
        for profile in result["profiles"]
    }
    if profiles:
        blocks["profiles"] = profiles_tables(profiles.values())
    for name, scenario in scenarios.items():
        if not scenario["peers"]:
            continue
        if scenario["growth"]:
            plot(scenario, folder / f"{name}.svg")
            axis = scenario["growth"]
            blocks[name] = (
                f"![Milliseconds over {axis}: {scenario['title']}]({folder.name}/{name}.svg)"
            )
        else:
            blocks[name] = scenario_table(scenario)
    return blocks


def main(arguments: Sequence[str]) -> int:
    """Write the document anew; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.report")
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    options = parser.parse_args(arguments)
    results: list[Any] = [json.loads(path.read_text()) for path in options.results]
    page: Path = options.docs / "performance.md"
    blocks = blocks_of(results, options.docs / "performance")
    page.write_text(fill(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
