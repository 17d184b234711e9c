"""4 GiB through a reader and through a writer: memory stays where it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

MIB = 1024 * 1024
GIB = 1024 * MIB


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("work", ["read", "write"])
def test_four_gibibytes_take_no_memory(work: str, backend: str, tmp_path: Path) -> None:
    big, warm = tmp_path / "big.bin", tmp_path / "warm.bin"
    for path, size in ((big, 4 * GIB), (warm, 4 * MIB)):
        path.touch()
        os.truncate(path, size)  # a file of holes: zeros that take no space
    script = Path(__file__).with_name("gibibytes.py")
    command: list[str | Path] = [sys.executable, script, backend, work, big, warm]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen, growth = map(int, done.stdout.split())
    print(f"{work} 4 GiB on {backend}: {growth / MIB:.1f} MiB")
    assert 4 * GIB <= seen < 4 * GIB + MIB
    assert growth < 16 * MIB
