"""`Requests`: a framework's requests as flows, alike in all of them.

Knows: readers, routers, flows. Must not know: any framework, or how an answer is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, overload

import attrs

from mpflow import Flow, MultipartReader, Results, Router

__all__ = ["Requests"]

R = TypeVar("R")
T = TypeVar("T")


@attrs.frozen
class Requests(Generic[R]):
    """`flow` and `dispatch` for one framework, of which `reader_of` makes a reader of a request."""

    reader_of: Callable[[R, Router], MultipartReader]

    def flow(
        self,
        request: R,
        router: Router,
        *,
        into: type[Any] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> Flow:
        """What the request uploads, in two steps: nothing is committed in the block.

        `async with flow(request, router) as flow:` enters it, `flow.results` are there, an
        exception that leaves the block rolls back. What is answered belongs behind the block, so
        that a commit that fails becomes the answer. Refuses by the headers alone, before a byte is
        asked for, as `MultipartReader.from_message` does. `into` and `given` as in `Router.flow`.
        """
        reader = self.reader_of(request, router)
        return router.flow(reader, into=into, given=given)

    @overload
    async def dispatch(
        self,
        request: R,
        router: Router,
        *,
        into: None = None,
        given: Mapping[str, object] | None = None,
    ) -> Results: ...

    @overload
    async def dispatch(
        self,
        request: R,
        router: Router,
        *,
        into: type[T],
        given: Mapping[str, object] | None = None,
    ) -> T: ...

    async def dispatch(
        self,
        request: R,
        router: Router,
        *,
        into: type[Any] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> Any:
        """Handle all that the request uploads, commit, and give the results.

        `into` and `given` as in `Router.dispatch`, which raises the same.
        """
        reader = self.reader_of(request, router)
        return await router.dispatch(reader, into=into, given=given)
