"""A flow that is held by a thread without an event loop: `HeldFlow`.

Knows: blocking portals, and what an interrupted thread leaves behind: nothing.
Must not know: HTTP, WSGI, frameworks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import anyio
from anyio.from_thread import BlockingPortal, BlockingPortalProvider

from mpflow import Flow, Results, RouteError

__all__ = ["HeldFlow"]

Step: TypeAlias = Callable[[Flow], Awaitable[None]]

_LEAVE: Final = None


class HeldFlow:
    """A `Flow` in an event loop of another thread, whose block runs in this one.

    `with` enters it: the block runs when the body is whole and every handler has answered, and
    nothing is committed yet. The end of the block commits, an exception that leaves it rolls back.
    An exception that comes while this thread waits (Ctrl-C, say) cancels the flow, and goes on
    once all is rolled back.
    """

    def __init__(
        self,
        make: Callable[[], Flow],
        portals: BlockingPortalProvider,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._make = make  # runs in the loop
        self._portals = portals
        self._close = close
        self._portal: BlockingPortal | None = None
        self._flow: Flow | None = None
        self._scope: anyio.CancelScope | None = None
        self._is_cancelled = False
        self._wanted: anyio.Event | None = None
        self._step: tuple[Step | None, BaseException | None, Future[None]] | None = None
        self._held: Future[None] = Future()
        """Done once the task that holds the flow has ended; with its failure."""

    # -- the block ----------------------------------------------------------------------------

    @property
    def results(self) -> Results:
        """What the handlers answered, in wire order and by key."""
        if self._flow is None:
            raise RouteError("expected a flow that was entered: its results come with the body")
        return self._flow.results

    def commit(self) -> None:
        """Commit now; `CommitFailed` where that fails."""
        self._ask(Flow.commit)

    def abort(self, reason: BaseException | None = None) -> None:
        """Roll back now: nothing of the flow is committed. `reason` is what handlers are told."""
        self._ask(lambda flow: flow.abort(reason))

    def __enter__(self) -> Self:
        if self._portal is not None:
            raise RouteError("expected a flow that was not entered before")
        entered: Future[None] = Future()
        self._portal = self._portals.__enter__()
        try:
            self._portal.start_task_soon(self._hold, entered)
            entered.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if not self._held.done():
                self._ask(_LEAVE, exc)
                self._held.result()
        except BaseException as error:
            if error is not exc:
                raise
        finally:
            self._end()

    # -- from this thread to the other --------------------------------------------------------

    def _ask(self, step: Step | None, error: BaseException | None = None) -> None:
        """Have the task that holds the flow do something, and wait for it."""
        portal = self._portal
        if portal is None or self._held.done():
            raise RouteError("expected a flow whose block runs, got one that was left")
        done: Future[None] = Future()
        portal.start_task_soon(self._want, step, error, done)
        try:
            done.result()
        except BaseException:
            if not done.done():  # it is this thread that was interrupted
                self._cancel()
            raise

    def _cancel(self) -> None:
        """Cancel the flow, and wait until it has ended."""
        if self._portal is not None and not self._held.done():
            self._portal.start_task_soon(self._cancel_there)
            self._held.exception()

    def _end(self) -> None:
        """Let go of everything, whatever has happened so far."""
        try:
            self._cancel()
        finally:
            portal, self._portal = self._portal, None
            if portal is not None:
                self._close()
                self._portals.__exit__(None, None, None)

    # -- in the event loop --------------------------------------------------------------------

    async def _want(
        self, step: Step | None, error: BaseException | None, done: Future[None]
    ) -> None:
        self._step = step, error, done
        if self._wanted is not None:
            self._wanted.set()

    async def _cancel_there(self) -> None:
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def _hold(self, entered: Future[None]) -> None:
        """Enter the flow, do what the block asks for, and leave it: all in one task.

        No exception leaves it: in the portal it could end what other threads have there.
        """
        failure: BaseException | None = None
        try:
            with anyio.CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel()
                await self._run(entered)
            if self._scope.cancelled_caught:
                failure = _Cancelled()
        except BaseException as error:
            failure = error
        for future in (entered, self._held, *([self._step[2]] if self._step else [])):
            if not future.done():
                _settle(future, failure)

    async def _run(self, entered: Future[None]) -> None:
        self._wanted = anyio.Event()
        async with self._make() as flow:
            self._flow = flow
            _settle(entered, None)
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                assert self._step is not None
                step, error, done = self._step
                if step is None:
                    break
                try:
                    await step(flow)
                except Exception as failure:
                    _settle(done, failure)
                else:
                    _settle(done, None)
            if error is not None:
                raise error


class _Cancelled(RuntimeError):
    """Stands for the end of a flow that its thread has cancelled. Nobody sees it."""


def _settle(future: Future[Any], error: BaseException | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
