"""gzip and deflate (RFC 9110, 8.4.1.2 and 8.4.1.3), by zlib.

Knows: how zlib is driven, and how its two forms of deflate are told apart.
Must not know: any other coding.
"""

from __future__ import annotations

import zlib

from mpflow.wire.codings.base import CodingEncoder
from mpflow.wire.codings.members import Members

__all__ = ["DeflateDecoder", "DeflateEncoder", "GzipDecoder", "GzipEncoder"]

_ZLIB, _RAW, _GZIP = 15, -15, 31


class _Inflate:
    """A zlib stream with the verbs of the other decompressors."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._tail = b""
        self.needs_input: bool = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        stream = self._zlib
        out = stream.decompress(self._tail + data if self._tail else data, max_length)
        self._tail = stream.unconsumed_tail
        # A full piece may have left output inside of zlib though no input is left.
        self.needs_input = not self._tail and len(out) < max_length
        return out


class _EitherDeflate:
    """A stream whose first two bytes tell whether it has the header of zlib.

    RFC 9110, 8.4.1.2 asks for zlib's form (RFC 1950), and notes that some send the raw one. A raw
    stream cannot begin like a header: its first block would be stored, with padding that is set.
    """

    def __init__(self) -> None:
        self._begin = b""
        self._stream: _Inflate | None = None

    @property
    def eof(self) -> bool:
        return self._stream is not None and self._stream.eof

    @property
    def needs_input(self) -> bool:
        return self._stream is None or self._stream.needs_input

    @property
    def unused_data(self) -> bytes:
        return b"" if self._stream is None else self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._stream is None:
            data = self._begin + data
            if len(data) < 2:
                self._begin = data
                return b""
            # RFC 1950, 2.2: method 8, a window of at most 32 KiB, no dictionary, a multiple of 31.
            first, second = data[0], data[1]
            is_zlib = first & 0x8F == 8 and not second & 0x20 and (first * 256 + second) % 31 == 0
            self._stream = _Inflate(_ZLIB if is_zlib else _RAW)
        return self._stream.decompress(data, max_length)


class GzipDecoder(Members):
    """gzip, of one member or several (RFC 1952, 2.2). What follows must be another member."""

    name = "gzip"
    errors: tuple[type[Exception], ...] = (zlib.error,)

    def start(self) -> _Inflate:
        return _Inflate(_GZIP)


class DeflateDecoder(Members):
    """deflate, with the header of zlib or without one. Nothing may follow it."""

    name = "deflate"
    errors: tuple[type[Exception], ...] = (zlib.error,)
    many = False

    def start(self) -> _EitherDeflate:
        return _EitherDeflate()


class DeflateEncoder(CodingEncoder):
    """deflate in zlib's form, which is what RFC 9110, 8.4.1.2 calls deflate."""

    wbits = _ZLIB

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(wbits=self.wbits)

    def encode(self, data: bytes) -> bytes:
        return self._zlib.compress(data)

    def finish(self) -> bytes:
        return self._zlib.flush()


class GzipEncoder(DeflateEncoder):
    """gzip, one member, without a name or a time: the same bytes give the same body."""

    wbits = _GZIP
