"""The tokens of a body with bare LFs, taken one by one."""

from __future__ import annotations

from mpflow.wire.beginnings import line_feed_tokens
from mpflow.wire.scanner import CLOSE, DELIMITER, OPEN, Scanner


def test_the_tokens_end_with_the_close_delimiter() -> None:
    scanner = Scanner(b"\n--b", max_line=10)
    scanner.push(b"pre\n--b\n\nx\n--bc\n--b--\n--b\n")
    assert list(line_feed_tokens(scanner)) == [
        (b"pre", DELIMITER),
        (b"\n\nx\n--bc", CLOSE),
    ]


def test_what_may_begin_a_delimiter_is_held_back() -> None:
    scanner = Scanner(b"\n--b", max_line=10)
    tokens = line_feed_tokens(scanner)
    assert next(tokens) is None
    scanner.push(b"x\n-")
    assert [next(tokens), next(tokens)] == [(b"x", OPEN), None]
    scanner.push(b"y")
    assert next(tokens) == (b"\n-y", OPEN)
