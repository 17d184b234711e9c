"""`Flow`: one dispatch under way, as its caller sees it.

Knows: what a flow is asked for, and what it shows of itself.
Must not know: events, how tasks are run, or how a commit goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from mpflow.errors import RouteError
from mpflow.flow.pump import Pump
from mpflow.reader import MultipartReader
from mpflow.results import Results
from mpflow.router import RouteTable
from mpflow.shapes import Shape

__all__ = ["Flow"]


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
        self._independent = independent
        self._results: Results | None = None

    async def __aenter__(self) -> Self:
        # Not when it is made: a flow may itself be what a handler gives, and has two phases then.
        if self._parent is not None and self._parent.two_phase is not True:
            self.expect_outermost()
        return await super().__aenter__()

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
