"""What is printed into a pipe that does not block, as Node and event loops hand them on."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, PATIENCE, run

MANY = b"".join(b"--b\r\n\r\none\r\n" for _ in range(3000)) + b"--b--\r\n"
UNBUFFERED = [sys.executable, "-u", *COMMAND[1:]]


def start(command: list[str], folder: Path, stream: str) -> tuple[subprocess.Popen[bytes], int]:
    """The command, one stream of it a pipe that does not block; and the pipe's other end."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    other = "stderr" if stream == "stdout" else "stdout"
    streams = {stream: theirs, other: subprocess.PIPE}
    process = subprocess.Popen(command, cwd=folder, **streams)  # type: ignore[call-overload] # by name
    os.close(theirs)
    return process, ours


def wait_until_it_is_full(process: subprocess.Popen[bytes], pipe: int) -> None:
    """Until there is no room for more, or until the command has ended."""
    while int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) < 60_000:
        if process.poll() is not None:
            return
        os.sched_yield()
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.5)  # one that drops what there is no room for comes to its end


@pytest.mark.parametrize("command", [COMMAND, UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "many"],
        ["inspect", "many", "--json"],
        ["pack", "-F", "f=@large", "--boundary", "b"],
        ["pack", "-F", "f=@large", "--boundary", "b", "-o", "/dev/stdout"],
    ],
)
def test_nothing_is_lost(tmp_path: Path, command: list[str], arguments: list[str]) -> None:
    (tmp_path / "many").write_bytes(MANY)
    (tmp_path / "large").write_bytes(os.urandom(1_000_000))
    whole = run(*arguments, cwd=tmp_path).stdout
    process, ours = start([*command, *arguments], tmp_path, "stdout")
    with process, os.fdopen(ours, "rb") as pipe:
        wait_until_it_is_full(process, ours)
        assert pipe.read() == whole
        assert process.wait(PATIENCE) == 0


def test_a_descriptor_of_a_high_number(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(1_000_000))
    pack = ["pack", "-F", "f=@large", "--boundary", "b"]
    whole = run(*pack, cwd=tmp_path).stdout
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 2048:
        pytest.skip("needs descriptors from 1024 on")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, 2048), most))
    try:
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        number = fcntl.fcntl(theirs, fcntl.F_DUPFD, 1024)
        os.close(theirs)
        command = [*COMMAND, *pack, "-o", f"/dev/fd/{number}"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, pass_fds=[number])
        os.close(number)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    with process, os.fdopen(ours, "rb") as pipe:
        wait_until_it_is_full(process, ours)
        assert pipe.read() == whole
        told = process.communicate(timeout=PATIENCE)[1]
        assert told == b"Content-Type: multipart/form-data; boundary=b\n"
    assert process.returncode == 0


def test_nothing_is_lost_on_stderr(tmp_path: Path) -> None:
    # Each of the parts is told of in a line.
    broken = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n*\r\n"
    (tmp_path / "broken").write_bytes(broken * 3000 + b"--b--\r\n")
    command = [*COMMAND, "extract", "broken", "-d", "out"]
    process, ours = start(command, tmp_path, "stderr")
    with process, os.fdopen(ours, "rb") as pipe:
        wait_until_it_is_full(process, ours)
        assert len(pipe.read().splitlines()) == 3000
        assert process.wait(PATIENCE) == 1


def test_ctrl_c_ends_what_waits(tmp_path: Path) -> None:
    (tmp_path / "many").write_bytes(MANY)
    process, ours = start([*COMMAND, "inspect", "many", "--json"], tmp_path, "stdout")
    with process, os.fdopen(ours, "rb"):
        wait_until_it_is_full(process, ours)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
