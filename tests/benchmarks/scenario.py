"""What a benchmark is made of: scenarios, those who run them, and what one run tells.

Knows: the shapes that scenarios, the runner and the report share. Must not know: any scenario.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

__all__ = ["KIB", "MIB", "ROOT", "Peer", "Result", "Scenario", "Take", "environment", "store"]

KIB = 1024
MIB = 1024 * KIB
ROOT = Path(__file__).parents[2]

Result: TypeAlias = dict[str, Any]
"""What one process tells, as JSON.

Every result has `seconds`: the median of its runs. Others, where they are measured: `cpu` (seconds,
user and system), `peak` (bytes that memory grew by, at most), `first` (seconds from the start to
the first byte in the hands of the caller), `parts`, `bytes` (of payloads), `wire` (bytes fed),
`runs` (how many the median is of), and `x` (where a scenario measures growth: its abscissa).
A scenario may add more.
"""

Take: TypeAlias = Callable[[Any], int]
"""Who is given each chunk of a payload, and tells its length: `len`, where time is measured."""


@attrs.frozen
class Peer:
    """Who runs a scenario: `name` is unique within it.

    `distribution` is the package that has to be there; None for mpflow itself and for bare loops.
    One that is not `required` is skipped where it is missing. `new` peers run in the second, newer
    interpreter. `quick` says whether `--quick` has it.
    """

    name: str
    distribution: str | None = None
    required: bool = True
    new: bool = False
    quick: bool = True


@attrs.frozen
class Scenario:
    """One thing that is measured.

    `run(peer, quick)` is called in a process of its own and gives a `Result`; `prepare(quick)`
    runs once before all, in the runner. `quick` asks for bodies that are small. `growth` is the
    name of the abscissa of a scenario that measures how cost grows: its peers are the points.
    """

    name: str
    title: str
    peers: Sequence[Peer]
    run: Callable[[str, bool], Result]
    prepare: Callable[[bool], None] | None = None
    growth: str | None = None


def store() -> Path:
    """The folder for files that are made once, and for results."""
    path = Path(os.environ.get("MPFLOW_BENCHMARKS", ROOT / ".benchmarks"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def environment() -> dict[str, str]:
    """The environment of a process that imports what stands in this project."""
    return os.environ | {"PYTHONPATH": str(ROOT)}
