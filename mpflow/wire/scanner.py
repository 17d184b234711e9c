"""The boundary scanner: the one place that finds delimiters.

Knows: delimiters, close delimiters, transport padding, and where a chunk may be cut.
Must not know: headers, parts, limits other than that of a delimiter line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Final, TypeAlias, cast

from mpflow.errors import LimitExceeded

__all__ = ["CLOSE", "DELIMITER", "OPEN", "WINDOW", "Scanner"]

WINDOW = 256 * 1024
"""How much of a larger chunk is split, and so held twice, at once."""

OPEN: Final = 0
"""The text may go on."""
DELIMITER: Final = 1
"""A delimiter line ended the text; the next text begins with the CRLF that ends that line."""
CLOSE: Final = 2
"""The close delimiter ended the text, and the scan."""

Token: TypeAlias = tuple[bytes, int]


class Scanner:
    """Cuts chunks at delimiters. `tokens()` gives `(text, mark)`, and None when it needs data.

    A delimiter is `CRLF--boundary`, with the CRLF in front (RFC 2046, 5.1.1); a CRLF that is not
    there stands before the body, so that the first delimiter is no special case. The CRLF that
    ends a delimiter line stays in the text that follows, because it may begin the next delimiter.

    `held` is what of the text so far may begin a delimiter: it is part of no token yet. Of the
    padding of a delimiter line that came cut, it is but the beginning.
    `padding` is how many bytes of transport padding the last `DELIMITER` had.
    `max_line` is how many a line may have, whatever follows them; None is no limit.

    After a `DELIMITER`, `pieces[at]` is the text that comes next, as far as it is known; its reader
    may take it and some of those behind it itself, where each is ended by a delimiter without
    padding, and then says so by `at`.
    """

    __slots__ = (
        "_run", "at", "delimiter", "held", "inbox", "last", "max_line", "padding", "pieces",
        "tail",
    )  # fmt: skip

    def __init__(self, delimiter: bytes, *, max_line: int | None) -> None:
        self.delimiter: bytes = delimiter
        self.last: int = delimiter[-1]
        """Its last byte. Where that is not, no delimiter is: seen in a tenth of the time."""
        self.held: bytes = b"\r\n"
        self.padding: int = 0
        self.max_line: int | None = max_line
        self.pieces: list[bytes] = []
        self.at: int = 0
        self._run = b""  # padding that came cut
        self.tail: int = 1 - len(delimiter)
        """From where on, at most, the end of a text may begin a delimiter."""
        self.inbox: deque[bytes | memoryview] = deque()
        """The chunks that are not scanned yet; the next one goes here.

        What has been cut of a larger one is a memoryview.
        """

    def push(self, chunk: bytes) -> None:
        """Add a chunk."""
        self.inbox.append(chunk)

    def clear(self) -> None:
        """Let go of what was pushed."""
        self.inbox.clear()
        self.pieces = []
        self._run = b""
        self.held = b""

    def tokens(self) -> Generator[Token | None, None, None]:
        """The tokens. Each byte is looked at by one `split`, whatever the chunking."""
        inbox, delimiter, tail = self.inbox, self.delimiter, self.tail
        while True:
            while not inbox:
                yield None
            first = inbox.popleft()
            small = type(first) is bytes and len(first) <= WINDOW
            chunk = cast("bytes", first) if small else self._window(first)
            # `split` gives back the object itself where there is no delimiter.
            data = self.held + chunk if self.held else chunk
            pieces = data.split(delimiter) if self.last in data else [data]
            del data  # else it would be kept as long as its pieces
            text, last = pieces[0], len(pieces) - 1
            self.held = b""
            i = 0
            while i < last:
                i += 1
                piece = pieces[i]
                begin = piece[:2]
                if begin == b"\r\n":
                    self.pieces, self.at = pieces, i
                    yield text, DELIMITER
                    self.pieces, i = [], self.at
                    text = pieces[i]
                elif begin == b"--":
                    # RFC 2046, 5.1.1: nothing that follows is read, not even on this line.
                    yield text, CLOSE
                    return
                else:
                    line = piece.lstrip(b" \t")
                    if line[:2] == b"\r\n" or (not line and i < last):
                        # "transport-padding := *LWSP-char"
                        self.padding = len(piece) - len(line)
                        if self.too_long(self.padding):
                            break
                        yield text, DELIMITER
                        self.padding = 0
                        text = line
                    elif i == last and (line in (b"", b"\r") or piece == b"-"):
                        if self.too_long(len(piece) - len(line)):
                            break
                        self.held = self.delimiter + piece
                        if not line:
                            self._run = piece
                    elif self.too_long(len(piece) - len(line)):
                        # Byte by byte it was refused before anybody knew what follows.
                        break
                    else:
                        # A line that merely begins with the delimiter is data.
                        yield text, OPEN
                        text = self.delimiter + piece
            else:
                if not self.held and text.rfind(b"\r", tail) >= 0:
                    text = self.hold(text)
                yield text, OPEN
                if self._run:
                    run, self._run = self._run, b""
                    self.held = self.delimiter + (yield from self.gather(run))
                continue
            self.held = self.delimiter  # that of the line: what stands before it is whole
            yield text, OPEN
            raise self.refusal()

    def gather(self, padding: bytes) -> Generator[None, None, bytes]:
        """Gather padding that goes on over many chunks, so that it is looked at but once.

        Gives all of it, once what follows it is here, or it is too long.
        """
        run = bytearray(padding)
        while True:
            while not self.inbox:
                yield None
            chunk = self._window(self.inbox.popleft())
            rest = chunk.lstrip(b" \t")
            run += chunk[: len(chunk) - len(rest)]
            if rest or self.too_long(len(run)):
                self.inbox.appendleft(rest)
                return bytes(run)

    def _window(self, chunk: bytes | memoryview) -> bytes:
        """A chunk, or the next window of a chunk too large to be split at once."""
        if len(chunk) <= WINDOW:
            return chunk if type(chunk) is bytes else bytes(chunk)
        if type(chunk) is bytes and not self.held and self.delimiter not in chunk:
            return chunk
        view = memoryview(chunk)
        self.inbox.appendleft(view[WINDOW:])
        return bytes(view[:WINDOW])

    def hold(self, text: bytes) -> bytes:
        """Hold back the end of `text` if it may begin a delimiter; what is surely text."""
        # A delimiter has one CR, its first byte: only the last CR of the text can begin one.
        cut = text.rfind(b"\r", max(0, len(text) - len(self.delimiter) + 1))
        if cut >= 0 and self.delimiter.startswith(text[cut:]):
            self.held = text[cut:]
            return text[:cut]
        return text

    def too_long(self, padding: int) -> bool:
        """Whether a delimiter line has more padding than it may."""
        return self.max_line is not None and padding > self.max_line

    def refusal(self) -> LimitExceeded:
        """What is said of such a line."""
        message = f"expected a delimiter line with at most {self.max_line} bytes of padding"
        return LimitExceeded("max_header_line", self.max_line, message=message)

    def take(self, most: int = WINDOW) -> bytes | None:
        """For those who look for delimiters of another kind: up to `most` bytes of what came."""
        if not self.inbox:
            return None
        chunk = self.inbox.popleft()
        if len(chunk) > most:
            view = memoryview(chunk)
            self.inbox.appendleft(view[most:])
            chunk = view[:most]
        return bytes(chunk)

    def put_back(self, data: bytes) -> None:
        """Undo `take`."""
        self.inbox.appendleft(data)

    def find_dashed(self, boundary: bytes) -> Generator[Token | None, None, None]:
        """Choose the delimiter by what comes first: `CRLF--boundary`, or `CRLFboundary`.

        For senders that name a boundary `--x` and write delimiters `--x`. Gives the text before
        the delimiter, and ends where `tokens` goes on.
        """
        usual, dashed, data = self.delimiter, b"\r\n" + boundary, self.held
        while True:
            first, other = data.find(usual), data.find(dashed)
            # With a boundary of dashes, what may yet be the usual delimiter begins with the other.
            if other >= 0 and (first < 0 or other < first) and not usual.startswith(data[other:]):
                yield data[:other], OPEN
                self.delimiter, first = dashed, other
            elif first >= 0:
                yield data[:first], OPEN
            if first >= 0:
                self.held = b""
                self.inbox.appendleft(data[first:])
                return
            keep = len(usual) - 1
            yield data[:-keep], OPEN
            data = data[-keep:]
            while not self.inbox:
                yield None
            data += self.inbox.popleft()
