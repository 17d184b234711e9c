"""`Related`: a `multipart/related`, by its root and by Content-ID (RFC 2387, RFC 2392).

Knows: which part is the root, who refers to whom, and what has to be kept.
Must not know: sources, the wire, how a part is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

import anyio
import attrs

from mpflow.errors import MalformedBody, MissingParts, MultipartError, NotMultipart, excerpt
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.spool import Spool, SpooledBody

if TYPE_CHECKING:
    from mpflow.reader import MultipartReader

__all__ = ["Related"]


@attrs.define(eq=False)
class _Member:
    """A part that came: kept in the spool, or given out as it came (`body` is None).

    `error` says why it could be neither.
    """

    info: PartInfo
    body: SpooledBody | None = None
    given: bool = False
    error: Exception | None = None


class Related:
    """What `MultipartReader.related` gives: the parts of a `multipart/related`.

    `await root()` is the part that the others belong to, `await get(cid)` one of the others by
    its Content-ID; iterating gives the others, each once, in their order, but for those that
    `get` gave. Parts come as a stream, and the one before is drained; those that are passed over,
    for the root or for the part that is asked for, are kept in a temporary file of at most
    `Limits.max_spool_bytes`, and may be had again and again. As an async context manager it
    removes the file when it is left; so does closing the reader.
    """

    def __init__(self, reader: MultipartReader) -> None:
        if reader.content_type != "multipart/related":
            came = excerpt(reader.content_type)
            raise NotMultipart(f"expected a content type of multipart/related, got {came}")
        self._reader = reader
        self._params = reader.content_type_params
        self._spool = Spool(reader.budget.limits.max_spool_bytes)
        self._members: list[_Member] = []
        self._root: _Member | None = None
        self._busy = False

    async def root(self) -> Part:
        """The root: the part that `start` names by its Content-ID, else the first (RFC 2387, 3.2).

        Raises `MalformedBody` where it does not come, or where its content type is not the `type`
        that the message names, unless `tolerate` names `"related-type"`.
        """
        with self._alone():
            if self._root is None:
                live = await self._find_root()
                if live is not None:
                    return live
            assert self._root is not None
            return self._again(self._root)

    async def get(self, reference: str) -> Part:
        """The part with this Content-ID, with or without its angle brackets, or a `cid:` URL.

        The first one that came counts. A part without such a Content-ID is found by its
        Content-Location, letter by letter (RFC 2557). Raises `MissingParts` where none comes,
        `anyio.ClosedResourceError` for one that was given out already and was not kept, or whose
        keeping was cancelled, and for one that could not be kept why that was.
        """
        with self._alone():
            for member in self._members:
                if _is_named(member.info, reference):
                    return self._again(member)
            while (part := await self._reader.next_part()) is not None:
                member = self._add(part)
                if _is_named(part.info, reference):
                    return self._live(member, part)
                await self._keep(member, part)
        raise MissingParts([reference])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        with self._alone():
            if self._root is None:
                live = await self._find_root()
                if live is not None and self._root is not None:
                    # Not asked for yet: it can still be.
                    await self._keep(self._root, live)
            for member in self._members:
                if member is not self._root and not member.given:
                    return self._again(member)
            part = await self._reader.next_part()
            if part is None:
                raise StopAsyncIteration
            return self._live(self._add(part), part)

    # -- closing ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was kept. Parts that were kept cannot be read any more."""
        self._spool.close()

    # -- the members --------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Generator[None]:
        """One call at a time: two would take each other's parts."""
        if self._busy:
            raise anyio.BusyResourceError("reading from")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    async def _find_root(self) -> Part | None:
        """Read on to the root: the part as it comes, or None if it has come before."""
        start = self._params.get("start")
        for member in self._members:
            if start is None or _content_id(member.info) == _bare(start):
                self._take_root(member)
                return None
        while (part := await self._reader.next_part()) is not None:
            member = self._add(part)
            if start is None or _content_id(part.info) == _bare(start):
                try:
                    self._take_root(member)
                except MultipartError as error:
                    member.error = error
                    raise
                return self._live(member, part)
            await self._keep(member, part)
        what = "a part" if start is None else f"a root with the Content-ID {excerpt(start)}"
        raise MalformedBody(f"expected {what} in a multipart/related, and none came")

    def _take_root(self, member: _Member) -> None:
        expected = self._params.get("type")
        if expected is not None and expected.strip().lower() != member.info.content_type:
            self._reader.note(
                "related-type",
                f"expected a root of the type {excerpt(expected)}, "
                f"got {excerpt(member.info.content_type)}",
                member.info,
            )
        self._root = member

    def _add(self, part: Part) -> _Member:
        member = _Member(part.info)
        self._members.append(member)
        return member

    async def _keep(self, member: _Member, part: Part) -> None:
        member.given = False
        try:
            member.body = await self._spool.keep(part)
        except Exception as error:
            member.error = error
            raise
        except BaseException:
            # It is no longer whole, and it cannot come again.
            text = f"{member.info.ref} was not kept: that was cancelled"
            member.error = anyio.ClosedResourceError(text)
            raise

    def _live(self, member: _Member, part: Part) -> Part:
        member.given = True
        return part

    def _again(self, member: _Member) -> Part:
        member.given = True
        if member.error is not None:
            raise member.error
        if member.body is None:
            raise anyio.ClosedResourceError(
                f"{member.info.ref} was given out as it came, and was not kept"
            )
        info = attrs.evolve(member.info, size=member.body.size)
        return self._reader.part_class(info, member.body.fresh(), level=self._reader)


def _content_id(info: PartInfo) -> str | None:
    value = info.headers.get("Content-ID")
    return None if value is None else _bare(value)


def _bare(content_id: str) -> str:
    """A Content-ID without its angle brackets: in `start` (RFC 2387, 3.2) many leave them out."""
    text = content_id.strip()
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _is_named(info: PartInfo, reference: str) -> bool:
    """Whether a reference means this part. RFC 2392, 2: a cid URL is percent-encoded."""
    wanted = unquote(reference[4:]) if reference[:4].lower() == "cid:" else reference
    if _content_id(info) == _bare(wanted):
        return True
    return info.headers.get("Content-Location") == reference
