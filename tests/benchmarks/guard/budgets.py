"""What each job may cost, and what is said of what it does.

Knows: the file of the budgets, and the slack. Must not know: how anything is counted.

The file has the versions of the packages it was counted `with`, and by way (`bytecodes`, `peak`,
`instructions`) and interpreter the count of each job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = ["FILE", "SLACK", "Budgets", "Verdict", "judge"]

FILE: Final = Path(__file__).with_name("budgets.json")
SLACK: Final = 0.05
"""By how much a count may differ from its budget."""

ALIKE: Final = 0.005
"""By how much the calibration may differ where instructions are compared at all."""


@attrs.frozen
class Verdict:
    """One count beside its budget; None where there is none."""

    way: str
    job: str
    counted: int
    budget: int | None

    @property
    def ratio(self) -> float | None:
        return self.counted / self.budget if self.budget else None

    @property
    def is_over(self) -> bool:
        return self.ratio is not None and self.ratio > 1 + SLACK

    @property
    def is_under(self) -> bool:
        return self.ratio is not None and self.ratio < 1 - SLACK

    def __str__(self) -> str:
        line = f"{self.way:13}{self.job:15}{self.counted:>13,}"
        if self.ratio is None:
            return f"{line}   no budget"
        word = "   OVER" if self.is_over else "   better" if self.is_under else ""
        return f"{line}{self.budget:>13,}{self.ratio:>8.3f}{word}"


HEADING: Final = f"{'':13}{'':15}{'counted':>13}{'budget':>13}{'ratio':>8}"


@attrs.frozen
class Budgets:
    """The file. `told` is what stands in it."""

    told: dict[str, Any]

    @classmethod
    def load(cls, path: Path = FILE) -> Budgets:
        return cls(json.loads(path.read_text("utf-8")))

    @property
    def versions(self) -> dict[str, str]:
        versions: dict[str, str] = self.told["with"]
        return versions

    def of(self, way: str, interpreter: str) -> Mapping[str, int]:
        """By job; empty where this interpreter has no budget."""
        counts: Mapping[str, int] = self.told.get(way, {}).get(interpreter, {})
        return counts

    def put(self, way: str, interpreter: str, counts: Mapping[str, int]) -> None:
        self.told.setdefault(way, {})[interpreter] = dict(counts)

    def save(self, path: Path = FILE) -> None:
        for way, told in self.told.items():
            self.told[way] = dict(sorted(told.items()))
        path.write_text(json.dumps(self.told, indent=1) + "\n", "utf-8")

    def are_comparable(self, interpreter: str, calibration: int) -> bool:
        """Whether an interpreter of this build, on this processor, does the same work as then."""
        then = self.of("instructions", interpreter).get("calibration")
        return then is not None and abs(calibration / then - 1) <= ALIKE


def judge(way: str, counts: Mapping[str, int], budget: Mapping[str, int]) -> list[Verdict]:
    """One verdict for each count."""
    return [Verdict(way, job, number, budget.get(job)) for job, number in counts.items()]
