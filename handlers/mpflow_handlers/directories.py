"""A directory that stays the same one while parts are staged in it.

Knows: how a directory is opened, shared and closed. Must not know: the files in it.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import attrs

from mpflow_handlers import syscalls

__all__ = ["Directory"]

_lock: Final = threading.Lock()
_open: Final[dict[tuple[int, int], Directory]] = {}


@attrs.define(eq=False)
class Directory:
    """An open directory. All that is done in it goes by `fd`, never by its path again.

    So one that is swapped after it was opened leads no file astray. Who opens the same directory
    at the same time shares one descriptor: thousands of parts that wait for their commit hold one.
    """

    fd: int
    _identity: tuple[int, int]
    _users: int = 1

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open, or share, the directory at `path`; the `OSError` names it."""
        fd = syscalls.system.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = syscalls.system.fstat(fd)
            identity = (status.st_dev, status.st_ino)
            with _lock:
                shared = _open.get(identity)
                if shared is None:
                    shared = _open[identity] = cls(fd, identity)
                    return shared
                shared._users += 1
        except BaseException:
            syscalls.close(fd)
            raise
        syscalls.close(fd)
        return shared

    def release(self) -> None:
        """Give it back; the last one closes it."""
        with _lock:
            self._users -= 1
            if self._users:
                return
            del _open[self._identity]
        syscalls.close(self.fd)
