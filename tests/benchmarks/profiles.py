"""Where the time of one pass goes: the profile of a peer in a scenario.

Knows: the profiler of the standard library, and how its lines are named. Must not know: what is
measured, what is good.

A profiler makes each call dearer, small ones above all, and sees the thread of the event loop
only. So a profile says which functions there are to look at, not what they cost.
"""

from __future__ import annotations

import cProfile
import pstats
import sysconfig
from pathlib import Path
from typing import Any

from tests.benchmarks.scenario import ROOT, Scenario
from tests.benchmarks.timing import Clock

__all__ = ["MOST", "profile", "rows"]

MOST = 8
"""How many functions a profile tells."""


def profile(scenario: Scenario, peer: str, quick: bool) -> list[dict[str, Any]]:
    """The functions in which the last timed pass of this peer spent most, the dearest first.

    Empty where the pass is timed in another process, as that of a server is.
    """
    Clock.profiler = cProfile.Profile()
    try:
        scenario.run(peer, quick)
        return rows(Clock.profiler)
    finally:
        Clock.profiler = None


def rows(profiler: cProfile.Profile) -> list[dict[str, Any]]:
    """Each function as its name, its `share` of the time (without what it calls), its `calls`."""
    try:
        told: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    except TypeError:
        return []  # it has seen nothing
    whole = sum(own for _, _, own, _, _ in told.values())
    dearest = sorted(told.items(), key=lambda item: -float(item[1][2]))[:MOST]
    return [
        {"function": _name(*where), "share": own / whole, "calls": calls}
        for where, (_, calls, own, _, _) in dearest
    ]


def _name(file: str, line: int, function: str) -> str:
    """`mpflow/reader.py: receive`; of what is not written in Python, what the profiler says."""
    if file == "~":
        return function.strip("<>")
    path = Path(file)
    for folder in (ROOT, *map(Path, (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")))):
        if path.is_relative_to(folder):
            path = path.relative_to(folder)
            break
    return f"{path.as_posix()}: {function}"
