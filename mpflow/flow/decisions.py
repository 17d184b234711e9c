"""`Decisions`: tells the handlers that wait to commit, or to roll back.

Knows: in which order, in how much time, and what a failure does to those that come after it.
Must not know: why it was decided so, or how handlers are run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio
import attrs

from mpflow.errors import CommitFailed
from mpflow.flow.needs import commit_order
from mpflow.flow.notes import add_note, shown
from mpflow.flow.patience import Patience
from mpflow.flow.record import Decision, Record
from mpflow.flow.reporter import Reporter
from mpflow.flow.watch import Watch
from mpflow.results import Handled

__all__ = ["COMMIT_TIMEOUT", "ROLLBACK_TIMEOUT", "Decisions"]

COMMIT_TIMEOUT: Final = 60.0
"""Seconds that the commit of one part may take."""
ROLLBACK_TIMEOUT: Final = 30.0
"""Seconds that the rollback of one part may take."""


@attrs.define(eq=False)
class Decisions:
    """The second phase of one flow."""

    watch: Watch
    patience: Patience
    reporter: Reporter | None

    async def commit(self, records: Sequence[Record]) -> int:
        """Commit those of the records that wait, needed parts first, one at a time; how many.

        `CommitFailed` if one fails, after those that come after it were rolled back.
        """
        answered = [record for record in commit_order(records) if record.parked is not None]
        for record in reversed(answered):
            if record.error is not None:  # it had answered before it was found to be too large
                await self.roll_back([record], record.error)
        waiting = [record for record in answered if record.error is None]
        for i, record in enumerate(waiting):
            error = await self._decide(record, Decision.COMMIT, None)
            if error is not None:
                rest = waiting[i + 1 :]
                await self.roll_back(rest, error)
                if not isinstance(error, Exception):
                    add_note(
                        error,
                        f"{i} parts were committed before, {len(rest)} after it were rolled back",
                    )
                    self.patience.give_way(error)
                    raise error
                failure = CommitFailed(_handled(waiting[:i]), record.handled(), _handled(rest))
                self.patience.give_way(failure)
                raise failure from error
        return len(waiting)

    async def roll_back(self, records: Sequence[Record], reason: BaseException) -> None:
        """Roll back those of the records that wait, in reverse order; failures are notes."""
        for record in reversed(commit_order(records)):
            if record.waits_for_decision:
                error = await self._decide(record, Decision.ROLLBACK, reason)
                if error is not None and error is not reason:
                    add_note(reason, f"the rollback of {record.info.ref} failed: {shown(error)}")
                    if not isinstance(error, (Exception, anyio.get_cancelled_exc_class())):
                        # Ctrl-C, raised once all is decided
                        self.patience.keep(error, record.rank)

    async def _decide(
        self, record: Record, decision: Decision, reason: BaseException | None
    ) -> BaseException | None:
        """Send the decision to a handler that waits; what went wrong, or None."""
        if record.waits_for_decision:
            assert record.scope is not None
            assert record.parked is not None
            assert record.finished is not None
            commits = decision is Decision.COMMIT
            limit = COMMIT_TIMEOUT if commits else ROLLBACK_TIMEOUT
            record.decision, record.reason = decision, reason
            due = record.scope.deadline = self.watch.now() + limit
            record.parked.set()
            # One that shields itself and hangs must not starve the rollbacks of the others.
            await self.patience.outlast(
                partial(_wait_until, record.finished, math.inf if commits else due + 1)
            )
            if self.reporter is not None:
                self.reporter.decided(record, commits=commits, error=record.outcome)
        return record.outcome


def _handled(records: Sequence[Record]) -> list[Handled]:
    return [record.handled() for record in records]


async def _wait_until(event: anyio.Event, deadline: float) -> None:
    with anyio.CancelScope(deadline=deadline):
        await event.wait()
