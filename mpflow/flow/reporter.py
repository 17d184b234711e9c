"""`Reporter`: tells an observer what happens in one flow.

Knows: records, and how they become reports. Must not know: what is done with them.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

from mpflow.reports import (
    FlowFinished,
    FlowRef,
    FlowStarted,
    Observer,
    Outcome,
    PartCancelled,
    PartCommitted,
    PartFailed,
    PartFinished,
    PartProgress,
    PartReport,
    PartRolledBack,
    PartStarted,
    PartWaited,
    Report,
)

if TYPE_CHECKING:
    from mpflow.flow.record import Record

__all__ = ["Reporter"]

_numbers = itertools.count(1)
_logger = logging.getLogger("mpflow")


@attrs.define(eq=False)
class Reporter:
    """Made only where somebody observes: without it a flow spends nothing on reports."""

    observer: Observer
    now: Callable[[], float]
    flow: FlowRef
    on_interrupt: Callable[[BaseException], None]
    """Called with what the observer raises that is no `Exception`: the flow raises it, later."""
    # The part whose handler's end is not told before it is whole, and when that end came.
    _open: Record | None = attrs.field(default=None, init=False)
    _ended_at: float | None = attrs.field(default=None, init=False)
    _failed: set[Record] = attrs.field(factory=set[Any])  # those that did while they waited
    _begun: dict[Record, float] = attrs.field(factory=dict[Any, float])
    # When each came, and had all it needs; and how often there had been no slot until then.
    _came: dict[Record, tuple[float, int]] = attrs.field(factory=dict[Any, Any])
    _ready: dict[Record, tuple[float, int]] = attrs.field(factory=dict[Any, Any])

    @classmethod
    def of(
        cls,
        observer: Observer,
        now: Callable[[], float],
        *,
        around: Reporter | None,
        path: tuple[int, ...],
        content_type: str,
        on_interrupt: Callable[[BaseException], None],
    ) -> Reporter:
        """A reporter with a number of its own; `around` is that of the flow around it."""
        number = next(_numbers)
        root = number if around is None else around.flow.root
        return cls(observer, now, FlowRef(number, root, path, content_type), on_interrupt)

    def _tell(self, report: Report) -> None:
        try:
            self.observer(report)
        except Exception:
            _logger.exception("the observer failed on a %s", type(report).__name__)
        except BaseException as error:
            # Raised from here it would leave records half settled, and handlers undecided.
            self.on_interrupt(error)

    def _tell_part(self, kind: type[PartReport], record: Record, **more: Any) -> None:
        info = record.info
        if info.size is None and record.whole_at is not None:
            info = attrs.evolve(info, size=record.size)
        self._tell(kind(flow=self.flow, at=self.now(), part=info, route=record.route, **more))

    # -- the flow -----------------------------------------------------------------------------

    def flow_started(self) -> None:
        self._tell(FlowStarted(flow=self.flow, at=self.now()))

    def flow_finished(
        self, outcome: Outcome, error: BaseException | None, records: list[Record]
    ) -> None:
        size = sum(record.size for record in records)
        self._tell(
            FlowFinished(
                flow=self.flow,
                at=self.now(),
                outcome=outcome,
                error=error,
                parts=len(records),
                size=size,
            )
        )

    # -- its parts ----------------------------------------------------------------------------

    def came(self, record: Record) -> None:
        """A part was submitted."""
        self._came[record] = self.now(), record.crew.shortages

    def is_ready(self, record: Record) -> None:
        """A part that was held back has all it needs."""
        self._ready[record] = self.now(), record.crew.shortages

    def started(self, record: Record) -> None:
        now = self.now()
        self._begun[record] = now
        came = self._came.pop(record, (now, record.crew.shortages))
        ready, shortages = self._ready.pop(record, came)
        if ready > came[0]:
            on = tuple(needed.info.ref for needed in record.needed)
            self._waited(record, "need", ready - came[0], on)
        if now > ready and record.shortages > shortages:
            # Else a slot was free, and only a pass of the scheduler lay between.
            self._waited(record, "slot", now - ready)
        self._tell_part(PartStarted, record)

    def _waited(
        self, record: Record, why: Literal["need", "slot"], seconds: float, on: Any = ()
    ) -> None:
        self._tell_part(PartWaited, record, why=why, on=on, seconds=seconds)

    def progress(self, record: Record) -> None:
        self._tell_part(PartProgress, record, size=record.size)

    def held_up(self, record: Record, seconds: float) -> None:
        """The wire has waited for the part's handler."""
        if seconds > 0:
            self._tell_part(PartWaited, record, why="handler", on=(), seconds=seconds)

    def opened(self, record: Record) -> None:
        """A part has begun to come whose handler's end is told once it is whole."""
        self._open = record

    def closed(self) -> None:
        """That part is whole, or never will be: its handler's end is certain, if it has come."""
        record, self._open = self._open, None
        ended_at, self._ended_at = self._ended_at, None
        if record is not None and ended_at is not None:
            self._settled(record, ended_at)

    def settled(self, record: Record) -> None:
        """A handler has answered or failed, or never will."""
        if record is self._open:
            self._ended_at = self.now()
        else:
            self._settled(record, self.now())

    def _settled(self, record: Record, now: float) -> None:
        self._came.pop(record, None)
        self._ready.pop(record, None)
        seconds = now - self._begun.pop(record, now)
        if record.error is not None:
            self._tell_part(
                PartFailed,
                record,
                error=record.error,
                is_collected=record.answered,
                seconds=seconds,
            )
        elif record.answered:
            self._tell_part(PartFinished, record, value=record.value, seconds=seconds)
        else:
            self._tell_part(PartCancelled, record)

    def failed_waiting(self, record: Record, error: BaseException) -> None:
        """A handler that had answered has failed before anything was decided.

        Of several that failed inside of its part the first is told.
        """
        if record in self._failed:
            return
        if record is self._open:
            self.closed()
        self._failed.add(record)
        self._tell_part(PartFailed, record, error=error, is_collected=False, seconds=0.0)

    def decided(self, record: Record, *, commits: bool, error: BaseException | None) -> None:
        """A handler that waited has ended its second phase."""
        if record.error is not None or record in self._failed:
            return  # told as a failure: its part is too large, say, or a flow inside has failed
        if not commits:
            self._tell_part(PartRolledBack, record, error=error)
        elif error is None:
            self._tell_part(PartCommitted, record)
        else:
            self._tell_part(PartFailed, record, error=error, is_collected=False, seconds=0.0)
