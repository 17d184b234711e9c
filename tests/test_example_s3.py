"""The S3 example under a real server, with a real S3 API: all of an upload, or nothing.

Knows: docs/examples/s3_upload.py, HTTP, and what is in the bucket. Must not know: how it gets in.
"""

from __future__ import annotations

import hashlib
import random
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import obstore
import pytest

from mpflow import Rejected
from mpflow.testing import Chunked, part
from tests.http import serving
from tests.objects import Bucket

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "s3_upload.py"
SMALL = b"small"
LARGE = random.Random(4).randbytes(20_000_000)  # three parts of an upload


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("s3_upload", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # attrs looks the module of a class up by its name.
    sys.modules["s3_upload"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(example: ModuleType, bucket: Bucket) -> Any:
    return example.Uploads(bucket.store())


def files(*contents: bytes) -> list[Any]:
    return [("file", (f"{number}.bin", data)) for number, data in enumerate(contents)]


async def post(service: Any, form: list[Any]) -> httpx.Response:
    async with serving(service) as port, httpx.AsyncClient(timeout=60) as client:
        return await client.post(f"http://127.0.0.1:{port}/", files=form)


async def test_files_are_stored_and_hashed(service: Any, bucket: Bucket) -> None:
    answer = await post(service, files(LARGE, SMALL, b""))
    assert answer.status_code == 201, answer.text
    told = answer.json()["files"]
    assert bucket.left() == (sorted(file["key"] for file in told), [])
    for file, data in zip(told, [LARGE, SMALL, b""], strict=True):
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        found = obstore.get(bucket.store(), file["key"])
        assert found.attributes["Content-Disposition"] == "attachment"
        assert bytes(found.bytes()) == data


@pytest.mark.parametrize("at", [0, 65_500, 20_000_000])
async def test_a_virus_in_one_file_leaves_nothing_of_any(
    example: ModuleType, service: Any, bucket: Bucket, at: int
) -> None:
    infected = LARGE[:at] + example.EICAR + LARGE[at:]
    answer = await post(service, files(LARGE, SMALL, infected))
    assert answer.status_code == 422
    assert "virus" in answer.json()["error"]
    assert bucket.left() == ([], [])


async def test_a_client_that_goes_away_leaves_nothing(service: Any, bucket: Bucket) -> None:
    head = (
        b"POST / HTTP/1.1\r\nHost: files\r\nContent-Length: 90000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n'
    )
    ended = anyio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await service(scope, receive, send)
        finally:
            if scope["type"] == "http":
                ended.set()

    async with serving(watched) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head + LARGE)
        with anyio.fail_after(60):
            await ended.wait()
    assert bucket.left() == ([], [])


async def test_a_bucket_that_fails(service: Any, bucket: Bucket) -> None:
    bucket.fault = lambda method, path: 403 if "partNumber=2" in path else None
    answer = await post(service, files(SMALL, LARGE))
    assert (answer.status_code, answer.json()) == (502, {"error": "the upload could not be stored"})
    bucket.fault = lambda method, path: None
    assert bucket.left() == ([], [])


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_the_scanner_sees_across_chunks(example: ModuleType, size: int) -> None:
    for before in range(3):
        data = bytes(before) + example.EICAR + b"..."
        with pytest.raises(Rejected, match="EICAR"):
            await example.scan(part(chunks=Chunked(data, size)))
    await example.scan(part(chunks=Chunked(example.EICAR[:-1], size)))
