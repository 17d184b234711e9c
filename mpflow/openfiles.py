"""`OpenFile`: a file that was given open, however many parts are made of it.

Knows: where a file stands, who reads it, and what it shares with others on the same disk.
Must not know: parts, headers, tasks.
"""

from __future__ import annotations

import codecs
import io
import os
import socket
import stat
import threading
from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

import attrs

from mpflow.errors import WriteError, excerpt
from mpflow.linereads import LineReads
from mpflow.placedreads import CAN_READ_PLACES, PlacedReads

__all__ = [
    "READ_SIZE",
    "OpenFile",
    "Read",
    "ReadCached",
    "closed_file",
    "inner_file",
    "is_text",
    "size_of_descriptor",
]

READ_SIZE: Final = 1024 * 1024
"""Bytes asked of a file at once, or some times that: each time costs a hop to a worker thread."""

_PROBE: Final = 64 * 1024

_WRAPPED: Final = ("raw", "fp", "_fp", "buffer", "fileobj", "_fileobj")
"""Where wrappers of the standard library and of urllib3 have what they wrap."""

_MOST_WRAPPED: Final = 16
"""Objects that are looked at for a socket: some give a new one for any name."""

_ORDINARY: Final = (io.FileIO, io.BufferedReader, io.BufferedRandom)

_Key = tuple[str, int, int]

Read: TypeAlias = Callable[[int], object]
"""Reads so many bytes or characters at most; empty at the end."""

ReadCached: TypeAlias = Callable[[], bytes]
"""What is there without waiting for a disk; `b""` where that is nothing, or not known."""


@attrs.define(eq=False)
class _Shared:
    """What all who read one thing share: a lock for each read, and how many readings began."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    turn: int = 0


_shared: WeakValueDictionary[_Key, _Shared] = WeakValueDictionary()
_shared_lock = threading.Lock()


def _shared_of(key: _Key) -> _Shared:
    with _shared_lock:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = _Shared()
        return found


def is_text(file: Any) -> bool:
    """Whether a file gives text. Those of `tempfile` are wrappers, and no text files by type."""
    given: object = file
    if isinstance(file, SpooledTemporaryFile):
        return hasattr(given, "encoding")  # in memory or not, its type is the same for both
    return isinstance(
        inner_file(file), io.TextIOBase | codecs.StreamReaderWriter | codecs.StreamReader
    )


def closed_file(file: Any) -> WriteError | None:
    """What to raise where an operation failed since the file is closed. That is a bare
    `ValueError` of most files, as is much else."""
    if getattr(file, "closed", False) is not True:
        return None
    name = getattr(file, "name", None)
    what = f"the closed file {excerpt(name)}" if isinstance(name, str) else "a closed file"
    return WriteError(f"expected an open file, got {what}")


class OpenFile:
    """An open file, as one part is made of it: read from where it stood then, never closed.

    Two descriptors of one open file (`os.dup`) have one place between them, and two parts made of
    one file object have it, too. A binary file of a known size is put to its place for each read,
    with a lock on the file that is below, and its place is checked afterwards: each reading is
    right, or raises `WriteError`. Of any other file that can seek, a new reading takes over from
    the one before, which raises `WriteError`. What cannot seek is read once: `check`.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._check_readable()
        self._text = is_text(file)
        descriptor = _descriptor(file)
        mode = 0 if descriptor is None else os.fstat(descriptor).st_mode
        comes_once = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)  # whatever is unpacked of it, too
        self.start: int | None = None if comes_once else _place(file)
        """Where it stood, as its `seek` takes it; None where it cannot go back."""
        self.waits: bool = self.start is None and not stat.S_ISREG(mode)
        """Whether reading it may wait for somebody: who writes to a pipe, say."""
        mine, below = _keys(file, descriptor)
        self._mine, self._below = _shared_of(mine), _shared_of(below)
        self._turn = self._mine.turn
        self.size: int | None = self._size(descriptor)
        """Bytes from there to the end, where the file system knows them."""

    def _size(self, descriptor: int | None) -> int | None:
        """Not by seeking to the end: that would unpack the whole of a compressed file."""
        start = self.start
        if start is None or self._text or not _counts_bytes(file := self._file):
            return None
        if descriptor is None:  # in memory as yet
            end: int = file.seek(0, os.SEEK_END)
            file.seek(start)
        else:
            known = size_of_descriptor(descriptor)
            if known is None:
                return None
            end = known
        return max(0, end - start)

    def status(self) -> os.stat_result | None:
        """What the system says of the file, where its bytes are sent as they are on the disk."""
        try:
            return os.fstat(inner_file(self._file).fileno()) if _is_ordinary(self._file) else None
        except (OSError, ValueError):
            return None

    def check(self) -> None:
        """Raise `WriteError` where it cannot be read any more."""
        self._check_readable()
        if self.start is None and self._turn != self._mine.turn:
            raise WriteError(
                "expected a file that can be read again, got one that cannot seek, and a writing "
                "has read it"
            )

    def begin(self) -> tuple[Read, ReadCached | None]:
        """Begin a reading: what reads on in a worker thread, and what does without waiting."""
        self.check()
        self._mine.turn += 1
        cached: ReadCached | None = None
        if self.waits:
            read = self._as_it_comes(self._mine.turn)
        elif self.start is None or self.size is None:
            read = self._in_turn(self._mine.turn)
        elif _is_ordinary(self._file) and CAN_READ_PLACES:
            read, cached = self._by_descriptor(self.start)
        else:
            read = self._in_places(self.start)

        def checked(size: int) -> object:
            try:
                return read(size)
            except WriteError:
                raise
            except UnicodeError as error:
                raise WriteError(
                    f"expected a file whose text is in {_encoding(self._file)}, as it was opened, "
                    f"got bytes that are not: {error}"
                ) from error
            except ValueError as error:
                if closed := closed_file(self._file):
                    raise closed from error
                raise

        return checked, cached

    def _check_readable(self) -> None:
        readable = getattr(self._file, "readable", None)
        try:
            fit = not callable(readable) or readable()
        except ValueError as error:
            if closed := closed_file(self._file):
                raise closed from error
            raise
        if not fit:
            mode = getattr(self._file, "mode", None)
            raise WriteError(f"expected a file that is open for reading, got mode {mode!r:.20}")

    def _by_descriptor(self, place: int) -> tuple[Read, ReadCached | None]:
        file, reads = self._file, PlacedReads(place)

        def read(size: int) -> object:
            inner = inner_file(file)
            inner.flush()
            return reads.read(inner.fileno(), size)

        def read_cached() -> bytes:
            try:
                return reads.read_cached(inner_file(file).fileno())
            except ValueError:
                return b""  # closed meanwhile, as `read` tells

        # What is also written to may have to be flushed, and that waits.
        return read, None if isinstance(inner_file(file), io.BufferedRandom) else read_cached

    def _in_places(self, place: int) -> Read:
        file, lock = self._file, self._below.lock

        def read(size: int) -> object:
            nonlocal place
            with lock:
                # From the end, since a seek within what it holds in its buffer goes nowhere: and
                # the descriptor may stand elsewhere, moved by another file that has it.
                file.seek(0, os.SEEK_END)
                file.seek(place)
                data: bytes = file.read(size)
                if file.tell() != place + len(data):
                    raise _moved()
            place += len(data)
            return data

        return read

    def _as_it_comes(self, turn: int) -> Read:
        """What waits for no more than there is, where the file has such a read."""
        inner, lock, mine = inner_file(self._file), self._below.lock, self._mine
        only: Read = self._file.read
        if self._text and callable(getattr(inner, "readline", None)):
            only = LineReads(inner).read
        elif isinstance(inner, io.BufferedIOBase):
            only = inner.read1

        def read(size: int) -> object:
            with lock:
                _check_turn(turn, mine)
                blocks = _blocks(self._file)
                data: object = None if blocks is False else only(size)
                # What has nothing to give now looks like the end.
                if blocks is False or (blocks is None and not _ends(self._file, data, size)):
                    raise WriteError(
                        "expected a file that blocks, or a binary one as open() or os.fdopen() "
                        "makes it, got one that does not block"
                    )
                return data

        return read

    def check_turn(self) -> Callable[[], None]:
        """What raises `WriteError` once another reading than the last that began has begun."""
        turn, mine = self._mine.turn, self._mine
        return lambda: _check_turn(turn, mine)

    def _in_turn(self, turn: int) -> Read:
        file, mine, lock, start = self._file, self._mine, self._below.lock, self.start
        inner = inner_file(file)
        # The place of a text file says nothing by itself, and costs; that of its bytes does not.
        below = getattr(inner, "buffer", getattr(inner, "stream", None)) if self._text else None
        at: int | None = None

        def read(size: int) -> object:
            nonlocal at
            with lock:
                _check_turn(turn, mine)
                if start is None:
                    only: object = file.read(size)
                    return only
                if at is None:
                    file.seek(start)
                elif below is not None and below.tell() != at:
                    raise _moved()
                data: object = file.read(size)
                at = 0 if below is None else below.tell()
                return data

        return read


def _blocks(file: Any) -> bool | None:
    """Whether its reads wait for what comes; None where nobody can tell."""
    sock = _socket_below(file)
    if sock is not None:  # waited for as long as it says, which its descriptor does not tell
        timeout: float | None = sock.gettimeout()
        if timeout is not None:
            return timeout > 0
    descriptor = _descriptor(file)
    return None if descriptor is None or os.name != "posix" else os.get_blocking(descriptor)


def _socket_below(file: Any) -> Any:
    """The socket that is read in the end, where wrappers show what they wrap by a usual name:
    buffers, `HTTPResponse`, those of urllib3, `GzipFile` and its kin."""
    found: list[Any] = [inner_file(file)]
    for one in found:
        if isinstance(one, socket.SocketIO):
            own: Any = one
            return own._sock if hasattr(own._sock, "gettimeout") else None
        for name in _WRAPPED:
            try:
                below: object = getattr(one, name, None)
            except (OSError, ValueError):  # it is closed, or was taken off
                continue
            is_new = below is not None and not any(below is other for other in found)
            if is_new and len(found) < _MOST_WRAPPED:
                found.append(below)
    return None


def _ends(file: Any, data: object, size: int) -> bool:
    """Whether nothing, or text that stops within a line, is the end of what nobody can tell of.

    A buffer gives `b""` for the end, and where its raw file has nothing to give now: asked once
    more, it gives None there, or what has come meanwhile.
    """
    if data is None:
        return not isinstance(inner_file(file), io.IOBase)  # others mean who knows what by it
    if isinstance(data, str):
        goes_on = data[-1:] in ("\n", "\r") or len(data) >= size
    else:
        goes_on = bool(data)
    below: Any = getattr(inner_file(file), "buffer", inner_file(file))
    is_buffer = isinstance(below, io.BufferedReader | io.BufferedRWPair)
    return goes_on or not is_buffer or below.read(1) == b""


def _check_turn(turn: int, shared: _Shared) -> None:
    if turn != shared.turn:
        raise WriteError("expected the file for one writing, and another one has begun")


def size_of_descriptor(descriptor: int) -> int | None:
    """Bytes of a regular file; None for what is none, and where the file system does not tell.

    Files of `/proc` and `/sys` have a size of 0 or of a page, whatever is in them, and no block
    of a disk. So a small file without a block is looked into.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return None
    size = status.st_size
    if getattr(status, "st_blocks", 1) or size > _PROBE:
        return size
    try:
        return size if len(os.pread(descriptor, size + 1, 0)) == size else None
    except OSError:
        return None


def _moved() -> WriteError:
    return WriteError(
        "expected a file that stands where it was read to, and it was moved: another file object "
        "has its descriptor, or somebody else reads it"
    )


def _encoding(file: Any) -> str:
    encoding: object = getattr(file, "encoding", None)
    return excerpt(encoding) if isinstance(encoding, str) else "its encoding"


def inner_file(file: Any) -> Any:
    """The file in a named temporary file, which wraps it."""
    return getattr(file, "file", file)


def _descriptor(file: Any) -> int | None:
    if isinstance(file, SpooledTemporaryFile):
        return None  # to ask for it would write the file to the disk
    try:
        descriptor: Any = inner_file(file).fileno()
    except (AttributeError, OSError):
        return None
    return descriptor if isinstance(descriptor, int) else None


def _keys(file: Any, descriptor: int | None) -> tuple[_Key, _Key]:
    """What stands for the file among those that take turns, and for what is below it.

    Two files that are opened apart may be one on the disk: they need no turns. A pipe has none
    to go back to, however many descriptors it has.
    """
    own = ("object", id(inner_file(file)), 0)
    if descriptor is None:
        return own, own
    status = os.fstat(descriptor)
    below = ("inode", status.st_dev, status.st_ino)
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return below, below
    return own, below if stat.S_ISREG(status.st_mode) else own


def _counts_bytes(file: Any) -> bool:
    """Whether its place is that of its descriptor, and going there costs nothing."""
    inner = inner_file(file)
    if isinstance(inner, codecs.StreamRecoder):
        return False  # of other bytes
    raw = getattr(inner, "raw", inner)
    return isinstance(file, SpooledTemporaryFile) or isinstance(raw, io.FileIO)


def _is_ordinary(file: Any) -> bool:
    """Whether `open` made it: nobody has changed what its `read` does."""
    inner = inner_file(file)
    return type(inner) in _ORDINARY and type(getattr(inner, "raw", inner)) is io.FileIO


def _place(file: Any) -> int | None:
    if _holds_text(file):
        return None
    try:
        place: int | None = file.tell() if file.seekable() else None
    except (AttributeError, OSError):
        return None
    except ValueError as error:
        if closed := closed_file(file):
            raise closed from error
        raise
    return place


def _holds_text(file: Any) -> bool:
    """Whether a file of `codecs` holds what it has read and not given out.

    Its place is that of its bytes, behind that, and to go there drops it: so such a file is read
    once, from where it stands.
    """
    inner = inner_file(file)
    held = ("bytebuffer", "charbuffer", "linebuffer")
    readers = [inner, getattr(inner, "reader", None)]
    return any(
        getattr(reader, name, None)
        for reader in readers
        if isinstance(reader, codecs.StreamReader)
        for name in held
    )
