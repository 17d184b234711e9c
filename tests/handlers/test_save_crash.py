"""`Save` in a process that is killed, or that the system gives too little.

Knows: what may be left then. Must not know: how the process gets there (`crash.py`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.handlers.crash import DATA
from tests.handlers.support import names

ROOT = Path(__file__).parents[2]
WHOLE = hashlib.sha256(DATA).hexdigest()


def run(trouble: str, directory: Path, *flags: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.handlers.crash", trouble, str(directory), *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("nameless", "hold"), id="nameless-held"),
        pytest.param(("nameless",), id="nameless-closed"),
        pytest.param(("hold",), id="temporary-held"),
        pytest.param((), id="temporary-closed"),
    ],
)
def test_killed_at_each_call(tmp_path: Path, flags: tuple[str, ...]) -> None:
    left = run("killed", tmp_path, *flags)
    assert len(left) > 12
    assert left[-1] == {"a": WHOLE}
    for found in left:
        # The final name is absent or complete.
        assert found.pop("a", WHOLE) == WHOLE
        # What else is left can be told by its name, and by its age.
        assert all(name.startswith(".mpflow-") and name.endswith(".part") for name in found)
        assert len(found) <= (0 if "nameless" in flags and "hold" in flags else 1)


def test_a_file_that_grows_too_large(tmp_path: Path) -> None:
    name, number, text, leaked = run("file-size", tmp_path)
    assert (name, number) == ("OSError", errno.EFBIG)
    assert text == f"[Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}: '{tmp_path}/a'"
    assert leaked == 0
    assert names(tmp_path) == []


def test_descriptors_run_out(tmp_path: Path) -> None:
    outcomes = run("descriptors", tmp_path)
    assert outcomes[0] == [errno.EMFILE, []]
    assert outcomes[1] == [errno.EMFILE, []]
    assert outcomes[2] == ["saved", ["a"]]  # two are enough: the directory and the file
    assert outcomes[3] == [errno.EEXIST, ["a"]]
