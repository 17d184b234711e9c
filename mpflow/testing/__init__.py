"""What people need to test handlers of their own: parts, bodies, sources, runs, virtual time.

    from mpflow.testing import part, run

    assert await MyHandler()(part(b"{}", content_type="application/json")) == {}
    assert await run(MyHandler(), b"{}", name="metadata", chunks=[b"{", b"}"]) == {}

Knows: the names of this package. Must not know: any test framework.
"""

from mpflow.testing.bodies import Message, PartSpec, body, content_type_of, nested
from mpflow.testing.clock import virtual_time
from mpflow.testing.dispatching import dispatch
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
from mpflow.testing.strategies import messages

__all__ = [
    "Bytewise",
    "Chunked",
    "Cut",
    "Failing",
    "Message",
    "PartSpec",
    "Sentinel",
    "Slow",
    "Stuck",
    "body",
    "chunkings",
    "content_type_of",
    "dispatch",
    "messages",
    "nested",
    "part",
    "run",
    "splits",
    "virtual_time",
]
