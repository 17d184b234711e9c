"""A million rows of CSV into a database while they upload: how long, and in how much memory.

Run with `nox -s bench`. The memory is that of the whole process, the interpreter and all.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "csv_upload.py"
ROWS = 1_000_000
MOST = 64 * 1024
"""KiB of memory; the upload has 27 MiB, the database 40."""

# Not what the system tells of a child: that includes the memory of who made it.
CODE = """
import re, runpy, sys
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_million_rows(backend: str, tmp_path: Path) -> None:
    database = tmp_path / "readings.db"
    options = [f"--rows={ROWS}", f"--database={database}", f"--backend={backend}"]
    command: list[str | Path] = [sys.executable, "-c", CODE, EXAMPLE, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, memory = done.stdout.splitlines()
    connection = sqlite3.connect(database)
    assert connection.execute("select count(*) from reading").fetchone() == (ROWS,)
    connection.close()
    print(f"{backend}: {told}, {int(memory) // 1024} MiB")
    assert int(memory) < MOST
