"""The guard of `nox -s guard`: what it counts is the same each time, and a slow-down shows.

The counts are of processes of their own, as the guard makes them; the budgets here are made up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.guard.budgets import Budgets, Verdict, judge
from tests.benchmarks.guard.work import JOBS

ROOT = Path(__file__).parents[1]

COUNT = """
import sys
from tests.benchmarks.guard.counting import count
print(count(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""

SLOWED = """
import mpflow.wire

class Slowed(mpflow.wire.Decoder):
    def next_event(self):
        event = super().next_event()
        if isinstance(event, mpflow.wire.WholePart):
            for byte in event.data:  # one more pass over each part
                pass
        return event

mpflow.wire.Decoder = Slowed
"""

COPYING = """
import mpflow.wire

class Copying(mpflow.wire.Decoder):
    def receive_data(self, data):
        super().receive_data(bytes(bytearray(data)))

mpflow.wire.Decoder = Copying
"""


def counted(way: str, job: str, size: int, before: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-c", before + COUNT, way, job, str(size)],
        cwd=ROOT,
        # Without what measures coverage: it wants to trace, too.
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("job", JOBS)
def test_the_bytecodes_are_the_same_each_time(job: str) -> None:
    first, second = (counted("bytecodes", job, 50) for _ in range(2))
    assert first > 50
    # On trio chance decides which of the tasks goes first, and by that a little of the work.
    assert first == pytest.approx(second, rel=0.03 if job == "dispatch-trio" else 0)


@pytest.mark.parametrize(
    ("way", "job", "worse"), [("bytecodes", "fields", SLOWED), ("peak", "chunks", COPYING)]
)
def test_a_slow_down_is_over_the_budget(way: str, job: str, worse: str) -> None:
    budget = {job: counted(way, job, 100)}
    (same,) = judge(way, {job: counted(way, job, 100)}, budget)
    assert not same.is_over
    assert not same.is_under
    (slowed,) = judge(way, {job: counted(way, job, 100, worse)}, budget)
    assert slowed.is_over, slowed
    assert str(slowed).endswith("OVER")


@pytest.mark.parametrize(
    ("number", "over", "under"),
    [(1_051, True, False), (1_050, False, False), (950, False, False), (949, False, True)],
)
def test_five_percent_either_way(number: int, over: bool, under: bool) -> None:
    verdict = Verdict("bytecodes", "fields", number, 1_000)
    assert (verdict.is_over, verdict.is_under) == (over, under)


def test_without_a_budget_nothing_is_judged() -> None:
    (verdict,) = judge("peak", {"fields": 7}, {})
    assert not verdict.is_over
    assert not verdict.is_under
    assert str(verdict).endswith("no budget")


def test_a_stored_budget_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "budgets.json"
    path.write_text('{"with": {"anyio": "1"}}')
    budgets = Budgets.load(path)
    budgets.put("bytecodes", "3.11", {"fields": 5})
    budgets.put("instructions", "this build", {"calibration": 1_000})
    budgets.save(path)
    again = Budgets.load(path)
    assert again.versions == {"anyio": "1"}
    assert again.of("bytecodes", "3.11") == {"fields": 5}
    assert again.of("bytecodes", "3.12") == {}
    assert again.are_comparable("this build", 1_005)
    assert not again.are_comparable("this build", 1_006)
    assert not again.are_comparable("another", 1_000)


def test_each_job_has_budgets() -> None:
    budgets = Budgets.load()
    for way in ("bytecodes", "peak"):
        for version in ("3.11", "3.12", "3.13"):
            assert budgets.of(way, version).keys() == JOBS.keys()
