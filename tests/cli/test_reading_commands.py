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


CLOSED = [
    ("inspect form", 0, b'multipart/mixed boundary="a"\n  0 text/plain 3 bytes\n'),
    ("inspect nowhere", 1, b""),
    ("extract form -d out", 0, b"out/part-0.txt\n"),
    ("pack -F a=1 --boundary b -o out", 0, b""),
    ("pack -F a=1 --headers --type mixed --boundary b -o out", 0, b""),
    (
        "pack -F a=1 --boundary b",
        0,
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
    ),
    ("pack -F a", 2, b""),
    ("pack", 2, b""),
    ("dispatch -c nowhere form", 2, b""),
    ("serve form", 1, b""),
    ("", 2, b""),
]


@pytest.mark.parametrize(("line", "code", "stdout"), CLOSED, ids=[row[0] for row in CLOSED])
def test_without_stderr_the_work_is_done_and_stdout_is_clean(
    tmp_path: Path, line: str, code: int, stdout: bytes
) -> None:
    (tmp_path / "form").write_bytes(b"--a\r\n\r\none\r\n--a--\r\n")
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m mpflow {line} 2>&-', sys.executable],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (code, stdout)


def test_without_standard_streams_no_file_takes_the_number_of_one(tmp_path: Path) -> None:
    """What a library says on descriptor 2 must not end up in a file that was opened."""
    code = (
        "import os; from mpflow.cli import main; real = os.open\n"
        "def look(path, *rest):\n"
        "    fd = real(path, *rest)\n"
        "    assert fd > 2 or path == os.devnull\n"
        "    return fd\n"
        "os.open = look\n"
        "raise SystemExit(main(['pack', '-F', 'a=@form', '-o', 'out']))"
    )
    (tmp_path / "form").write_bytes(b"one")
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" <&- 2>&-', sys.executable, code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"one" in (tmp_path / "out").read_bytes()


def test_a_stderr_that_is_full_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "form").write_bytes(b"--a\r\n\r\none\r\n--a--\r\n")
    for line, code in (("pack -F a=1 -o out", 0), ("inspect nowhere", 1)):
        done = subprocess.run(
            ["sh", "-c", f'"$0" -m mpflow {line} 2>/dev/full', sys.executable],
            cwd=tmp_path,
            timeout=PATIENCE,
        )
        assert done.returncode == code
