"""The calls to the operating system that saving a file makes, each in one place.

Knows: their arguments. Must not know: their order. A test puts another object in the place of
`system` to fail, count or stop any of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Syscalls", "close", "system"]


class Syscalls:
    """POSIX, as thinly as can be. All of these block."""

    def open(
        self, path: str | Path, flags: int, mode: int = 0o600, *, dir_fd: int | None = None
    ) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def fchmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def writev(self, fd: int, buffers: Sequence[bytes | memoryview]) -> int:
        return os.writev(fd, buffers)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def lstat(self, name: str, *, dir_fd: int) -> os.stat_result:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

    def link(self, name: str, new: str, *, dir_fd: int) -> None:
        os.link(name, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    def is_linkable(self, fd: int) -> bool:
        """Whether `link_open` can work: it needs Linux's /proc."""
        return os.path.lexists(f"/proc/self/fd/{fd}")

    def link_open(self, fd: int, new: str, *, dir_fd: int) -> None:
        # open(2), O_TMPFILE: the way to give such a file a name that needs no privilege.
        os.link(f"/proc/self/fd/{fd}", new, dst_dir_fd=dir_fd, follow_symlinks=True)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        os.unlink(name, dir_fd=dir_fd)


system = Syscalls()
"""What `directories.py` and `staging.py` call."""


def close(fd: int) -> None:
    """Close a descriptor, whatever becomes of it.

    It is gone even where closing fails, and what had to reach the disk was synced before.
    """
    with suppress(OSError):
        system.close(fd)
