"""`SyncHandler`: a part as a file, for a function that blocks.

Knows: which function, and what it is called with. Must not know: how bytes get to its thread.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from functools import partial
from inspect import Signature
from typing import Any, Concatenate, Final, Generic, Literal, TypeVar, cast, overload

import anyio
import attrs
from anyio import to_thread

from mpflow import InvalidContent, Part, PartInfo, RouteError, accepted_needs, signature_over
from mpflow.errors import excerpt
from mpflow_handlers.inflow import Inflow, InflowFile
from mpflow_handlers.text import check_encoding

__all__ = ["SyncHandler"]

_T = TypeVar("_T")
_BUFFER: Final = 64 * 1024


def _check_function(function: object) -> None:
    if not callable(function):
        raise RouteError(f"expected a function, got {function!r:.60}")
    inner = _unwrapped(function)
    # The `__call__` itself is looked at; that there is one is known.
    for code in (inner, getattr(type(inner), "__call__", None)):  # noqa: B004 - not a test for it
        if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
            raise RouteError("expected a function that blocks, got an async one: it is a handler")
        if inspect.isgeneratorfunction(code):
            raise RouteError(
                "expected a function that has read the part when it returns, got a generator"
            )
    try:
        inspect.signature(function).bind_partial(None, None)
    except ValueError:  # some builtins have none
        pass
    except TypeError:
        raise RouteError(
            f"expected a function that takes a file and the part's info, got {function!r:.60}"
        ) from None


def _unwrapped(function: object) -> object:
    while isinstance(function, partial):
        function = cast("object", function.func)
    return function


def _check_result(value: object) -> None:
    """Refuse what has only begun: its file is closed by now."""
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that nobody awaited it
    elif not inspect.isgenerator(value) and not inspect.isasyncgen(value):
        return
    kind = type(value).__name__
    raise RouteError(f"expected a function that has read the part when it returns, got a {kind}")


def _check_limiter(limiter: object) -> None:
    if limiter is not None and not isinstance(limiter, anyio.CapacityLimiter):
        raise RouteError(f"expected a limiter of anyio or None, got {limiter!r:.60}")


@attrs.frozen(init=False)
class SyncHandler(Generic[_T]):
    """Calls `function(file, info, **needs)` in a worker thread; gives what it returns.

    `file` is a binary file (`io.BufferedReader`) that reads the part while it arrives, and cannot
    seek: for tarfile (mode `"r|*"`), csv, pyarrow, and whatever else takes a file. What has to
    seek reads a `Spool`. It may be read by threads that the function starts. `info` is the
    `PartInfo`. With `text` it is an `io.TextIOWrapper` by `encoding`, else the charset that the
    part is read by (`Part.text_encoding`); line ends are left as they are, as csv wants them.
    Binary it is what `Save` would store, as text it is without any coding.

    The end of the file is the end of the part. Where the body is cut or refused, reading raises an
    `OSError` with what is wrong as its `__cause__`, and that, bare, is what the handler raises,
    whatever the function makes of it. An exception of the function's own goes on as it is; but a
    `StopIteration`, which no coroutine can raise, as the cause of a `RuntimeError`, and with `text`
    a `UnicodeDecodeError` as that of `InvalidContent` (422). It may end early: the rest is drained.
    Once it has ended the file is closed: a generator or a coroutine raises `RouteError`.

    When the handler is cancelled, reading raises an `OSError` (`ECANCELED`) at once, so that the
    function ends. One that computes cannot be interrupted: it is waited for, until it reads or
    ends. For the flow's clocks it moves when it reads.

    Each call has a thread of its own, none of those that everything else shares. With a `limiter`
    as many of them as it has tokens are at work at the same time, in all flows; one that waits for
    bytes does not count, and one that is cancelled counts until it ends. One that waits for its
    turn does not read: where the body has to wait for it, `stall_timeout` runs. 256 KiB of a part
    may wait for its thread, beside one piece and the 64 KiB that the file holds.
    """

    function: Callable[..., _T]
    text: bool
    encoding: str | None
    limiter: anyio.CapacityLimiter | None

    # Each kind of function twice, since mypy infers nothing of a lambda for the second one.
    @overload
    def __init__(
        self,
        function: Callable[[io.BufferedReader, PartInfo], _T]
        | Callable[Concatenate[io.BufferedReader, PartInfo, ...], _T],
        *,
        text: Literal[False] = False,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        function: Callable[[io.TextIOWrapper, PartInfo], _T]
        | Callable[Concatenate[io.TextIOWrapper, PartInfo, ...], _T],
        *,
        text: Literal[True],
        encoding: str | None = None,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None: ...
    def __init__(
        self,
        function: Callable[..., _T],
        *,
        text: bool = False,
        encoding: str | None = None,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None:
        _check_function(function)
        _check_limiter(limiter)
        check_encoding(self, None, encoding)
        if encoding is not None and not text:
            raise RouteError("expected text=True with an encoding")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "limiter", limiter)

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        try:
            # Its own: `info` stands where a handler has its part.
            return inspect.signature(self._without_file())
        except ValueError:
            return signature_over()

    def _without_file(self) -> Callable[..., _T]:
        # What takes the info first, as handlers' callables do.
        return partial(self.function, None)

    async def __call__(self, part: Part, /, **needs: Any) -> _T:
        encoding = part.text_encoding(self.encoding) if self.text else None
        stream = part.decoded() if self.text else part.stored()
        call = partial(self.function, **accepted_needs(self._without_file(), needs))
        inflow = Inflow(self.limiter)
        work = _Work[_T](call, part.info, encoding, inflow)
        try:
            await inflow.begin()
            # The thread in a task, the pump here: so a cancellation of any kind stops the pump,
            # which ends what the thread waits for, and the task group waits for the thread.
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work.run, tasks.cancel_scope)
                try:
                    await inflow.pump(stream)
                finally:
                    inflow.stop()
        finally:
            inflow.end()
        if inflow.error is None and work.error is not None:
            part.fails_by_itself()  # it had read no further than the thread
        return work.result()


@attrs.define(eq=False)
class _Work(Generic[_T]):
    """One call of the function."""

    function: Callable[..., _T]
    info: PartInfo
    encoding: str | None
    inflow: Inflow
    value: _T | None = attrs.field(default=None, init=False)
    error: BaseException | None = attrs.field(default=None, init=False)

    async def run(self, scope: anyio.CancelScope) -> None:
        """Call it in a thread; cancel the scope when it has ended."""
        try:
            # A limiter of its own: what the others need to make progress may be this very call.
            await to_thread.run_sync(self._call, limiter=anyio.CapacityLimiter(1))
        except Exception as error:  # no thread is to be had
            self.error = error
        scope.cancel()

    def _call(self) -> None:
        raw = InflowFile(self.inflow)
        file = io.BufferedReader(raw, _BUFFER)
        try:
            if self.encoding is None:
                value = self.function(file, self.info)
            else:
                text = io.TextIOWrapper(file, self.encoding, newline="")
                value = self.function(text, self.info)
            _check_result(value)
            self.value = value
        except BaseException as error:
            self.error = self._told(error)
        finally:
            # First who still reads, in a thread of a library's, then the file, for whoever will.
            self.inflow.close("the function that reads the part has ended")
            raw.close()

    def _told(self, error: BaseException) -> BaseException:
        """What the handler raises in place of the function's exception; mostly that itself."""
        told: Exception
        if isinstance(error, StopIteration):
            told = RuntimeError(f"the function raised StopIteration: {self.function!r:.100}")
        elif self.encoding is not None and isinstance(error, UnicodeDecodeError):
            came = excerpt(error.object[error.start :])
            told = InvalidContent(
                f"expected text in {self.encoding.removesuffix('-sig')}, got {came}: "
                f"{error.reason}",
                part=self.info.ref,
            )
        else:
            return error
        told.__cause__ = error
        return told

    def result(self) -> _T:
        """What it returned; or raise what went wrong, first of all with the part."""
        if self.inflow.error is not None:
            raise self.inflow.error
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback leads here: what the function held goes now
        return cast("_T", self.value)
