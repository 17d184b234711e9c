"""`Crew`: calls the handlers of one flow.

Knows: one phase and two, answers and failures.
Must not know: where parts come from, when to commit, what a failure means for the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import attrs

from mpflow.errors import HandlerCancelled, HandlerTimeout, RolledBack, RouteError
from mpflow.flow.answers import (
    NativeTask,
    context_manager_of,
    is_collectable,
    is_context_manager,
    is_fatal,
    is_foreign,
    is_only,
    is_scoped,
    unwrap,
)
from mpflow.flow.notes import add_note, shown
from mpflow.flow.pool import Pool
from mpflow.flow.record import Decision, Record
from mpflow.flow.reporter import Reporter
from mpflow.spool import Spool

__all__ = ["Crew"]


def _stands(record: Record, error: BaseException) -> bool:
    """Whether it ends the flow, though its part has run out of time, or of room.

    What no route collects does, such as a `Rejected`: that the part is too large as well may be
    seen before or behind it, as the body is cut.
    """
    if record.expired is not None or not isinstance(error, Exception):
        return is_fatal(error)
    return not is_collectable(error)


@attrs.define(eq=False)
class Crew(Pool):
    """Calls the handlers of a flow's records in the tasks of the pool.

    A one-phase handler is awaited; a two-phase handler is entered, waits, and is left, all in one
    task. `on_failure` is called in the task of a handler that failed, at once, with its record and
    the exception, and with the ranks inside of it if it was told by `failed_inside`; it must not
    raise.
    """

    handler_timeout: float | None = attrs.field(kw_only=True)
    on_failure: Callable[..., None] = attrs.field(kw_only=True)
    spool: Spool = attrs.field(kw_only=True)
    """Where parts are kept that came before what they need; all levels of a flow share it."""
    asks_all: bool = attrs.field(default=False, kw_only=True)
    """Whether the `into=` of the flow, or of one around, asks for all that is missing together."""
    reporter: Reporter | None = attrs.field(default=None, kw_only=True)
    """Tells the observer; None where nobody observes."""
    within: Record | None = attrs.field(default=None, kw_only=True)
    """The record of the flow around whose part this flow is inside of."""
    around: Reporter | None = attrs.field(default=None, kw_only=True)
    """That, or the nearest one around: flows inside report as parts of it."""
    on_settled: Callable[[Record], None] | None = attrs.field(default=None, init=False)
    """Called with each record that has answered or failed, if anybody waits for results."""

    def ready(self, record: Record) -> None:
        """A record that was held back has all it needs."""
        if self.reporter is not None:
            self.reporter.is_ready(record)
        super().ready(record)

    # -- one phase ----------------------------------------------------------------------------

    async def _call(self, record: Record, scope: anyio.CancelScope) -> None:
        """Call a handler that has one phase, or is found to have two."""
        self._begin(record, scope)
        try:
            call: Any = record.call()
            if record.two_phase is None:
                record.two_phase = is_context_manager(call)
                if record.two_phase:
                    record.scope = None
                    self._start(self._hold(record, call))
                    return
            value = await call
        except BaseException as raised:
            self._raised(record, raised, scope)
            del record  # its error's traceback leads here
        else:
            failure = record.expired or record.over
            if failure is not None:
                self._failed(record, failure, scope)
            else:
                self._answered(record, value)

    def _raised(self, record: Record, raised: BaseException, scope: anyio.CancelScope) -> None:
        error = unwrap(raised)
        self._failed(record, error, scope)
        if not isinstance(error, Exception):
            self._reraise(error, scope)

    def _begin(self, record: Record, scope: anyio.CancelScope) -> None:
        record.scope = scope
        # It moves: once is the clock read for both.
        record.called_at = self.watch.moved_at = self.watch.now()
        self.watch.running[record] = self.handler_timeout
        if self.within is not None:
            self.within.stirs += 1
        if self.reporter is not None:
            self.reporter.started(record)

    def _reraise(self, error: BaseException, scope: anyio.CancelScope) -> None:
        """Go on with a cancellation that somebody asked for; all else is the flow's to raise."""
        if is_fatal(error):
            return
        if isinstance(error, anyio.get_cancelled_exc_class()) and is_foreign(
            scope, closing=self.closing
        ):
            return
        raise error

    def _answered(self, record: Record, value: Any) -> None:
        record.answered = True
        record.value = value
        self._settle(record)

    def _settle(self, record: Record) -> None:
        """The handler has answered or failed: its part is over for it."""
        record.settled = True
        if record.parked is None:
            record.scope = None
            record.give_descriptors()
        self.watch.running.pop(record, None)
        record.let_go()
        if self.watch.blocked:
            self.watch.move()
        self.release(record)
        self.answered()
        if self.reporter is not None:
            self.reporter.settled(record)
        if self.on_settled is not None and not self.closing:
            # Once the flow ends, what was held back is dropped, and nobody waits for results.
            self.on_settled(record)

    def fail(self, record: Record, error: Exception) -> None:
        """A record that was submitted, and whose handler will not be called, has failed."""
        if record.held_back:
            self.forget(record)
        self._keep_failure(record, error)

    def refuse(self, record: Record, error: Exception) -> None:
        """A record that was not submitted, and will not be, has failed."""
        self.unqueued()
        self._keep_failure(record, error)

    def _keep_failure(self, record: Record, error: BaseException) -> None:
        if record.over is not None and record.over is not error and is_collectable(error):
            record.over.__cause__ = error
            error = record.over  # too large in any case, whatever else became of it
        record.error = error
        record.note(error)
        collected = record.route.on_error == "collect" and is_collectable(error)
        record.answered = collected
        if not collected:
            self.on_failure(record, error)
        self._settle(record)

    def _failed(self, record: Record, error: BaseException, scope: anyio.CancelScope) -> None:
        """A handler failed before its answer: keep the failure, or tell the flow."""
        if record.settled:
            record.outcome = error
            if record.error is not None and record.error is not error:
                text = f"the rollback of {record.info.ref} failed: {shown(error)}"
                add_note(record.error, text)
            if is_fatal(error):
                self.on_failure(record, error)
            return
        own = record.expired or record.over
        if own is not None and not _stands(record, error):
            own.__cause__ = error if error is not own else None
            error = own
        elif isinstance(error, anyio.get_cancelled_exc_class()):
            if not is_foreign(scope, closing=self.closing):
                self._settle(record)  # the flow, or somebody around it, ends
                return
            cancelled = HandlerCancelled(
                f"expected an answer of {record.route.name}, and what it awaited was cancelled",
                part=record.info.ref,
            )
            cancelled.__cause__ = error
            error = cancelled
        elif isinstance(error, GeneratorExit):
            self._settle(record)
            return
        self._keep_failure(record, error)

    # -- two phases ---------------------------------------------------------------------------

    async def _hold(
        self, record: Record, call: AbstractAsyncContextManager[Any] | None = None
    ) -> None:
        """The task of a two-phase handler: enters it, waits for the decision, and leaves it.

        Shielded from its first step on: only the flow cancels it, or sends it the decision.
        """
        record.finished = anyio.Event()
        native = NativeTask()
        try:
            with anyio.CancelScope(shield=True) as scope:
                if self.closing:
                    self._settle(record)
                    return
                if call is None:
                    self._begin(record, scope)
                else:  # it has begun: that it has two phases was seen by what it gave
                    record.scope = scope
                    if record.expired is not None:
                        scope.cancel()
                try:
                    await self._enter(record, scope, call)
                except BaseException as raised:
                    error = unwrap(raised)
                    self._left(record, error, scope)
                    if not isinstance(error, Exception):
                        self._reraise(error, scope)
        finally:
            native.take_back()
            record.give_descriptors()
            record.finished.set()
            self._ended()

    async def _enter(
        self,
        record: Record,
        scope: anyio.CancelScope,
        call: AbstractAsyncContextManager[Any] | None,
    ) -> None:
        if call is None:
            call = context_manager_of(record)
        undo: RolledBack | None = None
        try:
            async with call as value:
                failure = record.expired or record.over or record.failure_inside()
                if scope.cancel_called or failure is not None:
                    # It answers though it was cancelled, its part is not whole, or what is inside
                    # of it cannot commit.
                    undo = RolledBack(f"{record.info.ref} is rolled back")
                    if failure is not None:
                        record.reason = record.reason or failure
                        self._failed(record, failure, scope)
                    else:
                        self._settle(record)
                    raise undo from (record.reason or failure)
                record.parked = anyio.Event()
                self._answered(record, value)
                reason = await self._park(record, record.parked)
                if record.decision is not Decision.COMMIT:
                    undo = RolledBack(f"{record.info.ref} is rolled back")
                    raise undo from reason
        except BaseException as error:
            if not is_only(error, undo):
                raise
        if record.decision is None and undo is None:
            raise RouteError(f"{record.route.name} ended before the flow had decided")

    async def _park(self, record: Record, decided: anyio.Event) -> BaseException | None:
        """Wait at the yield for the decision; the reason of a rollback.

        On asyncio somebody may cancel the very task. That is a failure like any other, and the
        handler is told what it is always told.
        """
        try:
            await decided.wait()
        except anyio.get_cancelled_exc_class() as error:
            if is_scoped():
                raise  # a scope or task group that the handler holds over its yield
            if record.decision is None:
                text = f"{record.route.name} was cancelled while it waited for its commit"
                failure = HandlerCancelled(text, part=record.info.ref)
                failure.__cause__ = error
                record.outcome = failure
                self._report_failure(record, failure)
                self.on_failure(record, failure)
                return failure
            NativeTask().take_back()
        return record.reason

    def _left(self, record: Record, error: BaseException, scope: anyio.CancelScope) -> None:
        """A two-phase handler ended with an exception, before or after its answer."""
        if record.parked is None:
            self._failed(record, error, scope)
            return
        if isinstance(error, anyio.get_cancelled_exc_class()):
            if record.decision is None:
                text = f"{record.route.name} was cancelled from within while it waited"
                failure: BaseException = HandlerCancelled(text, part=record.info.ref)
            elif scope.cancel_called:
                text = f"{record.route.name} did not end its {record.decision.value} in time"
                failure = HandlerTimeout(text, part=record.info.ref)
            else:
                text = f"{record.route.name} was cancelled from within its {record.decision.value}"
                failure = HandlerCancelled(text, part=record.info.ref)
            failure.__cause__ = error
            error = failure
        record.outcome = error
        if record.decision is None or is_fatal(error):
            record.note(error)
            self._report_failure(record, error)
            self.on_failure(record, error)

    def failed_inside(
        self,
        record: Record,
        error: BaseException,
        inside: tuple[int, ...],
        ask: Callable[[], BaseException | None],
    ) -> None:
        """A flow inside the record's part has failed that was about to be committed.

        The part would fail in the commit, behind what is committed then. So it fails at once if it
        has answered, and else as it answers, if the flow, which `ask` tells, will fail then.
        """
        if not record.settled:
            if ask not in record.doubts:
                record.doubts += (ask,)
        elif record.waits_for_decision and record.decision is None:
            self._report_failure(record, error)
            self.on_failure(record, error, inside)

    def _report_failure(self, record: Record, error: BaseException) -> None:
        """Of a handler that failed while it waited. What a decision leads to, others report."""
        if self.reporter is not None and record.decision is None:
            self.reporter.failed_waiting(record, error)
