"""Input files, standard input, and how a sub-command runs and fails.

Knows: descriptors, which of them are waited for, and the exit codes of what goes wrong.
Must not know: multipart beyond its errors; what a sub-command does.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream

from mpflow import MultipartError
from mpflow.cli.interrupts import Ended, ending, interruptible, run_loop

__all__ = [
    "Input",
    "LateInput",
    "descriptor",
    "fail",
    "have_stderr",
    "open_input",
    "run_command",
    "say",
    "say_beside",
]

READ_SIZE: Final = 256 * 1024
"""Bytes that are read at once."""

STDERR: Final = 2
"""The number of its descriptor, for every process."""

PEEK: Final = 64 * 1024
"""Bytes at most that `begin` looks at."""

_BLANK: Final = re.compile(rb"\n\r?\n")


class Input(ByteReceiveStream):
    """An open file, or a pipe, as a stream. A pipe is waited for in a way that Ctrl-C ends.

    `name` is what it is called in errors. `size` is how many bytes are left in a file, None for a
    pipe. `notify` is called with the number of bytes of each read.
    """

    def __init__(self, fd: int, name: str, *, notify: Callable[[int], None] | None = None) -> None:
        self._fd = fd
        self._name = name
        self._ahead = b""
        self.notify = notify
        status = os.fstat(fd)
        # A regular file is always ready, and cannot be waited for.
        self._waits = stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)
        self._waits = self._waits or os.isatty(fd)
        self.size: int | None = None
        self.header_size: int = 0  # bytes up to the end of the first blank line that was received
        self._last: bytes | None = None  # bytes received, where a blank line may have begun
        self._received = 0  # bytes before a blank line has come
        self.body_start: int = 0  # where the body begins, after what was skipped and a header block
        if stat.S_ISREG(status.st_mode):
            self.size = max(0, status.st_size - os.lseek(fd, 0, os.SEEK_CUR))

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        """The next bytes, at least one. Raises `anyio.EndOfStream` at the end."""
        data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
        data = data or await self._read(max_bytes)
        if not data:
            raise anyio.EndOfStream
        if self._last is not None:
            self._look_for_blank(data, self._last)
        return data

    def measure_header(self) -> None:
        """Look for a blank line in what is received from now on: `header_size` is where it ends."""
        self._last = b""

    def _look_for_blank(self, data: bytes, last: bytes) -> None:
        data = last + data
        blank = _BLANK.search(data)
        if blank is not None:
            self.header_size = self._received - len(last) + blank.end()
            self._last = None
            return
        self._received += len(data) - len(last)
        self._last = data[-2:]

    async def begin(self) -> bytes:
        """The first 64 KiB, fewer at the end or once a blank line has come, without taking them."""
        while len(self._ahead) < PEEK:
            if b"\n\r\n" in self._ahead or b"\n\n" in self._ahead:
                break
            data = await self._read(PEEK - len(self._ahead))
            if not data:
                break
            self._ahead += data
        return self._ahead

    def skip(self, size: int) -> None:
        """Take away some of what `begin` has given."""
        self._ahead = self._ahead[size:]
        self.body_start += size

    async def _read(self, size: int) -> bytes:
        try:
            if self._waits:
                await anyio.wait_readable(self._fd)
                data = os.read(self._fd, size)
            else:
                data = await to_thread.run_sync(os.read, self._fd, size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from error
        if self.notify is not None:
            self.notify(len(data))
        return data

    async def aclose(self) -> None:
        """Nothing: who opened the file closes it."""


@contextmanager
def open_input(path: str) -> Generator[Input, None, None]:
    """The file at `path`, or standard input for `-`. Raises `OSError`."""
    if path == "-":
        yield Input(descriptor(sys.stdin, "standard input"), "standard input")
        return
    fd = _open(path)
    try:
        yield Input(fd, path)
    finally:
        os.close(fd)


class LateInput(ByteReceiveStream):
    """The file at a path, opened when it is first read: a pipe's writer may wait for its turn."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._input: Input | None = None

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        """The next bytes, at least one. Raises `anyio.EndOfStream` at the end, and `OSError`."""
        if self._input is None:
            self._fd = _open(self._path)
            self._input = Input(self._fd, self._path)
        return await self._input.receive(max_bytes)

    async def aclose(self) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file, if it was opened."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _open(path: str) -> int:
    """A descriptor of a file that can be read. That of a pipe comes once somebody writes to it:
    in the main thread, for no thread that waits so could be ended."""
    with interruptible():
        fd = os.open(path, os.O_RDONLY)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return fd


def descriptor(stream: TextIO | None, what: str) -> int:
    """The descriptor of a standard stream, which is None where the process was given none."""
    if stream is None:
        raise OSError(errno.EBADF, "expected it to be open, and it is closed", what)
    return stream.fileno()


def say(line: str) -> None:
    """Print a line, at once. Ctrl-C ends it where nobody reads what is printed."""
    with interruptible():
        print(line, flush=True)


def fail(command: str, line: str, *, code: int = 1) -> int:
    """Say on stderr what went wrong; the exit code."""
    say_beside(f"mpflow {command}: {line}")
    return code


def say_beside(line: str) -> None:
    """Print a line on stderr. Where that cannot be written, the work goes on without it."""
    with interruptible(), suppress(OSError):
        print(line, file=sys.stderr)


def have_stderr() -> None:
    """Where the process was given no stderr, what is said there goes nowhere.

    `print` and argparse would say it on stdout instead, which may be a file of somebody's data; and
    the next file that is opened would get the number of stderr, and what C libraries say.
    """
    stderr: TextIO | None = sys.stderr
    if stderr is not None:
        return
    while (fd := os.open(os.devnull, os.O_RDWR)) < STDERR:
        pass  # those of the other standard streams: they too stay out of files
    sys.stderr = os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def run_command(command: str, work: Callable[[], Awaitable[int]]) -> int:
    """Run an async sub-command and return its exit code; what it raises becomes one line."""
    try:
        descriptor(sys.stdout, "standard output")
        reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:  # a terminal may not know all letters
            reconfigure(errors="backslashreplace")
        with ending():
            code = run_loop(work)
            sys.stdout.flush()
            return code
    except MultipartError as error:
        return fail(command, str(error))
    except Ended as ended:
        _drop_stdout()
        return 128 + ended.number  # what a shell says of a command that the signal ended
    except BrokenPipeError:
        _give_up_stdout()
        return 1
    except OSError as error:
        _give_up_stdout()
        reason = error.strerror or str(error)
        if error.filename is None:
            return fail(command, reason)
        return fail(command, f"{os.fsdecode(error.filename) or repr('')}: {reason}")


def _give_up_stdout() -> None:
    """What is still in its buffer must not fail once more at exit."""
    stdout: TextIO | None = sys.stdout
    if stdout is None:
        return
    try:
        stdout.flush()
    except OSError:
        _drop_stdout()


def _drop_stdout() -> None:
    """What is still in its buffer goes nowhere: at exit nothing would end a pipe that is full."""
    stdout: TextIO | None = sys.stdout
    if stdout is not None:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stdout.fileno())
        os.close(devnull)
