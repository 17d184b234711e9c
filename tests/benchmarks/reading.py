"""S1 to S8 and R: bodies that are read, and who reads each.

Knows: which body each scenario has, and who can read it. Must not know: what is good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import attrs

from tests.benchmarks import bodies
from tests.benchmarks.bodies import Body
from tests.benchmarks.peers import ours, pull, push
from tests.benchmarks.scenario import KIB, MIB, Peer, Result, Scenario
from tests.benchmarks.timing import BACKENDS, Pass, measured, on, plain

__all__ = ["READING", "Reader", "Sizes", "reading"]

Adapter: TypeAlias = Callable[..., Any]
Sizes: TypeAlias = tuple[Callable[[], Body], Callable[[], Body], Callable[[], Body]]
"""A body in full, of a `--quick` run, and to warm up with."""


@attrs.frozen
class Reader:
    """Who reads a body: an adapter, and the event loop that it needs."""

    peer: Peer
    adapter: Adapter
    backend: str | None = None

    def over(self, body: Body) -> Pass:
        """One pass over a body."""
        call = partial(self.adapter, body)
        return plain(call) if self.backend is None else on(self.backend, call)


def alone(name: str, adapter: Adapter, distribution: str | None = None, **more: bool) -> Reader:
    """A reader that needs no event loop."""
    return Reader(Peer(name, distribution, **more), adapter)


def loops(
    name: str,
    adapter: Adapter,
    distribution: str | None = None,
    backends: Sequence[str] = BACKENDS,
) -> list[Reader]:
    """A reader on each event loop; `--quick` has the first one."""
    return [
        Reader(Peer(f"{name}-{on}", distribution, quick=on == backends[0]), adapter, on)
        for on in backends
    ]


def reading(
    name: str, title: str, readers: Sequence[Reader], sizes: Sizes, growth: str | None = None
) -> Scenario:
    """A scenario in which each reader reads the same body."""
    by_name: Mapping[str, Reader] = {reader.peer.name: reader for reader in readers}

    def run(peer: str, quick: bool) -> Result:
        body, warm = sizes[quick](), sizes[2]()
        reader = by_name[peer]
        told = measured(
            reader.over(body),
            warm=reader.over(warm),
            expected=(body.parts, body.size),
            quick=quick,
        )
        return told | {"wire": body.wire}

    return Scenario(name, title, [reader.peer for reader in readers], run, growth=growth)


AIO = ("asyncio", "uvloop")
FLOOR = alone("find", ours.find)
DECODERS = [alone("decoder", ours.decoder), alone("decoder@new", ours.decoder, new=True)]
OURS = [
    *DECODERS,
    *loops("reader", ours.reader),
    *loops("dispatch", ours.dispatch),
]
PEERS = [
    alone("multipart", push.multipart, "multipart"),
    alone("python-multipart", push.python_multipart, "python-multipart"),
    alone("werkzeug", push.werkzeug, "werkzeug"),
    alone("django", pull.django, "django"),
    alone("falcon", pull.falcon, "falcon", required=False),
    alone("streaming-form-data", push.streaming_form_data, "streaming-form-data", required=False),
    alone("fast-multipart", push.fast_multipart, "fast-multipart", required=False),
    alone("rust-multipart", push.rust_multipart, "rust-multipart"),
    alone("kirimi@new", push.kirimi, "kirimi-multipart", new=True),
    *loops("aiohttp", pull.aiohttp, "aiohttp", AIO),
    *loops("aiohttp-64k", pull.aiohttp_64k, "aiohttp", AIO),
    *loops("starlette", pull.starlette, "starlette", AIO),
]
EVERYONE = [FLOOR, *OURS, *PEERS]
# Where a quick run has no time for everyone, it has those whom a goal names, and the floor.
GOALS = {"find", "decoder", "reader-asyncio", "dispatch-asyncio"}


def quicker(readers: Sequence[Reader], *names: str) -> list[Reader]:
    """The same readers; in a quick run, ours and those that are named."""
    kept = GOALS | set(names)
    return [
        attrs.evolve(each, peer=attrs.evolve(each.peer, quick=each.peer.name in kept))
        for each in readers
    ]


def of(make: Callable[..., Body], full: Any, quick: Any, warm: Any, *more: Any) -> Sizes:
    """The three sizes of one kind of body."""
    return partial(make, full, *more), partial(make, quick, *more), partial(make, warm, *more)


def hostile(kind: str) -> Scenario:
    def of_size(size: int) -> Body:
        return bodies.hostile(kind, size)

    sizes = of(of_size, 64 * MIB, 16 * MIB, 256 * KIB)
    return reading(f"S5-{kind}", f"a hostile file ({kind})", quicker(EVERYONE, "multipart"), sizes)


def coded(coding: str) -> Scenario:
    def of_size(size: int) -> Body:
        return bodies.coded(coding, size)

    readers = [
        *loops("reader", ours.decoded),
        *loops("aiohttp", pull.aiohttp_decoded, "aiohttp", AIO),
    ]
    sizes = of(of_size, 32 * MIB, 4 * MIB, 256 * KIB)
    return reading(f"S8-{coding}", f"a file in {coding}", readers, sizes)


NESTED = [
    alone("decoder", ours.by_hand),
    *loops("reader", ours.walk),
    alone("multipart", push.multipart_by_hand, "multipart"),
    *loops("aiohttp", pull.aiohttp_nested, "aiohttp", AIO),
]
# The unit in which a dispatch of tiny fields is told.
CHECKPOINTS = [*loops("checkpoint", ours.checkpoints)]


def tree(fan: int) -> Body:
    """Three levels: `fan` times `fan` multiparts of `fan` files."""
    return bodies.nested(3, fan, KIB, fan)


def routed() -> Scenario:
    """R: the same fields over 20 routes and over one."""
    readers = [
        *loops("routes-1", ours.dispatch),
        *loops("routes-20", partial(ours.dispatch, routes=20)),
    ]
    sizes = of(partial(bodies.tiny_fields, names=20), 10_000, 10_000, 100)
    return reading("R", "10,000 tiny fields over 20 routes, and over one", readers, sizes)


READING = [
    reading("S1", "one file of 256 MiB", EVERYONE,
            of(bodies.large, 256 * MIB, 32 * MIB, 256 * KIB)),
    reading("S2", "the same in chunks of 4 KiB",
            quicker(EVERYONE, "multipart", "python-multipart", "aiohttp-asyncio"),
            of(bodies.large, 256 * MIB, 32 * MIB, 256 * KIB, 4 * KIB)),
    reading("S3", "10,000 tiny fields", [*EVERYONE, *CHECKPOINTS],
            of(bodies.tiny_fields, 10_000, 10_000, 100)),
    reading("S4", "1,000 files of 16 KiB",
            quicker(EVERYONE, "multipart", "python-multipart", "aiohttp-asyncio"),
            of(bodies.files, 1000, 300, 10)),
    hostile("crlf"),
    hostile("cr"),
    hostile("near"),
    reading("S6", "multiparts in multiparts, three deep", NESTED, of(tree, 10, 5, 2)),
    reading("S7", "1 MiB byte by byte", quicker(EVERYONE, "multipart"),
            of(bodies.large, MIB, 64 * KIB, KIB, 1)),
    coded("base64"),
    coded("gzip"),
    routed(),
]  # fmt: skip
