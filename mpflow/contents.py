"""What the body of a part that is sent can be made of: one small class a kind.

Knows: text, bytes, streams and received parts, and how each is read. Files have their own room.
Must not know: headers as they are sent, delimiters, or where the bytes go.
"""

from __future__ import annotations

import codecs
import mimetypes
import os
from typing import Any, Final, Protocol, TypeAlias

import anyio

from mpflow.charsets import text_codec
from mpflow.errors import WriteError, excerpt
from mpflow.part import Part
from mpflow.sources import ByteSource, Source, open_source
from mpflow.uploads import Uploaded
from mpflow.wire.headers import Head

__all__ = [
    "RECEIVE_SIZE",
    "Content",
    "Memory",
    "Reading",
    "Received",
    "Sendable",
    "Stream",
    "SupportsReadText",
    "Text",
    "encode_text",
    "guess_type",
    "name_of",
    "text_encoder",
]


RECEIVE_SIZE: Final = 256 * 1024
"""Bytes taken of memory or of a received part at once, at most."""


class SupportsReadText(Protocol):
    """A text file: `read(n)` gives `""` at the end. It is read in worker threads."""

    def read(self, n: int = ..., /) -> str: ...


Sendable: TypeAlias = str | ByteSource | SupportsReadText | os.PathLike[str] | Uploaded
"""What the body of a part can be made of; a `Part` and a writer are among them."""


class Reading(Protocol):
    """One pass over a content: `next` gives at least one byte, and `b""` at the end.

    One that reads a file has `changed`, too: when what `next` gave was written down at the latest,
    in nanoseconds of the wall clock; None where that is not known.
    """

    async def next(self) -> bytes: ...

    async def aclose(self) -> None: ...


class Content:
    """What a part's body is made of. `charset` is that of the part, for text.

    `replayable` says whether it can be read again from its start, `prompt` that reading it waits
    for nobody else. `filename` and `content_type` are the defaults of its part. `measured` says
    whether its part has a Content-Length by default, `is_field` whether it may be a form's field,
    which has no content type where it has no filename.
    """

    measured: bool = True
    is_field: bool = True
    filename: str | None = None
    content_type: str | None = "application/octet-stream"

    @property
    def replayable(self) -> bool:
        return True

    @property
    def prompt(self) -> bool:
        return True

    def size(self, charset: str) -> int | None:
        """Bytes, or None where that cannot be known before they are read."""
        return None

    def data(self, charset: str) -> bytes | None:
        """All of it, where it is in memory."""
        return None

    def check(self) -> None:
        """Raise `WriteError` where it cannot be read (again)."""

    def check_head(self, head: Head) -> None:
        """Raise `WriteError` for headers that say what the content is not."""

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        """Begin to read. `path` is the place of the part in the message."""
        return MemoryReading(self.data(charset) or b"")


def name_of(file: object) -> str | None:
    """The last component of the name that a file has, where it has one."""
    name = getattr(file, "name", None)
    if not isinstance(name, str) or (name[:1] == "<" and name[-1:] == ">"):
        return None  # a descriptor's number, or <stdin>
    return os.path.basename(name) or None


def guess_type(name: str | None) -> str | None:
    """The content type that a file name speaks of. A compressed file is no more than bytes."""
    kind, coding = mimetypes.guess_type(name or "")
    return None if coding else kind


class Memory(Content):
    """Bytes, as they were when they were given."""

    def __init__(self, data: bytes, *, filename: str | None = None) -> None:
        self._data = data
        self.filename = filename
        self.content_type: str | None = guess_type(filename) or "application/octet-stream"

    def size(self, charset: str) -> int | None:
        return len(self._data)

    def data(self, charset: str) -> bytes | None:
        return self._data


class MemoryReading:
    """Reads bytes in pieces, for who works on them piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    async def next(self) -> bytes:
        piece, self._data = self._data[:RECEIVE_SIZE], self._data[RECEIVE_SIZE:]
        return bytes(piece)

    async def aclose(self) -> None:
        """Nothing to close."""


class Text(Content):
    """Text, sent in the charset that its part says."""

    content_type: str | None = "text/plain; charset=utf-8"

    def __init__(self, text: str, *, filename: str | None = None) -> None:
        self._text = text
        self._encoded: tuple[str, bytes] | None = None
        self.filename = filename

    def size(self, charset: str) -> int | None:
        return len(self.data(charset))

    def data(self, charset: str) -> bytes:
        if self._encoded is None or self._encoded[0] != charset:
            self._encoded = charset, encode_whole(charset, self._text)
        return self._encoded[1]


def text_encoder(charset: str) -> codecs.IncrementalEncoder:
    """Of text to a charset; `WriteError` for one that is not known."""
    codec = text_codec(charset)
    if codec is None:
        raise WriteError(f"expected a known charset, got {excerpt(charset)}")
    return codecs.getincrementalencoder(codec)()


def encode_text(encoder: codecs.IncrementalEncoder, text: str, final: bool) -> bytes:
    """The bytes of a piece of text; `WriteError` where the charset does not have it."""
    try:
        return encoder.encode(text, final)
    except UnicodeError as error:
        raise _unfit(error) from error


def encode_whole(charset: str, text: str) -> bytes:
    """The bytes of a whole text; the same errors. UTF-8 needs no looking up, which costs more."""
    if charset != "utf-8":
        return encode_text(text_encoder(charset), text, True)
    try:
        return text.encode()
    except UnicodeError as error:
        raise _unfit(error) from error


def _unfit(error: UnicodeError) -> WriteError:
    return WriteError(f"expected text that the part's charset can hold: {error}")


class Stream(Content):
    """A stream or an async iterable: to be sent once, never closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._used = False

    @property
    def replayable(self) -> bool:
        return False

    @property
    def prompt(self) -> bool:
        return False

    def check(self) -> None:
        if self._used:
            raise WriteError(
                "expected a body that can be sent again, got a stream, which is used up"
            )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        self.check()
        self._used = True
        return StreamReading(open_source(self._stream))


class StreamReading:
    """Reads whatever a `Source` can be made of."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def next(self) -> bytes:
        async for chunk in self._source:
            if chunk:
                return bytes(chunk)
        return b""

    async def aclose(self) -> None:
        await self._source.aclose()


class Received(Stream):
    """A part that was received: its whole body, as it was on the wire.

    Raises `WriteError` for one of which some has been read: it would go out cut, under headers
    that speak of all of it.
    """

    content_type: str | None = None
    is_field = False

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.part = part
        self.filename: str | None = part.filename
        self._check_whole()

    @property
    def in_form(self) -> bool:
        """Whether it came in a form."""
        return self.part.level.content_type == "multipart/form-data"

    def check(self) -> None:
        super().check()
        self.part.check_current()
        self._check_whole()

    def _check_whole(self) -> None:
        taken = self.part.bytes_taken
        if taken:
            raise WriteError(
                f"expected a received part whose body is whole, got {self.part.info.ref}, of which "
                f"{taken} bytes have been read: use `peek` to look at them, or send what is left "
                "from an async iterator, under headers of its own"
            )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        self.check()
        self._used = True
        return PartReading(self.part)


class PartReading:
    """Reads a part, which says by itself that it is no longer current."""

    def __init__(self, part: Part) -> None:
        self._part = part

    async def next(self) -> bytes:
        try:
            return await self._part.receive(RECEIVE_SIZE)
        except anyio.EndOfStream:
            return b""

    async def aclose(self) -> None:
        """Nothing to close: the part is its reader's."""
