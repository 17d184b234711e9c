"""The tokens of a body whose delimiters break the rules in ways that are tolerated.

Knows: what is tolerated, how such a body begins, and which tokens follow from that.
Must not know: headers, parts, limits other than that of a delimiter line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import Final

import attrs

from mpflow.errors import excerpt
from mpflow.wire.beginnings import (
    find_header,
    find_line_feed,
    line_feed_tokens,
    starts_with_line_feed,
)
from mpflow.wire.scanner import DELIMITER, OPEN, Scanner, Token

__all__ = ["ODDITIES", "OddTokens"]

ODDITIES: Final = frozenset({"bare-lf", "dashed-boundary", "missing-first-delimiter"})
"""The tolerances that change how delimiters are looked for."""


@attrs.frozen(eq=False)
class OddTokens:
    """Makes the tokens of a whole level, by what comes up to the first delimiter."""

    scanner: Scanner
    boundary: bytes
    tolerate: Collection[str]
    note: Callable[[str, str], None]
    """Records a deviation at the place of the next byte."""
    move: Callable[[int], None]
    """Corrects the place of the next byte, where tokens and bytes differ."""
    in_headers: Callable[[], bool]
    """Whether the next token belongs to a header block."""

    def tokens(self) -> Generator[Token | None, None, None]:
        """The tokens, as `Scanner.tokens` gives them."""
        scanner, tolerate, lines = self.scanner, self.tolerate, [b"--" + self.boundary]
        usual, headless, line = scanner.delimiter, False, None
        if dashed := "dashed-boundary" in tolerate and self.boundary.startswith(b"--"):
            lines.append(self.boundary)
        if "missing-first-delimiter" in tolerate:
            headless = yield from find_header(scanner, lines)
        if headless:
            # No delimiter has shown what it looks like: what is tolerated by name is expected.
            if "bare-lf" in tolerate and (yield from starts_with_line_feed(scanner)):
                line = lines[-1]
                scanner.put_back(b"\n")
            elif dashed:
                scanner.delimiter = b"\r\n" + self.boundary
        elif "bare-lf" in tolerate:
            line = yield from find_line_feed(scanner, lines)
        if line is not None:
            scanner.delimiter, scanner.held = b"\n" + line, b""
            self.note("bare-lf", "expected lines that end with CRLF, got LF")
        elif dashed and not headless:
            yield from scanner.find_dashed(self.boundary)
        if scanner.delimiter.lstrip(b"\r\n") != usual[2:]:
            self.note("dashed-boundary", excerpt(self.boundary))
        if headless:
            text = "expected a delimiter at the start, got a header"
            self.note("missing-first-delimiter", text)
            # It has no bytes, and neither has the line end behind it, nor the CRLF before the body.
            self.move(-len(scanner.delimiter) + (1 if line is not None else 0))
            yield b"", DELIMITER
        yield from scanner.tokens() if line is None else self._with_crlf(line_feed_tokens(scanner))

    def _with_crlf(
        self, tokens: Generator[Token | None, None, None]
    ) -> Generator[Token | None, None, None]:
        """The tokens of a body with bare LFs, with CRLF in its header blocks.

        What stands before a line end goes first, so that a refusal is placed where it belongs.
        """
        held = b""
        for token in tokens:
            if token is None:
                yield None
                continue
            text, mark = held + token[0], token[1]
            held = b""
            while self.in_headers() and (end := text.find(b"\n") + 1):
                line, text = text[: end - 1].removesuffix(b"\r"), text[end:]
                yield line, OPEN
                self.move(end - len(line) - 2)  # an added CR is none of the body's bytes
                yield b"\r\n", OPEN
            if self.in_headers() and text.endswith(b"\r"):
                # Half of a line end, or the delimiter's: then it is no part of the header.
                text, held = text[:-1], b"" if mark else b"\r"
                self.move(bool(mark))
            yield text, mark
