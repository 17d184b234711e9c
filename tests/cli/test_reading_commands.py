"""What the commands share: their table in the documentation, and the progress bar."""

from __future__ import annotations

import argparse
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpflow.cli import COMMANDS
from tests.cli.command import COMMAND, PATIENCE

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text("utf-8")

DRAW = """
import sys
from mpflow.cli import progress
progress.PATIENCE = 0.0
with progress.progress(sys.argv[1], 100) as advance:
    advance(40)
print("done")
"""


@pytest.mark.parametrize("command", ["dispatch", "handlers", "inspect", "extract", "pack"])
def test_the_options_stand_in_the_documentation(command: str) -> None:
    parser = argparse.ArgumentParser()
    COMMANDS[command].add_arguments(parser)
    section = PAGE.split(f"\n## mpflow {command}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\|(.*?)\|", section.split("| argument")[1].split("\n\n")[0], re.M)
    documented = {word for row in rows for word in re.findall(r"`(-[^` ]+|[A-Z]+)", row)}
    options = {name for action in parser._actions[1:] for name in action.option_strings}
    options |= {str(it.metavar) for it in parser._actions[1:] if not it.option_strings}
    assert documented - {"-"} == options


def draw(stderr: int, label: str = "work") -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAW, label], stdout=subprocess.PIPE, stderr=stderr, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (0, b"done\n")
    os.close(stderr)


@pytest.mark.parametrize(
    ("label", "shown"), [("work", b"work"), ("[/b]", b"[/b]"), ("a\x1bcb", b"a\\x1bcb")]
)
def test_a_bar_on_a_terminal(tmp_path: Path, label: str, shown: bytes) -> None:
    ours, theirs = pty.openpty()
    draw(theirs, label)
    drawn = os.read(ours, 65536)
    os.close(ours)
    assert shown in drawn


def test_no_bar_elsewhere(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as file:
        draw(os.dup(file.fileno()))
    assert (tmp_path / "stderr").read_bytes() == b""


def test_short_work_draws_nothing_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [*COMMAND, "pack", "-F", "a=1", "--headers", "-o", tmp_path / "out"],
        stderr=theirs,
        check=True,
        timeout=PATIENCE,
    )
    os.write(theirs, b"end")
    assert os.read(ours, 65536) == b"end"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("inspect - <&-", "mpflow inspect: standard input: expected it to be open"),
        ("pack -F f=@- <&-", "mpflow pack: standard input: expected it to be open"),
        ("inspect form >&-", "mpflow inspect: standard output: expected it to be open"),
        ("pack -F a=1 >&-", "mpflow pack: standard output: expected it to be open"),
        ("inspect form >/dev/full", "mpflow inspect: No space left on device"),
        ("inspect form --json >/dev/full", "mpflow inspect: No space left on device"),
        ("pack -F a=1 --headers >/dev/full", "mpflow pack: No space left on device"),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "form").write_bytes(b"--a\r\n\r\none\r\n--a--\r\n")
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m mpflow {line}', sys.executable],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
    )
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith(says)
    assert done.returncode == 1
