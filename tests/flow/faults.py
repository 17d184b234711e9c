"""What may go wrong with a flow: faults that come at the n-th place of their kind.

Knows: sources, handlers, calls to the system, and each step of either event loop.
Must not know: which flow is hurt, or what has to be left then.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
import pytest
import trio
from anyio.lowlevel import checkpoint

from mpflow_handlers import syscalls
from tests.flow.support import Chunks, cut
from tests.handlers.support import Seam


class Boom(Exception):
    """A failure on purpose."""


class Ticks:
    """Counts each step that a task takes; `on_tick` is called before each of them."""

    def __init__(self) -> None:
        self.on_tick: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self.on_tick is not None:
            self.on_tick()


TICKS = Ticks()


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio that tells of each step."""

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        def ticked() -> None:
            TICKS()
            callback(*args)

        return super().call_soon(ticked, context=context)


class CountingInstrument(trio.abc.Instrument):
    """The same of trio."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        TICKS()


COUNTING = [
    pytest.param(("asyncio", {"loop_factory": CountingLoop}), id="asyncio"),
    pytest.param(("trio", {"instruments": [CountingInstrument()]}), id="trio"),
]
"""Backends that tell of each step: parameters of `anyio_backend`."""


@attrs.define(eq=False)
class Fault:
    """What goes wrong, and at which place of its kind: the `at`-th, from 1."""

    kind: str = "none"
    at: int = 0
    seen: Counter[str] = attrs.field(factory=Counter[str])
    hit: bool = False
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    def comes(self, kind: str) -> bool:
        """Count one place of a kind; whether it goes wrong there."""
        self.seen[kind] += 1
        if (kind, self.seen[kind]) != (self.kind, self.at):
            return False
        self.hit = True
        return True

    async def step(self) -> None:
        """A place in a handler, or in the caller's block."""
        if self.comes("handler"):
            raise Boom
        await checkpoint()

    def call(self, number: int = 0, name: str = "") -> None:
        """A call to the system."""
        if self.comes("disk"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def tick(self) -> None:
        """A step of any task."""
        if self.comes("cancel"):
            self.scope.cancel()

    def chunks(self, body: bytes, size: int) -> Chunks:
        """The source: it may raise, or end too early."""
        pieces = cut(body, size)

        async def before() -> None:
            await checkpoint()
            if self.comes("source"):
                raise ConnectionResetError("the connection was reset")

        def given() -> Iterator[bytes]:
            for piece in pieces:
                if self.comes("cut"):
                    yield piece[: len(piece) // 2]
                    return
                yield piece

        return Chunks(given(), before)


@contextmanager
def in_the_way(fault: Fault, patch: pytest.MonkeyPatch, *, nameless: bool) -> Iterator[None]:
    """Tell the fault of each call to the system, and of each step."""

    def told(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any) -> Any:
            fault.call()
            return real(*args)

        return call

    watched = {**vars(os), "pwrite": told("pwrite"), "pread": told("pread")}
    with patch.context() as patched:
        patched.setattr(syscalls, "system", Seam(fault.call, nameless=nameless))
        patched.setattr("mpflow.spool.os", SimpleNamespace(**watched))
        patched.setattr("mpflow_handlers.kept.os", SimpleNamespace(**watched))
        TICKS.on_tick = fault.tick
        try:
            yield
        finally:
            TICKS.on_tick = None
