"""`Verdict`: which of a flow's failures reaches the caller.

Knows: what failed when and in which part, and for how long others may still come before it.
Must not know: how handlers are run or cancelled, or what is committed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Final, cast

import anyio
import attrs
from anyio.lowlevel import cancel_shielded_checkpoint

from mpflow.errors import DependencyFailed
from mpflow.flow.answers import is_fatal
from mpflow.flow.notes import add_note, shown
from mpflow.flow.record import Record
from mpflow.flow.watch import all_needed

__all__ = ["Failure", "Verdict"]

QUIET_PASSES: Final = 10
"""Passes of the scheduler without a sign of an earlier handler, after which a failure stands."""
PARKED_PASSES: Final = 30
"""Passes in which a handler that waits for its commit may still fail: mostly none does."""
MAX_PASSES: Final = 200
"""Passes after which no more are counted."""
GRACE: Final = 0.25
"""Seconds in which an earlier handler may still fail that waits for something outside."""
MAX_GRACE: Final = 2.0
"""Seconds for one that has to roll back what is inside of it before it fails."""
POLL: Final = 0.001
"""Seconds until the first look at those; each time twice as long, up to an eighth of `GRACE`."""
MAX_NOTES: Final = 10
"""How many of the other failures are noted on the one that is raised."""


@attrs.define(eq=False)
class Verdict:
    """Collects the failures of one flow, and judges them.

    `position` tells the index of the part that the pump is at. `parent` is the record of the part
    around.
    """

    records: list[Record]
    parent: Record | None
    position: Callable[[], int]
    failures: list[Failure] = attrs.field(factory=list["Failure"])
    poisoned: set[Record] = attrs.field(factory=set[Record])
    """Records whose parts will never be whole: what they make of that says nothing new."""
    _fails: bool = False
    """Whether the flows around were told that this one fails, and not yet that it is over."""
    _noted: int = 0
    is_final: bool = False
    """Set once it is judged: what fails from then on is a note at most."""
    _late: list[Failure] = attrs.field(factory=list["Failure"])

    def add(self, failure: Failure) -> bool:
        """A handler failed; whether that counts."""
        record = failure.record
        if self.is_final or (record in self.poisoned and _is_echo(record, failure.error)):
            self._late.append(failure)
            return False
        self.failures.append(failure)
        return True

    async def listen(self, error: BaseException | None) -> None:
        """Let parts before the one that failed fail as well, so that chance decides nothing.

        Two passes, or `PARKED_PASSES` where one waits for its commit and could fail; then as many
        as those parts go on in: until they have neither started nor ended for `QUIET_PASSES`, nor
        anything in the flows inside them. A handler that waits for something outside by then, a
        worker thread say, has `GRACE` seconds more; one with a flow inside that is about to fail
        is waited for, up to `MAX_GRACE`.
        """
        self.begin()
        before: object = None
        quiet = passes = 0
        until: float | None = None
        poll = POLL
        # Only these can come before what failed: parts that come meanwhile come behind it.
        waiting = [record for record in self.records if not record.settled]
        while True:
            now = None if self.is_final else self._earlier(error, waiting)
            quiet = quiet + 1 if now == before else 0
            before = now
            passes += 1
            if passes > 2 and not now and (passes > PARKED_PASSES or not self._any_parked()):
                return
            self.stir()
            if not now or (quiet < QUIET_PASSES and passes <= MAX_PASSES):
                await cancel_shielded_checkpoint()
                continue
            if until is None:
                until = anyio.current_time() + GRACE
            clock = anyio.current_time()
            last = max((_fails_until(r) for r in waiting if not r.settled), default=until)
            if clock >= max(until, min(last, until + MAX_GRACE - GRACE)):
                return
            with anyio.CancelScope(shield=True):
                await anyio.sleep(poll)
            poll = min(2 * poll, GRACE / 8)

    def _any_parked(self) -> bool:
        return not self.is_final and any(r.waits_for_decision for r in self.records)

    def _earlier(self, error: BaseException | None, waiting: list[Record]) -> list[tuple[int, ...]]:
        """How far those handlers are whose failure would win, and that may still fail."""
        first = min(self._ranked(error), default=None)
        if first is None:
            return []
        earlier = [r for r in waiting if not r.settled and r.rank < first]
        at_work = [r for r in earlier if not r.held_back]
        for record in earlier:
            if record.held_back:  # it is called, or fails, once what it needs has settled
                needed = all_needed(record)
                if all(r.info.index <= first[0] and not r.needs_more for r in (record, *needed)):
                    at_work += [r for r in needed if not (r.settled or r.held_back)]
        return [
            (r.info.index, r.branch or 0, r.scope is not None, r.stirs, r.failing) for r in at_work
        ]

    def _ranked(self, error: BaseException | None) -> dict[tuple[int, ...], BaseException]:
        """What failed, by the place of its part; its handlers' failures before the flow's own.

        A handler that fails by itself does so over what came before that which fails the flow.
        What ends the program comes before all else.
        """
        fatal = [f for f in self.failures + self._late if not isinstance(f.error, Exception)]
        # Of a handler that failed twice, its first: that is the last that is put in.
        ranked = {f.rank: f.error for f in reversed(fatal or self.failures)}
        if error is not None and not fatal:
            ranked[self.position(), 1] = error
        return ranked

    def stir(self) -> None:
        """Tell the flows around that something happens in the part that this is inside of."""
        for record in self._around():
            record.stirs += 1

    def begin(self) -> None:
        """Tell them that this flow fails, or rolls back, until its `end`."""
        if not self._fails:
            self._fails = True
            for record in self._around():
                record.stirs += 1
                record.begin_failing(record.crew.watch.now())

    def end(self, error: BaseException | None = None) -> None:
        """This flow is over: its part fails soon, with `error` perhaps, or goes on."""
        if self._fails:
            self._fails = False
            for record in self._around():
                record.stirs += 1
                if error is not None and not _stems_from(error, record.told):
                    record.knows_other = True
                now = record.crew.watch.now()
                record.end_failing(now, now + GRACE)

    def _around(self) -> Iterator[Record]:
        """The records of the parts that this flow is inside of, from the inside out."""
        record = self.parent
        while record is not None:
            yield record
            record = record.crew.within

    def note_late(self, error: BaseException) -> list[Failure]:
        """Note what failed since it was judged; of that, what ends the program."""
        late, self._late = self._late, []
        for failure in late[: MAX_NOTES - self._noted]:
            if failure.error is not error:
                failure.note_on(error)
        return [failure for failure in late if is_fatal(failure.error)]

    def winner(self, error: BaseException | None) -> BaseException:
        """Of what failed before the cancellation, the earliest part's; the rest become notes."""
        if error is not None and not isinstance(error, Exception):
            return error
        ranked = self._ranked(error)
        winner = ranked[min(ranked)]
        if not isinstance(winner, Exception):
            return winner
        # What is missing is told in full, or is not certain.
        failed = self.failures + self._late
        others = [f for f in failed if f.error is not winner and not f.record.lacks]
        self._late, self._noted = [], min(MAX_NOTES, len(others))
        for failure in others[:MAX_NOTES]:
            failure.note_on(winner)
        if error is not None and error is not winner:
            add_note(winner, f"also failed: {shown(error)}")
        return winner

    def note_on(self, error: BaseException) -> None:
        """The block fails for a reason of its own: who failed meanwhile is noted on it."""
        for failure in self.failures[:MAX_NOTES]:
            failure.note_on(error)


@attrs.frozen(eq=False)
class Failure:
    """What a handler failed with."""

    record: Record
    error: BaseException
    inside: tuple[int, ...] = ()
    """The ranks of the handlers inside its part of which the innermost failed."""

    @property
    def rank(self) -> tuple[int, ...]:
        """The one with the least is raised.

        What is missing is certain at the end of the body only: it comes behind all else.
        """
        if self.record.lacks:  # those who need such a part come behind it
            last = isinstance(self.error, DependencyFailed)
            return sys.maxsize, last, self.record.info.index
        return *self.record.rank, *self.inside

    def note_on(self, error: BaseException) -> None:
        """Note it on the one that is raised."""
        add_note(error, f"also failed: {self.record.info.ref}: {shown(self.error)}")


def _fails_until(record: Record) -> float:
    return math.inf if record.failing else record.fails_until


def _is_echo(record: Record, error: BaseException) -> bool:
    """Whether the handler fails with what its part ended with, or because of it.

    What fails once it was told does: only a flow inside may have known of something else before.
    """
    return record.told is not None and (not record.knows_other or _stems_from(error, record.told))


def _stems_from(error: BaseException, told: BaseException | None) -> bool:
    """Whether it is what the part was told, or came of it."""
    if told is None:
        return False
    seen = set[int]()
    todo: list[BaseException | None] = [error]
    while todo:
        at = todo.pop()
        if at is told:
            return True
        if at is not None and id(at) not in seen:
            seen.add(id(at))
            todo += [at.__cause__, at.__context__]
            if isinstance(at, BaseExceptionGroup):
                todo += cast("BaseExceptionGroup[BaseException]", at).exceptions
    return False
