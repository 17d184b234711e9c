"""What a decoder says of a body, in a shape that does not depend on the chunking.

Knows: events, deviations and errors. Must not know: which of them is right.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from mpflow.errors import LimitExceeded, MultipartError
from mpflow.wire import (
    NEED_DATA,
    BodyEnd,
    Decoder,
    Deviation,
    PartBegin,
    PartData,
    PartEnd,
    WholePart,
)

__all__ = ["Outcome", "Seen", "bytewise", "chunkings", "cut", "observe"]


@attrs.define
class Seen:
    """A part as it came: its header block, its body, where it began, whether it ended."""

    raw: bytes
    offset: int
    data: bytes = b""
    whole: bool = False


@attrs.define
class Outcome:
    """Everything that may not depend on the chunking."""

    parts: list[Seen] = attrs.field(factory=list[Seen])
    ended: bool = False
    epilogue: int = 0
    deviations: list[Deviation] = attrs.field(factory=list[Deviation])
    error: tuple[Any, ...] | None = None

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Header block and body of each part."""
        return [(part.raw, part.data) for part in self.parts]


def observe(decoder: Decoder, chunks: Iterable[bytes], *, eof: bool = True) -> Outcome:
    """Decode `chunks` and tell what came; the end of the body follows them."""
    outcome = Outcome()
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            _take(decoder, outcome)
        if eof:
            decoder.receive_eof()
            _take(decoder, outcome)
    except MultipartError as error:
        limit = (error.limit, error.value) if isinstance(error, LimitExceeded) else None
        outcome.error = (
            type(error), limit, error.offset, error.part, error.status, error.message,
        )  # fmt: skip
    outcome.deviations = decoder.deviations
    if outcome.error is None:
        outcome.epilogue = decoder.epilogue_bytes
    return outcome


def _take(decoder: Decoder, outcome: Outcome) -> None:
    parts = outcome.parts
    while (event := decoder.next_event()) is not NEED_DATA:
        if isinstance(event, WholePart):
            parts.append(Seen(event.head.raw, event.offset, event.data, True))
        elif isinstance(event, PartBegin):
            parts.append(Seen(event.head.raw, event.offset))
        elif isinstance(event, PartData):
            assert event.data
            assert type(event.data) is bytes
            assert not parts[-1].whole
            parts[-1].data += event.data
        elif isinstance(event, PartEnd):
            assert not parts[-1].whole
            parts[-1].whole = True
        else:
            assert isinstance(event, BodyEnd)
            outcome.ended = True
            return


def cut(data: bytes, size: int) -> list[bytes]:
    """The data in chunks of `size`."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def bytewise(data: bytes) -> list[bytes]:
    """The data byte by byte."""
    return cut(data, 1)


def chunkings(data: bytes, *, splits: int = 4096, cuts: int = 50) -> Iterator[list[bytes]]:
    """Byte by byte, in chunks of 2, 3 and 7, in random cuts, and in every two-way split.

    Of data longer than `splits` bytes, every split of its ends and some in between.
    """
    for size in (1, 2, 3, 7):
        yield cut(data, size)
    chance = random.Random(len(data))
    for _ in range(cuts):
        places = sorted(chance.choices(range(len(data) + 1), k=chance.randint(2, 9)))
        yield [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    at: Iterable[int] = range(len(data) + 1)
    if len(data) > splits:
        middle = chance.sample(range(splits // 2, len(data) - splits // 2), k=splits // 8)
        at = [*range(splits // 4), *middle, *range(len(data) - splits // 4, len(data) + 1)]
    for i in at:
        yield [data[:i], data[i:]]
