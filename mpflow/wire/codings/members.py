"""Compressed streams, of which several may follow each other, as one decoder.

Knows: how a library's decompressor is driven, and what a stream that is cut or followed by
something looks like. Must not know: which library, or which format.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final, Protocol

from mpflow.errors import InvalidContent, excerpt
from mpflow.wire.codings.base import CodingDecoder

__all__ = ["Decompressor", "Members"]

_FIRST_STEP: Final = 512


class Decompressor(Protocol):
    """One stream, as `ZstdDecompressor` and `LZMADecompressor` of the standard library have it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Members(CodingDecoder):
    """Decodes streams one after another. A body without any is cut; what is no stream is refused.

    A decompressor gives back a copy of what it did not use. So each stream is begun with a small
    step, and many tiny streams cost no more than one large one.
    """

    name: ClassVar[str]
    errors: tuple[type[Exception], ...]
    """What the library raises about malformed data."""
    many: ClassVar[bool] = True
    """Whether streams may follow each other."""

    def __init__(self) -> None:
        self._stream: Decompressor | None = self.start()
        self._is_first = True
        self._step = _FIRST_STEP
        self._data = b""
        self._at = 0

    @abstractmethod
    def start(self) -> Decompressor:
        """A decompressor for the next stream."""

    def decode(self, data: bytes, limit: int) -> bytes:
        if data:
            self._data, self._at = data, 0
        while True:
            out = self._advance(limit)
            used_up = self._at == len(self._data)
            self.needs_data: bool = used_up and (self._stream is None or self._stream.needs_input)
            if out or self.needs_data:
                break
        if self.needs_data:  # not before: at its end a stream may give some of it back
            self._data, self._at = b"", 0
        return out

    def _advance(self, limit: int) -> bytes:
        """One step of the stream, which may give nothing."""
        stream = self._stream
        piece = b""
        if stream is None or stream.needs_input:
            piece = self._data[self._at : self._at + self._step]
            self._at += len(piece)
            self._step *= 8
        if stream is None:
            if not self.many:
                got = excerpt(piece[:1])  # more may not be here yet
                raise InvalidContent(
                    f"expected the end of the {self.name} body, got {got} after it"
                )
            self._stream = stream = self.start()
            self._is_first = False
        try:
            out = stream.decompress(piece, limit)
        except self.errors as error:
            raise InvalidContent(f"expected {self._due}, got none: {error}") from error
        if stream.eof:
            self._at -= len(stream.unused_data)
            self._stream, self._step = None, _FIRST_STEP
        return out

    def finish(self) -> bytes:
        if self._stream is None:
            return b""
        if self._is_first:
            raise InvalidContent(f"expected a whole body in {self.name}, and it is cut or empty")
        raise InvalidContent(f"expected {self._due}, got one that is cut, or something else")

    @property
    def _due(self) -> str:
        """What may stand where the stream at hand began."""
        one = f"a body in {self.name}"
        return one if self._is_first else f"the end of {one}, or another one behind it"
