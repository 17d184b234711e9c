"""A part in hand, and a handler's run on a real body.

Knows: readers, parts, and a router with one route. Must not know: which handler, or why.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

import anyio
from anyio.lowlevel import checkpoint

from mpflow.flow import Router
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.reader import MultipartReader
from mpflow.testing.bodies import PartSpec, content_type_of
from mpflow.wire import BodyEnd, Encoder, Head, Limits, PartBegin, PartEnd, WholePart, new_boundary

__all__ = ["Chunks", "PartOptions", "part", "run"]

T = TypeVar("T")

Chunks: TypeAlias = Iterable[bytes] | AsyncIterable[bytes]


class PartOptions(TypedDict, total=False):
    """What a test part is made of, beside its data.

    name, filename: of its form-data disposition.
    content_type: the value of the header.
    headers: further headers, before those.
    chunks: its body, as it comes in, in place of `data`; one of the sources will do.
    limits: the limits of its message.
    """

    name: str | None
    filename: str | None
    content_type: str | None
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    chunks: Chunks | None
    limits: Limits | None


def part(
    data: str | bytes = b"",
    *,
    name: str | None = None,
    filename: str | None = None,
    content_type: str | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    chunks: Chunks | None = None,
    index: int = 0,
    limits: Limits | None = None,
) -> Part:
    """A part to call a handler with. It stays current; `multipart()` works.

    Its body is `data`, whole in hand as small parts are, or `chunks`, which come one by one.
    """
    spec = _spec(data, chunks, name, filename, content_type, headers)
    level = MultipartReader(b"", content_type_of(), limits=limits)
    info = PartInfo(spec.head, index, (index,))
    return Part(info, None if chunks is None else _Chunks(chunks), level=level, data=spec.data)


@overload
async def run(
    handler: Callable[Concatenate[Part, ...], Awaitable[T]],
    data: str | bytes | Part = b"",
    *,
    given: Mapping[str, object] | None = None,
    rollback: bool | BaseException = False,
    **options: Unpack[PartOptions],
) -> T: ...


@overload
async def run(
    handler: Callable[Concatenate[Part, ...], AbstractAsyncContextManager[T]],
    data: str | bytes | Part = b"",
    *,
    given: Mapping[str, object] | None = None,
    rollback: bool | BaseException = False,
    **options: Unpack[PartOptions],
) -> T: ...


async def run(
    handler: Callable[Concatenate[Part, ...], Any],
    data: str | bytes | Part = b"",
    *,
    given: Mapping[str, object] | None = None,
    rollback: bool | BaseException = False,
    **options: Unpack[PartOptions],
) -> Any:
    """Run a handler as a `Router` would, on a real body of one part, and give what it answered.

    The part is a `Part`, whose body is streamed on, or one made of `data` and `options`, as
    `part` makes it; others raise `TypeError`. `given` are the values that the handler needs, by
    the names of its parameters; one that it does not take raises `RouteError`.

    A handler in two phases commits; with `rollback` it is rolled back, for the reason that is
    given, and its value returned all the same. What goes wrong is raised as `Router.dispatch`
    raises it: the handler's own exception bare, `CommitFailed`, wire errors.
    """
    if others := options.keys() - PartOptions.__annotations__.keys():
        raise TypeError(
            f"expected options among {', '.join(PartOptions.__annotations__)}, "
            f"got {', '.join(sorted(others))}"
        )
    boundary = new_boundary()
    source: AsyncIterable[bytes] | bytes
    if isinstance(data, Part):
        if options:
            raise TypeError(f"expected no options beside a part, got {', '.join(options)}")
        source = _framed(data.info.head, data, boundary)
    else:
        source = _source(data, options, boundary)
    limits = options.get("limits")
    reader = MultipartReader(source, content_type_of(boundary), limits=limits)
    router = Router()
    route = router.add(handler, key="part", needs=list(given or ()))
    async with router.flow(reader, given=given) as flow:
        value = flow.results[route]
        if rollback:
            await flow.abort(None if rollback is True else rollback)
    return value


def _source(data: str | bytes, options: PartOptions, boundary: str) -> AsyncIterable[bytes] | bytes:
    """A body of one part: in one piece, or in the chunks that are asked for."""
    chunks = options.get("chunks")
    spec = _spec(
        data,
        chunks,
        options.get("name"),
        options.get("filename"),
        options.get("content_type"),
        options.get("headers", ()),
    )
    if chunks is not None:
        return _framed(spec.head, chunks, boundary)
    encoder = Encoder(boundary)
    return encoder.send(WholePart(spec.head, spec.data)) + encoder.send(BodyEnd())


def _spec(
    data: str | bytes,
    chunks: Chunks | None,
    name: str | None,
    filename: str | None,
    content_type: str | None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
) -> PartSpec:
    if data and chunks is not None:
        raise TypeError("expected data or chunks, got both")
    return PartSpec(data, name=name, filename=filename, content_type=content_type, headers=headers)


def _framed(head: Head, chunks: Chunks, boundary: str) -> _Framed:
    encoder = Encoder(boundary)
    begin = encoder.send(PartBegin(head))
    return _Framed(begin, _Chunks(chunks), encoder.send(PartEnd()) + encoder.send(BodyEnd()))


class _Chunks:
    """The body of a part: chunks, sync or async, without the empty ones."""

    def __init__(self, chunks: Chunks) -> None:
        self._iterator: AsyncIterator[bytes] = (
            aiter(chunks) if isinstance(chunks, AsyncIterable) else _Stepped(chunks)
        )

    async def receive(self) -> bytes:
        while True:
            try:
                chunk = await anext(self._iterator)
            except StopAsyncIteration:
                raise anyio.EndOfStream from None
            if chunk:
                return chunk


class _Stepped:
    """An async iterator over a sync one; each step lets others run."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


class _Framed:
    """The source of a body with one part: each chunk of the part is a chunk of the source."""

    def __init__(self, begin: bytes, body: _Chunks, end: bytes) -> None:
        self._begin = begin
        self._body = body
        self._end = end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data, self._begin = self._begin, b""
        if data:
            return data
        try:
            return await self._body.receive()
        except anyio.EndOfStream:
            data, self._end = self._end, b""
            if not data:
                raise StopAsyncIteration from None
            return data
