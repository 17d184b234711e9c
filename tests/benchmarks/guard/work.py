"""What the guard counts: a few small jobs of mpflow, and one of Python itself.

Knows: their bodies, and how much of each is done. Must not know: how anything is counted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import anyio
import attrs

__all__ = ["CALIBRATION", "JOBS", "Job", "Run"]

Run: TypeAlias = Callable[[], object]

BOUNDARY: Final = "----WebKitFormBoundary7MA4YWxkTrZu0gW1"
CHUNK: Final = 64 * 1024
BLOCKS: Final = 16
"""How many different chunks of random bytes a large part is made of."""


@attrs.frozen
class Job:
    """`prepare(count)` makes what is run; `count` is in `units`."""

    units: str
    count: int
    prepare: Callable[[int], Run]
    needs: str | None = None
    """A package beside those that mpflow needs."""
    is_costly: bool = False
    """Whether it takes too long to start for its instructions to be counted, too."""


def tiny_fields(count: int) -> list[bytes]:
    """A form of `count` fields with a few bytes each, in chunks."""
    fields = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="field{i}"\r\n\r\nvalue{i}\r\n'
        for i in range(count)
    )
    data = ("".join(fields) + f"--{BOUNDARY}--\r\n").encode()
    return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]


def random_chunks(count: int) -> list[bytes]:
    chance = random.Random(1)
    blocks = [chance.randbytes(CHUNK) for _ in range(BLOCKS)]
    return [blocks[at % BLOCKS] for at in range(count)]


def large_part(count: int) -> list[bytes]:
    """One file of `count` chunks of random bytes."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    return [head.encode(), *random_chunks(count), f"\r\n--{BOUNDARY}--\r\n".encode()]


def decoding(make: Callable[[int], list[bytes]]) -> Callable[[int], Run]:
    """Every event of a body, and nothing done with it."""
    from mpflow.wire import NEED_DATA, BodyEnd, Decoder, Limits

    def prepare(count: int) -> Run:
        chunks = make(count)

        def run() -> None:
            limits = Limits(max_parts=None, max_total_header_bytes=None)
            decoder = Decoder(BOUNDARY, limits=limits, subtype="form-data")
            for chunk in chunks:
                decoder.receive_data(chunk)
                event = decoder.next_event()
                while event is not NEED_DATA and type(event) is not BodyEnd:
                    event = decoder.next_event()
            assert decoder.ended

        return run

    return prepare


class _Source:
    """Chunks that are all there."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)

    def __aiter__(self) -> _Source:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


def dispatching(backend: str) -> Callable[[int], Run]:
    """Every field to an async handler, and all results collected."""
    from mpflow import Limits, MultipartReader, Part, Router

    async def dispatch(chunks: list[bytes], count: int) -> None:
        router = Router(limits=Limits(max_parts=None, max_total_header_bytes=None))

        @router.route()
        async def field(part: Part) -> bytes:
            return await part.read()

        content_type = f"multipart/form-data; boundary={BOUNDARY}"
        results = await router.dispatch(MultipartReader(_Source(chunks), content_type))
        assert len(results) == count

    def prepare(count: int) -> Run:
        chunks = tiny_fields(count)
        return lambda: anyio.run(dispatch, chunks, count, backend=backend)

    return prepare


def searching(count: int) -> Run:
    """Nothing of mpflow: a search through each chunk, and some work for the interpreter."""
    chunks, delimiter = random_chunks(count), b"\r\n--" + BOUNDARY.encode()

    def run() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for number, chunk in enumerate(chunks):
            assert chunk.find(delimiter) < 0
            for key in range(64):
                seen[f"{number}-{key}"] = [number, key]
        return seen

    return run


# Functions, so that a process imports no more than its own job needs.
JOBS: Final[dict[str, Job]] = {
    "fields": Job("fields", 4_000, lambda n: decoding(tiny_fields)(n)),
    "chunks": Job("64 KiB", 512, lambda n: decoding(large_part)(n)),
    "dispatch": Job("fields", 500, lambda n: dispatching("asyncio")(n)),
    "dispatch-trio": Job("fields", 500, lambda n: dispatching("trio")(n), "trio", True),
}
CALIBRATION: Final = Job("64 KiB", 256, searching)
"""Tells whether this interpreter and this processor do the same work as those of a budget."""
