"""Runs the Python blocks of the documentation as tests.

Knows: which files hold examples. Must not know: what the examples show.
README.md stands outside of this folder; tests/test_readme.py runs its blocks.
"""

from __future__ import annotations

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], pattern="*.md", excludes=["_build/**"]
).pytest()
