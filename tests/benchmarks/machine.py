"""Where and of what a result was measured: the machine, the interpreter, the versions, the commit.

Knows: where a system tells of itself. Must not know: what is measured.

    python -m tests.benchmarks.machine      prints what this interpreter is, as JSON
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from typing import Any

from tests.benchmarks.scenario import ROOT, environment

__all__ = ["commit", "interpreter", "interpreter_at", "machine"]


def machine() -> dict[str, Any]:
    """The processor, how many of its cores are ours, and the system."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def interpreter() -> dict[str, Any]:
    """This interpreter, and the version of each distribution that it has."""
    found = importlib.metadata.distributions()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "distributions": dict(
            sorted(
                (each.metadata["Name"].lower().replace("_", "-"), each.version) for each in found
            )
        ),
    }


def interpreter_at(python: str) -> dict[str, Any]:
    """The same of another one."""
    command = [python, "-m", "tests.benchmarks.machine"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def commit() -> str | None:
    """The commit that is measured, with `+` where files have changed since; None without git."""
    try:
        name = _git("rev-parse", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    print(json.dumps(interpreter()))
