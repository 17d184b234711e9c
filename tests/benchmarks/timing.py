"""How one pass is timed and weighed, and how many passes there are.

Knows: clocks, and the memory of this process. Must not know: what is measured, what is good.
"""

from __future__ import annotations

import cProfile
import gc
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import anyio
import attrs

from tests.benchmarks.scenario import KIB, Result, Take

__all__ = [
    "BACKENDS", "Clock", "Pass", "at_rest", "forget_peak", "measured", "on", "peak_growth", "plain",
]  # fmt: skip

BACKENDS = ("asyncio", "uvloop", "trio")
SHORT = 0.5
"""Seconds: passes that take less are repeated."""
ENOUGH = 2.0
"""Seconds: no more is spent on repeating."""


@attrs.define
class Clock:
    """Times one pass: wall and CPU between `start` and `stop`; the first chunk by `take`.

    Where there is a `profiler`, it sees the last pass of all, and the times tell nothing.
    """

    profiler: ClassVar[cProfile.Profile | None] = None
    seconds: float = 0.0
    cpu: float = 0.0
    first: float | None = None
    _began: float = 0.0
    _began_cpu: float = 0.0

    def start(self) -> None:
        """The first byte is about to be fed."""
        if self.profiler is not None:
            self.profiler.clear()
            self.profiler.enable()
        self._began_cpu, self._began = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        """The pass is over."""
        self.seconds = time.perf_counter() - self._began
        self.cpu = time.process_time() - self._began_cpu
        if self.profiler is not None:
            self.profiler.disable()

    def take(self, chunk: Any) -> int:
        """`len`, and the time of the first chunk that holds anything."""
        size = len(chunk)
        if self.first is None and size:
            self.first = time.perf_counter() - self._began
        return size


Pass: TypeAlias = Callable[[Clock, Take], tuple[int, int]]
"""One pass: it starts and stops the clock, and gives the counts of parts and of bytes."""


def plain(call: Callable[[Take], tuple[int, int]]) -> Pass:
    """A pass that needs no event loop."""

    def run(clock: Clock, take: Take) -> tuple[int, int]:
        clock.start()
        counts = call(take)
        clock.stop()
        return counts

    return run


def on(backend: str, call: Callable[[Take], Awaitable[tuple[int, int]]]) -> Pass:
    """A pass on an event loop of its own, whose start and end are not timed."""
    uvloop = backend == "uvloop"
    name, options = ("asyncio", {"use_uvloop": True}) if uvloop else (backend, {})

    def run(clock: Clock, take: Take) -> tuple[int, int]:
        async def main() -> tuple[int, int]:
            clock.start()
            counts = await call(take)
            clock.stop()
            return counts

        return anyio.run(main, backend=name, backend_options=options)

    return run


def measured(run: Pass, *, warm: Pass, expected: tuple[int, int], quick: bool = False) -> Result:
    """What `run` costs: one pass for memory and the first byte, then those that are timed.

    `warm` is a small pass before: what is loaded and started once counts for nothing. Raises
    `AssertionError` where the counts of a pass are not those that are `expected`.
    """
    warm(Clock(), len)
    gc.collect()
    forget_peak()
    before = at_rest()
    look = Clock()
    counts = run(look, look.take)
    peak = peak_growth(before)
    assert counts == expected, f"expected {expected} parts and bytes, got {counts}"
    clocks = [look]
    if look.seconds < (SHORT if quick else ENOUGH):
        clocks = _passes(run, expected, 3 if quick else 7)
    return {
        "seconds": statistics.median(clock.seconds for clock in clocks),
        "cpu": statistics.median(clock.cpu for clock in clocks),
        "first": look.first,
        "peak": peak,
        "parts": counts[0],
        "bytes": counts[1],
        "runs": len(clocks),
    }


def _passes(run: Pass, expected: tuple[int, int], most: int) -> list[Clock]:
    clocks: list[Clock] = []
    while len(clocks) < most:
        clock = Clock()
        assert run(clock, len) == expected
        clocks.append(clock)
        if clock.seconds > SHORT or sum(each.seconds for each in clocks) > ENOUGH:
            break
    return clocks


_STATUS = Path("/proc/self/status")


def at_rest() -> int:
    """Bytes of memory that this process has now."""
    return _status("VmRSS") if _STATUS.exists() else _max_rss()


def forget_peak() -> None:
    """Has the peak of this process begin anew, where the system can (Linux).

    Else the peak may be that of making the body, or of who started this process.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_growth(before: int) -> int:
    """Bytes between `before` and the most that this process had since `forget_peak`."""
    now = _status("VmHWM") if _STATUS.exists() else _max_rss()
    return max(0, now - before)


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIB
    raise LookupError(field)


def _max_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
