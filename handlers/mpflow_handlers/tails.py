"""The last bytes of an object, kept until it may be completed.

Knows: memory and temporary files. Must not know: stores. It blocks, and runs in worker threads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Final

import attrs

__all__ = ["Tail"]

_IN_MEMORY: Final = 64 * 1024
"""Bytes that wait in memory; more of them wait in a file."""


@attrs.define(eq=False)
class Tail:
    """The last bytes of an object, fewer than a part, until the commit."""

    _data: bytes = attrs.field(default=b"", alias="data")
    _file: IO[bytes] | None = attrs.field(default=None, alias="file")
    _path: str | None = attrs.field(default=None, alias="path")

    @classmethod
    def of(cls, pieces: Sequence[bytes], hold: bool) -> Tail:
        """Keep the pieces: few in memory, more in a file without a name, or in a closed one."""
        if sum(map(len, pieces)) <= _IN_MEMORY:
            return cls(b"".join(pieces))
        if hold:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - outlives this call; `close` closes it
            return cls._filled(cls(file=file), lambda: file.writelines(pieces))
        fd, path = tempfile.mkstemp(prefix=".mpflow-", suffix=".part")
        with open(fd, "wb") as named:
            return cls._filled(cls(path=path), lambda: named.writelines(pieces))

    @classmethod
    def _filled(cls, tail: Tail, fill: Callable[[], None]) -> Tail:
        try:
            fill()
        except BaseException:
            tail.close()
            raise
        return tail

    def read(self) -> bytes:
        """All of it."""
        if self._path is not None:
            with open(self._path, "rb") as file:
                return file.read()
        if self._file is not None:
            self._file.seek(0)
            return self._file.read()
        return self._data

    def close(self) -> None:
        """Give it up, for good."""
        self._data = b""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
