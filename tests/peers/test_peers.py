"""Peers read what we write, and we read what peers write: names and bytes are equal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import aiohttp
import anyio
import httpx
import pytest
from aiohttp import web

from mpflow import FormData, MultipartReader, MultipartWriter
from tests.peers.readers import READERS, Field, email
from tests.support import only_asyncio

pytestmark = [pytest.mark.clients, pytest.mark.anyio]

NAMES = ["plain", "two words", "é", "日本", "🦊", "a;b=c", "a'b", "100%", 'a"b', "a\r\nb", "a\nb"]
TEXTS = ["", "x", "é 日本 🦊", "--", "1=2&3"]
CONTENTS = [
    b"",
    b"\r\n",
    b"\r\n--",
    bytes(range(256)) * 300,
    b"\r\n--boundary\r\n" * 500,
    b"\r" * 70_000,
]


def escaped(name: str | None) -> str | None:
    """A name as it stands on the wire: some peers leave what browsers escape as it is."""
    if name is None:
        return None
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def same(found: list[Field], expected: list[Field]) -> bool:
    def key(field: Field) -> tuple[str, str, bytes]:
        return escaped(field[0]) or "", escaped(field[1]) or "", field[2]

    return sorted(map(key, found)) == sorted(map(key, expected))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
async def test_a_peer_reads_what_we_write(reader: Callable[[bytes, str], list[Field]]) -> None:
    form = FormData()
    expected: list[Field] = []
    for number, name in enumerate(NAMES):
        text = TEXTS[number % len(TEXTS)]
        form.add(name, text)
        expected.append((name, None, text.encode()))
        if reader is email:
            continue  # its bodies are lines
        content = CONTENTS[number % len(CONTENTS)]
        filename = f"{name}.bin"
        form.add(name, content, filename=filename)
        expected.append((name, filename, content))
    found = reader(await form.as_bytes(), form.content_type)
    assert same(found, expected)


@only_asyncio
async def test_aiohttp_reads_what_we_write() -> None:
    found: list[Field] = []

    async def take(request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            found.append((part.name, part.filename, bytes(await part.read())))
        return web.Response()

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        form = FormData()
        expected: list[Field] = []
        for number, name in enumerate(NAMES):
            form.add(name, CONTENTS[number % len(CONTENTS)], filename=f"{name}.bin")
            expected.append((name, f"{name}.bin", CONTENTS[number % len(CONTENTS)]))
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            async with session.post(url, data=form, headers=form.headers) as reply:
                assert reply.status == 200
    finally:
        await runner.cleanup()
    assert same(found, expected)


@only_asyncio
async def test_starlette_answers_with_a_writer() -> None:
    from starlette.responses import StreamingResponse

    root = MultipartWriter()
    root.append("text")
    root.append(bytes(100_000))
    app = StreamingResponse(root, headers=dict(root.headers))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        reply = await client.get("/")
    assert reply.headers["Content-Length"] == str(root.size)
    reader = MultipartReader(reply.content, reply.headers["Content-Type"])
    assert [await part.read() async for part in reader] == [b"text", bytes(100_000)]


# -- what peers write -------------------------------------------------------------------------


def by_httpx(fields: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    files = [(name, (filename, data)) for name, filename, data in fields]
    request = httpx.Request("POST", "http://test", files=files)
    return request.read(), request.headers["Content-Type"]


def by_urllib3(fields: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    from urllib3.filepost import encode_multipart_formdata

    return encode_multipart_formdata([(n, (f, d)) for n, f, d in fields])


def by_toolbelt(fields: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    from requests_toolbelt import MultipartEncoder

    encoder: Any = MultipartEncoder([(n, (f, io.BytesIO(d))) for n, f, d in fields])
    return encoder.read(), encoder.content_type


def by_requests(fields: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    from requests import Request

    request = Request("POST", "http://test", files=[(n, (f, d)) for n, f, d in fields]).prepare()
    assert isinstance(request.body, bytes)
    return request.body, request.headers["Content-Type"]


@pytest.mark.parametrize("write", [by_httpx, by_urllib3, by_toolbelt, by_requests],
                         ids=lambda write: write.__name__)  # fmt: skip
async def test_we_read_what_a_peer_writes(
    write: Callable[[list[tuple[str, str, bytes]]], tuple[bytes, str]],
) -> None:
    fields = [
        (name, f"{name}.bin", CONTENTS[number % len(CONTENTS)]) for number, name in enumerate(NAMES)
    ]
    body, content_type = await anyio.to_thread.run_sync(write, fields)
    reader = MultipartReader(body, content_type)
    assert [(p.name, p.filename, await p.read()) async for p in reader] == fields
