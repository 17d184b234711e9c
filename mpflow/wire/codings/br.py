"""br (RFC 7932), by the library `brotli`: the extra `brotli`.

Knows: how that library is driven. Must not know: any other coding.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mpflow.errors import InvalidContent, UnsupportedCoding
from mpflow.wire.codings.base import CodingDecoder, CodingEncoder

__all__ = ["BrotliDecoder", "BrotliEncoder"]


def _library() -> Any:
    try:
        brotli = import_module("brotli")
        if hasattr(brotli.Decompressor, "can_accept_more_data"):  # since 1.2: bounded output
            return brotli
    except ImportError:
        pass
    raise UnsupportedCoding(
        "the content coding br needs brotli 1.2: install multipart-flow[brotli]"
    )


class BrotliDecoder(CodingDecoder):
    """br: one stream, and nothing after it. The library keeps up to 16 MiB of window a body."""

    def __init__(self) -> None:
        library = _library()
        self._error: type[Exception] = library.error
        self._brotli: Any = library.Decompressor()
        self._rest = b""
        self._has_more = False

    def decode(self, data: bytes, limit: int) -> bytes:
        out = self._rest or self._process(data, limit)
        # The library ends its output at a block of its own, which may be past the limit.
        out, self._rest = out[:limit], out[limit:]
        self.needs_data: bool = not self._rest and not self._has_more
        return out

    def _process(self, data: bytes, limit: int) -> bytes:
        if self._brotli.is_finished():
            if data:
                raise _wrong()
            self._has_more = False
            return b""
        try:
            out: bytes = self._brotli.process(data, output_buffer_limit=limit)
        except self._error as error:
            raise _wrong() from error
        # It says that it can take more data even while it has output: a full piece tells.
        self._has_more = len(out) >= limit or not self._brotli.can_accept_more_data()
        return out

    def finish(self) -> bytes:
        if not self._brotli.is_finished():
            raise InvalidContent("expected a whole body in br, and it is cut or empty")
        return b""


def _wrong() -> InvalidContent:
    """The library fails alike where the body is wrong and where something follows it in the same
    chunk: so neither is said alone, and any chunking comes to the same words."""
    return InvalidContent("expected a body in br and nothing after it, got something else")


class BrotliEncoder(CodingEncoder):
    """br, of quality 5: as quick as gzip, and smaller."""

    def __init__(self) -> None:
        self._brotli: Any = _library().Compressor(quality=5)

    def encode(self, data: bytes) -> bytes:
        out: bytes = self._brotli.process(data)
        return out

    def finish(self) -> bytes:
        out: bytes = self._brotli.finish()
        return out
