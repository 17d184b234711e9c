"""What mypy and pyright see: every file of tests/typing/cases goes through both, in strict mode.

Knows: how the checkers are run and read. Must not know: what the cases say.

A line that ends in `# error: <why>` must be refused by both checkers; no other line by either.
So a case with `assert_type` and no such comment is a promise that holds, and a case with one is
a mistake that is caught. Put the mistake on one line: the checkers disagree about which line of
several they name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.typing

ROOT = Path(__file__).parents[2]
CASES = sorted((Path(__file__).parent / "cases").glob("*.py"))
EXPECTED = re.compile(r"#\s*error:")

# path -> line -> what the checker says, as one text
Findings = dict[Path, dict[int, str]]


def _run(*command: str) -> str:
    """Runs a checker without the coverage that this process may be measured by."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=env, capture_output=True, text=True
    )
    # 0: nothing found, 1: findings; all else is the checker's own failure.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def _add(findings: Findings, path: str, line: int, message: str) -> None:
    lines = findings.setdefault((ROOT / path).resolve(), {})
    lines[line] = f"{lines[line]}; {message}" if line in lines else message


@cache
def mypy() -> Findings:
    findings: Findings = {}
    output = _run("mypy", "--output=json", *map(str, CASES))
    for entry in map(json.loads, filter(None, output.splitlines())):
        if entry["severity"] == "error":
            _add(findings, entry["file"], entry["line"], entry["message"])
    return findings


@cache
def pyright() -> Findings:
    findings: Findings = {}
    command = ("--outputjson", "--pythonpath", sys.executable)
    report = json.loads(_run("pyright", *command, *map(str, CASES)))
    assert report["summary"]["filesAnalyzed"] == len(CASES), report["summary"]
    for entry in report["generalDiagnostics"]:
        if entry["severity"] == "error":
            _add(findings, entry["file"], entry["range"]["start"]["line"] + 1, entry["message"])
    return findings


def test_there_are_cases() -> None:
    assert CASES


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_case(case: Path, checker: Callable[[], Findings]) -> None:
    text = case.read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(text, 1) if EXPECTED.search(line)}
    found = checker().get(case.resolve(), {})
    surplus = {line: found[line] for line in sorted(found.keys() - expected)}
    missed = {line: text[line - 1].strip() for line in sorted(expected - found.keys())}
    assert not surplus, f"{checker.__name__} refuses what should pass: {surplus}"
    assert not missed, f"{checker.__name__} accepts what should be refused: {missed}"


def test_nothing_else_is_wrong() -> None:
    """A finding in mpflow itself, seen from a user's file, belongs to nobody's case."""
    known = {case.resolve() for case in CASES}
    assert not (mypy().keys() | pyright().keys()) - known
