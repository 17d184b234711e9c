"""The goals: what mpflow's figures are to be, beside those of others from the same run.

Knows: each goal, and whether a result meets it. Must not know: how anything is measured or shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from tests.benchmarks.scenario import MIB

__all__ = ["GOALS", "Goal", "Judged", "judge", "slow"]

SLACK = 2.0
"""A full run fails where a goal is missed by more than this factor: machines are noisy."""
CLOSE = 1.25
"""The same of goals that compare two ways to do the same with the same machinery."""
ROOMY = 16.0
"""The same of memory: what a pass leaves to the collector of garbage is not the same each time."""
STRAIGHT = 1.15
"""The exponent that cost may have in the work: 1 is linear."""


@attrs.frozen
class Goal:
    """What `ours` is to be in a scenario.

    With `theirs`, a ratio: how many times as quick ours is; with `most`, how many times as dear
    it is at most. Without, a bound of what `key` tells. `of` is the scenario of theirs, where it
    is another: then both count by the byte. `exponent` goals are of the line `ours` of a plot.
    """

    scenario: str
    ours: str
    bound: float
    theirs: str | None = None
    most: bool = False
    key: str = "seconds"
    of: str | None = None
    exponent: bool = False
    slack: float = SLACK

    def value(self, scenarios: Mapping[str, Any]) -> float | None:
        """What was measured; None where a side of it was not."""
        if self.exponent:
            return _exponent(scenarios, self.scenario, self.ours)
        ours = _median(scenarios, self.scenario, self.ours)
        if ours is None or ours.get(self.key) is None:
            return None
        if self.theirs is None:
            return float(ours[self.key])
        theirs = _median(scenarios, self.of or self.scenario, self.theirs)
        if theirs is None or theirs.get(self.key) is None:
            return None
        a, b = float(ours[self.key]), float(theirs[self.key])
        if self.of is not None:
            a, b = a / ours["bytes"], b / theirs["bytes"]
        return a / b if self.most else b / a

    def met(self, value: float, slack: float = 1.0) -> bool:
        """Whether a value is good enough, within a factor."""
        return value <= self.bound * slack if self.most else value * slack >= self.bound


@attrs.frozen
class Judged:
    """A goal, what was measured (None where it was not), and whether that meets it."""

    goal: Goal
    value: float | None
    met: bool | None
    broken: bool
    """Whether it is missed by more than its slack."""


def judge(scenarios: Mapping[str, Any]) -> list[Judged]:
    """All goals, in their order."""
    judged: list[Judged] = []
    for goal in GOALS:
        value = goal.value(scenarios)
        if value is None:
            judged.append(Judged(goal, None, None, False))
        else:
            judged.append(Judged(goal, value, goal.met(value), not goal.met(value, goal.slack)))
    return judged


def slow(scenarios: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The scenario and the name of each who misses a goal of time."""
    return {
        (judged.goal.scenario, judged.goal.ours)
        for judged in judge(scenarios)
        if judged.met is False and judged.goal.key in {"seconds", "cpu"}
    }


def _median(scenarios: Mapping[str, Any], scenario: str, peer: str) -> Mapping[str, Any] | None:
    peers = scenarios.get(scenario, {}).get("peers", {})
    return peers[peer]["median"] if peer in peers else None


def _exponent(scenarios: Mapping[str, Any], scenario: str, line: str) -> float | None:
    """How cost grows over the last three points: 1 where twice the work costs twice as much."""
    peers = scenarios.get(scenario, {}).get("peers", {})
    points = sorted(
        (each["median"]["x"], each["median"]["seconds"])
        for each in peers.values()
        if each["median"]["line"] == line
    )
    if len(points) < 2:
        return None
    (x, y), (more, cost) = points[-3:][0], points[-1]
    return math.log(cost / y) / math.log(more / x)


def quicker(scenario: str, ours: str, **ratios: float) -> list[Goal]:
    """At least so many times as quick as each peer; `_` in a name stands for `-`."""
    return [Goal(scenario, ours, bound, name.replace("_", "-")) for name, bound in ratios.items()]


READERS = ["decoder", *(f"{way}-{on}" for way in ("reader", "dispatch")
                        for on in ("asyncio", "uvloop", "trio"))]  # fmt: skip
MEMORY = ["S1", "S2", "S3", "S4", "S5-crlf", "S5-cr", "S5-near", "S7"]

GOALS = [
    *quicker("S1", "decoder", multipart=1.0, python_multipart=1.0, find=0.9, aiohttp_asyncio=3.5),
    Goal("S1", "reader-asyncio", 1.15, "decoder", most=True),
    Goal("S1", "dispatch-asyncio", 1.5, "decoder", most=True),
    *quicker("S2", "decoder", multipart=1.2, python_multipart=2.0, aiohttp_asyncio=2.3),
    *quicker("S3", "decoder", multipart=2.3, python_multipart=6.5, aiohttp_asyncio=60,
             rust_multipart=1.6),
    Goal("S3", "decoder@new", 0.45, "kirimi@new"),
    *quicker("S3", "reader-asyncio", aiohttp_asyncio=15, starlette_asyncio=2),
    *quicker("S3", "dispatch-asyncio", aiohttp_asyncio=6),
    Goal("S3", "dispatch-asyncio", 3.4, "checkpoint-asyncio", most=True, slack=CLOSE),
    Goal("S3", "dispatch-trio", 3.1, "checkpoint-trio", most=True, slack=CLOSE),
    Goal("R", "routes-20-asyncio", 1.3, "routes-1-asyncio", most=True),
    Goal("R", "routes-20-trio", 1.3, "routes-1-trio", most=True),
    *quicker("S4", "decoder", multipart=1.4, python_multipart=3, aiohttp_asyncio=17),
    *(Goal(f"S5-{kind}", "decoder", 0.9, "decoder", of="S1") for kind in ("crlf", "cr", "near")),
    Goal("S5-pairs", "decoder", 300, key="slowest"),
    *quicker("S6", "decoder", aiohttp_asyncio=9),
    *quicker("S6", "reader-asyncio", aiohttp_asyncio=9),
    *quicker("S7", "decoder", multipart=1.5),
    Goal("G-bytes", "decoder", STRAIGHT, most=True, exponent=True),
    *quicker("S8-base64", "reader-asyncio", aiohttp_asyncio=0.9),
    *quicker("S8-gzip", "reader-asyncio", aiohttp_asyncio=1.1),
    Goal("S9", "writer-asyncio", 1.15, "read", most=True, slack=CLOSE),
    *quicker("S9", "writer-asyncio", httpx_asyncio=1.2, aiohttp_asyncio=7),
    *(Goal("E", ours, bound, "raw", most=True, key=key)
      for ours, bound in (("reader", 1.1), ("dispatch", 1.25)) for key in ("seconds", "cpu")),
    *(Goal("E", ours, 0.75, theirs, most=True)
      for ours in ("reader", "dispatch") for theirs in ("aiohttp", "starlette")),
    *(Goal("E", ours, 0.03, most=True, key="first") for ours in ("reader", "dispatch")),
    *(Goal(f"G-{axis}", "decoder", STRAIGHT, most=True, exponent=True)
      for axis in ("size", "parts", "chunks")),
    Goal("G-depth", "reader-asyncio", STRAIGHT, most=True, exponent=True),
    Goal("G-routes", "dispatch-asyncio", STRAIGHT, most=True, exponent=True),
    *(Goal(name, peer, MIB, most=True, key="peak", slack=ROOMY)
      for name in MEMORY for peer in READERS),
    *(Goal(name, f"reader-{on}", MIB, most=True, key="peak", slack=ROOMY)
      for name in ("S6", "S8-base64", "S8-gzip") for on in ("asyncio", "uvloop", "trio")),
    *(Goal("S9", f"{way}-{on}", MIB, most=True, key="peak", slack=ROOMY)
      for way in ("writer", "sink") for on in ("asyncio", "uvloop", "trio")),
    *(Goal("E", ours, 4 * MIB, most=True, key="peak", slack=ROOMY)
      for ours in ("reader", "dispatch", "save")),
]  # fmt: skip
