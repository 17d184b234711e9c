"""What the tests of the handlers share: parts made by hand, and a system that can be made to fail.

Knows: how a body is received, and each call that `Save` makes to the operating system.
Must not know: what a handler promises.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from mpflow import Limits, Part, PartInfo
from mpflow.wire import Budget
from mpflow_handlers.syscalls import Syscalls

T = TypeVar("T")


class Pieces:
    """A body that comes in pieces, each behind a checkpoint; `error` ends it in place of its end.

    `on_receive` is called before each piece and before the end.
    """

    def __init__(
        self,
        pieces: Iterable[bytes],
        *,
        error: BaseException | None = None,
        on_receive: Callable[[], None] = lambda: None,
    ) -> None:
        self._pieces = iter(list(pieces))
        self._error = error
        self._on_receive = on_receive
        self.received = 0

    async def receive(self) -> bytes:
        self._on_receive()
        await anyio.lowlevel.checkpoint()
        for piece in self._pieces:
            self.received += 1
            return piece
        raise anyio.EndOfStream if self._error is None else self._error


class Unheld(Part):
    """A part of a flow that has no descriptor to spare."""

    def hold_descriptor(self) -> bool:
        return False


def part_of(
    body: bytes | Iterable[bytes] | Pieces,
    *,
    hold: bool = True,
    limits: Limits | None = None,
    charset: str | None = None,
    **info: Any,
) -> Part:
    """A part with that body: whole in hand where it is bytes, else received piece by piece."""
    level = SimpleNamespace(
        budget=Budget(limits or Limits()), charset=charset, nested=None, holder=None
    )
    made = PartInfo.of(**{"name": "f", "filename": "f.bin", **info})
    kind = Part if hold else Unheld
    if isinstance(body, bytes):
        return kind(made, None, level=level, data=body)
    return kind(made, body if isinstance(body, Pieces) else Pieces(body), level=level)


def descriptors() -> frozenset[tuple[int, int, int]]:
    """The descriptors that this process has open: files, folders, pipes, sockets and all else.

    Each as its number, device and inode: one that is closed and one that is opened meanwhile
    do not make up for each other, as they do in a count. So garbage of tests before, event loops
    above all, may be collected at any time.
    """
    found: set[tuple[int, int, int]] = set()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # that of the listing itself is closed
            status = os.fstat(int(name))
            found.add((int(name), status.st_dev, status.st_ino))
    return frozenset(found)


def opened_since(before: frozenset[tuple[int, int, int]]) -> list[str]:
    """What is open now and was not before. What others closed meanwhile is not the test's."""
    return [f"{number}: {_target(number)}" for number, *_ in sorted(descriptors() - before)]


def _target(number: int) -> str:
    try:
        return os.readlink(f"/dev/fd/{number}")
    except OSError:
        return "?"  # closed meanwhile, or a system that does not tell


def open_files() -> int:
    """How many files and folders this process has open.

    For tests of what keeps connections for later, as the clients of stores do.
    """
    found = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # that of the listing itself is closed
            mode = os.fstat(int(name)).st_mode
            found += stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return found


def names(directory: Path) -> list[str]:
    """All names in the directory, hidden ones too."""
    return sorted(os.listdir(directory))


async def stage(
    handler: Callable[[Part], AbstractAsyncContextManager[T]],
    part: Part,
    meanwhile: Callable[[], object] = lambda: None,
) -> T:
    """Handle the part and commit it; `meanwhile` is called in between, or fails the flow."""
    async with handler(part) as value:
        meanwhile()
    return value


class Seam(Syscalls):
    """The real system, which counts the calls, checks them, and tells `before` of each.

    `before` gets the number of the call, from 1, and its name. With `nameless` false there is no
    O_TMPFILE, with `proc` false no /proc.
    """

    def __init__(
        self,
        before: Callable[[int, str], None] = lambda number, name: None,
        *,
        nameless: bool = True,
        proc: bool = True,
        most: int | None = None,
    ) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.overlaps: list[str] = []
        self._before = before
        self.nameless = nameless and proc
        self._tmpfile = nameless
        self._proc = proc
        self._most = most
        self._busy = threading.Lock()

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        # Nothing is called on a file while another call on it is under way.
        if not self._busy.acquire(blocking=False):
            self.overlaps.append(name)
            self._busy.acquire()
        try:
            self.calls.append(name)
            self.threads.add(threading.get_ident())
            try:
                self._before(len(self.calls), name)
            except OSError:
                if name == "close":  # it is gone all the same
                    function(*args, **options)
                raise
            return function(*args, **options)
        finally:
            self._busy.release()

    def open(
        self, path: str | Path, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        if dir_fd is not None and not self._tmpfile and flags & os.O_DIRECTORY:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here")
        return int(self._call("open", super().open, path, flags, mode, dir_fd=dir_fd))

    def close(self, fd: int) -> None:
        self._call("close", super().close, fd)

    def fchmod(self, fd: int, mode: int) -> None:
        self._call("fchmod", super().fchmod, fd, mode)

    def writev(self, fd: int, buffers: Any) -> int:
        if self._most is not None:
            buffers = [memoryview(b"".join(buffers))[: self._most]]
        return int(self._call("writev", super().writev, fd, buffers))

    def fsync(self, fd: int) -> None:
        self._call("fsync", super().fsync, fd)

    def fstat(self, fd: int) -> os.stat_result:
        return self._call("fstat", super().fstat, fd)  # type: ignore[no-any-return]

    def lstat(self, name: str, *, dir_fd: int) -> os.stat_result:
        return self._call("lstat", super().lstat, name, dir_fd=dir_fd)  # type: ignore[no-any-return]

    def link(self, name: str, new: str, *, dir_fd: int) -> None:
        self._call("link", super().link, name, new, dir_fd=dir_fd)

    def is_linkable(self, fd: int) -> bool:
        return self._proc and super().is_linkable(fd)

    def link_open(self, fd: int, new: str, *, dir_fd: int) -> None:
        self._call("link_open", super().link_open, fd, new, dir_fd=dir_fd)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self._call("unlink", super().unlink, name, dir_fd=dir_fd)
