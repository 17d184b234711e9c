"""How cost grows with the work: body size, parts, chunks, nesting, routes. A peer is a point.

Knows: which points a plot has. Must not know: how it is drawn, what is good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tests.benchmarks import bodies
from tests.benchmarks.bodies import Body
from tests.benchmarks.peers import ours
from tests.benchmarks.reading import Adapter, Reader
from tests.benchmarks.scenario import KIB, MIB, Peer, Result, Scenario
from tests.benchmarks.timing import measured

__all__ = ["GROWTH"]

Line = tuple[str, Callable[[int], Adapter], str | None]
"""A line of a plot: its name, who reads at a point, the event loop."""


def growth(
    name: str, title: str, axis: str, points: Sequence[int], lines: Sequence[Line],
    body: Callable[[int], Body], warm: Callable[[], Body], shrink: int = 1,
) -> Scenario:  # fmt: skip
    """A scenario whose peers are points: `LINE at X`.

    `--quick` has every other point of the first line, with an `x` that is `shrink` times smaller.
    """
    readers = {
        f"{line} at {x}": (line, x, Reader(Peer(f"{line} at {x}"), adapter(x), backend))
        for line, adapter, backend in lines
        for x in points
    }

    def run(peer: str, quick: bool) -> Result:
        line, x, reader = readers[peer]
        x //= shrink if quick else 1
        made = body(x)
        told = measured(
            reader.over(made),
            warm=reader.over(warm()),
            expected=(made.parts, made.size),
            quick=quick,
        )
        return told | {"wire": made.wire, "x": x, "line": line}

    peers = [
        Peer(each, quick=points.index(x) % 2 == 0 and line == lines[0][0])
        for each, (line, x, _) in readers.items()
    ]
    return Scenario(name, title, peers, run, growth=axis)


def always(adapter: Adapter) -> Callable[[int], Adapter]:
    """The same adapter at each point."""
    return lambda x: adapter


def small() -> Body:
    return bodies.large(256 * KIB)


def few() -> Body:
    return bodies.tiny_fields(100)


READS: list[Line] = [
    ("decoder", always(ours.decoder), None),
    ("reader-asyncio", always(ours.reader), "asyncio"),
    ("dispatch-asyncio", always(ours.dispatch), "asyncio"),
]
CHUNKED = 16 * MIB

GROWTH = [
    growth(
        "G-size", "the size of one file", "MiB", (16, 32, 64, 128, 256), READS,
        lambda x: bodies.large(x * MIB), small, shrink=8,
    ),
    growth(
        "G-parts", "the number of tiny fields", "parts", (1250, 2500, 5000, 10_000, 20_000), READS,
        bodies.tiny_fields, few, shrink=2,
    ),
    growth(
        "G-chunks", "the number of chunks in which 16 MiB come", "chunks",
        (256, 1024, 4096, 8192, 16_384), READS,
        lambda x: bodies.large(CHUNKED, CHUNKED // x), small,
    ),
    growth(
        "G-bytes", "bytes that come one by one", "KiB", (64, 128, 256, 512, 1024), READS[:1],
        lambda x: bodies.large(x * KIB, 1), small, shrink=8,
    ),
    growth(
        "G-depth", "levels around 4 MiB", "levels", (1, 2, 4, 8, 16),
        [("reader-asyncio", always(ours.walk), "asyncio")],
        lambda x: bodies.nested(x, 64, 64 * KIB), lambda: bodies.nested(2, 2, KIB),
    ),
    growth(
        "G-routes", "routes that 10,000 tiny fields are dispatched to", "routes",
        (1, 5, 10, 20, 40),
        [("dispatch-asyncio", lambda x: partial(ours.dispatch, routes=x), "asyncio")],
        lambda x: bodies.tiny_fields(10_000, names=x), lambda: bodies.tiny_fields(100, names=1),
    ),
]  # fmt: skip
