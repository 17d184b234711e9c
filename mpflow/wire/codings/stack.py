"""The codings of one body together: undone one after another, within limits, or done.

Knows: their order, how much comes of how much, and which headers name them.
Must not know: any coding, streams, threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.errors import LimitExceeded, MultipartError, UnsupportedCoding
from mpflow.wire.codings.base import PIECE
from mpflow.wire.codings.registry import Coding, find_coding

__all__ = ["RATIO_FROM", "Decoding", "Encoding", "codings_of"]

MAX_CODINGS: Final = 5
"""Content codings that one part may have."""

_NO_LIMIT: Final = 1 << 62

RATIO_FROM = 1024 * 1024
"""Bytes of output from which on the ratio counts."""


def codings_of(
    headers: CIMultiDict[str] | CIMultiDictProxy[str],
    *,
    transfer: bool = True,
    content: bool = True,
) -> tuple[Coding, ...]:
    """The codings that the headers of a part name, in the order in which they were applied.

    Content codings first, as they are listed (RFC 9110, 8.4: "in the order in which they were
    applied"), over all header lines; then the transfer encoding. Raises `UnsupportedCoding`.
    """
    found: list[Coding] = []
    if content:
        for value in headers.getall("Content-Encoding", ()):
            names = value.split(",", MAX_CODINGS)
            found += [find_coding("content", name) for name in names[:MAX_CODINGS]]
            if len(names) > MAX_CODINGS or len(found) > MAX_CODINGS:
                # Each holds a window of its own: a header line could ask for a thousand.
                raise UnsupportedCoding(f"expected at most {MAX_CODINGS} content codings, got more")
    encoding = headers.get("Content-Transfer-Encoding")
    if transfer and encoding is not None:
        found.append(find_coding("transfer", encoding))
    return tuple(found)


class Decoding:
    """Undoes codings, the last one that was applied first, in pieces of at most 64 KiB.

    `next_data` gives what comes of the data at hand, a piece a call. `b""` means: more data if
    `needs_data`, the end if `is_done`, else call again; a call does a bounded amount of work.
    `max_bytes` bounds what comes of each coding, and `max_ratio` how many times the size of what
    was given that may be, once past 1 MiB: `LimitExceeded`. An error is raised at each further
    call.

    Any chunking comes to the same end. So the ratio is that of whole windows of 64 KiB, up to the
    last one, where it is that of all that was given: which of two bytes came first in a chunk
    decides nothing. What is wrong comes after all that base64 and quoted-printable have before it.
    Of the other codings up to 64 KiB before it are lost, by the chunking: a library gives nothing
    of the call in which it fails.
    """

    def __init__(
        self,
        codings: Sequence[Coding],
        *,
        max_bytes: int | None = None,
        max_ratio: float | None = None,
    ) -> None:
        self._stages = [coding.decoder() for coding in reversed(codings) if not coding.is_plain]
        self._ended = [False] * len(self._stages)
        self._sizes = [0] * len(self._stages)
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._data = b""
        self._at = self._taken = 0
        self._most = 0
        self._bound(0)
        self._eof = self._fed = False
        self._error: MultipartError | None = None
        self.needs_data: bool = True
        """True once all data at hand is used up, unless the end of it was told."""

    @property
    def is_done(self) -> bool:
        """Whether all has been given out."""
        if self._error is not None:
            return False
        return self._ended[-1] if self._stages else self._out_of_data

    def receive_data(self, data: bytes) -> None:
        """Take more data; only while `needs_data`."""
        assert self.needs_data
        self._data, self._at = data, 0
        self.needs_data = not data

    def receive_eof(self) -> None:
        """All data was given."""
        self._eof = True
        self.needs_data = False

    def next_data(self) -> bytes:
        """The next piece. Raises `InvalidContent` and `LimitExceeded`."""
        if self._error is not None:
            raise self._error
        self._fed = False
        try:
            return self._pull(len(self._stages) - 1)
        except MultipartError as error:
            self._error = error
            raise

    def _pull(self, index: int) -> bytes:
        """The next piece that comes of a stage; of the data itself where there is none."""
        if index < 0:
            return self._slice()
        stage = self._stages[index]
        while not self._ended[index]:
            data = b""
            if stage.needs_data:
                data = self._pull(index - 1)
                if not data:
                    if not (self._ended[index - 1] if index else self._out_of_data):
                        return b""
                    self._ended[index] = True
                    out = stage.finish()
                    self._bound(self._taken)
                    return self._count(index, out)
            out = stage.decode(data, PIECE)
            if out:
                return self._count(index, out)
        return b""

    @property
    def _out_of_data(self) -> bool:
        return self._eof and self._at == len(self._data)

    def _slice(self) -> bytes:
        """The next of the data at hand, once a call."""
        at, data = self._at, self._data
        if at == len(data):
            if not self._eof:
                self._data, self._at = b"", 0
                self.needs_data = True
            return b""
        if self._fed:
            return b""
        self._fed = True
        left = PIECE - self._taken % PIECE  # of the window
        if left == PIECE:
            self._bound(self._taken + PIECE)
        piece = data[at : at + left]
        self._at += len(piece)
        self._taken += len(piece)
        return piece

    def _bound(self, given: int) -> None:
        """What may come of so many bytes."""
        most = _NO_LIMIT if self._max_bytes is None else self._max_bytes
        if self._max_ratio is not None:
            most = int(min(most, max(RATIO_FROM, self._max_ratio * given)))
        self._most = most

    def _count(self, index: int, out: bytes) -> bytes:
        size = self._sizes[index] = self._sizes[index] + len(out)
        over = size - self._most
        return out if over <= 0 else self._within(out[: max(0, len(out) - over)], self._refusal())

    def _refusal(self) -> LimitExceeded:
        if self._most == self._max_bytes:
            text = (
                f"expected a body of at most {self._max_bytes} bytes when its codings are undone, "
                "and more comes"
            )
            return LimitExceeded("max_decoded_bytes", self._max_bytes, message=text)
        text = (
            f"expected a body that becomes at most {self._max_ratio} times its size when its "
            "codings are undone, and more comes"
        )
        return LimitExceeded("max_decoded_ratio", self._max_ratio, message=text)

    def _within(self, out: bytes, error: LimitExceeded) -> bytes:
        """Let through what is within the limit; the error comes next."""
        if not out:
            raise error
        self._error = error
        return out


class Encoding:
    """Does codings to a body, in the order in which they are given."""

    def __init__(self, codings: Iterable[Coding]) -> None:
        self._stages = [coding.encoder() for coding in codings]

    def encode(self, data: bytes) -> bytes:
        """What becomes of the next bytes; perhaps nothing yet."""
        for stage in self._stages:
            data = stage.encode(data) if data else b""
        return data

    def finish(self) -> bytes:
        """What is left, once all bytes were given."""
        data = b""
        for stage in self._stages:
            data = (stage.encode(data) if data else b"") + stage.finish()
        return data
