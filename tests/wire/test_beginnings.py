"""The tokens of a body with bare LFs, taken one by one."""

from __future__ import annotations

import time
from itertools import takewhile

import pytest

from mpflow import LimitExceeded, MalformedBody
from mpflow.wire import NEED_DATA, Decoder
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


def test_padding_that_comes_byte_by_byte() -> None:
    scanner = Scanner(b"\n--b", max_line=None)
    for byte in b"x\n--b \t \r\ny\n--b  z\n--b--":
        scanner.push(bytes([byte]))
    found = [token for token in line_feed_tokens(scanner) if token is not None]
    assert b"".join(text for text, mark in found[: found.index((b"", DELIMITER))]) == b"x"
    rest = found[found.index((b"", DELIMITER)) + 1 :]
    assert b"".join(text for text, _ in rest) == b"\r\ny\n--b  z"
    assert rest[-1][1] == CLOSE


def test_too_much_padding_byte_by_byte() -> None:
    scanner = Scanner(b"\n--b", max_line=10)
    for byte in b"x\n--b" + b" " * 11:
        scanner.push(bytes([byte]))
    with pytest.raises(LimitExceeded, match="at most 10 bytes of padding"):
        list(line_feed_tokens(scanner))


def _seconds_of_padding(size: int) -> float:
    def once() -> float:
        scanner = Scanner(b"\n--b", max_line=None)
        for _ in range(size):
            scanner.push(b" ")
        scanner.put_back(b"\n--b")
        began = time.process_time()
        for _ in takewhile(lambda token: token is not None, line_feed_tokens(scanner)):
            pass
        return time.process_time() - began

    return min(once() for _ in range(3))


def test_padding_without_a_limit_takes_linear_time() -> None:
    small, large = _seconds_of_padding(10_000), _seconds_of_padding(80_000)
    assert large < 30 * small  # 64 times, were it looked at again with each byte


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_is_odd_in_headers_with_bare_lfs_is_placed_on_the_wire(size: int) -> None:
    data = (
        b"pre\n--b\nA: 1\r\nB: 2\nContent-Type: a/b; ;\n\nx\n--b\nContent-Type: a/b; ;\n\ny\n--b--"
    )
    decoder = Decoder("b", tolerate={"bare-lf"})
    feed(decoder, data, size)
    places = [data.index(b"Content"), data.rindex(b"Content")]
    assert [it.offset for it in decoder.deviations] == [data.index(b"\n"), *places]


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"--b\nA: 1\nB: 2\nno colon\n\nx\n--b--", b"no colon"),
        (b'--b\nA: 1\nContent-Type: a/b; x="\nB: 2\n\nx\n--b--', b"Content-Type"),
    ],
)
def test_a_refusal_of_headers_with_bare_lfs_is_placed_on_the_wire(data: bytes, at: bytes) -> None:
    for size in (1, 5, 1000):
        decoder = Decoder("b", tolerate={"bare-lf"})
        with pytest.raises(MalformedBody) as caught:
            feed(decoder, data, size)
        assert caught.value.offset == data.index(at)


def feed(decoder: Decoder, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        decoder.receive_data(data[at : at + size])
        while decoder.next_event() is not NEED_DATA and not decoder.ended:
            pass
