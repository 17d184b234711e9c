"""Ctrl-C while something imports mpflow: quiet for its own command, as ever for other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

TOOL = """
import atexit, signal
atexit.register(print, "at exit")
signal.raise_signal(signal.SIGINT)
"""


def test_another_program_keeps_its_traceback(tmp_path: Path) -> None:
    package = tmp_path / "another"
    package.mkdir()
    (package / "__init__.py").write_text("import mpflow\n")
    (package / "tool.py").write_text(TOOL)
    for word in ("mpflow", "-m", "other"):
        done = subprocess.run(
            [sys.executable, "-m", "another.tool", word],
            env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == -signal.SIGINT
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
        assert done.stdout == "at exit\n"
