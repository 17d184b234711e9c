"""`Pool`: the tasks of one flow, and who may have one.

Knows: workers, slots, what is ready and what of it may wait.
Must not know: how a handler is called, or what its answer means.
"""

from __future__ import annotations

import contextvars
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from operator import is_
from typing import Any, Final
from weakref import WeakSet

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from mpflow.flow.answers import NativeTask, is_scoped
from mpflow.flow.record import Record
from mpflow.flow.watch import Watch

__all__ = ["Pool"]

MAX_READY: Final = 64
"""Parts that may wait for a handler, whole in hand."""
MAX_NESTED: Final = 4
"""Flows inside parts of a level that run at once: their parts hold no slot. Further ones wait."""
MAX_READY_BYTES: Final = 256 * 1024
"""Bytes of the parts that wait, beside one more part."""


@attrs.define(eq=False)
class Pool(ABC):
    """Has the handlers of a flow's records called, at most `slots` at once.

    One-phase handlers run in workers that are reused; a two-phase handler has a task of its own.
    """

    tasks: TaskGroup
    slots: int
    watch: Watch
    parent: Record | None = attrs.field(default=None, kw_only=True)
    """The part around, whose handler runs this flow; None for an outermost one."""
    max_nested: int = attrs.field(default=MAX_NESTED, init=False)
    unanswered: int = attrs.field(default=0, init=False)
    closing: bool = attrs.field(default=False, init=False)
    shortages: int = attrs.field(default=0, init=False)
    """How often something was ready and there was no slot for it."""
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)
    _values: tuple[object, ...] = attrs.field(default=(), init=False)
    _ready: deque[Record] = attrs.field(factory=deque[Record], init=False)
    _ready_bytes: int = attrs.field(default=0, init=False)
    # Records whose needs have no values yet; those of them that came in order count as ready.
    _held: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    _held_in_order: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)
    # Records whose handlers run flows of their own, and those that wait to begin one.
    _nested: int = attrs.field(default=0, init=False)
    _nested_bytes: int = attrs.field(default=0, init=False)
    _queued: dict[Record, anyio.Event] = attrs.field(factory=dict[Record, anyio.Event], init=False)
    _alive: int = attrs.field(default=0, init=False)  # tasks that have not ended
    _spawned: WeakSet[Coroutine[Any, Any, None]] = attrs.field(
        factory=WeakSet[Coroutine[Any, Any, None]], init=False
    )
    # Whether a worker was woken or started, and has not looked yet.
    _coming: bool = attrs.field(default=False, init=False)
    _idle: list[anyio.Event] = attrs.field(factory=list[anyio.Event], init=False)
    _room: anyio.Event | None = attrs.field(default=None, init=False)
    _changed: anyio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._values = tuple(self._context.values())

    # -- for those who know handlers ----------------------------------------------------------

    @abstractmethod
    async def _call(self, record: Record, scope: anyio.CancelScope) -> None:
        """Call a handler of one phase in a worker whose scope this is."""

    @abstractmethod
    async def _hold(self, record: Record) -> None:
        """The task of a handler of two phases; `_ended` is its last call."""

    # -- for the pump -------------------------------------------------------------------------

    def submit(self, record: Record) -> None:
        """Have the record's handler called as soon as it is ready and a slot is free."""
        self.unanswered += 1
        record.counted = record.held
        self._ready_bytes += record.counted
        if record.wants is not None and not record.ready:
            record.wants.held_back = True
            self._held[record] = None
            self._held_in_order += not record.spooled
            return
        self._ready.append(record)
        if not self._coming:
            self._kick()

    def ready(self, record: Record) -> None:
        """A record that was held back has all it needs."""
        if record.held_back:
            self._unhold(record)
            self._ready.append(record)
            if not self._coming:
                self._kick()

    def _unhold(self, record: Record) -> None:
        assert record.wants is not None
        record.wants.held_back = False
        del self._held[record]
        self._held_in_order -= not record.spooled

    def forget(self, record: Record) -> None:
        """A record that was held back will not be called."""
        self._unhold(record)
        self._ready_bytes -= record.counted
        self._make_room()

    def whole(self, record: Record) -> None:
        """A part that came piece by piece has come: if it waits for a slot, its bytes count."""
        if record.scope is None and not record.holds_slot and not record.settled:
            self._ready_bytes += record.size - record.counted
            record.counted = record.size

    @property
    def full(self) -> bool:
        """Whether so much waits for a slot that the pump should wait as well."""
        return (
            len(self._ready) + self._held_in_order + len(self._queued) >= MAX_READY
            or self._ready_bytes + self._nested_bytes >= MAX_READY_BYTES
        )

    async def room(self) -> None:
        """Wait until it is no longer full."""
        while self.full:
            self._room = anyio.Event()
            await self._room.wait()

    def answered(self) -> None:
        """A record that was submitted has its answer."""
        self.unanswered -= 1
        if not self.unanswered and self._changed is not None:
            self._changed.set()

    def unqueued(self) -> None:
        """A record that is not submitted will have an answer all the same."""
        self.unanswered += 1

    async def all_answered(self) -> None:
        """Wait until every record has its answer."""
        while self.unanswered:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def join(self) -> None:
        """Let all tasks end, and wait for them. Handlers that wait must have been decided."""
        self.closing = True
        await self._count_out()
        while self._alive:
            for event in self._idle:
                event.set()
            self._changed = anyio.Event()
            await self._changed.wait()
        # On asyncio a task is gone one step after its last line.
        await cancel_shielded_checkpoint()

    async def _count_out(self) -> None:
        """Forget the tasks that were cancelled before they began.

        Somebody who cancels all tasks of asyncio at once may do that: then no line of theirs runs.
        Whatever has not begun two rounds after it was spawned never will.
        """
        waiting = [it for it in self._spawned if getcoroutinestate(it) == CORO_CREATED]
        if waiting:
            await cancel_shielded_checkpoint()
            await cancel_shielded_checkpoint()
        for coroutine in waiting:
            if getcoroutinestate(coroutine) == CORO_CREATED:
                coroutine.close()
                self._ended()

    def drop_ready(self) -> list[Record]:
        """Forget what was not begun; what it was."""
        dropped = [*self._ready, *self._held]
        for record in dropped:
            record.let_go()
        self._ready.clear()
        self._held.clear()
        return dropped

    async def nest(self, record: Record) -> None:
        """The record's handler begins a flow of its own, as soon as not too many others run.

        Neither that flow nor the wait for it holds a slot of this one, so that other parts go on.
        What it holds of its part counts with what is ready, and so does a part that waits.
        """
        record.inner_flows += 1
        if record.inner_flows > 1:
            return
        record.counted = record.held
        self._nested_bytes += record.counted
        self.release(record)
        event = self._queued[record] = anyio.Event()
        # Its `timeout` does not run meanwhile, as it does not while a part waits for a slot.
        called_at, record.called_at = record.called_at, math.inf
        since = self.watch.now()
        try:
            # Trio shuffles who is next: whoever else begins one in this pass is queued after it.
            await checkpoint()
            self._give_places()
            await event.wait()
        except BaseException:
            self.unnest(record)
            raise
        finally:
            record.called_at = called_at + self.watch.now() - since

    def unnest(self, record: Record) -> None:
        """A flow inside the record's part has ended, or has only to be decided."""
        record.inner_flows -= 1
        if record.inner_flows:
            return
        self._nested_bytes -= record.counted
        if record.whole_at is not None:
            record.whole_at = self.watch.now()  # its `handler_timeout` begins now
        if self._queued.pop(record, None) is None:
            self._nested -= 1
            self._give_places()
        self._make_room()

    def _give_places(self) -> None:
        """Let flows inside begin, as many as may run: those of the earliest parts first."""
        while self._queued and self._nested < self.max_nested:
            first = min(self._queued, key=_index)
            self._nested += 1
            self._queued.pop(first).set()

    def waits_to_nest(self, record: Record) -> bool:
        """Whether the record's handler waits for flows inside other parts to end."""
        return record in self._queued

    def holds(self, record: Record) -> bool:
        """Whether the record is of this flow, or of one inside it."""
        crew: Pool | None = record.crew
        while crew is not None and crew is not self:
            crew = None if crew.parent is None else crew.parent.crew
        return crew is self

    @property
    def depth(self) -> int:
        """How many flows are around this one."""
        return 0 if self.parent is None else self.parent.crew.depth + 1

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
        if not self._ready or self.closing:
            return
        if self._running >= self.slots:
            self.shortages += 1
            return
        self._coming = True
        if self._idle:
            self._idle.pop().set()
        else:
            self._start(self._work())

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._alive += 1
        self._spawned.add(coroutine)
        # Not in the context of the handler that happens to be running: no handler sees another's.
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
            record.shortages = self.shortages
            self._make_room()
            if record.two_phase is not True:
                return record
            self._start(self._hold(record))
        if self._ready:
            self.shortages += 1
        return None

    async def _work(self) -> None:
        """A worker: calls one-phase handlers, one after the other.

        It ends when it is cancelled for a part that has run out of time, and when a handler left
        other context variables behind.
        """
        native = NativeTask()
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
                    if native.cancelling and not is_scoped():
                        await native.absorb()
                    if not self._is_clean():
                        break
        except anyio.get_cancelled_exc_class():
            # The caller's own task is told as well. A group that raised it on trio would hide
            # what was committed meanwhile. If only this task was cancelled, another takes over.
            self._coming = False
            if is_scoped():
                self.closing = True
        finally:
            self._ended()
            if not self._coming:
                self._kick()

    def _is_clean(self) -> bool:
        """Whether the handler left the context variables as they were, by identity."""
        now, before = contextvars.copy_context(), self._values
        return len(now) == len(before) and (not before or all(map(is_, now.values(), before)))

    async def _wait(self) -> None:
        event = anyio.Event()
        self._idle.append(event)
        try:
            await event.wait()
        finally:
            if event in self._idle:
                self._idle.remove(event)


def _index(record: Record) -> int:
    return record.info.index
