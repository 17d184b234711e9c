"""`Collect`: a part as bytes, in memory.

Knows: how many bytes are too many. Must not know: what they mean.
"""

from __future__ import annotations

import attrs

from mpflow import Limits, Part, RouteError

__all__ = ["Collect"]


def _size(limit: int | str | None) -> int | None:
    try:
        return Limits(max_memory=limit).max_memory
    except (TypeError, ValueError) as error:
        raise RouteError(f"limit of Collect: {error}") from None


@attrs.frozen
class Collect:
    """Gives the whole part as bytes: its transfer encoding undone, its content coding kept.

    The route's `decode` may say otherwise: `"all"` or `"none"`. `limit` is the most that may come
    of it, in bytes or as `"1 MiB"` (the default), in place of `Limits.max_memory`; None takes any
    size. Past it `LimitExceeded` is raised before more is read. `UnsupportedCoding` is raised for
    a coding that cannot be undone.
    """

    limit: int | None = attrs.field(default=1024 * 1024, converter=_size)

    async def __call__(self, part: Part) -> bytes:
        return await part.read(decode=part.decode_policy, limit=self.limit)
