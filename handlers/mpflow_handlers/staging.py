"""One file on its way: written where nobody sees it, then published whole, or gone.

Knows: the file system. Must not know: parts, event loops. All of it blocks, and runs in worker
threads.

A staged file has no name (Linux's O_TMPFILE) or a random one in the directory that it is meant
for. It is synced before it gets its name, by a link that overwrites nothing. So a final name is
absent or complete, whatever is killed when; what may be left is a file under a name that begins
with `TEMPORARY_PREFIX`.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from mpflow_handlers import syscalls
from mpflow_handlers.batches import BATCH_PIECES
from mpflow_handlers.digest import Hash, update
from mpflow_handlers.directories import Directory

__all__ = ["NAME_BYTES", "TEMPORARY_PREFIX", "Staged"]

NAME_BYTES: Final = 255
"""Bytes of a file's name at most: NAME_MAX of the common file systems."""

TEMPORARY_PREFIX: Final = ".mpflow-"
"""What the name of each temporary file begins with. A process that was killed may leave some."""

_TRIES: Final = 10_000
"""Names that `suffix` tries."""

# open(2), O_TMPFILE: how a file system, or an old kernel, says that it has no such thing.
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


@attrs.define(eq=False)
class Staged:
    """A file that is being received into `directory`, to be called `name` there.

    With `suffix` a name that is taken becomes `name-1.ext`, `name-2.ext`, ...; else it raises
    `FileExistsError`, also where another file of this process is on its way to that name, or it is
    `promised` to one. Call `open`, `write` as often as needed, `finish`, `publish`, each once the
    one before has returned; and `discard` after any failure, at any time, from any thread.
    """

    directory: Path
    name: str
    suffix: bool
    hashes: Mapping[str, Hash]
    promised: bool = attrs.field(default=False, init=False)
    size: int = attrs.field(default=0, init=False)
    published: str | None = attrs.field(default=None, init=False)
    """The name that it got."""
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _at: Directory | None = attrs.field(default=None, init=False)
    _fd: int | None = attrs.field(default=None, init=False)
    _temporary: str | None = attrs.field(default=None, init=False)
    _linked: str | None = attrs.field(default=None, init=False)
    _reserved: str | None = attrs.field(default=None, init=False)
    _identity: tuple[int, int] | None = attrs.field(default=None, init=False)
    _over: bool = attrs.field(default=False, init=False)

    # -- the way to a published file ----------------------------------------------------------

    def open(self) -> None:
        """Open the directory and a file without its name. A name that is taken is refused now."""
        with self._at_work():
            with _naming(self.directory):
                self._at = Directory.open(self.directory)
            with self._naming_file():
                if not self.suffix:
                    self._claim()
                if not self._open_nameless():
                    self._open_temporary()
                # Explicitly: the mode that `open` takes is cut by the umask of the process.
                syscalls.system.fchmod(self._descriptor(), 0o600)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces, and hash them."""
        with self._at_work(), self._naming_file():
            self._write(pieces)

    def finish(self, pieces: Sequence[bytes], hold: bool) -> None:
        """Append the last pieces, and sync. Without `hold` the descriptor is closed."""
        with self._at_work(), self._naming_file():
            self._write(pieces)
            fd = self._descriptor()
            syscalls.system.fsync(fd)  # once: after a failure a second one may lie
            status = syscalls.system.fstat(fd)
            if status.st_size != self.size:
                text = f"expected a file of {self.size} bytes, got {status.st_size}"
                raise OSError(errno.EIO, text)
            self._identity = (status.st_dev, status.st_ino)
            if not hold:
                if self._temporary is None:
                    temporary = _temporary_name()
                    syscalls.system.link_open(fd, temporary, dir_fd=self._directory().fd)
                    self._temporary = temporary
                self._fd = None
                syscalls.close(fd)

    def publish(self) -> str:
        """Give the file its name, durably, and return that name. Nothing is overwritten."""
        with self._at_work(), self._naming_file():
            at = self._directory().fd
            name = self._link()
            if self._temporary is not None:
                if not self._is_ours(name):
                    self._unlink(name)
                    raise OSError(errno.ESTALE, "the temporary file was replaced by another one")
                syscalls.system.unlink(self._temporary, dir_fd=at)
                self._temporary = None
            try:
                syscalls.system.fsync(at)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: nothing to sync in its directories
                    raise
            self.published = name
            self._release()
            return name

    def discard(self) -> None:
        """Remove what there is, unless it is published; wait for a call under way before that."""
        with self._lock, ExitStack() as stack:
            if self._over:
                return
            stack.callback(self._release)
            if self._temporary is not None:
                stack.callback(self._unlink, self._temporary)
            if self._linked is not None and self._is_ours(self._linked):
                stack.callback(self._unlink, self._linked)

    # -- steps --------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Reserve the name: two parts of one body are told apart now, not at half a commit."""
        if self.promised or not self._reserve(self.name):
            raise FileExistsError(errno.EEXIST, "another part is being saved under this name")
        if self._stat(self.name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _open_nameless(self) -> bool:
        flag = getattr(os, "O_TMPFILE", 0)
        if not flag:
            return False
        at = self._directory().fd
        try:
            fd = syscalls.system.open(".", flag | os.O_WRONLY, dir_fd=at)
        except OSError as error:
            if error.errno in _NO_TMPFILE:
                return False
            raise
        self._fd = fd
        if syscalls.system.is_linkable(fd):
            return True
        self._fd = None
        syscalls.close(fd)
        return False

    def _open_temporary(self) -> None:
        name = _temporary_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._fd = syscalls.system.open(name, flags, dir_fd=self._directory().fd)
        self._temporary = name

    def _write(self, pieces: Sequence[bytes]) -> None:
        update(self.hashes, pieces)
        fd = self._descriptor()
        left: list[bytes | memoryview] = list(pieces)
        first = 0
        while first < len(left):
            count = syscalls.system.writev(fd, left[first : first + BATCH_PIECES])
            if count < 1:
                raise OSError(errno.EIO, "not a byte was written")
            self.size += count
            while first < len(left) and count >= len(left[first]):
                count -= len(left[first])
                first += 1
            if count:
                left[first] = memoryview(left[first])[count:]

    def _link(self) -> str:
        at = self._directory().fd
        for name in self._names():
            if not self._reserve(name):
                continue
            with suppress(FileExistsError):
                if self._temporary is not None:
                    syscalls.system.link(self._temporary, name, dir_fd=at)
                else:
                    syscalls.system.link_open(self._descriptor(), name, dir_fd=at)
                self._linked = name
                return name
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _names(self) -> Iterator[str]:
        yield self.name
        if self.suffix:
            first = self._first_free()
            for number in (*range(first, _TRIES), *range(1, first)):
                yield self._numbered(number)

    def _first_free(self) -> int:
        """A number that was free a moment ago, after one that was taken; `_TRIES` if none is seen.

        Found by doubling and halving: to look at each would cost a part of thousands with one
        name thousands of looks. Where all up to some number are taken, it is the next one.
        """
        taken, free = 0, 1
        while free < _TRIES and self._is_taken(self._numbered(free)):
            taken, free = free, 2 * free
        free = min(free, _TRIES)
        while free - taken > 1:
            middle = (taken + free) // 2
            if self._is_taken(self._numbered(middle)):
                taken = middle
            else:
                free = middle
        return free

    def _numbered(self, number: int) -> str:
        stem, extension = os.path.splitext(self.name)
        return _fitted(stem, f"-{number}{extension}")

    def _is_taken(self, name: str) -> bool:
        # In this order: who has promised it gives it up only once it is there.
        return self._directory().is_reserved(name) or self._stat(name) is not None

    def _reserve(self, name: str) -> bool:
        """Have the name in place of the one before; False if another file is to get it."""
        if name == self._reserved:
            return True
        if not self._directory().reserve(name):
            return False
        self._give_up()
        self._reserved = name
        return True

    def _give_up(self) -> None:
        if self._reserved is not None:
            self._directory().give_up(self._reserved)
            self._reserved = None

    def _stat(self, name: str) -> os.stat_result | None:
        with suppress(FileNotFoundError):
            return syscalls.system.lstat(name, dir_fd=self._directory().fd)
        return None

    def _is_ours(self, name: str) -> bool:
        status = self._stat(name)
        return status is not None and (status.st_dev, status.st_ino) == self._identity

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            syscalls.system.unlink(name, dir_fd=self._directory().fd)

    def _release(self) -> None:
        self._over = True
        self._give_up()
        fd, at = self._fd, self._at
        self._fd = self._at = None
        if fd is not None:
            syscalls.close(fd)
        if at is not None:
            at.release()

    # -- guards -------------------------------------------------------------------------------

    @contextmanager
    def _at_work(self) -> Generator[None, None, None]:
        # A cancelled caller may discard the file while a thread still works on it.
        with self._lock:
            if self._over:
                raise ValueError("this file was published or discarded before")
            yield

    def _naming_file(self) -> AbstractContextManager[None]:
        return _naming(self.directory / self.name)

    def _directory(self) -> Directory:
        assert self._at is not None
        return self._at

    def _descriptor(self) -> int:
        assert self._fd is not None
        return self._fd


@contextmanager
def _naming(path: Path) -> Generator[None, None, None]:
    """What fails is said of the path: a descriptor means nothing to who reads a log."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _temporary_name() -> str:
    return f"{TEMPORARY_PREFIX}{secrets.token_hex(16)}.part"


def _fitted(stem: str, ending: str) -> str:
    """The stem and its ending, the stem cut at a character where both are too long."""
    room = max(NAME_BYTES - len(os.fsencode(ending)), 1)
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending
