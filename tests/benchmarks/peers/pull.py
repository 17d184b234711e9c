"""Peers that read the body themselves: forms of frameworks, and aiohttp's reader.

Knows: how each is given a body. Must not know: clocks, mpflow.

Each looks at every part's name in its own way, and hands every chunk of a payload to `take`.
"""

# They have no types, or none that fit one another.
# mypy: disable-error-code="import-untyped, import-not-found, misc, attr-defined"
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportUntypedBaseClass=false
from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import Any

from tests.benchmarks.bodies import Body
from tests.benchmarks.scenario import KIB, Take

__all__ = [
    "aiohttp", "aiohttp_64k", "aiohttp_decoded", "aiohttp_nested", "django", "falcon", "starlette",
]  # fmt: skip


class _File:
    """A body as a file; a read gives what stands there, at most one chunk."""

    def __init__(self, body: Body) -> None:
        self._chunks = iter(body.chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        data = self._rest or next(self._chunks, b"")
        if 0 <= size < len(data):
            self._rest = data[size:]
            return data[:size]
        self._rest = b""
        return data


def django(body: Body, take: Take) -> tuple[int, int]:
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            DATA_UPLOAD_MAX_NUMBER_FIELDS=None,
            DATA_UPLOAD_MAX_NUMBER_FILES=None,
            DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        )
    from django.core.files.uploadhandler import FileUploadHandler
    from django.http.multipartparser import MultiPartParser

    parts = size = 0

    class Counts(FileUploadHandler):
        def new_file(self, *args: Any, **kwargs: Any) -> None:
            nonlocal parts
            super().new_file(*args, **kwargs)
            assert self.field_name
            parts += 1

        def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
            nonlocal size
            size += take(raw_data)

        def file_complete(self, file_size: int) -> None:
            return None

    meta = {"CONTENT_TYPE": body.content_type, "CONTENT_LENGTH": str(body.wire)}
    form, _ = MultiPartParser(meta, _File(body), [Counts()], "utf-8").parse()
    for _, values in form.lists():
        for value in values:
            parts += 1
            size += take(value)
    return parts, size


def falcon(body: Body, take: Take) -> tuple[int, int]:
    from falcon.media.multipart import MultipartFormHandler, MultipartParseOptions

    options = MultipartParseOptions()
    options.max_body_part_count = 0  # as many as come
    parts = size = 0
    handler = MultipartFormHandler(options)
    file: Any = _File(body)
    for part in handler.deserialize(file, body.content_type, body.wire):
        assert part.name
        parts += 1
        if body.small:
            size += take(part.get_data())
        else:
            while chunk := part.stream.read(64 * KIB):
                size += take(chunk)
    return parts, size


async def starlette(body: Body, take: Take) -> tuple[int, int]:
    """`form()`: temporary files and hops to threads are part of it."""
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartParser

    async def stream() -> AsyncGenerator[bytes, None]:
        for chunk in body.chunks:
            yield chunk

    limits: dict[str, Any] = {"max_files": math.inf, "max_fields": math.inf}
    headers = Headers({"Content-Type": body.content_type})
    form = await MultiPartParser(headers, stream(), **limits).parse()
    parts = size = 0
    for name, value in form.multi_items():
        assert name
        parts += 1
        if isinstance(value, UploadFile):
            take(await value.read(1))  # the whole of it is there now
            size += value.size or 0
        else:
            size += take(value)
    await form.close()
    return parts, size


async def aiohttp(body: Body, take: Take) -> tuple[int, int]:
    """Its defaults: `read()` of small parts, `read_chunk()` of 8 KiB of others."""
    return await _aiohttp(body, take, None)


async def aiohttp_64k(body: Body, take: Take) -> tuple[int, int]:
    """`read_chunk()` of 64 KiB, small parts as well."""
    return await _aiohttp(body, take, 64 * KIB)


async def aiohttp_nested(body: Body, take: Take) -> tuple[int, int]:
    """A nested body by readers in readers."""
    parts = size = 0
    levels = [_reader(body)]
    while levels:
        part: Any = await levels[-1].next()
        if part is None:
            levels.pop()
        elif hasattr(part, "next") and hasattr(part, "fetch_next_part"):
            levels.append(part)
        else:
            assert part.name
            parts += 1
            while chunk := await part.read_chunk():
                size += take(chunk)
    return parts, size


async def aiohttp_decoded(body: Body, take: Take) -> tuple[int, int]:
    """base64 chunk by chunk; gzip in one read, since its chunks cannot be decoded by themselves."""
    parts = size = 0
    async for part in _reader(body):
        parts += 1
        if "Content-Encoding" in part.headers:
            size += take(await part.read(decode=True))
            continue
        while chunk := await part.read_chunk(64 * KIB):
            size += take(part.decode(chunk))
    return parts, size


async def _aiohttp(body: Body, take: Take, read: int | None) -> tuple[int, int]:
    parts = size = 0
    options = () if read is None else (read,)
    async for part in _reader(body):
        assert part.name
        parts += 1
        if body.small and read is None:
            size += take(await part.read())
        else:
            while chunk := await part.read_chunk(*options):
                size += take(chunk)
    return parts, size


def _reader(body: Body) -> Any:
    """aiohttp's reader over a stream whose bytes are always there: its best case."""
    from aiohttp import MultipartReader, StreamReader
    from aiohttp.base_protocol import BaseProtocol

    chunks = iter(body.chunks)

    class Fed(StreamReader):
        async def _wait(self, func_name: str) -> None:
            for chunk in chunks:
                self.feed_data(chunk)
                return
            self.feed_eof()

    loop = asyncio.get_running_loop()
    content = Fed(BaseProtocol(loop), 64 * KIB, loop=loop)
    return MultipartReader({"Content-Type": body.content_type}, content)
