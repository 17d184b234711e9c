"""`Nested`: a part that is a multipart itself, routed by a router of its own.

Knows: which router. Must not know: how a flow runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs

from mpflow import Part, Results, Router, needs_of

__all__ = ["Nested"]


@attrs.frozen
class Nested:
    """Gives the `Results` of the multipart inside the part.

    Its parts commit and roll back with the part, and count against the same limits. `needs` are
    keys of the level around, as a route has them: their values are given to the router inside,
    under the same names (those of the parameters, where it is a mapping). Nothing else of that
    level is seen inside.
    """

    router: Router
    needs: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=needs_of)

    @property
    def router_inside(self) -> Router:
        """Whose results it gives, and which it gives `needs` and nothing else: for checks."""
        return self.router

    @asynccontextmanager
    async def __call__(self, part: Part, /, **given: Any) -> AsyncGenerator[Results, None]:
        async with self.router.flow(part.multipart(), given=given) as flow:
            yield flow.results
