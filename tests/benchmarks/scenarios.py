"""All scenarios, by name, in the order of the report.

Knows: which modules have scenarios. Must not know: what is in them.
"""

from __future__ import annotations

from tests.benchmarks.growth import GROWTH
from tests.benchmarks.pairs import PAIRS
from tests.benchmarks.reading import READING
from tests.benchmarks.scenario import Scenario
from tests.benchmarks.upload import UPLOAD
from tests.benchmarks.writing import WRITING

__all__ = ["SCENARIOS", "find_scenario"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in [*READING, PAIRS, *WRITING, UPLOAD, *GROWTH]
}


def find_scenario(name: str) -> Scenario:
    """The scenario of this name."""
    return SCENARIOS[name]
