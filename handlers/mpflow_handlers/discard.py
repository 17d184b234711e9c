"""`Discard`: a part that nobody wants.

Knows: how to read a part to its end. Must not know: what is in it.
"""

from __future__ import annotations

import attrs

from mpflow import Part

__all__ = ["Discard"]


@attrs.frozen
class Discard:
    """Reads the part and throws it away; gives None. Its bytes count against the limits."""

    async def __call__(self, part: Part) -> None:
        await part.drain()
