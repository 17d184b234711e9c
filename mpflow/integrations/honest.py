"""A server's file of a body, without bytes that never came: `honest`.

Knows: how Python reads raw files. Must not know: connections, threads, what the bytes mean.
"""

from __future__ import annotations

import io
from typing import Any

__all__ = ["honest"]


def honest(file: Any) -> Any:
    """The body's file, or one in its place that gives no byte which did not come.

    Of a chunked body that breaks off, that of werkzeug's development server says that it has
    filled a buffer which it has made shorter, and `io.RawIOBase.read` believes it: it would go on
    with whatever stands behind the buffer in memory. Such a read is an OSError instead.
    """
    is_raw = isinstance(file, io.RawIOBase) and type(file).read is io.RawIOBase.read
    return _Honest(file) if is_raw else file


class _Honest(io.RawIOBase):
    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        own = bytearray(len(buffer))
        size: int | None = self._file.readinto(own)
        if len(own) != len(buffer):
            raise OSError("expected more of the body, and the connection has ended")
        if size:
            buffer[:size] = own[:size]
        return size
