"""What the tests of the flow share: bodies, sources that count, handlers that keep a diary.

Knows: how a form is put on the wire, and the two phases of a handler.
Must not know: how a flow runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from mpflow import Handled, Limits, MultipartReader, Part, Results, Router
from mpflow.wire.headers import format_disposition

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@attrs.frozen
class Field:
    """One part of a form, as a client sends it."""

    name: str
    data: bytes = b""
    filename: str | None = None
    content_type: str | None = None


def head(field: Field, boundary: str = BOUNDARY) -> bytes:
    """The delimiter and the header block of a part."""
    disposition = format_disposition("form-data", name=field.name, filename=field.filename)
    lines = [f"--{boundary}", f"Content-Disposition: {disposition}"]
    if field.content_type is not None:
        lines.append(f"Content-Type: {field.content_type}")
    return "\r\n".join([*lines, "", ""]).encode()


def tail(boundary: str = BOUNDARY) -> bytes:
    """What ends a body."""
    return f"--{boundary}--\r\n".encode()


def form(*fields: Field | tuple[str, bytes], boundary: str = BOUNDARY) -> bytes:
    """The body of a form."""
    made = [f if isinstance(f, Field) else Field(*f) for f in fields]
    return b"".join(head(f, boundary) + f.data + b"\r\n" for f in made) + tail(boundary)


def nested(name: str, *fields: Field | tuple[str, bytes], boundary: str = "inner") -> Field:
    """A part that is a multipart itself."""
    kind = f"multipart/mixed; boundary={boundary}"
    return Field(name, form(*fields, boundary=boundary), content_type=kind)


def cut(body: bytes, size: int) -> list[bytes]:
    """The body in chunks of that many bytes."""
    return [body[i : i + size] for i in range(0, len(body), size)]


@attrs.define(eq=False)
class Chunks:
    """A source: gives chunks, each behind a checkpoint, and counts what it gave."""

    chunks: Iterable[bytes]
    before: Callable[[], Awaitable[object]] = checkpoint
    given: int = 0
    ended: bool = False
    _iterator: Any = None

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        await self.before()
        if self._iterator is None:
            self._iterator = iter(self.chunks)
        for chunk in self._iterator:
            self.given += len(chunk)
            return bytes(chunk)
        self.ended = True
        raise StopAsyncIteration


def paced(body: bytes, *pauses: float, size: int = 40) -> Chunks:
    """A source that waits before each chunk, in seconds; the last pause is repeated."""
    left = list(pauses)

    async def before() -> None:
        await anyio.sleep(left.pop(0) if len(left) > 1 else left[0])

    return Chunks(cut(body, size), before)


def reader(
    source: Any, *, size: int | None = None, limits: Limits | None = None
) -> MultipartReader:
    """A reader of a body; with `size`, of a body that comes in chunks of that many bytes."""
    if size is not None:
        source = Chunks(cut(source, size))
    return MultipartReader(source, CONTENT_TYPE, limits=limits)


@attrs.define(eq=False)
class Diary:
    """A two-phase handler that writes down what becomes of each part, by the part's name.

    `step` is awaited before each entry, with what is about to be done; what it raises is raised
    there: `"stage"`, `"commit"` or `"rollback"`, and the name.
    """

    step: Callable[[str, str], Awaitable[object]] | None = None
    staged: list[str] = attrs.field(factory=list[str])
    committed: list[str] = attrs.field(factory=list[str])
    rolled_back: list[str] = attrs.field(factory=list[str])
    reasons: list[BaseException] = attrs.field(factory=list[BaseException])

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[bytes, None]:
        name = part.name or ""
        data = await part.read(limit=None)
        await self._step("stage", name)
        self.staged.append(name)
        try:
            yield data
            await self._step("commit", name)
        except BaseException as error:
            self.reasons.append(error)
            await self._step("rollback", name)
            self.rolled_back.append(name)
            raise
        self.committed.append(name)

    async def _step(self, what: str, name: str) -> None:
        await checkpoint()
        if self.step is not None:
            await self.step(what, name)

    def check(self) -> None:
        """Everything staged was committed or rolled back, once, and nothing both."""
        assert sorted(self.committed + self.rolled_back) == sorted(self.staged)
        assert not set(self.committed) & set(self.rolled_back)


def fails(on: str, name: str, error: BaseException) -> Callable[[str, str], Awaitable[object]]:
    """A `step` of a diary that raises at one entry."""

    async def step(what: str, which: str) -> None:
        if (what, which) == (on, name):
            raise error

    return step


async def read(part: Part) -> bytes:
    """The handler that takes it all."""
    return await part.read(limit=None)


def notes(error: BaseException) -> str:
    """The notes of an exception, in one string."""
    found: Sequence[str] = getattr(error, "__notes__", [])
    return "\n".join(found)


def routed(diary: Diary) -> Router:
    """A router that sends everything to a diary."""
    router = Router()
    router.add(diary)
    return router


def names(handled: Iterable[Handled]) -> list[str | None]:
    """The names of parts, as the client gave them."""
    return [item.part.name for item in handled]


def inner_flow(router: Router) -> Callable[[Part], AbstractAsyncContextManager[Results]]:
    """A handler that routes the multipart inside its part, in two phases."""

    @asynccontextmanager
    async def inner(part: Part) -> AsyncGenerator[Results, None]:
        async with router.flow(part.multipart()) as flow:
            yield flow.results

    return inner
