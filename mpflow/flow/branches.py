"""`Branches`: one part to several handlers at once, all or nothing.

Knows: how a body is copied to branches, and what their answers make together.
Must not know: routes, readers, or where the part came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import anyio

from mpflow.errors import RouteError
from mpflow.flow.channel import CHANNEL_SIZE, Channel
from mpflow.flow.record import Record
from mpflow.flow.transaction import Transaction
from mpflow.part import Part
from mpflow.predicates import any_part
from mpflow.routes import OnError, Route
from mpflow.signatures import check_handler, handler_name
from mpflow.wire.limits import Limits

__all__ = ["Branches"]


class Branches:
    """Gives one part to several handlers, each in a task of its own: an async context manager.

    `children` holds handlers with what their failure does: `"abort"` fails the part, `"collect"`
    puts the exception in the place of the value. Entering it gives the tuple of values once all
    have answered; leaving it commits those with two phases, or rolls them back. The body is read
    as fast as the slowest of them takes it; one that answers early is sent no more.
    """

    def __init__(
        self, part: Part, children: Sequence[tuple[Callable[[Part], Any], OnError]]
    ) -> None:
        self._transaction = _Branching(part, children)

    async def __aenter__(self) -> tuple[Any, ...]:
        return (await self._transaction.__aenter__()).values

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._transaction.__aexit__(exc_type, exc, tb)


class _Branching(Transaction):
    def __init__(
        self, part: Part, children: Sequence[tuple[Callable[[Part], Any], OnError]]
    ) -> None:
        if not children:
            raise RouteError("expected at least one handler to branch to")
        holder = part.holder
        super().__init__(slots=len(children), parent=holder if isinstance(holder, Record) else None)
        self._part = part
        self._children = children

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(r.value if r.error is None else r.error for r in self._records)

    @property
    def _position(self) -> int:
        return self._part.index

    def _limits(self) -> Limits:
        return self._part.level.budget.limits

    async def _pump(self) -> None:
        # None of them waits for another: the body comes as fast as the slowest of them takes it.
        self._crew.max_nested = len(self._children)
        for handler, on_error in self._children:
            self._branch(handler, on_error)
        self._watch_time()
        part, size = self._part, 0
        try:
            while any(not record.settled for record in self._records):
                data = await part.receive(CHANNEL_SIZE)
                size += len(data)
                for record in self._records:
                    await self._send(record, data)
        except anyio.EndOfStream:
            now = self._watch.now()
            for record in self._records:
                assert record.channel is not None
                record.whole_at = now
                record.size = size
                record.channel.end()

    async def _send(self, record: Record, data: bytes) -> None:
        assert record.channel is not None
        if not record.channel.put(data):
            await self._wait_for(record)

    def _branch(self, handler: Callable[[Part], Any], on_error: OnError) -> None:
        info = self._part.info
        route = Route[Any](
            handler, predicate=any_part(), name=handler_name(handler), on_error=on_error,
            two_phase=check_handler(handler), decode=self._part.decode_policy,
        )  # fmt: skip
        if route.two_phase and self._parent is not None and not self._parent.two_phase:
            raise RouteError(
                f"{route.name} has two phases, and would commit before the flow that the part is "
                "of: branch in a handler of two phases",
                part=info.ref,
            )
        channel = Channel(self._watch)
        part = type(self._part)(info, channel, level=self._part.level)
        part.default_charset = self._part.default_charset
        record = Record(
            self._crew, info, route, None, part, channel,
            two_phase=route.two_phase, branch=len(self._records),
        )  # fmt: skip
        part.hold(record)
        self._records.append(record)
        self._crew.submit(record)

    def _poison(self, error: BaseException) -> None:
        for record in self._records:
            if record.whole_at is None and record.channel is not None:
                self._verdict.poisoned.add(record)
                record.channel.fail(error)
