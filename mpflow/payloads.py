"""`Payload`: a part that is to be sent, with its headers.

Knows: the headers that a part has by default, and which of them must be true.
Must not know: other parts, delimiters, or where the bytes go.
"""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias, cast

import attrs
from anyio import to_thread
from multidict import CIMultiDict

from mpflow.contents import (
    Content,
    Memory,
    Reading,
    Received,
    Sendable,
    Stream,
    Text,
    name_of,
)
from mpflow.errors import MultipartError, WriteError, excerpt
from mpflow.filecontents import File, FileAt, TextFile
from mpflow.openfiles import is_text
from mpflow.part import Part
from mpflow.sources import open_source
from mpflow.wire.codings import Coding, Encoding, codings_of
from mpflow.wire.codings.plain import PlainEncoder
from mpflow.wire.headers import Head, format_disposition, format_head, format_parameter
from mpflow.wire.headers import parse_content_type as parse_type

__all__ = ["HeadersLike", "Payload", "merged_headers"]

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

CODE_INLINE = 16 * 1024
"""Bytes that are coded on the event loop at once, at most, by a coding that is heavy."""


def merged_headers(
    defaults: Iterable[tuple[str, str]], given: HeadersLike | None
) -> CIMultiDict[str]:
    """The given headers, after those defaults that they leave alone. Refuses what cannot be."""
    pairs: list[tuple[str, str]] = []
    if isinstance(given, Mapping):
        pairs += cast("Mapping[str, str]", given).items()
    elif given is not None:
        pairs += given
    own = {name.lower() for name, _ in pairs}
    kept = [(name, value) for name, value in defaults if name.lower() not in own]
    headers = CIMultiDict([*kept, *pairs])
    _check(headers)
    return headers


def _check_types(headers: CIMultiDict[str]) -> None:
    for name, value in headers.items():
        if not isinstance(value, str):
            raise TypeError(f"expected text in the header {name}, got {type(value).__name__}")


def _check(headers: CIMultiDict[str]) -> None:
    _check_types(headers)
    try:
        format_head(headers.items())
    except ValueError as error:
        raise WriteError(str(error)) from error


def content_of(obj: object) -> Content:
    """The content that is made of an object; `TypeError` for what cannot be sent."""
    given: Any = obj
    if isinstance(obj, Content):
        return obj
    if isinstance(obj, str):
        return Text(obj)
    if isinstance(obj, bytes | bytearray | memoryview):
        return Memory(bytes(given))
    if isinstance(obj, Part):
        return Received(obj)
    if isinstance(obj, os.PathLike):
        return FileAt(given)
    if isinstance(obj, io.StringIO | io.BytesIO):
        return _in_memory(obj)
    file: Any = getattr(obj, "wrapped", obj)  # of an async file of anyio or trio
    if is_text(file):
        return TextFile(file)
    if callable(getattr(file, "read", None)) and not inspect.iscoroutinefunction(file.read):
        return File(file)
    try:
        open_source(obj)
    except TypeError:
        raise TypeError(
            "expected str, bytes, a path, a file, a stream, an async iterable of bytes, a received "
            f"part or a writer to send, got {type(obj).__name__}"
        ) from None
    return Stream(obj)


def _in_memory(file: io.StringIO | io.BytesIO) -> Content:
    """What stands in it from its place on. It is left there, as any open file is by `append`."""
    place, name = file.tell(), name_of(file)
    data = file.read()
    file.seek(place)
    return Text(data, filename=name) if isinstance(data, str) else Memory(data, filename=name)


@lru_cache(maxsize=64)
def _charset_of(content_type: str) -> str:
    try:
        return parse_type(content_type).charset or "utf-8"
    except MultipartError:
        return "utf-8"  # `Payload.head` says what is wrong with it


@attrs.define(eq=False)
class Payload:
    """A part that is to be sent. `headers` may be changed until it is written.

    Made by `MultipartWriter.append` and its kin, or by `Payload.of` for the `parts=` of a writer.
    Text goes out in the charset that its Content-Type names, at the time of writing. A
    Content-Length that was set by default follows the body; one that is given is checked, and
    makes the size of a stream known.
    """

    content: Content
    headers: CIMultiDict[str]
    _default_length: str | None = None

    @classmethod
    def of(
        cls, obj: Sendable | Content, headers: HeadersLike | None = None, *, form: bool = False
    ) -> Payload:
        """A payload of an object, its default headers overridden by `headers`.

        Raises `TypeError` for what cannot be sent, `WriteError` for what cannot be a header, and
        `OSError` for a path that cannot be looked at. With `form`, no Content-Length and no
        Content-Disposition is made up.
        """
        content = content_of(obj)
        defaults: list[tuple[str, str]] = []
        if isinstance(content, Received):
            defaults += content.part.headers.items()
            return cls(content, merged_headers(defaults, headers))
        if content.content_type is not None:
            defaults.append(("Content-Type", content.content_type))
        if content.filename is not None and not form:
            disposition = _disposition("attachment", None, content.filename)
            defaults.append(("Content-Disposition", disposition))
        payload = cls(content, merged_headers(defaults, headers))
        size = None if form or not content.measured else payload.size
        if size is not None and "Content-Length" not in payload.headers:
            payload._default_length = payload.headers["Content-Length"] = str(size)
        return payload

    def set_content_disposition(
        self, type: str, *, name: str | None = None, filename: str | None = None, **params: str
    ) -> None:
        """Set the Content-Disposition header (RFC 2183; in `form-data` as browsers write it).

        An underscore in a further parameter stands for a hyphen: `creation_date`. Raises
        `WriteError` for what cannot stand there.
        """
        text = _disposition(type, name, filename)
        try:
            for key, value in params.items():
                text += f"; {format_parameter(key.replace('_', '-'), value)}"
        except ValueError as error:
            raise WriteError(str(error)) from error
        self.headers["Content-Disposition"] = text

    # -- what is sent -------------------------------------------------------------------------

    @property
    def replayable(self) -> bool:
        """Whether it can be written more than once."""
        return self.content.replayable

    @property
    def size(self) -> int | None:
        """Bytes of the body on the wire, None where they cannot be known before it is written."""
        size = self.content.size(self.charset)
        for coding in self.codings:
            size = None if size is None else coding.size_of(size)
        return self._declared() if size is None else size

    @property
    def codings(self) -> tuple[Coding, ...]:
        """The codings to apply, in their order, by its headers: Content-Encoding, then
        Content-Transfer-Encoding. What was received has been coded already."""
        if isinstance(self.content, Received):
            return ()
        return tuple(c for c in codings_of(self.headers) if c.encoder is not PlainEncoder)

    @property
    def charset(self) -> str:
        """The charset that text is sent in, by the content type; UTF-8 where it names none."""
        return _charset_of(self.headers.get("Content-Type", "text/plain"))

    def head(self, *, form: bool = False) -> Head:
        """The header block as it is sent. Raises `WriteError` for one that no reader should get.

        `form` says that the part stands in a form, where it needs a name (RFC 7578, 4.2).
        """
        if form and (codings := [c.name for c in self.codings if not c.is_plain]):
            raise WriteError(
                "expected a part of a form without a coding (RFC 7578, 4.7 and 4.8), "
                f"got {excerpt(codings[0])}"
            )
        fields = CIMultiDict(self.headers)
        length = fields.get("Content-Length")
        if length is not None and length == self._default_length:
            size = self.size
            fields.popall("Content-Length")
            if size is not None:
                fields["Content-Length"] = str(size)
        _check_types(fields)
        try:
            head = Head.of(fields.items(), form=form)
        except MultipartError as error:
            raise WriteError(f"expected headers that can be read: {error.message}") from error
        except ValueError as error:
            raise WriteError(str(error)) from error
        if form and head.name is None and not isinstance(self.content, Received):
            raise WriteError("expected a name of the part of a form: Content-Disposition has none")
        return head

    def expected(self) -> int | None:
        """How long the body must be. A header that says something else raises `WriteError`."""
        size, declared = self.size, self._declared()
        if declared is not None and size != declared:
            raise WriteError(f"Content-Length says {declared} bytes, and the body has {size}")
        return size

    def check(self) -> None:
        """Raise `WriteError` where the body cannot be read (again)."""
        self.content.check()

    def data(self) -> bytes | None:
        """The body as it goes out, where it is in memory and need not be coded in a thread."""
        data = self.content.data(self.charset)
        codings = self.codings
        if data is None or not codings:
            return data
        if len(data) > CODE_INLINE:
            return None
        encoding = Encoding(codings)
        return encoding.encode(data) + encoding.finish()

    def open(self, path: tuple[int, ...]) -> Reading:
        """Begin to read the body; `path` is the place of the part in the message."""
        reading = self.content.open(self.charset, path)
        return CodedReading(reading, self.codings) if self.codings else reading

    def _declared(self) -> int | None:
        """What a Content-Length says that is not our own."""
        value = self.headers.get("Content-Length")
        if value is None or value == self._default_length:
            return None
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise WriteError(f"expected a number in Content-Length, got {excerpt(value)}")
        return int(value)


def _disposition(type: str, name: str | None, filename: str | None) -> str:
    try:
        return format_disposition(type, name=name, filename=filename)
    except ValueError as error:
        raise WriteError(str(error)) from error


class CodedReading:
    """A reading with codings applied to it; heavy ones in worker threads."""

    def __init__(self, reading: Reading, codings: tuple[Coding, ...]) -> None:
        self._reading = reading
        self._encoding = Encoding(codings)
        self._heavy = any(coding.heavy for coding in codings)
        self._ended = False

    async def next(self) -> bytes:
        while not self._ended:
            data = await self._reading.next()
            if not data:
                self._ended = True
                return self._encoding.finish()
            if self._heavy and len(data) > CODE_INLINE:
                coded = await to_thread.run_sync(self._encoding.encode, data)
            else:
                coded = self._encoding.encode(data)
            if coded:
                return coded
        return b""

    async def aclose(self) -> None:
        await self._reading.aclose()
