"""`Outgoing`: one pass over the parts that are to be sent, as chunks of bytes.

Knows: which levels are open, one in the other, and what has come of the pass so far.
Must not know: the parts of a level, how they are made, or where the chunks go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from mpflow.errors import WriteError
from mpflow.outgoinglevel import Level

__all__ = ["Outgoing"]

_WORK: Final = 2 * 1024 * 1024
"""Bytes that inner levels hand outwards, in some 2 ms, before others have their turn."""

_STEP: Final = 16 * 1024
"""Bytes that a step costs as much as, whatever comes of it."""


class Outgoing:
    """An async iterator of the bytes of a multipart body, from its outermost level.

    Nothing is held back while it waits for somebody else: a stream, or the next of `parts=`.
    A part that is a level itself is not read by the one around it: the pass steps the innermost
    and hands its chunks outwards, so that no depth is too much for Python's stack. Where levels are
    many, it lets the event loop run now and then: each looks at all bytes of those inside it.
    After a failure or a cancellation it cannot go on.
    """

    def __init__(self, level: Level, *, total: int | None = None) -> None:
        self._outermost = level
        self._levels = [level]
        self._writers = {id(level.writer)}
        self._at = level  # what goes wrong, goes wrong there
        self._total = total  # what the message's own Content-Length says
        self._state = ""
        self._work = 0  # bytes since others had their turn

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.next()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def next(self) -> bytes:
        """The next chunk, `b""` at the end."""
        outermost = self._outermost
        while not outermost.ready:
            if self._state == "ended":
                return b""
            if self._state:
                raise WriteError(f"the body cannot be written on: {self._state}")
            self._state = "writing it failed or was cancelled, or goes on elsewhere"
            try:
                await self._go_on()
                self._check_total()
            except BaseException as error:
                self._at.blame(error)
                with anyio.CancelScope(shield=True):
                    await self.aclose()
                raise
            self._state = "ended" if outermost.ended else ""
        return outermost.ready.popleft()

    async def aclose(self) -> None:
        """Close what was opened to be read. Nothing that was given is closed.

        What was not given out by then never is.
        """
        if self._outermost.ready or not self._state:
            self._state = "it was closed"
        async with AsyncExitStack() as stack:  # the innermost first
            for level in self._levels:
                stack.push_async_callback(level.aclose)

    async def _go_on(self) -> None:
        """A step of the innermost level; or, before it waits, what is there goes out."""
        level = self._at = self._levels[-1]
        if level.waits:
            await self._hand_out(flush=True)
            if self._outermost.ready:
                return
            self._at = level
        await level.step()
        await self._let_others(_STEP if len(self._levels) > 1 else 0)
        if isinstance(level.reading, Outgoing):
            self._enter(level.reading._outermost)
        elif len(self._levels) > 1:
            await self._hand_out()

    def _enter(self, level: Level) -> None:
        # Writers are looked at before they are written, but may change while they are.
        if id(level.writer) in self._writers:
            raise WriteError("expected a writer that does not hold itself, got one that does")
        self._writers.add(id(level.writer))
        self._levels.append(level)

    async def _hand_out(self, *, flush: bool = False) -> None:
        """Hand chunks from level to level, outwards; with `flush`, what would wait for more, too.

        A level that has ended is left.
        """
        levels = self._levels
        if flush:
            levels[-1].flush()
        for at in range(len(levels) - 1, 0, -1):
            inner, outer = levels[at], levels[at - 1]
            if not (flush or inner.ready or inner.ended):
                return
            self._at = outer
            while inner.ready:
                chunk = inner.ready.popleft()
                outer.take(chunk)
                await self._let_others(max(len(chunk), _STEP))
            if inner.ended:
                outer.take(b"")
                levels.pop()
                self._writers.discard(id(inner.writer))
                await inner.aclose()
            if flush:
                outer.flush()

    async def _let_others(self, work: int) -> None:
        """Let the event loop run, where that much work comes to more than it should wait for."""
        self._work += work
        if self._work > _WORK:
            self._work = 0
            await checkpoint()

    def _check_total(self) -> None:
        made, ended = self._outermost.made, self._outermost.ended
        if self._total is not None and (made > self._total or (ended and made < self._total)):
            more = f"{made} came" if ended else "more came"
            raise WriteError(
                f"expected a message of {self._total} bytes, as its Content-Length says, and {more}"
            )
