"""What a body can be written to: one function that makes an async `send` of any of it.

Knows: the shapes of streams, files and writers in asyncio, trio, anyio and aiohttp.
Must not know: multipart.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from anyio import to_thread, wait_writable
from anyio.lowlevel import checkpoint

__all__ = ["ByteSink", "open_sink"]


@runtime_checkable
class SupportsSend(Protocol):
    """An anyio send stream: `await send(data)`."""

    async def send(self, item: bytes, /) -> None: ...


@runtime_checkable
class SupportsSendAll(Protocol):
    """A trio send stream: `await send_all(data)`."""

    async def send_all(self, data: bytes, /) -> None: ...


@runtime_checkable
class SupportsAsyncWrite(Protocol):
    """An async file, a stream writer or response of aiohttp: `await write(data)`."""

    async def write(self, data: bytes, /) -> Any: ...


@runtime_checkable
class SupportsWrite(Protocol):
    """A binary file, written in worker threads; with `drain`, an asyncio `StreamWriter`."""

    def write(self, data: bytes, /) -> Any: ...


Send: TypeAlias = Callable[[bytes], Awaitable[object]]
ByteSink: TypeAlias = SupportsSend | SupportsSendAll | SupportsAsyncWrite | SupportsWrite | Send
"""What `MultipartWriter.write` can write to."""


def open_sink(obj: object) -> Send:
    """An async function that sends bytes to whatever a body can be written to; else `TypeError`.

    The bytes that it was given have been taken as a whole when it returns.
    """
    given: Any = obj
    for name in ("send", "send_all"):
        if inspect.iscoroutinefunction(getattr(given, name, None)):
            send: Send = getattr(given, name)
            return send
    write = getattr(given, "write", None)
    if callable(write):
        if inspect.iscoroutinefunction(write):
            return _whole(write, given)
        if inspect.iscoroutinefunction(getattr(given, "drain", None)):
            return _drained(given)
        if isinstance(obj, io.BytesIO):
            return _in_memory(obj)
        if not isinstance(obj, io.TextIOBase):
            return _whole(lambda data: to_thread.run_sync(write, data), given)
    elif callable(given):
        return _called(given)
    raise TypeError(
        "expected a send stream, a stream writer, a binary file or an async callable to write to, "
        f"got {type(obj).__name__}"
    )


def _whole(write: Callable[[Any], Awaitable[Any]], file: Any) -> Send:
    """A file may take less than it was given, and says how much.

    `io.RawIOBase.write` gives None where it took nothing, since it must not block: then the
    descriptor is waited for. None of any other file, once and for all, means that it took all.
    """
    inner = getattr(file, "wrapped", file)  # of an async file
    inner = getattr(inner, "file", inner)  # of a named temporary file
    is_raw = isinstance(inner, io.RawIOBase)

    async def send(data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            taken = await write(rest)
            if taken is None and is_raw:
                await _writable(inner)
                continue
            if type(taken) is not int and rest is data:
                return
            if type(taken) is not int or taken < 1:
                raise TypeError(f"expected a blocking file, got one whose write() gives {taken!r}")
            rest = memoryview(rest)[taken:]

    return send


async def _writable(file: io.RawIOBase) -> None:
    try:
        await wait_writable(file.fileno())
    except (OSError, NotImplementedError) as error:  # some event loops wait for no descriptor
        raise TypeError(
            "expected a blocking file, or one whose descriptor can be waited for, "
            f"got {type(file).__name__}: {error}"
        ) from error


def _drained(writer: Any) -> Send:
    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return send


def _in_memory(file: io.BytesIO) -> Send:
    async def send(data: bytes) -> None:
        await checkpoint()
        file.write(data)

    return send


def _called(call: Callable[[bytes], object]) -> Send:
    async def send(data: bytes) -> None:
        answer = call(data)
        if not inspect.isawaitable(answer):
            raise TypeError(
                "expected an async callable to write to, "
                f"got one that gives {type(answer).__name__}"
            )
        await answer

    return send
