"""Sources for tests: bodies that come in pieces, slowly, not whole, or never.

Knows: how an async iterator of bytes can behave. Must not know: multipart.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

import anyio
from anyio.lowlevel import checkpoint

__all__ = [
    "Bytewise",
    "Chunked",
    "Cut",
    "Failing",
    "Sentinel",
    "Slow",
    "Stuck",
    "chunkings",
    "splits",
]

_S = TypeVar("_S", bound="Chunked")


class Chunked:
    """A source that gives `data` in chunks: an async iterator of bytes, to be read once.

    `size` is the size of every chunk, or the sizes in turn, after which the rest comes in one.
    `pulled` counts the bytes that were taken from it.
    """

    def __init__(self, data: bytes, size: int | Iterable[int] = 65536) -> None:
        self._chunks = iter(_cut(data, size))
        self.pulled: int = 0

    def __aiter__(self: _S) -> _S:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        return self._next()

    def _next(self) -> bytes:
        for chunk in self._chunks:
            self.pulled += len(chunk)
            return chunk
        raise StopAsyncIteration


class Bytewise(Chunked):
    """A source that gives `data` one byte at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, 1)


class Slow(Chunked):
    """A source that waits `seconds` before each chunk. Use it with a virtual clock."""

    def __init__(self, data: bytes, size: int | Iterable[int] = 1, *, seconds: float = 1.0) -> None:
        super().__init__(data, size)
        self.seconds = seconds

    async def __anext__(self) -> bytes:
        await anyio.sleep(self.seconds)
        return self._next()


class Cut(Chunked):
    """A source that ends after `at` bytes as if all were well: a client that went away."""

    def __init__(self, data: bytes, at: int, size: int | Iterable[int] = 65536) -> None:
        super().__init__(data[:at], size)


class Failing(Cut):
    """A source that raises `error` after `at` bytes; by default a `ConnectionResetError`."""

    def __init__(
        self,
        data: bytes,
        at: int,
        size: int | Iterable[int] = 65536,
        *,
        error: BaseException | None = None,
    ) -> None:
        super().__init__(data, at, size)
        self.error: BaseException = error or ConnectionResetError("the connection was reset")

    async def __anext__(self) -> bytes:
        await checkpoint()
        try:
            return self._next()
        except StopAsyncIteration:
            raise self.error from None


class Stuck(Cut):
    """A source that gives nothing more after `at` bytes, and does not end: a client that hangs."""

    async def __anext__(self) -> bytes:
        await checkpoint()
        try:
            return self._next()
        except StopAsyncIteration:
            while True:
                await anyio.sleep_forever()


class Sentinel(Chunked):
    """A source that must not be read past `needed` bytes, by default all of `data`.

    To be asked for more, even for the end, is an `AssertionError`.
    """

    def __init__(
        self, data: bytes, needed: int | None = None, size: int | Iterable[int] = 1
    ) -> None:
        super().__init__(data, size)
        self.needed: int = len(data) if needed is None else needed

    async def __anext__(self) -> bytes:
        if self.pulled >= self.needed:
            raise AssertionError(f"the source was read on after the {self.pulled} bytes needed")
        await checkpoint()
        return self._next()


def splits(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every way to cut `data` in two, from the empty first half to the empty second."""
    for i in range(len(data) + 1):
        yield data[:i], data[i:]


def chunkings(data: bytes, *, seed: int = 0, count: int = 50) -> Iterator[list[bytes]]:
    """`count` ways to cut `data` at random, into up to ten chunks; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randint(1, 9)))
        yield [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _cut(data: bytes, size: int | Iterable[int]) -> list[bytes]:
    if isinstance(size, int):
        if size < 1:
            raise ValueError(f"expected chunks of at least 1 byte, got {size}")
        return [data[i : i + size] for i in range(0, len(data), size)]
    chunks: list[bytes] = []
    for length in size:
        chunks.append(data[:length])
        data = data[length:]
    return [*chunks, data] if data else chunks
