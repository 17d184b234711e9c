"""`Watch`: the clock of an outermost flow and of all flows inside it.

Knows: since when the source is awaited, which handlers run, which pumps wait for one.
Must not know: how a verdict is carried out.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs
from anyio.lowlevel import current_token

from mpflow.errors import HandlerTimeout, Stalled
from mpflow.flow.wake import Wake, wakes_here

if TYPE_CHECKING:
    from mpflow.flow.pool import Pool
    from mpflow.flow.record import Record

__all__ = ["MAX_DESCRIPTORS", "Watch", "all_needed", "loop_clock"]

MAX_DESCRIPTORS: Final = 64
"""Files that the parts of a flow may keep open while they wait for its commit."""


@attrs.define(eq=False)
class Watch:
    """One task that looks at the time when something may be due, and says what is.

    It costs nothing a part or a chunk but a stamp: no scope and no timer is made for either.
    `on_idle` and `on_stall` end the flow; a handler that is due is expired by its record.
    """

    now: Callable[[], float]
    """The clock: that of the event loop."""
    idle_timeout: float | None
    stall_timeout: float | None
    on_idle: Callable[[], None]
    on_stall: Callable[[Stalled], None]
    reading_since: float | None = None
    """When the pump began to wait for the source; None while it does not."""
    running: dict[Record, float | None] = attrs.field(factory=dict[Any, Any])
    """The handlers that have not answered, and the `handler_timeout` of each."""
    blocked: dict[tuple[Pool, Record | None], float] = attrs.field(factory=dict[Any, Any])
    """The flows whose pumps wait for a handler (None: for room for one more part), since when."""
    wake: Callable[[], Wake] = attrs.field(factory=wakes_here)
    """Makes what a task waits on."""
    _descriptors: int = 0
    moved_at: float = -math.inf
    """When something last moved, while a pump was blocked."""
    _shortest: float = math.inf
    _sooner: anyio.Event | None = None

    def move(self) -> None:
        """A byte was taken, a handler started or answered, or one is alive."""
        if self.blocked:
            self.moved_at = self.now()

    def take_descriptor(self) -> bool:
        """Whether one more file may be kept open."""
        if self._descriptors >= MAX_DESCRIPTORS:
            return False
        self._descriptors += 1
        return True

    def give_descriptor(self) -> None:
        """One that was kept open is closed."""
        self._descriptors -= 1

    def at_most(self, *timeouts: float | None) -> None:
        """From now on some of these may run: look at the time at least that often."""
        shortest = min((t for t in timeouts if t is not None), default=math.inf)
        if shortest < self._shortest:
            self._shortest = shortest
            if self._sooner is not None:
                self._sooner.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        self.at_most(self.idle_timeout, self.stall_timeout)
        while True:
            now = self.now()
            # What begins after now is not due before the shortest of all timeouts has passed.
            due = min(
                now + self._shortest,
                self._check_idle(now),
                self._check_stall(now),
                self._check_handlers(now),
            )
            self._sooner = anyio.Event()
            with anyio.CancelScope(deadline=due):
                await self._sooner.wait()

    def _check_idle(self, now: float) -> float:
        if self.reading_since is None or self.idle_timeout is None:
            return math.inf
        due = self.reading_since + self.idle_timeout
        if due > now:
            return due
        self.reading_since = None
        self.on_idle()
        return math.inf

    def _check_stall(self, now: float) -> float:
        if not self.blocked or self.stall_timeout is None:
            return math.inf
        # The innermost pump is at the root of it: the others wait for its handler.
        (crew, awaited), since = max(self.blocked.items(), key=_depth)
        due = max(since, self.moved_at) + self.stall_timeout
        if due > now:
            return due
        holders = self._holders(crew, awaited)
        if any(r.expired is None and r.deadline(limit) < math.inf for r, limit in holders):
            return now + self.stall_timeout  # a handler with its whole body is no stall
        if any(r.failing for r, _ in holders) or (awaited is not None and awaited.failing):
            return now + self.stall_timeout  # nor is a rollback
        # Rather one at work than one that waits for a flow of its own.
        at_work = [r for r, _ in holders if not r.inner_flows] or [r for r, _ in holders]
        record = at_work[0] if at_work else awaited
        if record is None:
            return now + self.stall_timeout  # nobody runs: who is ready is about to
        self.blocked.clear()
        self.on_stall(
            Stalled(
                f"expected the handler {record.route.name} to go on within {self.stall_timeout} s "
                f"(stall_timeout): {_why(record, awaited)}",
                part=record.info.ref,
            )
        )
        return math.inf

    def _holders(self, crew: Pool, awaited: Record | None) -> list[tuple[Record, float | None]]:
        """Those for whose results, slots or places a pump waits; none for a handler at work."""
        if awaited is None:
            return [(r, limit) for r, limit in self.running.items() if crew.holds(r)]
        if awaited in self.running and not crew.waits_to_nest(awaited):
            return []
        needed = [(r, self.running[r]) for r in all_needed(awaited) if r in self.running]
        if needed:
            return needed
        return [
            (r, limit)
            for r, limit in self.running.items()
            if crew.holds(r) and not r.crew.waits_to_nest(r)
        ]

    def _check_handlers(self, now: float) -> float:
        next_due = math.inf
        for record, limit in list(self.running.items()):
            due = record.deadline(limit)
            if due <= now:
                record.expire(_timeout(record, limit))
            else:
                next_due = min(next_due, due)
        return next_due


def loop_clock() -> Callable[[], float]:
    """The clock of the running event loop, without the look-ups of `anyio.current_time`.

    It is read twice a part: those look-ups were an eighth of what a tiny part costs on trio.
    """
    token = current_token().native_token
    own: Callable[[], float] | None = getattr(token, "time", None)  # an asyncio loop's
    if own is None:
        trio: Any = sys.modules["trio"]
        clock: Callable[[], float] = trio.lowlevel.current_clock().current_time
        return clock
    asyncio: Any = sys.modules["asyncio"]
    usual = getattr(own, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if usual else own  # which is all that asyncio's own loops do


def all_needed(record: Record) -> list[Record]:
    """The parts that the record waits for, and those that these wait for."""
    found = dict.fromkeys(record.needed)
    todo = list(found)
    while todo:
        new = [other for other in todo.pop().needed if other not in found]
        found.update(dict.fromkeys(new))
        todo += new
    return list(found)


def _depth(item: tuple[tuple[Pool, Record | None], float]) -> int:
    return item[0][0].depth


def _why(record: Record, awaited: Record | None) -> str:
    """What waits for the handler that does not go on."""
    if awaited is None:
        return "it holds a slot, and so many parts wait for one that no more are read"
    if record is awaited:
        return "it neither reads its part nor answers, and the rest of the body waits for it"
    who = awaited.route.name
    if record in all_needed(awaited):
        return f"{who} needs its result"
    return f"it holds the slot that {who} waits for"


def _timeout(record: Record, limit: float | None) -> HandlerTimeout:
    route = record.route
    own = route.timeout is not None and record.called_at + route.timeout <= record.deadline(limit)
    what = (
        f"within {route.timeout} s (timeout)"
        if own
        else (f"within {limit} s of having its whole part (handler_timeout)")
    )
    return HandlerTimeout(
        f"expected an answer of the handler {route.name} {what}, and none came",
        part=record.info.ref,
    )
