"""`Transaction`: all handlers of a flow answer, then all commit, or all roll back.

Knows: the two phases. Must not know: where parts come from, or which failure wins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import ClassVar, Self

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from mpflow.errors import FlowAborted, HandlerCancelled, RolledBack, RouteError
from mpflow.flow.answers import is_fatal
from mpflow.flow.crew import Crew
from mpflow.flow.decisions import Decisions
from mpflow.flow.ending import Ending
from mpflow.flow.patience import Patience
from mpflow.flow.record import Record
from mpflow.flow.reporter import Reporter
from mpflow.flow.verdict import Failure, Verdict
from mpflow.flow.watch import Watch, loop_clock
from mpflow.reports import Observer, Outcome
from mpflow.spool import Spool
from mpflow.wire.limits import Limits

__all__ = ["Transaction"]


class Transaction(ABC):
    """Runs handlers side by side and holds their commits until the block around it ends.

    Entering it returns when every handler has answered; leaving it commits, or rolls back if an
    exception leaves the block. A class, not a generator: so the block's own exception goes on
    untouched, and no task group of ours wraps it.
    """

    _nests: ClassVar[bool] = False
    """Whether it handles parts of its own, so that the part around them needs no slot."""

    def __init__(self, *, slots: int, parent: Record | None) -> None:
        self._slots = slots
        self._parent = parent
        self._records: list[Record] = []
        self._error: BaseException | None = None  # the flow's own: of the wire, a route, a clock
        self._broken: BaseException | None = None  # what the commit failed with
        self._state = "new"
        self._aborting = self._aborted = False
        self._verdict = Verdict(self._records, parent, lambda: self._position)
        self._phase = anyio.CancelScope()
        self._patience = Patience()
        self._ending = Ending(self._patience)
        self._watching: anyio.CancelScope | None = None
        self._asks_all = parent is not None and parent.crew.asks_all

    # -- for those who make one ---------------------------------------------------------------

    @abstractmethod
    async def _pump(self) -> None:
        """Make records and give them their parts, until there is no more."""

    @abstractmethod
    def _limits(self) -> Limits:
        """The limits in force."""

    def _idle_error(self) -> BaseException:
        """What a source that gives nothing is refused with."""
        raise RouteError("this flow reads no source")

    @property
    def _position(self) -> int:
        """The index of the part that the pump is at."""
        return len(self._records)

    def _observer(self) -> tuple[Observer | None, tuple[int, ...], str]:
        """Who observes, the path of the part around, and the content type. By default nobody."""
        return None, (), ""

    async def _wait_for(self, record: Record) -> None:
        """Wait until the record's handler has read on."""
        assert record.channel is not None
        waits = record.crew, record
        since = self._watch.blocked[waits] = self._watch.now()
        try:
            await record.channel.wait()
        finally:
            self._watch.blocked.pop(waits, None)  # unless it stalled
        if self._reporter is not None:
            self._reporter.held_up(record, self._watch.now() - since)

    # -- the first phase ----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RouteError("a flow can be entered once")
        self._state = "running"
        parent = self._parent
        limits = self._take_limits()
        self._watch = (
            parent.crew.watch
            if parent is not None
            else Watch(
                now=loop_clock(),
                idle_timeout=limits.idle_timeout,
                stall_timeout=limits.stall_timeout,
                on_idle=lambda: self._condemn(self._idle_error()),
                on_stall=self._condemn,
            )
        )
        if parent is not None and self._nests:
            # Waiting for its own nested flow holds no slot, and is bounded by that flow.
            await parent.crew.nest(parent)
        self._spool = Spool(limits.max_spool_bytes)
        self._reporter = self._make_reporter(self._watch.now)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._crew = Crew(
            self._tasks,
            self._slots,
            self._watch,
            parent=parent,
            handler_timeout=limits.handler_timeout,
            on_failure=self._on_failure,
            spool=self._spool if parent is None else parent.crew.spool,
            asks_all=self._asks_all,
            reporter=self._reporter,
            within=parent,
            around=self._reporter or (None if parent is None else parent.crew.around),
        )
        self._decisions = Decisions(self._watch, self._patience, self._reporter)
        self._watch.at_most(limits.handler_timeout)
        error: BaseException | None = None
        try:
            if self._reporter is not None:
                self._reporter.flow_started()
            error = await self._run()
            if error is None:
                self._state = "open"
                return self
            await self._undo(error)
        finally:
            if self._state != "open":
                await self._close()
                self._report_end(error)
        assert error is not None  # else it is open
        self._keep_fatal(error)
        if isinstance(error, Exception) or (self._patience.is_fatal and not is_fatal(error)):
            self._ending.end(error)
        raise error

    def _keep_fatal(self, error: BaseException | None) -> None:
        """What ends the program is raised, whatever else came before or after it."""
        if error is not None and not is_fatal(error) and not isinstance(error, GeneratorExit):
            for failure in self._verdict.failures:
                if is_fatal(failure.error):
                    self._patience.keep(failure.error, failure.rank)

    def _take_limits(self) -> Limits:
        """The limits in force. A message that they refuse at once has had a flow all the same."""
        try:
            return self._limits()
        except BaseException as error:
            self._state = "rolled back"
            parent = self._parent
            now = loop_clock() if parent is None else parent.crew.watch.now
            self._reporter = self._make_reporter(now)
            if self._reporter is not None:
                self._reporter.flow_started()
                self._report_end(error)
                self._patience.end()
            raise

    def _make_reporter(self, now: Callable[[], float]) -> Reporter | None:
        """The reporter of a flow whose router is observed, or that is inside such a one."""
        own, path, content_type = self._observer()
        around = None if self._parent is None else self._parent.crew.around
        observer = own or (around.observer if around is not None and content_type else None)
        if observer is None:
            return None
        return Reporter.of(
            observer,
            now,
            around=around,
            path=path,
            content_type=content_type,
            on_interrupt=self._interrupt,
        )

    def _report_end(self, error: BaseException | None) -> None:
        if self._reporter is None:
            return
        outcome: Outcome = "rolled back"
        if self._state == "commit failed":
            # What the block made of it does not change what became of the parts.
            outcome, error = "commit failed", self._broken
        elif self._state == "committed":
            outcome = "committed"
        self._reporter.flow_finished(outcome, error, self._records)
        self._reporter.on_interrupt = _nothing  # it leads back here: see `_let_go`

    async def _run(self) -> BaseException | None:
        """Pump and wait for the answers; what the flow fails with, or None."""
        error: BaseException | None = None
        try:
            with self._phase:
                await self._pump()
                await self._crew.all_answered()
                await self._expect_answers()
        except GeneratorExit:
            raise  # nothing can be awaited any more
        except BaseException as caught:
            error = caught
        finally:
            self._stop_watching()
            if self._parent is not None and self._nests:
                self._parent.crew.unnest(self._parent)
        if error is None:
            error = self._error
        if error is None and not self._verdict.failures:
            return None
        if error is not None:
            self._poison(error)
        if error is None or isinstance(error, Exception):
            await self._patience.outlast(partial(self._verdict.listen, error))
        self._verdict.is_final = True
        self._verdict.stir()
        if self._error is not None and not isinstance(self._error, Exception):
            return self._error  # of the observer
        return self._verdict.winner(error)

    async def _expect_answers(self) -> None:
        """Nothing is lost in silence: a handler that ended has answered, or has failed."""
        for record in self._records:
            if not record.answered and record.error is None:
                await checkpoint_if_cancelled()
                text = f"expected an answer of {record.route.name}, and it ended without one"
                raise HandlerCancelled(text, part=record.info.ref)

    def _watch_time(self) -> None:
        """Start the clock, if it does not run: called before anything is waited for."""
        if self._watching is None and self._parent is None:
            self._watching = anyio.CancelScope()
            self._crew.start(self._run_watch)

    async def _run_watch(self) -> None:
        assert self._watching is not None
        with self._watching:
            await self._watch.run()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    # -- failure ------------------------------------------------------------------------------

    def _on_failure(
        self, record: Record, error: BaseException, inside: tuple[int, ...] = ()
    ) -> None:
        """A handler failed. Others may fail in the next passes; then all are cancelled."""
        if not self._verdict.add(Failure(record, error, inside)):
            return
        if self._state == "running":
            if not self._puts_off(record, error):
                self._start_abort()
        elif self._parent is not None:
            inside = *record.rank, *inside
            self._parent.crew.failed_inside(self._parent, error, inside, self._known_failure)

    def _puts_off(self, record: Record, error: BaseException) -> bool:
        """Whether the flow goes on for now, though the handler failed."""
        return False

    def _condemn(self, error: BaseException) -> None:
        """End the flow with an error of its own."""
        if self._error is None and not self._verdict.is_final and not self._aborting:
            self._error = error
            self._poison(error)
            self._start_abort()

    def _interrupt(self, error: BaseException) -> None:
        """The observer raised KeyboardInterrupt or its like: decide all there is, then raise it."""
        if self._state == "running" and not self._verdict.is_final:
            if self._error is None or isinstance(self._error, Exception):
                self._error = error
            self._start_abort()
        else:
            self._patience.keep(error)

    def _poison(self, error: BaseException) -> None:
        """The part that is still open will never be whole: its handler gets `error`."""
        record = self._records[-1] if self._records else None
        if record is None or record.channel is None or not isinstance(error, Exception):
            return
        if record.whole_at is None and not record.settled:
            self._verdict.poisoned.add(record)
            record.channel.fail(error)

    def _start_abort(self) -> None:
        if not self._aborting:
            self._aborting = True
            self._crew.start(self._abort)

    async def _abort(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._verdict.listen(self._error)
        self._verdict.is_final = True
        self._phase.cancel()

    # -- the second phase ---------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit now: every handler that waits, in wire order, one at a time.

        Shielded from the first one on. Raises the failure of a handler that failed while it
        waited, after rolling back all; `CommitFailed` if a commit fails, after rolling back those
        that come after it.
        """
        self._expect_open("commit")
        failure = self._late_failure()
        if failure is not None:
            await self._undo(failure)
            raise failure
        await checkpoint_if_cancelled()
        self._state = "committed"
        try:
            committed = await self._decisions.commit(self._records)
        except BaseException as error:
            self._state, self._broken = "commit failed", error
            raise
        self._ending.committed = f"{committed} parts were committed"
        self._patience.end(self._ending.committed)

    async def abort(self, reason: BaseException | None = None) -> None:
        """Roll back now: nothing of the flow is committed. `reason` is what handlers are told."""
        if reason is not None and not isinstance(reason, BaseException):
            raise TypeError(f"expected an exception as the reason, got {type(reason).__name__}")
        self._expect_open("abort")
        await self._undo(reason or FlowAborted("the flow was aborted"))
        self._aborted = True
        self._patience.end()

    def _late_failure(self) -> BaseException | None:
        """What came while handlers waited for the decision: a failure, or an interruption."""
        interruption = self._patience.interruption
        if interruption is not None:
            self._patience.give_way(interruption)
            return interruption
        return self._verdict.winner(None) if self._verdict.failures else None

    def _known_failure(self) -> BaseException | None:
        """What the end of the block will raise, as far as it is known."""
        will_raise = self._state == "open" or self._aborted
        return self._verdict.winner(None) if will_raise and self._verdict.failures else None

    def _expect_open(self, verb: str) -> None:
        if self._state != "open":
            raise RouteError(f"expected an open flow to {verb}, got one that is {self._state}")

    async def _undo(self, reason: BaseException) -> None:
        """Cancel who has not answered, roll back who has, last part first; wait for all."""
        self._state = "rolled back"
        self._verdict.begin()
        given, reason = reason, self._told(reason)
        self._crew.closing = True
        for record in self._crew.drop_ready():
            if self._reporter is not None:
                self._reporter.settled(record)
        for record in self._records:
            if not record.settled and record.scope is not None:
                record.reason = reason
                record.scope.cancel()
        await self._decisions.roll_back(self._records, reason)
        self._verdict.stir()
        await self._patience.outlast(self._crew.join)
        self._verdict.end(given)
        for fatal in self._verdict.note_late(given):
            if fatal.error is not given:
                self._patience.keep(fatal.error, fatal.rank)

    def _told(self, reason: BaseException) -> BaseException:
        """What handlers are told: where the flow around rolls this one back, its own reason."""
        parent = self._parent
        if parent is None or (isinstance(reason, Exception) and not isinstance(reason, RolledBack)):
            return reason
        return parent.reason or parent.expired or parent.over or reason

    # -- the end ------------------------------------------------------------------------------

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        failure: BaseException | None = None
        try:
            if self._state == "open":
                if exc is None:
                    await self.commit()
                else:
                    self._verdict.note_on(exc)
                    await self._undo(exc)
            elif self._aborted and exc is None:
                late = self._late_failure()
                if late is not None:
                    raise late
        except BaseException as error:
            failure = error
            if self._state == "open":
                await self._undo(error)
            raise
        finally:
            raised = failure or exc
            await self._close()
            self._report_end(self._ending.reason(raised))
            if raised is not None and raised is self._broken:
                self._patience.give_way(raised)
            elif self._state == "rolled back":
                self._keep_fatal(raised)
            self._ending.end(raised)

    async def _close(self) -> None:
        self._verdict.is_final = True
        self._verdict.end()
        try:
            await self._patience.outlast(self._crew.join)
            # Every task has ended: the block's exception goes on bare, and what is raised here is
            # a cancellation past all scopes.
            await self._ending.attempt(partial(self._tasks.__aexit__, None, None, None))
        finally:
            self._spool.close()
            self._let_go()

    def _let_go(self) -> None:
        """Drop what leads back here, so that a flow needs no collector to be forgotten.

        To find that all of it is garbage had cost a quarter of the time of a form of tiny fields.
        """
        self._crew.on_failure, self._crew.on_settled = _nothing, None
        self._crew.parent = self._crew.within = None
        self._verdict.position = _nowhere
        if self._parent is None:
            self._watch.on_idle = self._watch.on_stall = _nothing
        elif self._parent.doubts:
            own = self._known_failure
            self._parent.doubts = tuple(ask for ask in self._parent.doubts if ask != own)


def _nothing(*told: object) -> None:
    """All handlers have ended: nobody is told anything."""


def _nowhere(*of: object) -> int:
    return 0
