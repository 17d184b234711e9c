"""`TimedReads`: one read of a source, which may neither wait too long nor be too slow.

Knows: `idle_timeout`, `min_rate`, and in which scope a read waits.
Must not know: what is read, events, which part is open but for its name in errors.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

import anyio

from mpflow.errors import LimitExceeded, PartRef
from mpflow.idle import Idle, begun
from mpflow.part import Part
from mpflow.rate import Rate
from mpflow.sources import Chunk, Source
from mpflow.wire import Budget

__all__ = ["TimedReads"]


class TimedReads:
    """The source of a level, and what bounds the time of each read of it."""

    budget: Budget
    holder: Part | None
    """The part that holds this level, None for the outermost: only that one is timed."""
    _source: Source

    def _lay_timing(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._timed_by_flow: bool = False
        self._idle = Idle()
        self._rate: Rate | None = None

    def _receive(self) -> Coroutine[Any, Any, Chunk]:
        """The next chunk of the source, to be awaited at once."""
        read = self._receive_within() if self._scope is None else self._source.__anext__()
        least = self.budget.limits.min_rate
        return self._at_rate(read, least) if least and self.holder is None else read

    async def _at_rate(self, read: Coroutine[Any, Any, Chunk], least: int) -> Chunk:
        rate = self._rate
        if rate is None or rate.least != least:
            rate = self._rate = Rate(least)
        since = anyio.current_time()
        data = await read
        try:
            rate.count(anyio.current_time() - since, len(data))
        except LimitExceeded as error:
            error.part = self._open_ref()
            raise
        return data

    def _receive_within(self) -> Coroutine[Any, Any, Chunk]:
        """Where no scope stands around all reads."""
        limit, source = self.budget.limits.idle_timeout, self._source
        if self.holder is not None or self._timed_by_flow or limit is None or not source.timed:
            return source.__anext__()
        return self._receive_in_scope(limit)

    async def _receive_in_scope(self, limit: float) -> Chunk:
        with anyio.CancelScope() as scope:
            return await self._idle.wait(self._source.__anext__(), scope, limit)
        assert scope.cancelled_caught
        raise self.idle_error()

    def _wait(self, read: Coroutine[Any, Any, Chunk], first: object) -> Generator[Any, Any, Chunk]:
        """Wait for what `_receive` gave, and `first` has come of."""
        limit, scope = self.budget.limits.idle_timeout, self._scope
        if scope is None or self._timed_by_flow or limit is None:
            return begun(read, first)
        # One scope for all reads: a source may hold a scope of its own over its yield.
        return self._idle.rest(read, first, scope, limit)

    def idle_error(self) -> LimitExceeded:
        """The refusal of a source that gave nothing for `idle_timeout`."""
        limit = self.budget.limits.idle_timeout
        text = f"expected more of the body within {limit} s (idle_timeout), and nothing came"
        return LimitExceeded("idle_timeout", limit, message=text, part=self._open_ref(), status=408)

    def _open_ref(self) -> PartRef | None:
        """How errors name the part that is open, if one is."""
        return None
