"""Runs the Python blocks of the documentation as tests.

Knows: which files hold examples, and that each page runs in an empty folder of its own.
Must not know: what the examples show. README.md stands outside of this folder;
tests/test_readme.py runs its blocks.
"""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


def enter_empty_folder(namespace: dict[str, Any]) -> None:
    """Pages name files as a reader would, relative to where they stand: `Path("inbox")`."""
    namespace["_before"] = os.getcwd()
    namespace["_folder"] = TemporaryDirectory()
    os.chdir(namespace["_folder"].name)


def leave_folder(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    pattern="*.md",
    excludes=["_build/**"],
    setup=enter_empty_folder,
    teardown=leave_folder,
).pytest()
