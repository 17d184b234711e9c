"""`Payload`: a part that is to be sent, with its headers.

Knows: the headers that a part has by default, and which of them must be true of its content.
Must not know: how headers are judged, other parts, delimiters, or where the bytes go.
"""

from __future__ import annotations

import inspect
import io
import os
from typing import Any

import attrs
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
from mpflow.encoding import (
    CODE_INLINE,
    CodedReading,
    codings_to_apply,
    codings_to_relay,
    encoding_of,
)
from mpflow.errors import PartRef, WriteError, excerpt
from mpflow.filecontents import File, TextFile
from mpflow.openfiles import closed_file, is_text
from mpflow.part import Part
from mpflow.pathcontents import FileAt
from mpflow.sendheaders import (
    HeadersLike,
    charset_of,
    declared_length,
    disposition,
    judged_head,
    merged_headers,
)
from mpflow.sources import open_source
from mpflow.uploads import Upload, upload_of
from mpflow.wire.codings import Coding
from mpflow.wire.headers import Head, format_parameter

__all__ = ["Payload"]


def content_of(obj: object) -> Content:
    """The content that is made of an object; `TypeError` for what cannot be sent."""
    given: Any = obj
    if isinstance(obj, str):
        return Text(obj)
    if isinstance(obj, Content):
        return obj
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
    if upload := upload_of(obj):
        return _uploaded(upload)
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
    if closed := closed_file(file):
        raise closed
    place, name = file.tell(), name_of(file)
    data = file.read()
    file.seek(place)
    return Text(data, filename=name) if isinstance(data, str) else Memory(data, filename=name)


def _uploaded(upload: Upload) -> Content:
    content = content_of(upload.file)
    if upload.filename is not None:
        content.filename = upload.filename
    if upload.content_type is not None:
        content.content_type, content.is_field = upload.content_type, False
    return content


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
    _judged: tuple[list[tuple[str, str]], Head] | None = attrs.field(
        default=None, init=False, repr=False
    )
    """The headers that stand in a form as they were judged last, and what came of it."""

    @classmethod
    def of(
        cls, obj: Sendable | Content, headers: HeadersLike | None = None, *, form: bool = False
    ) -> Payload:
        """A payload of an object, its default headers overridden by `headers`.

        Raises `TypeError` for what cannot be sent, `WriteError` for what cannot be a header, for
        a file that is not open for reading and for a received part of which some has been read,
        and `OSError` for a path that cannot be looked at. With `form`, no Content-Length and no
        Content-Disposition is made up.
        """
        content = content_of(obj)
        defaults: list[tuple[str, str]] = []
        if isinstance(content, Received):
            defaults += content.part.headers.items()
            return cls(content, merged_headers(defaults, headers))
        if content.content_type is not None:
            defaults.append(("Content-Type", content.content_type))
        if content.filename and not form:  # a form that was sent without the file has ""
            attachment = disposition("attachment", None, content.filename)
            defaults.append(("Content-Disposition", attachment))
        made_up = headers is None and content.filename is None  # nothing of it was given
        own = CIMultiDict(defaults) if made_up else merged_headers(defaults, headers)
        payload = cls(content, own)
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
        text = disposition(type, name, filename)
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
        """Bytes of the body on the wire, None where they cannot be known before it is written.

        Of a stream, what its Content-Length says: that is checked when it is written.
        """
        size = plain = self.content.size(self.charset)
        for coding in self.codings:
            size = None if size is None else coding.size_of(size)
        if size is not None or (declared := self._declared()) is None:
            return size
        if plain is None:
            return declared
        data = self.data()
        return None if data is None else len(data)

    @property
    def codings(self) -> tuple[Coding, ...]:
        """The codings to apply, in their order, by its headers: Content-Encoding, then
        Content-Transfer-Encoding.

        None to what was received with these codings. `WriteError` for what came with others, and
        for one that is not known.
        """
        if isinstance(self.content, Received):
            return codings_to_relay(self.headers, self.content)
        return codings_to_apply(self.headers)

    @property
    def charset(self) -> str:
        """The charset that text is sent in, by the content type; UTF-8 where it names none."""
        return charset_of(self.headers.get("Content-Type", "text/plain"))

    def head(self, *, form: bool = False) -> Head:
        """The header block as it is sent. Raises `WriteError` for one that no reader should get.

        `form` says that the part stands in a form, where it needs a name (RFC 7578, 4.2).
        """
        judged = self._judged
        if form and judged is not None and judged[0] == [*self.headers.items()]:
            head = judged[1]
            self.content.check_head(head)
            return head
        if form and (codings := [c.name for c in self.codings if not c.is_plain]):
            raise WriteError(
                "expected a part of a form without a coding (RFC 7578, 4.7 and 4.8), "
                f"got {excerpt(codings[0])}"
            )
        fields = self.headers
        if "Content-Length" in fields and self._declared() is None:
            size = self.size
            if fields.getall("Content-Length") != [str(size)]:
                fields = CIMultiDict(fields)
                fields.popall("Content-Length")
                if size is not None:
                    fields["Content-Length"] = str(size)
        head = judged_head(fields, form=form)
        self.content.check_head(head)
        if not form:
            return head
        if head.name is None and not isinstance(self.content, Received):
            raise WriteError("expected a name of the part of a form: Content-Disposition has none")
        if self._default_length is None:
            self._judged = [*self.headers.items()], head
        return head

    def expected(self) -> int | None:
        """How long the body must be, None where nothing says it: of a stream, and of a writer.

        A header that says something else raises `WriteError`.
        """
        if not self.content.measured and self._declared() is None:
            return None  # what is inside is held to its own sizes when its turn comes
        return self.agreed(self.size)

    def agreed(self, size: int | None) -> int | None:
        """The same, of a body of `size` bytes."""
        declared = self._declared()
        if size is not None and declared not in (None, size):
            raise WriteError(
                f"expected a body of {declared} bytes, as its Content-Length says, got {size}"
            )
        return declared if size is None else size

    def check(self) -> None:
        """Raise `WriteError` where the body cannot be read (again)."""
        self.content.check()

    def ref(self, path: tuple[int, ...]) -> PartRef:
        """What names it in an error; `path` is the place of the part in the message."""
        try:
            head = self.head()
        except Exception:  # the headers themselves are at fault
            return PartRef(path)
        return PartRef(path, head.name, head.filename)

    def blame(self, error: BaseException, path: tuple[int, ...]) -> None:
        """Name the part in a `WriteError` that names none."""
        if isinstance(error, WriteError) and error.part is None:
            error.part = self.ref(path)

    def data(self) -> bytes | None:
        """The body as it goes out, where it is in memory and need not be coded in a thread."""
        data = self.content.data(self.charset)
        codings = self.codings
        if data is None or not codings:
            return data
        if len(data) > CODE_INLINE:
            return None
        encoding = encoding_of(codings)
        return encoding.encode(data) + encoding.finish()

    def open(self, path: tuple[int, ...]) -> Reading:
        """Begin to read the body; `path` is the place of the part in the message."""
        reading = self.content.open(self.charset, path)
        return CodedReading(reading, self.codings) if self.codings else reading

    def _declared(self) -> int | None:
        """What a Content-Length says that is not our own."""
        own = self._default_length
        if own is not None and set(self.headers.getall("Content-Length", ())) == {own}:
            return None
        return declared_length(self.headers)
