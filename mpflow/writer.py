"""`MultipartWriter`: a multipart body, made of anything that can be sent.

Knows: its parts, its boundary and its size. Must not know: forms, requests, responses.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from itertools import count
from json import dumps
from types import TracebackType
from typing import Any, Self, TypeAlias, cast
from urllib.parse import urlencode

from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.contents import Sendable
from mpflow.encoding import codings_named
from mpflow.errors import InvalidBoundary, LimitExceeded, PartRef, WriteError, excerpt
from mpflow.nestedcontents import Nested, Place, inside_out
from mpflow.outgoing import Outgoing
from mpflow.outgoinglevel import Level, More
from mpflow.part import Part
from mpflow.payloads import Payload
from mpflow.sendheaders import HeadersLike, declared_length, merged_headers
from mpflow.sinks import ByteSink, open_sink
from mpflow.wire.boundary import check_boundary, new_boundary
from mpflow.wire.headers import format_head, format_parameter
from mpflow.wire.limits import Limits

__all__ = ["Item", "MultipartWriter"]

Item: TypeAlias = Sendable | Payload | tuple[Sendable, HeadersLike]
"""What `parts=` may give: an object, a `Payload`, or an object with its headers."""


class MultipartWriter:
    """A `multipart/*` body that is written: to a stream, or by iterating over it::

        with MultipartWriter("mixed") as root:
            root.append("text")
            root.append_json({"test": "passed"})
            root.append(Path("photo.gif"))
            with root.nested("related") as related:
                related.append(b"data", {"Content-ID": "<data>"})
        await client.post(url, content=root, headers=root.headers)

    `boundary` is made from `secrets` where none is given. `parts` is an async iterable of what is
    to be sent after the parts that were appended: each is used up before the next is asked for.
    `headers` are further headers of the message, without a coding; a Content-Length among them must
    be true. `params` are further parameters of its content type (`type` and `start` of a related
    one).

    A writer is an async iterable of bytes, in chunks of at most 4 MiB, and not a sync one. Sizes
    are checked while it is written, and so is every body for the boundary: `WriteError` where
    either is wrong, before a byte of it goes out; in a stream, before that chunk. What is not
    searched: files on a disk whose times say that they were changed last before the boundary was
    made here, at random. (What is written through a shared memory map, or after the clock was put
    back, may not show there. Where somebody who knows the boundary may write so while the body is
    sent, give one as `boundary`: then all is searched.) Files that are given open are read from
    where they stand, and not closed; paths are opened and closed. Those on disks are read in worker
    threads, pipes and sockets as they come.
    """

    def __init__(
        self,
        subtype: str = "mixed",
        *,
        boundary: str | None = None,
        parts: AsyncIterable[Item] | None = None,
        headers: HeadersLike | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        # Before the boundary is: who changed a file before that did not know it.
        self._made_at = time.time_ns() if boundary is None else None
        self.boundary: str = new_boundary() if boundary is None else _checked(boundary)
        """The boundary, as it stands in the content type and between the parts."""
        self.parts: list[Payload] = []
        """The parts that were appended. It may be changed until the body is written."""
        self.held = False
        """Whether it was made a part of a writer. Kept by the part."""
        self._form = subtype.lower() == "form-data"
        self._more = parts
        self._more_used = False
        try:
            # `type/subtype` of two tokens, which a parameter's name is, too.
            format_parameter(subtype, "")
            content_type = f"multipart/{subtype}"
            if params is not None and any(name.lower() == "boundary" for name in params):
                raise ValueError("expected params without a boundary: give it as boundary=")
            for name, value in {"boundary": self.boundary, **(params or {})}.items():
                content_type += f"; {format_parameter(name, value)}"
            self._headers = CIMultiDict([("Content-Type", content_type)])
            if headers is not None:
                mapping = isinstance(headers, Mapping)
                self._headers.extend(cast("Mapping[str, str]", headers) if mapping else headers)
            format_head(self._headers.items())
            if len(self._headers.getall("Content-Type")) > 1:
                raise ValueError("expected headers without a Content-Type: it follows from subtype")
        except ValueError as error:
            raise WriteError(str(error)) from error
        self._declared = declared_length(self._headers)
        _refuse_codings(self._headers)
        self.content_type = content_type
        """The content type with its boundary, in quotes where it needs them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.content_type} of {len(self.parts)} parts>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing: `with` only shows what belongs to which level."""

    # -- the parts ----------------------------------------------------------------------------

    def append(self, obj: Sendable | Payload, headers: HeadersLike | None = None) -> Payload:
        """Add a part: its payload, whose headers may still be changed.

        `headers` override what stands there by default: for text `text/plain; charset=utf-8`; for
        a file the content type that its name speaks of, and `attachment` with that name; and, but
        in a form, the Content-Length where it is known. A received `Part` comes with all its own
        headers, and what a framework was sent (`UploadFile`, `FileStorage`) with its filename and
        content type. Raises `TypeError` for what cannot be sent, and `WriteError` for what cannot
        be a header.
        """
        payload = self._appended(obj, headers)
        self.parts.append(payload)
        return payload

    def append_json(
        self,
        obj: Any,
        headers: HeadersLike | None = None,
        *,
        encoder: Callable[[Any], str | bytes] = dumps,
    ) -> Payload:
        """Add a part of JSON (RFC 8259), `application/json`."""
        data = encoder(obj)
        body = data.encode() if isinstance(data, str) else data
        return self.append(body, merged_headers([("Content-Type", "application/json")], headers))

    def append_form(
        self,
        fields: Mapping[str, Any] | Iterable[tuple[str, Any]],
        headers: HeadersLike | None = None,
    ) -> Payload:
        """Add a part of `application/x-www-form-urlencoded`; a list of values is repeated."""
        given: Any = fields
        pairs: Any = given if hasattr(given, "items") else list(given)
        body = urlencode(pairs, doseq=True).encode()
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return self.append(body, merged_headers([kind], headers))

    def append_part(self, part: Part, headers: HeadersLike | None = None) -> Payload:
        """Add a received part: all its headers, and its body, byte for byte.

        It must still be current when its turn comes, else `anyio.ClosedResourceError` is raised,
        and none of it may have been read, now or then, else `WriteError` (`peek` reads nothing).
        Codings may be set where it came without; others than it came with raise `WriteError`:
        append `part.decoded()` to give it others.
        """
        if not isinstance(part, Part):
            raise TypeError(f"expected a received part, got {type(part).__name__}")
        return self.append(part, headers)

    def nested(
        self,
        subtype: str = "mixed",
        *,
        boundary: str | None = None,
        headers: HeadersLike | None = None,
        params: Mapping[str, str] | None = None,
    ) -> MultipartWriter:
        """Add a part that is a multipart itself, and give its writer."""
        inner = MultipartWriter(subtype, boundary=boundary, headers=headers, params=params)
        self.append(inner)
        return inner

    def _appended(self, obj: object, headers: HeadersLike | None) -> Payload:
        """The payload of the next part to append."""
        try:
            return self._payload(obj, headers)
        except WriteError as error:
            self._name(error, None)
            raise

    def _name(self, error: WriteError, name: str | None) -> None:
        """Name the next part to append in an error that names none."""
        if error.part is None:
            error.part = PartRef((len(self.parts),), name)

    def _payload(self, obj: object, headers: HeadersLike | None) -> Payload:
        if isinstance(obj, Payload):
            if headers is not None:
                obj.headers.update(merged_headers((), headers))
            return obj
        if isinstance(obj, MultipartWriter):
            if obj is self or (self.held and self in (p.writer for p in inside_out(obj))):
                raise WriteError("expected a writer that does not hold this one")
            return Payload.of(
                Nested(obj), merged_headers(obj._headers.items(), headers), form=self._form
            )
        return Payload.of(cast("Sendable", obj), headers, form=self._form)

    # -- what it is ---------------------------------------------------------------------------

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers of the message: its Content-Type, those that were given, and the
        Content-Length where the size is known by now. `WriteError` where another one was given."""
        headers = CIMultiDict(self._headers)
        size = self.size
        self._check_length(size)
        if size is not None:
            headers["Content-Length"] = str(size)
        return CIMultiDictProxy(headers)

    @property
    def size(self) -> int | None:
        """Bytes of the whole body; None where a part of it, or `parts=`, cannot be known before.

        Raises `WriteError` where a part cannot be written, or the writer stands in itself.
        """
        sizes: dict[int, int | None] = {}
        for place in inside_out(self):
            sizes[id(place.writer)] = place.writer._size(place, sizes)
        return sizes[id(self)]

    def _size(self, place: Place, sizes: Mapping[int, int | None]) -> int | None:
        """The size, by those of the writers inside."""
        if self._more is not None:
            return None
        delimiter = len(self.boundary) + 6  # CRLF--boundary CRLF
        total = len(self.boundary) + 8 if self.parts else len(self.boundary) + 6
        for number, payload in enumerate(self.parts):
            try:
                head = len(payload.head(form=self._form).raw)
                if isinstance(payload.content, Nested):
                    size = payload.agreed(sizes[id(payload.content.writer)])
                else:
                    size = payload.expected()
            except WriteError as error:
                payload.blame(error, (*place.path, number))
                raise
            if size is None:
                return None
            total += delimiter + (head + 2 if head else 0) + 2 + size - (0 if number else 2)
        return total

    @property
    def replayable(self) -> bool:
        """Whether it can be written more than once: every part can, and `parts=` is not given."""
        return all(
            place.writer._more is None
            and all(isinstance(p.content, Nested) or p.replayable for p in place.writer.parts)
            for place in inside_out(self)
        )

    # -- writing ------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in chunks. Raises `WriteError` where it was written and is not `replayable`."""
        return self.start()

    async def write(self, sink: ByteSink, *, close_boundary: bool = True) -> None:
        """Write the body to a stream, a stream writer, a file (in threads) or an async callable.

        The sink is not closed. With `close_boundary=False` the close delimiter is left out, and
        the body ends where the next delimiter may follow: a frame of
        `multipart/x-mixed-replace`, say.
        """
        send = open_sink(sink)
        outgoing = self.start(close_boundary=close_boundary)
        try:
            async for chunk in outgoing:
                await send(chunk)
        finally:
            await outgoing.aclose()

    async def as_bytes(self) -> bytes:
        """The whole body in memory."""
        return b"".join([chunk async for chunk in self.start()])

    def start(self, *, close_boundary: bool = True, path: tuple[int, ...] = ()) -> Outgoing:
        """Begin to write; `path` is its place in a message around it, which was checked."""
        if path:
            self.check_unused()
        else:
            self.check_ready()
        whole = close_boundary and not path  # else the headers are not those of what is written
        if whole and self._declared is not None:
            self._check_length(self.size)
        level = Level(
            self,
            self.boundary,
            tuple(self.parts),
            self._pull(path) if self._more is not None else None,
            form=self._form,
            made_at=self._made_at,
            close_boundary=close_boundary,
            path=path,
        )
        return Outgoing(level, total=self._declared if whole else None)

    def _check_length(self, size: int | None) -> None:
        if size is not None and self._declared not in (None, size):
            raise WriteError(
                f"expected a message of {self._declared} bytes, as its Content-Length says, "
                f"got {size}"
            )

    def check_ready(self) -> None:
        """Raise `WriteError` where it cannot be written: again, or at all."""
        for place in inside_out(self):
            place.writer.check_unused()
            for index, payload in enumerate(place.writer.parts):
                try:
                    payload.check()
                except WriteError as error:
                    payload.blame(error, (*place.path, index))
                    raise

    def check_unused(self) -> None:
        """Raise `WriteError` where `parts=` was used up, whatever stands in its parts."""
        if self._more_used:
            raise WriteError("expected a body that can be written again, got one of `parts=`")

    def _pull(self, path: tuple[int, ...]) -> More:
        assert self._more is not None
        self._more_used = True
        parts = aiter(self._more)
        numbers = count(len(self.parts))

        async def pull() -> Payload:
            item = await anext(parts)
            number = next(numbers)
            try:
                return self._payload(*_pair(item))
            except TypeError as error:  # a `WriteError` gets its part where it is written
                raise TypeError(f"{error} (in {PartRef((*path, number))})") from error

        made = parts is not cast("object", self._more)
        return pull, getattr(parts, "aclose", None) if made else None


def _pair(item: Item) -> tuple[object, HeadersLike | None]:
    """An object of `parts=`, and the headers that it came with. An error of these names the part,
    as a `WriteError` does."""
    if not isinstance(item, tuple):
        return item, None
    given: tuple[Any, ...] = item
    if len(given) != 2:
        raise WriteError(f"expected an object and its headers, got a tuple of {len(given)}")
    try:
        return given[0], None if given[1] is None else merged_headers((), given[1])
    except TypeError as error:
        raise WriteError(str(error)) from error


def _refuse_codings(headers: CIMultiDict[str]) -> None:
    """RFC 2045, 6.4 allows a multipart no transfer encoding that changes it; nor is it coded."""
    if codings := [coding.name for coding in codings_named(headers) if not coding.is_plain]:
        raise WriteError(
            f"expected headers of a multipart without a coding, got {excerpt(codings[0])}"
        )


def _checked(boundary: str) -> str:
    try:
        raw, deviation = check_boundary(boundary, limits=Limits())
    except (InvalidBoundary, LimitExceeded) as error:
        raise WriteError(error.message) from error
    if deviation is not None:
        raise WriteError(
            f"expected a boundary of the characters of RFC 2046, 5.1.1, got {excerpt(raw)}"
        )
    return boundary
