"""`Collect`: a part as bytes, in memory.

Knows: how many bytes are too many. Must not know: what they mean.
"""

from __future__ import annotations

import attrs

from mpflow import Part

__all__ = ["Collect"]


@attrs.frozen
class Collect:
    """Gives the whole part as bytes: its transfer encoding undone, its content coding kept.

    `limit` is the most that may come, in bytes or as `"1 MiB"` (the default); None takes any
    size. Past it `LimitExceeded` is raised before more is read. `UnsupportedCoding` is raised
    for a transfer encoding that cannot be undone.
    """

    limit: int | str | None = "1 MiB"

    async def __call__(self, part: Part) -> bytes:
        part.decoded(content=False)  # refuses what cannot be undone; what is left needs no undoing
        return await part.read(limit=self.limit)
