"""The README: its two commands are what they claim to be, and its example runs.

Knows: README.md. Must not know: how the library does it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.example import Example
from sybil.parsers.markdown import PythonCodeBlockParser

README = Path(__file__).parents[1] / "README.md"
EXAMPLES: list[Example] = list(
    Sybil(parsers=[PythonCodeBlockParser()], path=str(README.parent), pattern="README.md")
    .parse(README)
    .examples()
)


def shell_blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_first_two_shell_blocks_are_one_command_line_each() -> None:
    serve, test = shell_blocks()[:2]
    for block in (serve, test):
        assert block.count("\n") == 1
        assert not block.endswith("\\\n")
        # Bare Debian: no ensurepip, and an interpreter that pip may not touch (PEP 668).
        assert block.startswith("python3 -m venv --without-pip .venv && python3 -m pip --python ")
    assert serve.endswith(" .venv/bin/mpflow serve inbox\n")
    assert test.endswith(" .venv/bin/python -m pytest -n auto --dist loadfile\n")


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"line{e.line}" for e in EXAMPLES])
def test_example(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some store what they get
    example.evaluate()


def test_there_is_an_example() -> None:
    assert EXAMPLES


def test_links_point_at_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
