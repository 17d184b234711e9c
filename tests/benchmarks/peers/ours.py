"""mpflow as it is measured: the decoder alone, the reader, the dispatch; and the bare floor.

Knows: how mpflow reads a body. Must not know: clocks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from anyio.lowlevel import checkpoint

from mpflow import Limits, MultipartReader, Part, Router
from mpflow.wire import NEED_DATA, BodyEnd, Decoder, PartBegin, PartData, WholePart
from tests.benchmarks.bodies import Body
from tests.benchmarks.scenario import Take

__all__ = [
    "LIMITS",
    "Feed",
    "by_hand",
    "checkpoints",
    "decoded",
    "decoder",
    "dispatch",
    "find",
    "reader",
    "router_of",
    "walk",
]  # fmt: skip

LIMITS = Limits(
    max_parts=None,
    max_total_header_bytes=None,
    max_part_bytes=None,
    max_total_bytes=None,
    max_total_memory=None,
    max_depth=None,
)


class Feed:
    """A body as a source whose bytes are always there."""

    def __init__(self, body: Body) -> None:
        self._chunks = iter(body.chunks)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


def find(body: Body, take: Take) -> tuple[int, int]:
    """The floor: each delimiter of each chunk, found; nothing is parsed, nothing is checked."""
    delimiter = b"\r\n--" + body.boundary.encode()
    for chunk in body.chunks:
        take(chunk)
        at = chunk.find(delimiter)
        while at >= 0:
            at = chunk.find(delimiter, at + 1)
    return body.parts, body.size


def decoder(body: Body, take: Take) -> tuple[int, int]:
    """Every event of one level, by `Decoder` alone."""
    parts = size = 0
    machine = Decoder(body.boundary, limits=LIMITS, subtype=body.subtype)
    receive, next_event = machine.receive_data, machine.next_event
    for chunk in body.chunks:
        receive(chunk)
        while (event := next_event()) is not NEED_DATA:
            if type(event) is WholePart:
                assert event.head.name
                parts += 1
                size += take(event.data)
            elif type(event) is PartData:
                size += take(event.data)
            elif type(event) is PartBegin:
                assert event.head.name
                parts += 1
            elif type(event) is BodyEnd:
                break
    return parts, size


async def reader(body: Body, take: Take) -> tuple[int, int]:
    """Each part in turn: small ones whole, others chunk by chunk."""
    parts = size = 0
    async with MultipartReader(Feed(body), body.content_type, limits=LIMITS) as parted:
        async for part in parted:
            assert part.name
            parts += 1
            if body.small:
                size += take(await part.read())
            else:
                async for chunk in part:
                    size += take(chunk)
    return parts, size


async def walk(body: Body, take: Take) -> tuple[int, int]:
    """Each leaf of a nested body."""
    parts = size = 0
    async with MultipartReader(Feed(body), body.content_type, limits=LIMITS) as parted:
        async for part in parted.walk():
            assert part.name
            parts += 1
            async for chunk in part:
                size += take(chunk)
    return parts, size


async def decoded(body: Body, take: Take) -> tuple[int, int]:
    """Each part without its codings."""
    parts = size = 0
    async with MultipartReader(Feed(body), body.content_type, limits=LIMITS) as parted:
        async for part in parted:
            parts += 1
            async for chunk in part.decoded():
                size += take(chunk)
    return parts, size


def router_of(take: Take, *, small: bool, routes: int = 1) -> Router:
    """A router whose handlers tell how many bytes came.

    Of one route it takes all; of several each takes a name, the field of its number.
    """
    router = Router(limits=LIMITS)

    async def whole(part: Part) -> int:
        return take(await part.read())

    async def chunks(part: Part) -> int:
        size = 0
        async for chunk in part:
            size += take(chunk)
        return size

    handler = whole if small else chunks
    if routes == 1:
        router.add(handler)
    for number in range(routes if routes > 1 else 0):
        router.add(handler, name=f"field{number}")
    return router


async def dispatch(body: Body, take: Take, routes: int = 1) -> tuple[int, int]:
    """Every part to an async handler; what they give is collected."""
    router = router_of(take, small=body.small, routes=routes)
    parted = MultipartReader(Feed(body), body.content_type, limits=LIMITS)
    results = await router.dispatch(parted)
    return len(results), sum(item.value for item in results)


async def checkpoints(body: Body, take: Take) -> tuple[int, int]:
    """A bare anyio checkpoint for each part: the unit in which a dispatch is told."""
    for _ in range(body.parts):
        await checkpoint()
    return body.parts, body.size


def by_hand(body: Body, take: Take) -> tuple[int, int]:
    """A nested body by decoders in decoders, depth first."""
    parts = size = 0
    levels = [_level(body.boundary)]

    def feed(depth: int, data: bytes) -> None:
        nonlocal parts, size
        machine = levels[depth]
        machine.receive_data(data)
        while (event := machine.next_event()) is not NEED_DATA:
            if type(event) is BodyEnd:
                break
            if isinstance(event, (PartBegin, WholePart)):
                assert event.head.name
                del levels[depth + 1 :]
                if event.head.boundary is None:
                    parts += 1
                else:
                    levels.append(_level(event.head.boundary))
            if isinstance(event, (PartData, WholePart)):
                if depth + 1 < len(levels):
                    feed(depth + 1, event.data)
                else:
                    size += take(event.data)

    for chunk in body.chunks:
        feed(0, chunk)
    return parts, size


def _level(boundary: str) -> Decoder:
    return Decoder(boundary, limits=LIMITS)
