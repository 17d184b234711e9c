"""Runs the matrix and prints its page; ends with 1 where anything does not work as it must."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.clients.matrix.page import page
from tests.clients.matrix.run import run
from tests.clients.matrix.versions import versions


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder))
    faults = [
        f"{client}, {server}, {framework}: {outcome.told}"
        for client, found in outcomes.items()
        for (server, framework), outcome in found.items()
        if not outcome.is_right
    ]
    sys.stdout.write(page(outcomes, versions()))
    sys.stderr.write("".join(f"{fault}\n" for fault in faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
