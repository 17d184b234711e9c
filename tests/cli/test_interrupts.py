"""Ctrl-C ends a command at once, whatever it waits for, and leaves nothing.

Knows: pipes that nobody serves, signals, terminals. Must not know: what the commands make.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, GIF, PATIENCE

# The command, which says on stderr when it is about to open a pipe.
OPENS = """
import os, sys
from mpflow.cli import main

real = os.open

def tell(path, *arguments):
    if os.path.basename(path) == "fifo":
        os.write(2, b"!")
    return real(path, *arguments)

os.open = tell
sys.exit(main(sys.argv[1:]))
"""


def wait_until_it_sleeps(pid: int) -> None:
    """Until the process waits for something: proc(5), the state behind the name in brackets."""
    while Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "S":
        os.sched_yield()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "x.gif").write_bytes(GIF)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "fifo"],
        ["extract", "fifo"],
        ["pack", "-F", "f=@fifo", "-o", "out"],
        ["pack", "-F", "f=<fifo", "-o", "out"],
        ["pack", "-F", "f=@x.gif", "-o", "fifo"],
    ],
)
def test_a_pipe_that_nobody_serves(folder: Path, arguments: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPENS, *arguments], cwd=folder, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = b""
        while not said.endswith(b"!"):
            said += os.read(process.stderr.fileno(), 1)
        wait_until_it_sleeps(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""
    assert sorted(os.listdir(folder)) == ["fifo", "x.gif"]


def test_a_pipe_whose_writer_has_paused(folder: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "inspect", "fifo"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with (folder / "fifo").open("wb", buffering=0) as fifo:
            fifo.write(b"--b\r\n\r\none\r\n--b\r\n\r\n")
            assert process.stdout.readline().startswith(b"multipart/mixed")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize("target", ["fifo", "-"])
def test_a_reader_that_has_paused(folder: Path, target: str) -> None:
    with (folder / "large").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "f=@large", "--boundary", "b", "-o", target],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        reader = process.stdout if target == "-" else (folder / "fifo").open("rb", buffering=0)
        with reader:
            assert reader.read(3) == b"--b"
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == -signal.SIGINT  # 130 to a shell
        assert process.stderr.read() == b"Content-Type: multipart/form-data; boundary=b\n"
    assert sorted(os.listdir(folder)) == ["fifo", "large", "x.gif"]


def test_a_tree_that_nobody_reads(folder: Path) -> None:
    parts = b"".join(b"--b\r\n\r\none\r\n" for _ in range(20_000))
    (folder / "many").write_bytes(parts + b"--b--\r\n")
    with subprocess.Popen(
        [*COMMAND, "inspect", "many"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"multipart/mixed")
        wait_until_it_sleeps(process.pid)  # the pipe is full
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""


def test_a_bar_gives_the_cursor_back(folder: Path) -> None:
    pytest.importorskip("rich")
    with (folder / "large").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    code = (
        "import sys; from mpflow.cli import main, progress; progress.PATIENCE = 0.0;"
        "sys.exit(main(sys.argv[1:]))"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, "pack", "-F", "f=@large"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        drawn = read_until(ours, b"\x1b[?25l")  # the cursor is hidden
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
        assert b"\x1b[?25h" not in drawn
        read_until(ours, b"\x1b[?25h")
    os.close(ours)
    os.close(theirs)


def read_until(terminal: int, mark: bytes) -> bytes:
    drawn = b""
    while mark not in drawn:
        assert select.select([terminal], [], [], PATIENCE)[0], drawn
        drawn += os.read(terminal, 4096)
    return drawn


def test_pipes_are_served_one_after_the_other(folder: Path) -> None:
    """A writer that writes the second once the first was read: neither waits for the other."""
    os.mkfifo(folder / "second")
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "a=<fifo", "-F", "b=@second;type=x/y", "--boundary", "b"],
        cwd=folder,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        (folder / "fifo").write_bytes(b"one")
        (folder / "second").write_bytes(GIF)
        assert process.stdout.read() == (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n'
            b'--b\r\nContent-Type: x/y\r\nContent-Disposition: form-data; name="b"; '
            b'filename="second"\r\n\r\n' + GIF + b"\r\n--b--\r\n"
        )
        assert process.wait(PATIENCE) == 0


def test_sigterm_ends_what_waits_for_a_reader(folder: Path) -> None:
    with (folder / "large").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "f=@large"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"--"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == -signal.SIGTERM


# Python runs it before the command: it says on stdout when a module is about to be imported.
PAUSES = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["PAUSE_AT"]:
            os.write(1, b"!")
            signal.pause()

sys.meta_path.insert(0, Finder())
"""
SCRIPT = "import sys\nfrom mpflow.cli import main\nsys.exit(main())\n"
WRAPPED = """
import mpflow
class Wraps:
    def __set_name__(self, owner, name): raise KeyboardInterrupt
class Owner:
    name = Wraps()
"""


def interrupted(folder: Path, command: list[str], module: str) -> tuple[int, bytes]:
    """The exit and the stderr of a command that Ctrl-C ends while it imports the module."""
    (folder / "sitecustomize.py").write_text(PAUSES)
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "PAUSE_AT": module},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"!"
        wait_until_it_sleeps(process.pid)
        process.send_signal(signal.SIGINT)
        return process.wait(PATIENCE), process.stderr.read()


@pytest.mark.parametrize("module", ["mpflow.byteranges", "mpflow.flow.pump", "mpflow.cli.serve"])
@pytest.mark.parametrize("started", ["module", "script"])
def test_while_it_still_imports(tmp_path: Path, started: str, module: str) -> None:
    script = tmp_path / "mpflow"
    script.write_text(SCRIPT)
    command = COMMAND if started == "module" else [sys.executable, str(script)]
    # -SIGINT is 130 to a shell.
    assert interrupted(tmp_path, [*command, "--version"], module) == (-signal.SIGINT, b"")


def test_an_interruption_that_an_import_wraps(tmp_path: Path) -> None:
    (tmp_path / "mpflow").write_text(WRAPPED)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "mpflow")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_other_programs_and_other_errors_keep_their_tracebacks(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(SCRIPT)
    _, said = interrupted(tmp_path, [sys.executable, str(other)], "mpflow.flow.pump")
    assert said.endswith(b"KeyboardInterrupt\n")
    (tmp_path / "mpflow").write_text("import mpflow\nraise ValueError('of another kind')\n")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "mpflow")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr.endswith(b"ValueError: of another kind\n")
