"""The scanner: texts and delimiters, from any chunks, each byte looked at once."""

from __future__ import annotations

from typing import Any

import pytest

from mpflow.errors import LimitExceeded
from mpflow.wire.scanner import CLOSE, DELIMITER, OPEN, WINDOW, Scanner
from tests.wire.observe import chunkings, cut

Found = list[tuple[bytes, int]]


def scan(chunks: list[bytes], *, max_line: int | None = 4096) -> tuple[Found, Scanner]:
    """The texts, joined, each with what ended it; the last one may be open."""
    scanner = Scanner(b"\r\n--b", max_line=max_line)
    tokens, found, text = scanner.tokens(), [], b""
    for chunk in chunks:
        scanner.push(chunk)
        for token in tokens:
            if token is None:
                break
            text += token[0]
            if token[1] != OPEN:
                found.append((text, token[1]))
                text = b""
    return [*found, (text, OPEN)], scanner


@pytest.mark.parametrize(
    ("data", "found", "held"),
    [
        (b"", [(b"", OPEN)], b"\r\n"),
        (b"x", [(b"\r\nx", OPEN)], b""),
        (b"--b\r\n", [(b"", DELIMITER), (b"", OPEN)], b"\r\n"),
        (b"x\r\n--b\r\ny", [(b"\r\nx", DELIMITER), (b"\r\ny", OPEN)], b""),
        (b"--b \t\r\ny", [(b"", DELIMITER), (b"\r\ny", OPEN)], b""),
        (b"--b--y\r\n--b", [(b"", CLOSE), (b"", OPEN)], b""),
        (b"--by\r\n--b", [(b"\r\n--by", OPEN)], b"\r\n--b"),
        (b"x\r\n--b-", [(b"\r\nx", OPEN)], b"\r\n--b-"),
        (b"x\r\n--b \t\r", [(b"\r\nx", OPEN)], b"\r\n--b \t\r"),
        (b"x\r\n--b \t-", [(b"\r\nx\r\n--b \t-", OPEN)], b""),
        (b"x\r\r\n-", [(b"\r\nx\r", OPEN)], b"\r\n-"),
        (
            b"--b\r\n--b \r\n--b--",
            [(b"", DELIMITER), (b"", DELIMITER), (b"", CLOSE), (b"", OPEN)],
            b"",
        ),
    ],
)
def test_texts_and_what_is_held(data: bytes, found: Found, held: bytes) -> None:
    for chunks in [[data], *chunkings(data)]:
        got, scanner = scan(chunks)
        assert got == found
        if CLOSE not in dict(map(reversed, found)):
            assert scanner.held == held


def test_padding_is_known_while_its_delimiter_is_handed_out() -> None:
    scanner = Scanner(b"\r\n--b", max_line=None)
    scanner.push(b"--b \t \r\nx\r\n--b\r\n")
    tokens = scanner.tokens()

    assert next(tokens) == (b"", DELIMITER)
    assert scanner.padding == 3
    assert next(tokens) == (b"\r\nx", DELIMITER)
    assert scanner.padding == 0


@pytest.mark.parametrize("padding", [9, 10, 11])
def test_padding_is_limited(padding: int) -> None:
    data = b"x\r\n--b" + b" " * padding + b"\r\ny"
    for chunks in [[data], *chunkings(data)]:
        if padding > 10:
            with pytest.raises(LimitExceeded, match="10 bytes of padding"):
                scan(chunks, max_line=10)
        else:
            assert scan(chunks, max_line=10)[0] == [(b"\r\nx", DELIMITER), (b"\r\ny", OPEN)]


@pytest.mark.parametrize("after", [b"x\r\n--b--", b"\rx", b"\r\r\n", b"-", b"\r\n--b--"])
@pytest.mark.parametrize("padding", [10, 11])
def test_padding_is_limited_whatever_follows_it(padding: int, after: bytes) -> None:
    data = b"x\r\n--b" + b" \t" * (padding // 2) + b" " * (padding % 2) + after
    for chunks in chunkings(data):
        if padding > 10:
            with pytest.raises(LimitExceeded, match="10 bytes of padding"):
                scan(chunks, max_line=10)
        else:
            assert scan(chunks, max_line=10)[0] == scan([data], max_line=10)[0]


def test_padding_that_is_none_comes_out_byte_for_byte() -> None:
    line = b"\r\n--b" + b" \t\t " * 50
    data = b"x" + line + b"y" + line + line + b"\r" + line + b"\r\n" + line + b"z\r\n--b--"
    found = [
        (b"\r\nx" + line + b"y", DELIMITER),
        (line + b"\r", DELIMITER),
        (b"\r\n" + line + b"z", CLOSE),
        (b"", OPEN),
    ]
    for chunks in [[data], *chunkings(data)]:
        assert scan(chunks, max_line=None)[0] == found


class Counted(bytes):
    """A delimiter that counts the bytes that it is put in front of."""

    joined = 0

    def __add__(self, other: Any) -> bytes:
        Counted.joined += len(other)
        return bytes(self) + other


@pytest.mark.parametrize("end", [b"x", b"\r\n", b"\rx"])
def test_padding_that_comes_bytewise_is_joined_but_once(end: bytes) -> None:
    scanner = Scanner(Counted(b"\r\n--b"), max_line=None)
    tokens, Counted.joined, size = scanner.tokens(), 0, 5000
    for byte in cut(b"--b" + b" " * size + end, 1):
        scanner.push(byte)
        while next(tokens) is not None:
            pass
    assert size <= Counted.joined < 4 * size


def test_limit_of_nothing_still_allows_delimiters() -> None:
    data = b"--b\r\nx\r\n--b--"
    for chunks in [[data], *chunkings(data)]:
        assert scan(chunks, max_line=0)[0] == [(b"", DELIMITER), (b"\r\nx", CLOSE), (b"", OPEN)]


@pytest.mark.parametrize("before", [*range(WINDOW - 12, WINDOW + 3), 2 * WINDOW - 3])
def test_delimiter_at_the_edge_of_a_window(before: int) -> None:
    text = b"x" * before
    data = text + b"\r\n--b\r\n" + b"y" * WINDOW * 2

    for chunks in ([data], cut(data, WINDOW - 1)):
        found, _ = scan(chunks)
        assert found == [(b"\r\n" + text, DELIMITER), (b"\r\n" + b"y" * WINDOW * 2, OPEN)]


def test_large_chunk_without_a_delimiter_is_one_text() -> None:
    scanner = Scanner(b"\r\n--b", max_line=None)
    scanner.push(b"x")
    tokens = scanner.tokens()
    next(tokens)
    chunk = bytes(3 * WINDOW)
    assert next(tokens) is None

    scanner.push(chunk)
    token = next(tokens)

    assert token is not None
    assert token[0] is chunk


def test_cleared_scanner_holds_nothing() -> None:
    scanner = Scanner(b"\r\n--b", max_line=None)
    scanner.push(b"x\r\n--")
    scanner.clear()

    assert scanner.held == b""
    assert next(scanner.tokens()) is None
