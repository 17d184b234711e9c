"""`Requests`: a framework's requests as flows, alike in all of them; `unread`: bodies once only.

Knows: readers, routers, flows. Must not know: any framework, or how an answer is made.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from contextlib import aclosing
from types import MethodType
from typing import Any, Final, Generic, TypeVar, overload

import anyio
import attrs

from mpflow import Flow, MultipartReader, Results, RouteError, Router
from mpflow.integrations.exchange import Receive, Scope, has_ended, received_of, source_of

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


def begin(
    state: MutableMapping[Any, Any],
    stream: object,
    *,
    key: Any = _BEGUN,
    is_kept: bool = False,
    place: int | None = None,
) -> bool:
    """Note that a flow begins to read a stream. `RouteError` where another one has begun it.

    What that one has left would be taken for a whole body, where a part begins just there. One that
    somebody has kept and put in its place is whole, and so is one that stands at the `place` where
    it was begun. `state` is what the request has for everybody: its scope, say. A body that the
    framework has kept is there for any number of flows, and is not noted. Gives whether another
    stream of this request was begun before.
    """
    # The streams themselves: their ids would be given to others once they are gone.
    begun: list[tuple[object, int | None]] = state.get(key, [])
    for other, start in begun:
        if _is_same(stream, other):
            if place is None or place != start:
                raise RouteError(READ_BEFORE)
            return False
    if not is_kept:
        state[key] = [*begun, (stream, place)]
    return bool(begun)


def _is_same(stream: object, other: object) -> bool:
    # A bound method is made anew each time somebody asks for it.
    return stream is other or (isinstance(stream, MethodType) and stream == other)


def begun_by(receive: Receive, scope: Scope, then: Callable[[], object] = lambda: None) -> Receive:
    """The `receive` of a request, which notes with its first call that a flow reads the body."""
    is_first, is_again, received = True, False, 0

    async def receive_noted() -> MutableMapping[str, Any]:
        nonlocal is_first, is_again, received
        if is_first:
            is_again = begin(scope, source_of(receive))
            is_first, received = False, received_of(scope)
            then()
        message = await receive()
        if is_again and message.get("body"):
            _expect_kept(scope, received)
            is_again = False
        return message

    return receive_noted


def _expect_kept(scope: Scope, received: int) -> None:
    """Refuse what comes from the server where another flow has begun: it is a rest.

    A middleware may hand it on by a `receive` of its own for each time that it is called.
    """
    if received_of(scope) != received:
        raise RouteError(READ_BEFORE)


async def unread(
    scope: Scope,
    source: object,
    stream: Callable[[], AsyncGenerator[bytes, None]],
    *,
    is_kept: bool = False,
) -> AsyncGenerator[bytes, None]:
    """The chunks of a request's own stream, which come from `source`.

    `RouteError` where there would be none, ever: where the server has given out the body already,
    a middleware that kept it hands it out again by now. After one that did not, some servers never
    say another word. The same where it was begun, as `begin` says, which `is_kept` is for.
    """
    is_again = begin(scope, source, is_kept=is_kept)
    async with aclosing(stream()) as chunks:
        is_over = has_ended(scope)
        if is_again or is_over:
            received = received_of(scope)
            first: bytes | None = None
            with anyio.move_on_after(REPLAY_SECONDS if is_over else None):
                first = await anext(chunks, b"")
            if first is None:
                raise RouteError(READ_BEFORE)
            if is_again:
                _expect_kept(scope, received)
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
