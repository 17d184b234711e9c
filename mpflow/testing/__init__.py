"""What people need to test a handler of their own: parts, bodies, sources, and a run.

    from mpflow.testing import part, run

    assert await MyHandler()(part(b"{}", content_type="application/json")) == {}
    assert await run(MyHandler(), b"{}", name="metadata", chunks=[b"{", b"}"]) == {}

Knows: the names of this package. Must not know: any test framework.
"""

from mpflow.testing.bodies import PartSpec, body, content_type_of, nested
from mpflow.testing.running import part, run
from mpflow.testing.sources import (
    Bytewise,
    Chunked,
    Cut,
    Failing,
    Sentinel,
    Slow,
    Stuck,
    chunkings,
    splits,
)

__all__ = [
    "Bytewise",
    "Chunked",
    "Cut",
    "Failing",
    "PartSpec",
    "Sentinel",
    "Slow",
    "Stuck",
    "body",
    "chunkings",
    "content_type_of",
    "nested",
    "part",
    "run",
    "splits",
]
