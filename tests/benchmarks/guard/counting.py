"""Counts the work of one job in one way, in this process, and prints the count.

    python -m tests.benchmarks.guard.counting WAY JOB COUNT

Knows: how Python tells its own work. Must not know: budgets, or what a job does.

The ways: `bytecodes` are those that Python executes while the job runs; `peak` is the most memory
that Python holds meanwhile, beside what is fed, in bytes; `nothing` only prepares the job; and
`plainly` runs it, for somebody else who counts from outside.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from types import CodeType, FrameType
from typing import Any, Final

from tests.benchmarks.guard.work import CALIBRATION, JOBS, Job, Run

__all__ = ["ALL", "WAYS", "count"]

WARM: Final = 32
"""Of each job so much is done before: what is loaded and made once is not counted."""


def bytecodes(run: Run) -> int:
    if sys.version_info >= (3, 12):
        return _monitored(run)
    counted = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal counted
        if event == "call":  # also where a coroutine goes on
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counted += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return counted


def _monitored(run: Run) -> int:
    """The same where Python has a way of its own for it (PEP 669)."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore] # from 3.12 on
    tool, counted = monitoring.PROFILER_ID, 0

    def see(code: CodeType, offset: int) -> None:
        nonlocal counted
        counted += 1

    monitoring.use_tool_id(tool, "guard")
    monitoring.register_callback(tool, monitoring.events.INSTRUCTION, see)
    monitoring.set_events(tool, monitoring.events.INSTRUCTION)
    try:
        run()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    return counted


def peak(run: Run) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def plainly(run: Run) -> int:
    run()
    return 0


def nothing(run: Run) -> int:
    return 0


WAYS: Final = {"bytecodes": bytecodes, "peak": peak, "plainly": plainly, "nothing": nothing}
ALL: Final[dict[str, Job]] = {**JOBS, "calibration": CALIBRATION}


def count(way: str, name: str, size: int) -> int:
    """The count of `size` units of a job."""
    job = ALL[name]
    job.prepare(WARM)()
    run = job.prepare(size)
    # When the collector runs depends on all that was made before, and not on the job alone.
    gc.collect()
    gc.disable()
    try:
        return WAYS[way](run)
    finally:
        gc.enable()


if __name__ == "__main__":
    print(count(sys.argv[1], sys.argv[2], int(sys.argv[3])))
