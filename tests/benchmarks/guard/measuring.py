"""Every count of every job, each in a process of its own.

Knows: how such a process is started, and how valgrind counts its instructions.
Must not know: budgets.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from tests.benchmarks.guard.counting import ALL
from tests.benchmarks.guard.work import JOBS

__all__ = ["Counts", "build", "count_instructions", "count_portably", "has_valgrind", "installed"]

Counts: TypeAlias = dict[str, int]
"""By job."""

ROOT: Final = Path(__file__).parents[3]
VALGRIND: Final = ("valgrind", "--tool=cachegrind", "--cache-sim=no")


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of these distributions."""
    return {name: version(name) for name in names}


def build() -> str:
    """What this interpreter is, as far as its instructions depend on it."""
    made = " ".join(platform.python_build())
    libc = "-".join(platform.libc_ver())
    return f"{platform.python_version()} ({made}) {platform.python_compiler()} {libc} " + (
        platform.machine()
    )


def has_valgrind() -> bool:
    return shutil.which(VALGRIND[0]) is not None


def count_portably() -> dict[str, Counts]:
    """What is the same for every build of one minor version of Python: by way, then by job."""
    ways = ("bytecodes", "peak")
    orders = [(way, name) for way in ways for name in _jobs()]
    counted = _side_by_side(lambda order: int(_run([], *order)), orders)
    found: dict[str, Counts] = {way: {} for way in ways}
    for (way, name), number in zip(orders, counted, strict=True):
        found[way][name] = number
    return found


def count_instructions() -> Counts:
    """Those of the processor, by job; of the calibration too.

    What it takes to start and to prepare is counted alone, and taken off.
    """
    names = [*(name for name in _jobs() if not ALL[name].is_costly), "calibration"]
    orders = [(way, name) for name in names for way in ("plainly", "nothing")]
    counted = _side_by_side(lambda order: _under_valgrind(*order), orders)
    return {
        name: done - prepared
        for name, done, prepared in zip(names, counted[::2], counted[1::2], strict=True)
    }


def _jobs() -> list[str]:
    return [name for name, job in JOBS.items() if job.needs is None or find_spec(job.needs)]


def _under_valgrind(way: str, name: str) -> int:
    with TemporaryDirectory() as folder:
        said = _run([*VALGRIND, f"--cachegrind-out-file={folder}/out"], way, name)
    found = re.search(r"I +refs: +([\d,]+)", said)
    assert found is not None, said
    return int(found[1].replace(",", ""))


def _run(before: Sequence[str], way: str, name: str) -> str:
    """What one process prints. Its environment is empty, so that it is alike everywhere."""
    module = "tests.benchmarks.guard.counting"
    done = subprocess.run(
        [*before, sys.executable, "-m", module, way, name, str(ALL[name].count)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _side_by_side(
    run: Callable[[tuple[str, str]], int], orders: Sequence[tuple[str, str]]
) -> list[int]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(run, orders))
