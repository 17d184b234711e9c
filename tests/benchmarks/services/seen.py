"""What a service of a benchmark sees of an upload, and tells of itself.

Knows: files, clocks, and the memory of this process. Must not know: any server or framework.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from mpflow_handlers import syscalls
from tests.benchmarks.timing import at_rest, forget_peak, peak_growth

__all__ = ["Gauge", "Seen", "TimedSyncs"]


@attrs.define
class Seen:
    """One upload: when it began, and when its handler had the first byte."""

    folder: Path
    began: float = attrs.field(factory=time.perf_counter, init=False)
    first: float | None = attrs.field(default=None, init=False)

    def note(self) -> None:
        """Its handler has a byte."""
        if self.first is None:
            self.first = time.perf_counter() - self.began

    @contextmanager
    def file(self) -> Generator[IO[bytes]]:
        """Where the upload is stored: a file of its own, with a buffer as `open` gives it."""
        with (self.folder / f"{time.time_ns():x}").open("xb") as file:
            yield file

    def told(self) -> dict[str, Any]:
        """The seconds to the first byte, and the bytes that are stored now; they are removed."""
        stored = 0
        for entry in os.scandir(self.folder):
            stored += entry.stat().st_size
            os.unlink(entry)
        return {"first": self.first, "stored": stored}


class TimedSyncs(syscalls.Syscalls):
    """The system's calls, with a stopwatch at `fsync`; or without any `fsync`."""

    def __init__(self, *, syncs: bool = True) -> None:
        self.seconds = 0.0
        self.syncs = syncs

    def fsync(self, fd: int) -> None:
        if self.syncs:
            began = time.perf_counter()
            super().fsync(fd)
            self.seconds += time.perf_counter() - began


@attrs.define
class Gauge:
    """What this process costs between two moments."""

    syncs: TimedSyncs | None = None
    _cpu: float = 0.0
    _memory: int = 0

    def begin(self) -> dict[str, Any]:
        """Forget what was."""
        gc.collect()
        forget_peak()
        self._memory, self._cpu = at_rest(), time.process_time()
        if self.syncs is not None:
            self.syncs.seconds = 0.0
        return {}

    def end(self) -> dict[str, Any]:
        """Seconds of CPU, bytes that memory grew by at most, and seconds in `fsync`."""
        told: dict[str, Any] = {
            "cpu": time.process_time() - self._cpu,
            "peak": peak_growth(self._memory),
        }
        if self.syncs is not None:
            told["sync"] = self.syncs.seconds
        return told
