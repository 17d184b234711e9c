"""`Nested`: a part that is a multipart itself, routed by a router of its own.

Knows: which router. Must not know: how a flow runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

from mpflow import Part, Results, Router

__all__ = ["Nested"]


@attrs.frozen
class Nested:
    """Gives the `Results` of the multipart inside the part.

    Its parts commit and roll back with the part, and count against the same limits.
    """

    router: Router

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[Results, None]:
        async with self.router.flow(part.multipart()) as flow:
            yield flow.results
