"""A directory that stays the same one while parts are staged in it.

Knows: how a directory is opened, shared and closed, and which names in it are promised.
Must not know: the files in it.
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
    They also share the names that are promised: each to one file, before any of them is there.
    """

    fd: int
    _identity: tuple[int, int]
    _users: int = 1
    _reserved: set[str] = attrs.field(factory=set[str], init=False)

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

    def reserve(self, name: str) -> bool:
        """Promise the name to the caller, until `give_up`; False if it is another one's."""
        with _lock:
            if name in self._reserved:
                return False
            self._reserved.add(name)
            return True

    def is_reserved(self, name: str) -> bool:
        """Whether the name is promised to somebody."""
        with _lock:
            return name in self._reserved

    def give_up(self, name: str) -> None:
        """Let others have a name that was reserved."""
        with _lock:
            self._reserved.remove(name)

    def release(self) -> None:
        """Give it back; the last one closes it."""
        with _lock:
            self._users -= 1
            if self._users:
                return
            del _open[self._identity]
        syscalls.close(self.fd)
