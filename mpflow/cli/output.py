"""Where `mpflow pack` writes: standard output, a device or a pipe, or a file that is replaced.

Knows: descriptors, modes, links. Must not know: what is written.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

from mpflow.cli.interrupts import dying, interruptible
from mpflow.cli.opened import descriptor
from mpflow.cli.waitedwrites import write_all

__all__ = ["open_output"]

Write: TypeAlias = Callable[[bytes], object]

# proc(5): /proc/self leads to the number; macOS and the BSDs have /dev/fd itself.
_DESCRIPTORS: Final = r"/dev/fd|/proc/%d(/task/[0-9]+)?/fd"
_MAX_LINKS: Final = 40
"""As many as Linux follows in one path."""


@contextmanager
def open_output(path: str) -> Generator[Write, None, None]:
    """A function that writes all it is given to the file at `path`, or standard output for `-`.

    A file is replaced once all of it is there; until then it has a temporary name beside it. A
    link stays, and what it leads to is replaced; a file keeps its mode and its owner. A device or
    a pipe is written as it is, and so is what is open already (`/dev/stdout`, `/dev/fd/3`).
    Raises `OSError`.
    """
    opened = descriptor(sys.stdout, "standard output") if path == "-" else _opened(path)
    if opened is not None:
        with dying():
            yield partial(write_all, opened)
        return
    if path.endswith("/"):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    target = os.path.realpath(path)
    if status is None or stat.S_ISREG(status.st_mode):
        with _replaced(path, target, status) as fd:
            yield partial(write_all, fd)
        return
    with interruptible():  # a pipe is opened once somebody reads it
        fd = os.open(path, os.O_WRONLY)
    try:
        with dying():
            yield partial(write_all, fd)
    finally:
        os.close(fd)


def _opened(path: str) -> int | None:
    """The descriptor of this process that the path names, if it does.

    Behind it may be a file that others write as well, which is not to be replaced.
    """
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if re.fullmatch("[0-9]+", name) and re.fullmatch(_DESCRIPTORS % os.getpid(), folder):
            return _writable(int(name), path)
        try:
            path = os.path.join(folder, os.readlink(os.path.join(folder, name)))
        except OSError:  # no link
            return None
    return None


def _writable(fd: int, path: str) -> int:
    import fcntl  # where there are such paths

    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except (OSError, OverflowError):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), path) from None
    if mode == os.O_RDONLY:
        raise OSError(errno.EBADF, "expected it to be open for writing", path)
    return fd


@contextmanager
def _replaced(path: str, target: str, status: os.stat_result | None) -> Generator[int, None, None]:
    """A descriptor of a new file, which takes the place of `target` at the end of the block."""
    if status is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    temporary = os.path.join(os.path.dirname(target), f".mpflow-{secrets.token_hex(16)}.part")
    mode = 0o666 if status is None else 0o600
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    try:
        try:
            yield fd
            if status is not None:
                _take_over(fd, status)
        finally:
            os.close(fd)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _take_over(fd: int, status: os.stat_result) -> None:
    """Give the file the owner of another one, as far as this process may, and its permissions."""
    mode = status.st_mode & 0o777
    own = os.fstat(fd)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(fd, status.st_uid, status.st_gid)
        except PermissionError:
            mode &= 0o707 if own.st_gid != status.st_gid else 0o777  # not to another group
    os.fchmod(fd, mode)
