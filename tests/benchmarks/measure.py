"""One scenario by one peer, in this process; what it tells, or its profile, is a line of JSON.

Knows: how a process is told what to measure. Must not know: how it is measured.

    python -m tests.benchmarks.measure SCENARIO PEER [--quick] [--profile]
"""

from __future__ import annotations

import json
import sys

from tests.benchmarks.profiles import profile
from tests.benchmarks.scenarios import find_scenario

__all__: list[str] = []


def main(name: str, peer: str, *flags: str) -> None:
    """Measure, and print a line."""
    scenario, quick = find_scenario(name), "--quick" in flags
    told = profile(scenario, peer, quick) if "--profile" in flags else scenario.run(peer, quick)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
