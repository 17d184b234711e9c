"""How a body begins that breaks the rules of delimiters, and the tokens of one with bare LFs.

Knows: what a first line may be, and delimiters whose lines end with an LF alone.
Must not know: what is tolerated, headers, parts, limits other than that of a delimiter line.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from mpflow.wire.scanner import CLOSE, DELIMITER, OPEN, Scanner, Token

__all__ = ["find_header", "find_line_feed", "line_feed_tokens", "starts_with_line_feed"]

MAX_NAME = 256
"""How long the name of a header may be that stands in place of the first delimiter."""
MAX_LINE = 4096
"""How long the first line, or the padding of the first delimiter, may be to be understood."""
STEP = 4096
"""How much is looked at in one step, so that no line is copied with all that follows it."""

_NAME = re.compile(rb"[!#$%&'*+\-.0-9A-Z^_`a-z|~]*")
_PADDING = re.compile(rb"[ \t]*")


def find_header(scanner: Scanner, lines: Sequence[bytes]) -> Generator[Token | None, None, bool]:
    """Whether the body begins with a header in place of one of the delimiter `lines`."""
    data = b""
    while True:
        while (chunk := scanner.take(STEP)) is None:
            yield None
        data += chunk
        name = _NAME.match(data)
        end = 0 if name is None else name.end()
        if any(data.startswith(line) for line in lines) or end > MAX_NAME:
            scanner.put_back(data)
            return False
        if end < len(data) and not any(line.startswith(data) for line in lines):
            scanner.put_back(data)
            return end > 0 and data[end : end + 1] == b":"


def starts_with_line_feed(scanner: Scanner) -> Generator[Token | None, None, bool]:
    """Whether the first line ends with a bare LF."""
    data = b""
    while b"\n" not in data and len(data) <= MAX_LINE:
        while (chunk := scanner.take(STEP)) is None:
            yield None
        data += chunk
    scanner.put_back(data)
    end = data.find(b"\n")
    return 0 <= end <= MAX_LINE and data[max(0, end - 1) : end] != b"\r"


def find_line_feed(
    scanner: Scanner, lines: Sequence[bytes]
) -> Generator[Token | None, None, bytes | None]:
    """Go on to the first delimiter: the one of `lines` that it is if a bare LF ends it, else None.

    Gives the text before it. Where CRLF stands before and behind it, all is as ever, and the
    scanner goes on there.
    """
    before, data, inside = scanner.held, b"", False
    while True:
        end = data.find(b"\n") + 1
        if not inside:
            found = _delimiter(data, end, before, lines)
            if found is not None:
                line, feeds = found
                if feeds and before == b"\r\n":
                    yield b"\r", OPEN
                scanner.held = b"" if feeds else before
                scanner.put_back((b"\n" if feeds else b"") + data)
                return line if feeds else None
            if end or not _undecided(data, lines):
                yield before, OPEN
                before, inside = b"", True
        if inside:
            # What ends a line may stand before a delimiter.
            cut = end - 1 if end else len(data)
            cut -= data[:cut].endswith(b"\r")
            if cut:
                yield data[:cut], OPEN
            if end:
                before, data, inside = data[cut:end], data[end:], False
                continue
            data = data[cut:]
        while (chunk := scanner.take(STEP)) is None:
            yield None
        data += chunk


def _delimiter(
    data: bytes, end: int, before: bytes, lines: Sequence[bytes]
) -> tuple[bytes, bool] | None:
    """The delimiter that the first line is, and whether it is one by bare LFs."""
    for line in lines:
        if data.startswith(line + b"--"):
            return line, before == b"\n"
        if end and data.startswith(line):
            rest = data[len(line) : end].lstrip(b" \t")
            if rest == b"\n":
                return line, True
            if rest == b"\r\n" and before == b"\r\n":
                return line, False
    return None


def _undecided(data: bytes, lines: Sequence[bytes]) -> bool:
    """Whether what is here of a line may become a delimiter."""
    for line in lines:
        if line.startswith(data):
            return True
        rest = data[len(line) :]
        if data.startswith(line) and (rest == b"-" or rest.lstrip(b" \t") in (b"", b"\r")):
            return len(rest) <= MAX_LINE
    return False


def line_feed_tokens(scanner: Scanner) -> Generator[Token | None, None, None]:
    """`Scanner.tokens` for a delimiter of LF, dashes and boundary, whose line an LF or CRLF ends.

    The line end that ends a delimiter line stays in the text that follows, as ever.
    """
    delimiter, data = scanner.delimiter, b""
    while True:
        while (chunk := scanner.take()) is None:
            yield None
        data += chunk
        start = search = 0
        while (at := data.find(delimiter, search)) >= 0:
            after = at + len(delimiter)
            padding = _PADDING.match(data, after)
            line = after if padding is None else padding.end()
            if data.startswith(b"--", after):
                yield data[start:at], CLOSE
                return
            if scanner.too_long(line - after):
                yield data[start:at], OPEN
                raise scanner.refusal()
            rest = data[line : line + 2]
            if rest[:1] == b"\n" or rest == b"\r\n":
                scanner.padding = line - after
                yield data[start:at], DELIMITER
                scanner.padding = 0
                start = search = line
            elif rest in (b"", b"\r") or data[after:] == b"-":
                break
            else:
                search = after  # a line that merely begins with the delimiter is data
        else:
            at = data.rfind(b"\n", max(search, len(data) - len(delimiter) + 1))
            if at < 0 or not delimiter.startswith(data[at:]):
                at = len(data)
        yield data[start:at], OPEN
        data = data[at:]
        if data.startswith(delimiter) and data[-1:] in (b" ", b"\t"):
            data = delimiter + (yield from scanner.gather(data[len(delimiter) :]))
