"""zstd (RFC 8878, RFC 9659), by `compression.zstd`, or `backports.zstd` before Python 3.14.

Knows: how that library is driven. Must not know: any other coding.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

from mpflow.errors import UnsupportedCoding
from mpflow.wire.codings.base import CodingEncoder
from mpflow.wire.codings.members import Decompressor, Members

__all__ = ["ZstdDecoder", "ZstdEncoder"]

_WINDOW_LOG: Final = 23  # RFC 9659, 3: "a decoder MUST be able to decode ... no more than 8 MB"


def _library() -> Any:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return import_module(name)
    except ImportError:
        raise UnsupportedCoding(
            f"the content coding zstd needs {name}: install multipart-flow[zstd]"
        ) from None


class ZstdDecoder(Members):
    """zstd, of one frame or several, each with a window of at most 8 MiB (RFC 9659, 3)."""

    name = "zstd"

    def __init__(self) -> None:
        self._zstd = _library()
        self.errors: tuple[type[Exception], ...] = (self._zstd.ZstdError,)
        super().__init__()

    def start(self) -> Decompressor:
        options = {self._zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        stream: Decompressor = self._zstd.ZstdDecompressor(options=options)
        return stream


class ZstdEncoder(CodingEncoder):
    """zstd, one frame, of the library's default level."""

    def __init__(self) -> None:
        self._zstd: Any = _library().ZstdCompressor()

    def encode(self, data: bytes) -> bytes:
        out: bytes = self._zstd.compress(data)
        return out

    def finish(self) -> bytes:
        out: bytes = self._zstd.flush()
        return out
