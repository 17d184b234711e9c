"""Mails and saved pages: a message whose header block stands in the stream, before the body.

Knows: where a header block ends, and how much of it is read. Must not know: multipart, parts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

import anyio
import attrs

from mpflow.errors import (
    LimitExceeded,
    MalformedBody,
    TruncatedBody,
    UnsupportedCoding,
    excerpt,
)
from mpflow.messages import Message
from mpflow.sources import Chunk, Source
from mpflow.wire import Deviation, Limits, parse_head
from mpflow.wire.headers import Policy

__all__ = ["open_mail"]

# The end of a line, or the start of all, and an empty line.
_BLANK: Final = re.compile(rb"(\A|\n)\r?\n")
_BARE: Final = re.compile(rb"(?<!\r)\n")


async def open_mail(
    source: Source,
    *,
    limits: Limits,
    strict: bool = False,
    tolerate: Iterable[str] = frozenset(),
) -> tuple[Message, list[Deviation]]:
    """The message that a mail is (RFC 5322, 2.1), and what its headers deviate in.

    `Limits.max_total_header_bytes` bounds the block: mails have far longer ones than parts do.
    """
    policy = Policy(strict=strict, tolerate=frozenset(tolerate))
    block, rest = await _read_block(source, limits)
    found: list[Deviation] = []
    bare = [match.start() for match in _BARE.finditer(block)]
    if bare:
        text = "expected headers whose lines end with CRLF, got LF"
        policy.note("bare-lf", text, found, offset=bare[0])
        block = _BARE.sub(b"\r\n", block)
    try:
        head = parse_head(block.removesuffix(b"\r\n"), policy=policy)
    except MalformedBody as error:
        error.offset = _in_file(error.offset, bare)
        raise
    found += [attrs.evolve(it, offset=_in_file(it.offset, bare)) for it in head.deviations]
    encoding = head.headers.get("Content-Transfer-Encoding", "").strip().lower()
    if head.is_multipart and encoding not in ("", "7bit", "8bit", "binary"):
        # RFC 2045, 6.4: a multipart has no other one. What is none is refused as that.
        came = excerpt(encoding)
        raise UnsupportedCoding(f"expected a mail in 7bit, 8bit or binary, got {came}")
    message = Message(head.headers, _going_on(rest, source))
    return message, [attrs.evolve(it, level=None) for it in found]


def _in_file(offset: int | None, bare: list[int]) -> int | None:
    """Where a byte of the block stood before its bare LFs, at these places, became CRLF."""
    if offset is None:
        return None
    return offset - bisect_left(range(len(bare)), offset, key=lambda at: bare[at] + at)


async def _read_block(source: Source, limits: Limits) -> tuple[bytes, bytes]:
    """The lines of the block, each with its end, and what came after the blank line."""
    most, data = limits.max_total_header_bytes, bytearray()
    while True:
        start = max(0, len(data) - 3)
        try:
            data += await _receive(source, limits.idle_timeout)
        except StopAsyncIteration:
            raise TruncatedBody(
                "expected a blank line after the headers of a mail, "
                f"and it ended after {len(data)} bytes",
                offset=len(data),
            ) from None
        blank = _BLANK.search(data, start)
        end = len(data) if blank is None else blank.end()
        if most is not None and end > most:
            text = f"expected the headers of a mail in at most {most} bytes, and more came"
            raise LimitExceeded("max_total_header_bytes", most, message=text, offset=most)
        if blank is not None:
            return bytes(data[: blank.end(1)]), bytes(data[end:])


async def _receive(source: Source, limit: float | None) -> Chunk:
    if limit is None or not source.timed:
        return await anext(source)
    with anyio.move_on_after(limit):
        return await anext(source)
    text = f"expected the headers of a mail within {limit} s (idle_timeout), and nothing came"
    raise LimitExceeded("idle_timeout", limit, message=text, status=408)


def _going_on(rest: bytes, source: Source) -> Source:
    """A source that begins with what was read too far."""
    ahead = [rest] if rest else []

    async def pull() -> Chunk:
        return ahead.pop() if ahead else await anext(source)

    return Source(pull, timed=source.timed, close=source.aclose)
