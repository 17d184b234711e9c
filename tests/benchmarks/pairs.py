"""S5-pairs: boundaries and bodies as an attacker would choose them, at any size of chunk.

Knows: what is hard to search. Must not know: what is good.
"""

from __future__ import annotations

import random
import statistics
from functools import partial

from tests.benchmarks.bodies import BOUNDARY, repeated
from tests.benchmarks.peers.ours import decoder
from tests.benchmarks.scenario import KIB, MIB, Peer, Result, Scenario
from tests.benchmarks.timing import Clock, plain

__all__ = ["CHUNKS", "PAIRS"]

CHUNKS = (KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB)
LONG = 70
"""Characters of the longest boundary (RFC 2046, 5.1.1)."""


def _near(boundary: str) -> bytes:
    """Its delimiter but for the last byte."""
    return f"\r\n--{boundary}"[:-1].encode()


def _table() -> dict[str, tuple[str, bytes]]:
    """For each pair: the boundary, and what the body repeats."""
    noise = random.Random(6).randbytes(MIB)
    dashes, most = "-" * LONG, "-" * (LONG - 1)
    return {
        "36 bytes / random": (BOUNDARY, noise),
        "36 bytes / CRLF": (BOUNDARY, b"\r\n"),
        "36 bytes / all but its last byte": (BOUNDARY, _near(BOUNDARY)),
        "70 x 'a' / 'a'": ("a" * LONG, b"a"),
        "70 x '-' / all but its last byte": (dashes, _near(dashes)),
        "69 x '-' and 'b' / all but its last byte": (most + "b", _near(most + "b")),
        "'b' and 69 x '-' / all but its last byte": ("b" + most, _near("b" + most)),
        "35 x 'ab' / all but its last byte": ("ab" * 35, _near("ab" * 35)),
        "'a' / CRLF and two hyphens": ("a", b"\r\n--"),
        "'a' / random": ("a", noise),
        "69 x 'x' and '-' / '-'": ("x" * (LONG - 1) + "-", b"-"),
    }


def _run(peer: str, quick: bool) -> Result:
    """MiB/s of each pair at each chunk, and the slowest of them all."""
    size, rounds = (MIB, 1) if quick else (8 * MIB, 3)
    speeds: dict[str, dict[str, float]] = {}
    total = 0.0
    for name, (boundary, seed) in _table().items():
        block = seed * (MIB // len(seed))
        speeds[name] = {}
        for chunk in CHUNKS:
            body = repeated(block, size, chunk, boundary)
            run, clocks = plain(partial(decoder, body)), [Clock() for _ in range(rounds)]
            for clock in clocks:
                assert run(clock, len) == (body.parts, body.size)
            seconds = statistics.median(clock.seconds for clock in clocks)
            total += seconds
            speeds[name][str(chunk)] = body.size / seconds / MIB
    slowest = min(speed for row in speeds.values() for speed in row.values())
    return {"seconds": total, "slowest": slowest, "speeds": speeds}


PAIRS = Scenario("S5-pairs", "boundaries and bodies of an attacker", [Peer("decoder")], _run)
