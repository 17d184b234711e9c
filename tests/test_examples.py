"""The example service under a real server: what it stores, and that it stores all or nothing.

Knows: docs/examples/upload_service.py and HTTP. Must not know: how the library does it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from hypercorn.config import Config

from mpflow import MultipartReader
from mpflow.testing import PartSpec, body, content_type_of

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "upload_service.py"
ALBUM = ("album", (None, json.dumps({"title": "Summer"}), "application/json"))
LARGE = bytes(range(256)) * 20_000


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("upload_service", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(example: ModuleType, tmp_path: Path) -> Any:
    return example.Service(directory=tmp_path / "files", database=tmp_path / "album.db")


@asynccontextmanager
async def serving(app: Any, backend: str) -> AsyncIterator[str]:
    """The address of a real server that serves `app` on the backend of the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    config = Config()
    # The socket listens already: whoever connects waits until the server accepts.
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    serve = import_module(f"hypercorn.{backend}").serve
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, app, config, shutdown_trigger=stop.wait))
        try:
            yield f"{host}:{port}"
        finally:
            stop.set()


def stored(service: Any) -> tuple[list[str], list[str]]:
    """The files that stand, and the files that rows name."""
    connection = sqlite3.connect(service.database)
    rows = [name for (name,) in connection.execute("select file from photo")]
    connection.close()
    return sorted(path.name for path in service.directory.iterdir()), sorted(rows)


async def test_an_upload_is_stored(service: Any, anyio_backend_name: str) -> None:
    async with (
        serving(service, anyio_backend_name) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        photos = [
            ("photo", ("größe 日本.jpg", LARGE, "image/jpeg")),
            ("photo", ("../../etc/passwd", b"two")),
        ]
        response = await client.post("/", files=[ALBUM, *photos])
        assert response.status_code == 201, response.text
        answer = response.json()

    assert answer["title"] == "Summer"
    assert [(p["filename"], p["size"]) for p in answer["photos"]] == [
        ("größe 日本.jpg", len(LARGE)),
        ("../../etc/passwd", 3),
    ]
    assert answer["photos"][0]["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert (service.directory / answer["photos"][0]["file"]).read_bytes() == LARGE
    files, rows = stored(service)
    assert len(files) == 2
    assert files == rows


async def test_a_file_input_left_blank_stores_nothing(
    service: Any, anyio_backend_name: str
) -> None:
    data = body(
        [
            PartSpec('{"title": "Summer"}', name="album", content_type="application/json"),
            PartSpec(name="photo", filename="", content_type="application/octet-stream"),
        ]
    )
    async with (
        serving(service, anyio_backend_name) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        headers = {"Content-Type": content_type_of()}
        response = await client.post("/", content=data, headers=headers)
    assert response.status_code == 201, response.text
    assert response.json() == {"title": "Summer", "photos": []}
    assert stored(service) == ([], [])


async def test_a_refused_upload_leaves_nothing(service: Any, anyio_backend_name: str) -> None:
    photo = ("photo", ("a.jpg", LARGE))
    untitled = ("album", (None, "{}", "application/json"))
    half = ("album", (None, '{"title": "\\ud800"}', "application/json"))
    unknown = ("color", (None, "blue"))
    async with (
        serving(service, anyio_backend_name) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        for files, status, line in [
            ([photo], 422, "required parts did not come: 'album'"),
            ([photo, untitled], 422, 'expected {"title": "..."}'),
            ([photo, half], 422, "surrogates not allowed"),
            ([photo, ALBUM, ALBUM], 422, "expected at most 1 parts of 'album'"),
            ([photo, ALBUM, unknown], 422, "expected a part that a route takes"),
        ]:
            response = await client.post("/", files=files)
            assert (response.status_code, status) == (status, response.status_code)
            assert line in response.json()["error"]
            assert stored(service) == ([], [])
        assert (await client.post("/", content=b"")).status_code == 415
        assert (await client.get("/")).status_code == 404


async def test_a_title_that_is_taken_keeps_no_file(service: Any, anyio_backend_name: str) -> None:
    async with (
        serving(service, anyio_backend_name) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        first = await client.post("/", files=[ALBUM, ("photo", ("a.jpg", b"one"))])
        again = await client.post("/", files=[ALBUM, ("photo", ("b.jpg", b"two"))])
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["error"] == "there is an album 'Summer' already"
    files, rows = stored(service)
    assert files == rows == [first.json()["photos"][0]["file"]]


async def test_a_client_that_only_writes_hears_the_refusal(
    service: Any, anyio_backend_name: str
) -> None:
    def upload(address: str) -> tuple[int, str]:
        # http.client writes all of the body before it looks for an answer.
        connection = http.client.HTTPConnection(address)
        head = b'--x\r\nContent-Disposition: form-data; name="color"\r\n\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/", head + LARGE + b"\r\n--x--\r\n", headers)
        response = connection.getresponse()
        try:
            return response.status, json.loads(response.read())["error"]
        finally:
            connection.close()

    async with serving(service, anyio_backend_name) as address:
        status, line = await to_thread.run_sync(upload, address)
    assert status == 422
    assert "part 0 'color'" in line
    assert stored(service) == ([], [])


async def test_a_client_that_goes_away_leaves_nothing(
    service: Any, anyio_backend_name: str
) -> None:
    head = (
        b"POST / HTTP/1.1\r\nHost: album\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    )
    ended = anyio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await service(scope, receive, send)
        finally:
            if scope["type"] == "http":
                ended.set()

    async with serving(watched, anyio_backend_name) as address:
        host, _, port = address.partition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(head + LARGE[:500_000])
        with anyio.fail_after(30):
            await ended.wait()
        assert stored(service) == ([], [])


async def test_more_uploads_at_once_than_there_are_worker_threads(service: Any) -> None:
    service.prepare()
    count = int(to_thread.current_default_thread_limiter().total_tokens) + 5

    async def store(number: int) -> None:
        album = PartSpec(f'{{"title": "{number}"}}', name="album", content_type="application/json")
        photo = PartSpec("x", name="photo", filename="a.jpg")
        await service.store(MultipartReader(body([album, photo]), content_type_of()))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as uploads:
            for number in range(count):
                uploads.start_soon(store, number)
    files, rows = stored(service)
    assert files == rows
    assert len(files) == count


async def test_a_filename_that_is_no_text_is_stored_as_what_can_be_read(service: Any) -> None:
    service.prepare()
    album = PartSpec('{"title": "a"}', name="album", content_type="application/json")
    data = body([album, PartSpec("x", name="photo", filename="a!.jpg")])
    reader = MultipartReader(data.replace(b"a!.jpg", b"a\xff.jpg"), content_type_of())
    assert (await service.store(reader))["photos"][0]["filename"] == "a?.jpg"
