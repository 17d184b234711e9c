"""`Requests`: a framework's requests as flows, alike in all of them; `unread`: bodies once only.

Knows: readers, routers, flows. Must not know: any framework, or how an answer is made.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, overload

import anyio
import attrs

from mpflow import Flow, MultipartReader, Results, RouteError, Router
from mpflow.integrations.exchange import Receive, Scope, has_ended

__all__ = ["READ_BEFORE", "REPLAY_SECONDS", "Requests", "begin", "begun_by", "unread"]

R = TypeVar("R")
T = TypeVar("T")

REPLAY_SECONDS: Final = 5.0
"""How long a body that the server has given out may take to come from who keeps it."""

READ_BEFORE: Final = (
    "the body of this request was read already, or begun, before the flow: by an earlier flow or "
    "dispatch, request.form(), request.stream(), a middleware, or for other body parameters of the "
    "endpoint"
)

_BEGUN: Final = "mpflow.begun"


def begin(state: MutableMapping[Any, Any], *, key: Any = _BEGUN, is_kept: bool = False) -> None:
    """Note that a flow begins to read a request's body. `RouteError` where another one has.

    What that one has left would be taken for a whole body, where a part begins just there. `state`
    is what the request has for everybody: its scope, say. A body that the framework has kept is
    there for any number of flows, and is not noted.
    """
    if state.get(key):
        raise RouteError(READ_BEFORE)
    if not is_kept:
        state[key] = True


def begun_by(receive: Receive, scope: Scope, then: Callable[[], object] = lambda: None) -> Receive:
    """The `receive` of a request, which notes with its first call that a flow reads the body."""
    is_first = True

    async def receive_noted() -> MutableMapping[str, Any]:
        nonlocal is_first
        if is_first:
            begin(scope)
            is_first = False
            then()
        return await receive()

    return receive_noted


async def unread(
    scope: Scope, stream: Callable[[], AsyncGenerator[bytes, None]]
) -> AsyncGenerator[bytes, None]:
    """The chunks of a request's own stream. `RouteError` where there would be none, ever.

    Where the server has given out the body already, a middleware that kept it hands it out again
    by now. After one that did not, some servers never say another word.
    """
    async with aclosing(stream()) as chunks:
        if has_ended(scope):
            first: bytes | None = None
            with anyio.move_on_after(REPLAY_SECONDS):
                first = await anext(chunks, b"")
            if first is None:
                raise RouteError(READ_BEFORE)
            yield first
        async for chunk in chunks:
            yield chunk


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
        flow = router.flow(self.reader_of(request, router), into=into, given=given)
        flow.owns_reader = True
        return flow

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
        async with self.flow(request, router, into=into, given=given) as flow:
            made = None if into is None else flow.results.into(into)
        return flow.results if into is None else made
