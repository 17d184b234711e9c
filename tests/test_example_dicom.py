"""The DICOMweb example under a real server: instances stand or fail one by one.

Knows: docs/examples/dicomweb_store.py, and what a DICOM file begins with.
Must not know: how the example reads it.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from aiohttp import web

from mpflow import MultipartReader, TruncatedBody
from mpflow.testing import Bytewise, Cut, PartSpec, body
from tests.support import only_asyncio

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "dicomweb_store.py"
TYPE = 'multipart/related; type="application/dicom"; boundary=boundary'
CT = "1.2.840.10008.5.1.4.1.1.2"
PIXELS = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("dicomweb_store", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["dicomweb_store"] = module
    spec.loader.exec_module(module)
    return module


def element(number: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if kind == b"OB":
        return struct.pack("<HH2sHI", 2, number, kind, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, kind, len(value)) + value


def dicom(uid: str, *, sop_class: str = CT, pixels: bytes = PIXELS) -> bytes:
    """A file as PS3.10 has it: preamble, mark, meta information, and some dataset."""
    meta = element(1, b"OB", b"\0\1") + element(2, b"UI", sop_class.encode())
    meta += element(3, b"UI", uid.encode()) + element(0x10, b"UI", b"1.2.840.10008.1.2.1")
    return bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", len(meta))) + meta + pixels


def message(*instances: bytes, content_type: str = "application/dicom") -> bytes:
    return body([PartSpec(data, content_type=content_type) for data in instances])


def uids(dataset: dict[str, Any]) -> list[str]:
    return [
        item["00081155"]["Value"][0] for item in dataset.get("00081199", {"Value": []})["Value"]
    ]


def reasons(dataset: dict[str, Any]) -> list[int]:
    return [
        item["00081197"]["Value"][0] for item in dataset.get("00081198", {"Value": []})["Value"]
    ]


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.anyio
@pytest.mark.parametrize("source", [bytes, Bytewise], ids=["whole", "bytewise"])
async def test_instances_stand_or_fail_one_by_one(
    example: ModuleType, tmp_path: Path, source: Any
) -> None:
    router = example.make_router(tmp_path)

    async def stow(*instances: bytes) -> tuple[int, dict[str, Any]]:
        reader = MultipartReader(source(message(*instances)), TYPE)
        answer: tuple[int, dict[str, Any]] = await example.store(router, reader)
        return answer

    small = {"pixels": PIXELS[:700]}
    status, dataset = await stow(dicom("1.2.3", **small), dicom("1.2.4", **small))
    assert (status, uids(dataset), reasons(dataset)) == (200, ["1.2.3", "1.2.4"], [])
    assert dataset["00081199"]["Value"][0]["00081150"] == {"vr": "UI", "Value": [CT]}
    assert (tmp_path / "1.2.3.dcm").read_bytes() == dicom("1.2.3", **small)

    # One that is there already, one that is none, one without a name, one that wants out.
    bad = [b"GIF89a", dicom("", **small), dicom("../1.2", **small)]
    status, dataset = await stow(dicom("1.2.3", **small), *bad, dicom("1.2.5", **small))
    assert (status, uids(dataset)) == (202, ["1.2.5"])
    assert reasons(dataset) == [0x0111, 0xC000, 0xC000, 0xC000]
    status, dataset = await stow(*bad)
    assert (status, uids(dataset), len(reasons(dataset))) == (409, [], 3)
    assert names(tmp_path) == ["1.2.3.dcm", "1.2.4.dcm", "1.2.5.dcm"]


@pytest.mark.anyio
async def test_a_message_that_is_cut_leaves_nothing(example: ModuleType, tmp_path: Path) -> None:
    data = message(dicom("1.2.3"), dicom("1.2.4"))
    for at in (1_000, 500_000, len(data) - 5):
        with pytest.raises(TruncatedBody):
            await example.store(example.make_router(tmp_path), MultipartReader(Cut(data, at), TYPE))
        assert names(tmp_path) == []


@pytest.mark.parametrize("length", [0, 4, 131, 132, 136, 140, 160, 200, 5000])
def test_what_is_too_short_is_refused_or_read(example: ModuleType, length: int) -> None:
    head = dicom("1.2.3")[:length]
    try:
        found = example.identify(head)
    except example.InvalidContent:
        assert length < 250
    else:
        assert found == example.Instance(CT, "1.2.3")


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/studies"
    finally:
        await runner.cleanup()


@pytest.mark.anyio
@only_asyncio
async def test_over_http(example: ModuleType, tmp_path: Path) -> None:
    async with serving(example.make_app(tmp_path)) as url, httpx.AsyncClient() as client:

        async def post(*instances: bytes, kind: str = TYPE) -> httpx.Response:
            headers = {"Content-Type": kind}
            return await client.post(url, content=message(*instances), headers=headers)

        answers: Sequence[httpx.Response] = [
            await post(dicom("1.2.3"), dicom("1.2.4")),
            await post(dicom("1.2.4"), dicom("1.2.5")),
            await post(dicom("1.2.5")),
            await post(dicom("1.2.6"), kind=TYPE.replace("related", "mixed")),
            await post(dicom("1.2.6"), kind=TYPE.replace("application/dicom", "image/png")),
            await post(dicom("1.2.6"), kind="application/dicom"),
            await client.post(
                url, content=message(dicom("1"))[:-9], headers={"Content-Type": TYPE}
            ),
        ]
    assert [answer.status_code for answer in answers] == [200, 202, 409, 415, 415, 415, 400]
    assert answers[0].headers["Content-Type"].startswith("application/dicom+json")
    assert uids(answers[0].json()) == ["1.2.3", "1.2.4"]
    assert names(tmp_path) == ["1.2.3.dcm", "1.2.4.dcm", "1.2.5.dcm"]
    assert (tmp_path / "1.2.5.dcm").read_bytes() == dicom("1.2.5")


def test_as_a_program(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(EXAMPLE), f"--directory={tmp_path}/new", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Running on" in process.stdout.readline()
        url, headers = f"http://127.0.0.1:{port}/studies", {"Content-Type": TYPE}
        answer = httpx.post(url, content=message(dicom("1.2.3")), headers=headers)
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert answer.status_code == 200
    assert names(tmp_path / "new") == ["1.2.3.dcm"]
