"""Runs scenarios: each peer of each round in a process of its own, peers in a new order each time.

Knows: processes, rounds, medians. Must not know: what a scenario does, what is good.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from tests.benchmarks.machine import commit, interpreter, interpreter_at, machine
from tests.benchmarks.scenario import ROOT, Peer, Result, Scenario, environment

__all__ = ["Missing", "Plan", "profiles", "run"]

PATIENCE = 300
"""Seconds that one process may take."""


class Missing(Exception):
    """Peers that have to be there are not."""


@attrs.frozen(kw_only=True)
class Plan:
    """What is run, and how.

    `new` is the path of the second interpreter, for peers that need one; None leaves them out.
    `lenient` skips peers that are missing though they are required.
    """

    scenarios: Sequence[Scenario]
    rounds: int = 3
    quick: bool = False
    peers: Sequence[str] = ()
    new: str | None = None
    lenient: bool = False
    seed: int = 1
    say: Callable[[str], None] = print


def run(plan: Plan, command: Sequence[str]) -> dict[str, Any]:
    """Run the plan; everything that was measured, as JSON. `command` is noted in it.

    Raises `Missing` where a required peer is not installed, before anything is run.
    """
    interpreters = {"main": interpreter()}
    if plan.new is not None:
        interpreters["new"] = interpreter_at(plan.new)
    chosen, skipped = _choose(plan, interpreters)
    for scenario, peers in chosen:
        if scenario.prepare is not None and peers:
            scenario.prepare(plan.quick)
    rng = random.Random(plan.seed)
    began = time.monotonic()
    measured: dict[str, Any] = {}
    failed: list[dict[str, str]] = []
    for scenario, peers in chosen:
        measured[scenario.name] = _measure(plan, scenario, peers, rng, failed)
        plan.say(f"{scenario.name}: {len(peers)} peers, {time.monotonic() - began:.0f} s so far")
    return {
        "command": " ".join(command),
        "commit": commit(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "took": round(time.monotonic() - began),
        "quick": plan.quick,
        "rounds": plan.rounds,
        "machine": machine(),
        "interpreters": interpreters,
        "skipped": skipped,
        "failed": failed,
        "scenarios": measured,
    }


def _choose(
    plan: Plan, interpreters: Mapping[str, Any]
) -> tuple[list[tuple[Scenario, list[Peer]]], dict[str, str]]:
    """The peers of each scenario, and why others are left out."""
    skipped: dict[str, str] = {}
    missing: set[str] = set()
    chosen: list[tuple[Scenario, list[Peer]]] = []
    for scenario in plan.scenarios:
        peers: list[Peer] = []
        for peer in scenario.peers:
            if not (peer.name in plan.peers if plan.peers else peer.quick or not plan.quick):
                continue
            where = interpreters.get("new" if peer.new else "main")
            if where is None:
                skipped[peer.name] = "no newer interpreter was given"
                continue
            if peer.distribution and peer.distribution not in where["distributions"]:
                skipped[peer.name] = f"{peer.distribution} is not installed"
                if peer.required:
                    missing.add(skipped[peer.name])
            else:
                peers.append(peer)
        chosen.append((scenario, peers))
    if missing and not plan.lenient:
        raise Missing(", ".join(sorted(missing)))
    return chosen, skipped


def _measure(
    plan: Plan,
    scenario: Scenario,
    peers: Sequence[Peer],
    rng: random.Random,
    failed: list[dict[str, str]],
) -> dict[str, Any]:
    rounds: dict[str, list[Result]] = {peer.name: [] for peer in peers}
    for _ in range(plan.rounds):
        for peer in rng.sample(peers, len(peers)):
            try:
                rounds[peer.name].append(_once(plan, scenario, peer))
            except (ChildProcessError, subprocess.TimeoutExpired) as error:
                failed.append({
                    "scenario": scenario.name, "peer": peer.name, "error": str(error)[-300:]
                })  # fmt: skip
                plan.say(f"{scenario.name}, {peer.name}: {error}")
    return {
        "title": scenario.title,
        "growth": scenario.growth,
        "peers": {
            name: {"median": _median(results), "rounds": results}
            for name, results in rounds.items()
            if results
        },
    }


def profiles(plan: Plan, wanted: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """The profile of each `(scenario, peer)` that is wanted and can be had, in the plan's order."""
    found: list[dict[str, Any]] = []
    for scenario in plan.scenarios:
        for peer in scenario.peers:
            if (scenario.name, peer.name) in wanted:
                rows = _once(plan, scenario, peer, "--profile")
                if rows:
                    found.append({"scenario": scenario.name, "peer": peer.name, "rows": rows})
    return found


def _once(plan: Plan, scenario: Scenario, peer: Peer, *flags: str) -> Any:
    """What one process tells."""
    python = plan.new if peer.new and plan.new else sys.executable
    command = [python, "-m", "tests.benchmarks.measure", scenario.name, peer.name]
    command += [*["--quick"] * plan.quick, *flags]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ChildProcessError(last[0])
    return json.loads(done.stdout)


def _median(results: Sequence[Result]) -> Result:
    """The median of each number, in tables too; of anything else, what the first round told."""
    told: Result = {}
    for key, value in results[0].items():
        values = [result[key] for result in results if result.get(key) is not None]
        if isinstance(value, dict):
            told[key] = _median(values)
        elif isinstance(value, int | float):
            told[key] = statistics.median(values)
        else:
            told[key] = value
    return told
