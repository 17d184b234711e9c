"""One scenario by one peer, in this process; what it tells is a line of JSON.

Knows: how a process is told what to measure. Must not know: how it is measured.

    python -m tests.benchmarks.measure SCENARIO PEER [--quick]
"""

from __future__ import annotations

import json
import sys

from tests.benchmarks.scenarios import find_scenario

__all__: list[str] = []


def main(name: str, peer: str, *flags: str) -> None:
    """Measure, and print a line."""
    print(json.dumps(find_scenario(name).run(peer, "--quick" in flags)))


if __name__ == "__main__":
    main(*sys.argv[1:])
