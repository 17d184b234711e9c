"""`Flow`: one dispatch under way, as its caller sees it.

Knows: what a flow is asked for, and what it shows of itself.
Must not know: events, how tasks are run, or how a commit goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import anyio

from mpflow.errors import MissingParts, RouteError
from mpflow.flow.pump import Pump
from mpflow.flow.refusal import refused
from mpflow.reader import MultipartReader
from mpflow.results import Results
from mpflow.router import RouteTable
from mpflow.shapes import Shape

__all__ = ["Flow"]

RELEASE_TIMEOUT: Final = 5.0
"""Seconds that the end of a flow may spend on closing its reader."""


class Flow(Pump):
    """One dispatch under way; `router.flow(reader)` makes it.

    `async with` enters it: the block runs when the body is whole and every handler has answered,
    and nothing is committed yet. `results` are there; `commit()` and `abort()` decide at once,
    the end of the block commits, an exception that leaves the block rolls back.
    """

    def __init__(
        self,
        table: RouteTable,
        reader: MultipartReader,
        *,
        into: type[Any] | None = None,
        given: Mapping[str, object] | None = None,
        independent: bool = False,
        epilogue: Literal["read", "ignore"] = "read",
    ) -> None:
        shape = None if into is None else Shape.of(into)
        if shape is not None:
            shape.check_all(table)
        super().__init__(table, reader, given=dict(given or {}), shape=shape, epilogue=epilogue)
        self._shape = shape
        self._independent = independent
        self._results: Results | None = None
        self.owns_reader: bool = False
        """Set by who made the reader for this flow alone: it is closed with it."""

    async def _close(self) -> None:
        await super()._close()
        if self.owns_reader:
            await self._ending.attempt(self._release)

    async def _release(self) -> None:
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_TIMEOUT):
            await self._reader.aclose()

    async def __aenter__(self) -> Self:
        # Not when it is made: a flow may itself be what a handler gives, and has two phases then.
        if self._parent is not None and self._parent.two_phase is not True:
            self.expect_outermost()
        return await super().__aenter__()

    async def _run(self) -> BaseException | None:
        error = await super()._run()
        return self._told_in_full(error) if isinstance(error, MissingParts) else error

    def _told_in_full(self, error: MissingParts) -> BaseException:
        """With what is missing, all that is known not to fit the class of `into`."""
        if error is not self._refusal and error.known is None:
            return error  # of a handler's own
        if self._shape is None and self._parent is None:
            error.known = None  # nobody asks
            return error
        known = refused(
            self._records,
            [(failure.record, failure.error) for failure in self._verdict.failures],
            self._refusal,
            keys=self._table.keys,
            is_whole=self._is_whole,
        )
        if self._shape is None:
            error.known = known
            return error
        try:
            told = self._shape.refusal(known)
        except Exception as failure:  # a class inside that no router fits, say
            return failure
        if told is None:
            return error
        for note in getattr(error, "__notes__", ()):
            told.add_note(note)
        return told

    def expect_outermost(self) -> None:
        """Refuse to commit before the flow that the reader's part is of."""
        if self._parent is not None and not self._independent:
            raise RouteError(
                "this flow reads a part of another flow, and would commit before it: use Nested, "
                "or flow() in a two-phase handler, or say independent=True",
                part=self._parent.info.ref,
            )

    @property
    def results(self) -> Results:
        """What the handlers answered, in wire order and by key."""
        if self._results is None:
            if self._state in ("new", "running"):
                raise RouteError("expected a flow that was entered: its results come with the body")
            handled = (record.handled() for record in self._records)
            self._results = Results(handled, keys=self._table.keys)
        return self._results
