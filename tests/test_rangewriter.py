"""`range_writer`: what a server answers, read back by `ByteRanges`."""

from __future__ import annotations

import gc
import io
import os
from pathlib import Path
from typing import Any

import pytest

from mpflow import ByteRanges, MultipartReader, WriteError, range_writer

pytestmark = pytest.mark.anyio

WHOLE = bytes(range(256)) * 4000
RANGES = [(0, 1), (5, 600_000), (1_023_999, 1_024_000)]


@pytest.mark.parametrize("kind", ["bytes", "path", "name"])
async def test_there_and_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(WHOLE)
    sources: dict[str, Any] = {"bytes": WHOLE, "path": path, "name": str(path)}
    source = sources[kind]
    writer = range_writer(source, RANGES, content_type="image/png")
    sent = await writer.as_bytes()
    assert writer.size == len(sent)
    assert await writer.as_bytes() == sent
    file = io.BytesIO()
    found = ByteRanges(MultipartReader(sent, writer.content_type))
    assert await found.write_to(file) == [(1, 5), (600_000, 1_023_999)]
    for start, end in RANGES:
        assert file.getvalue()[start:end] == WHOLE[start:end]
    async for part in MultipartReader(sent, writer.content_type):
        assert part.content_type == "image/png"
        assert part.headers["Content-Range"].endswith("/1024000")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_what_is_like_bytes_is_content(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(bytes(100))
    name = os.fsencode(path)
    given = kind(bytearray(name))
    writer = range_writer(given, [(0, len(name))])
    given[:1] = b"x"  # it was taken as it was
    assert b"\r\n\r\n" + name + b"\r\n--" in await writer.as_bytes()


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="expected the path of a file, got the directory"):
        range_writer(tmp_path, [(0, 1)])
    for given in (3, io.BytesIO(b"x"), None):
        with pytest.raises(TypeError, match="expected bytes or the path of a file, got "):
            range_writer(given, [(0, 1)])  # type: ignore[arg-type] # that is the test


@pytest.mark.parametrize("ranges", [[], [(0, 0)], [(5, 4)], [(-1, 4)], [(0, 1_024_001)]])
def test_ranges_that_cannot_be(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(WriteError, match="expected"):
        range_writer(WHOLE, ranges)


async def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(WHOLE)
    writer = range_writer(path, [(0, 500_000)])
    path.write_bytes(WHOLE[:300_000])
    with pytest.raises(WriteError, match="it ended at 300000"):
        await writer.as_bytes()


def held(path: Path) -> list[Path]:
    """The process's descriptors of a file."""
    return [fd for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == path.resolve()]


async def test_an_answer_that_is_dropped_half_way_keeps_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(300_000))
    for _ in range(20):
        async for chunk in range_writer(path, [(0, 100_000), (100_000, 300_000)]):
            if len(chunk) > 1000:
                break
    gc.collect()
    # Only of this file: what other tests left to the collector goes at the same time.
    assert not held(path)
