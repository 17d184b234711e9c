"""What a part's body is taken for: text, JSON, a form.

Knows: charsets, and what is no such text. Must not know: how a body is received or gathered.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable
from json import loads
from typing import Any, TypeVar, overload
from urllib.parse import parse_qsl

from mpflow.charsets import text_codec
from mpflow.errors import InvalidContent, RouteError, excerpt
from mpflow.info import PartInfo
from mpflow.structure import structure

__all__ = ["Values"]

_T = TypeVar("_T")


class Values(ABC):
    """A part whose body can be taken for something, its codings undone."""

    info: PartInfo
    default_charset: str | None

    @abstractmethod
    async def gather(self) -> bytes:
        """All that is left of the body, without its codings."""

    async def text(self, encoding: str | None = None) -> str:
        """All that is left, as text.

        By `encoding`, else the charset of the part, else that of a `_charset_` field before it
        (RFC 7578, 4.6), else UTF-8, whose byte order mark is left out. Raises `InvalidContent`
        where the bytes are no such text, `UnsupportedCoding`, and `LimitExceeded` past
        `max_memory`.
        """
        data = await self.gather()
        codec = self.text_encoding(encoding)
        try:
            return data.decode(codec)
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            raise InvalidContent(
                f"expected text in {codec.removesuffix('-sig')}, "
                f"got {excerpt(data[start : start + 8])} "
                f"at byte {start} of the part",
                part=self.info.ref,
            ) from error

    def text_encoding(self, encoding: str | None = None) -> str:
        """The name of Python's codec that `text` decodes by: `utf-8-sig` for UTF-8.

        Raises `InvalidContent` for a charset that is unknown, or that no text should be in.
        """
        charset = encoding or self.info.charset or self.default_charset or "utf-8"
        codec = text_codec(charset)
        if codec is None:
            known = f"expected a known charset, got {excerpt(charset)}"
            raise InvalidContent(known, part=self.info.ref)
        return "utf-8-sig" if codec == "utf-8" else codec

    @overload
    async def json(self, into: None = None, *, decoder: Callable[[bytes], Any] = loads) -> Any: ...
    @overload
    async def json(self, into: type[_T], *, decoder: Callable[[bytes], Any] = loads) -> _T: ...
    @overload
    async def json(
        self, into: Callable[[Any], _T], *, decoder: Callable[[bytes], Any] = loads
    ) -> _T: ...
    async def json(
        self,
        into: Callable[[Any], Any] | None = None,
        *,
        decoder: Callable[[bytes], Any] = loads,
    ) -> Any:
        """All that is left, as JSON (RFC 8259).

        `decoder` takes bytes in UTF-8 without a byte order mark (RFC 8259, 8.1), or in UTF-16 or
        UTF-32 where the part came so. `into` is what the decoded value becomes: a type (by
        msgspec, an extra, or by pydantic if it is its own) or a callable. Raises
        `InvalidContent` where either raises a `ValueError`; also what `text` raises.
        """
        charset = self.info.charset or self.default_charset
        if charset is None or (text_codec(charset) or "").startswith("utf"):
            data = (await self.gather()).removeprefix(codecs.BOM_UTF8)
        else:
            data = (await self.text()).encode()
        try:
            value = decoder(data)
            return value if into is None else structure(value, into)
        except RouteError:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidContent(
                f"expected JSON, got {excerpt(data) if data else 'nothing'}: {error}",
                part=self.info.ref,
            ) from error

    async def form(self, encoding: str | None = None) -> list[tuple[str, str]]:
        """All that is left, as `application/x-www-form-urlencoded`: the pairs, in order.

        Empty values are kept. At most 1000 pairs. Raises what `text` raises.
        """
        charset = encoding or self.info.charset or self.default_charset or "utf-8"
        text = await self.text(encoding)
        try:
            return parse_qsl(
                text,
                keep_blank_values=True,
                encoding=text_codec(charset) or "utf-8",
                errors="strict",
                max_num_fields=1000,
            )
        except ValueError as error:
            raise InvalidContent(
                f"expected a urlencoded form, got {excerpt(text)}: {error}", part=self.info.ref
            ) from error
