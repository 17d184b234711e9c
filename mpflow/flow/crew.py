"""`Crew`: the tasks of one flow, that call its handlers.

Knows: workers, two-phase tasks, slots, answers and failures.
Must not know: where parts come from, when to commit, what a failure means for the caller.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import cancel_shielded_checkpoint

from mpflow.errors import HandlerCancelled, HandlerTimeout, RolledBack, RouteError
from mpflow.flow.answers import (
    context_manager_of,
    is_collectable,
    is_context_manager,
    is_fatal,
    is_foreign,
    is_only,
    unwrap,
)
from mpflow.flow.record import Decision, Record
from mpflow.flow.watch import Watch

__all__ = ["Crew"]

MAX_READY: Final = 64
"""Parts that may wait for a handler, whole in hand."""
MAX_READY_BYTES: Final = 256 * 1024
"""Bytes of the parts that wait, beside one more part."""


@attrs.define(eq=False)
class Crew:
    """Calls the handlers of a flow's records, at most `slots` at once.

    One-phase handlers run in workers that are reused; a two-phase handler has a task of its own,
    which enters it, waits, and leaves it. `on_failure` is called in the task of a handler that
    failed, at once; it must not raise.
    """

    tasks: TaskGroup
    slots: int
    handler_timeout: float | None
    watch: Watch
    on_failure: Callable[[Record, BaseException], None]
    unanswered: int = 0
    closing: bool = False
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    _ready: deque[Record] = attrs.field(factory=deque[Record])
    _ready_bytes: int = 0
    _running: int = 0
    _nested: int = 0  # records whose handlers wait for flows of their own
    _nested_bytes: int = 0
    _alive: int = 0  # tasks that have not ended
    _coming: bool = False  # a worker was woken or started, and has not looked yet
    _idle: list[anyio.Event] = attrs.field(factory=list[anyio.Event])
    _room: anyio.Event | None = None
    _changed: anyio.Event | None = None

    # -- for the pump -------------------------------------------------------------------------

    def submit(self, record: Record) -> None:
        """Have the record's handler called as soon as a slot is free."""
        self.unanswered += 1
        self._ready.append(record)
        record.counted = record.held
        self._ready_bytes += record.counted
        if not self._coming:
            self._kick()

    def whole(self, record: Record) -> None:
        """A part that came piece by piece has come: if it waits for a slot, its bytes count."""
        if record.scope is None and not record.holds_slot and not record.settled:
            self._ready_bytes += record.size - record.counted
            record.counted = record.size

    @property
    def full(self) -> bool:
        """Whether so much waits for a slot that the pump should wait as well."""
        return (
            len(self._ready) + self._nested >= MAX_READY
            or self._ready_bytes + self._nested_bytes >= MAX_READY_BYTES
        )

    async def room(self) -> None:
        """Wait until it is no longer full."""
        while self.full:
            self._room = anyio.Event()
            await self._room.wait()

    async def all_answered(self) -> None:
        """Wait until every record has its answer."""
        while self.unanswered:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def join(self) -> None:
        """Let all tasks end, and wait for them. Handlers that wait must have been decided."""
        self.closing = True
        while self._alive:
            for event in self._idle:
                event.set()
            self._changed = anyio.Event()
            await self._changed.wait()
        # On asyncio a task is gone one step after its last line.
        await cancel_shielded_checkpoint()

    def drop_ready(self) -> None:
        """Forget what was not begun."""
        for record in self._ready:
            record.let_go()
        self._ready.clear()

    def nest(self, record: Record) -> None:
        """The record's handler waits for a flow of its own, which holds no slot of this one.

        What it holds of its part counts with what is ready: it, too, is bounded.
        """
        record.inner_flows += 1
        if record.inner_flows == 1:
            self._nested += 1
            record.counted = record.held
            self._nested_bytes += record.counted
        self.release(record)

    def unnest(self, record: Record) -> None:
        """A flow inside the record's part has ended, or has only to be decided."""
        record.inner_flows -= 1
        if record.inner_flows == 0:
            self._nested -= 1
            self._nested_bytes -= record.counted
            if record.whole_at is not None:
                record.whole_at = self.watch.now()  # its `handler_timeout` begins now
            self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self.full:
            self._room.set()
            self._room = None

    def release(self, record: Record) -> None:
        """The record no longer needs its slot."""
        if record.holds_slot:
            record.holds_slot = False
            self._running -= 1
            if self._ready and not self._coming:
                self._kick()

    # -- tasks --------------------------------------------------------------------------------

    def _kick(self) -> None:
        """Have a worker look at what is ready, if a slot is free."""
        if not self._ready or self._running >= self.slots or self.closing:
            return
        self._coming = True
        if self._idle:
            self._idle.pop().set()
        else:
            self._start(self._work())

    def _start(self, coroutine: Any) -> None:
        # Not in the context of the handler that happens to be running: no handler sees another's.
        self._alive += 1
        self._context.copy().run(self.tasks.create_task, coroutine)

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something of the flow's own beside the handlers; it must end by itself."""
        self._start(self._beside(work))

    async def _beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except anyio.get_cancelled_exc_class():
            pass  # as in `_work`
        finally:
            self._ended()

    def _ended(self) -> None:
        self._alive -= 1
        if self._changed is not None:
            self._changed.set()

    def _take(self) -> Record | None:
        """The next record that can have a slot."""
        while self._ready and self._running < self.slots:
            record = self._ready.popleft()
            self._ready_bytes -= record.counted
            self._running += 1
            record.holds_slot = True
            self._make_room()
            if record.two_phase is not True:
                return record
            self._start(self._hold(record))
        return None

    async def _work(self) -> None:
        """A worker: calls one-phase handlers, one after the other.

        It ends when it is cancelled for a part that has run out of time, and when a handler left
        other context variables behind.
        """
        try:
            with anyio.CancelScope() as scope:
                self._coming = False
                while not self.closing:
                    record = self._take()
                    if record is None:
                        await self._wait()
                        self._coming = False
                        continue
                    if self._ready and not self._coming:
                        # If this handler waits for something, another worker goes on.
                        self._kick()
                    await self._call(record, scope)
                    if scope.cancel_called:
                        break
                    if contextvars.copy_context() != self._context:
                        break
            if not self._coming:
                self._kick()
        except anyio.get_cancelled_exc_class():
            # The caller's own task is told as well. A group that raised it on trio would hide
            # what was committed meanwhile.
            pass
        finally:
            self._ended()

    async def _wait(self) -> None:
        event = anyio.Event()
        self._idle.append(event)
        try:
            await event.wait()
        finally:
            if event in self._idle:
                self._idle.remove(event)

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
            error = unwrap(raised)
            self._failed(record, error, scope)
            if not isinstance(error, Exception):
                self._reraise(error, scope)
        else:
            failure = record.expired or record.over
            if failure is not None:
                self._failed(record, failure, scope)
            else:
                self._answered(record, value)

    def _begin(self, record: Record, scope: anyio.CancelScope) -> None:
        record.scope = scope
        record.called_at = self.watch.now()
        self.watch.running[record] = self.handler_timeout
        if self.watch.blocked:
            self.watch.move()

    def _reraise(self, error: BaseException, scope: anyio.CancelScope) -> None:
        """Go on with a cancellation that somebody asked for; all else is the flow's to raise."""
        if is_fatal(error):
            return
        if isinstance(error, anyio.get_cancelled_exc_class()) and is_foreign(scope):
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
            self._give_descriptor(record)
        self.watch.running.pop(record, None)
        record.let_go()
        if self.watch.blocked:
            self.watch.move()
        self.release(record)
        self.unanswered -= 1
        if not self.unanswered and self._changed is not None:
            self._changed.set()

    def _failed(self, record: Record, error: BaseException, scope: anyio.CancelScope) -> None:
        """A handler failed before its answer: keep the failure, or tell the flow."""
        if record.settled:
            record.outcome = error
            if record.error is not None:
                record.error.add_note(f"the rollback of {record.info.ref} failed: {error!r}")
            return
        own = record.expired or record.over
        if own is not None:
            own.__cause__ = error if error is not own else None
            error = own
        elif isinstance(error, anyio.get_cancelled_exc_class()):
            if not is_foreign(scope):
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
        record.error = error
        record.note(error)
        collected = record.route.on_error == "collect" and is_collectable(error)
        record.answered = collected
        if not collected:
            self.on_failure(record, error)
        self._settle(record)

    # -- two phases ---------------------------------------------------------------------------

    async def _hold(
        self, record: Record, call: AbstractAsyncContextManager[Any] | None = None
    ) -> None:
        """The task of a two-phase handler: enters it, waits for the decision, and leaves it.

        Shielded from its first step on: only the flow cancels it, or sends it the decision.
        """
        record.finished = anyio.Event()
        try:
            with anyio.CancelScope(shield=True) as scope:
                if self.closing:
                    self._settle(record)
                    return
                self._begin(record, scope)
                try:
                    await self._enter(record, scope, call)
                except BaseException as raised:
                    error = unwrap(raised)
                    self._left(record, error, scope)
                    if not isinstance(error, Exception):
                        self._reraise(error, scope)
        finally:
            self._give_descriptor(record)
            record.finished.set()
            self._ended()

    def _give_descriptor(self, record: Record) -> None:
        if record.holds_descriptor:
            record.holds_descriptor = False
            self.watch.give_descriptor()

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
                failure = record.expired or record.over
                if scope.cancel_called or failure is not None:
                    # It answers though it was cancelled, or its part is not whole.
                    undo = RolledBack(f"{record.info.ref} is rolled back")
                    if failure is not None:
                        self._failed(record, failure, scope)
                    else:
                        self._settle(record)
                    raise undo from (record.reason or failure)
                record.parked = anyio.Event()
                self._answered(record, value)
                await record.parked.wait()
                if record.decision is Decision.ROLLBACK:
                    undo = RolledBack(f"{record.info.ref} is rolled back")
                    raise undo from record.reason
        except BaseException as error:
            if not is_only(error, undo):
                raise
        if record.decision is None and undo is None:
            raise RouteError(f"{record.route.name} ended before the flow had decided")

    def _left(self, record: Record, error: BaseException, scope: anyio.CancelScope) -> None:
        """A two-phase handler ended with an exception, before or after its answer."""
        if record.parked is None:
            self._failed(record, error, scope)
            return
        if isinstance(error, anyio.get_cancelled_exc_class()):
            if record.decision is None:
                text = f"{record.route.name} was cancelled from within while it waited"
                failure: BaseException = HandlerCancelled(text, part=record.info.ref)
            else:
                text = f"{record.route.name} did not end its {record.decision.value} in time"
                failure = HandlerTimeout(text, part=record.info.ref)
            failure.__cause__ = error
            error = failure
        record.outcome = error
        if record.decision is None or is_fatal(error):
            record.note(error)
            self.on_failure(record, error)
