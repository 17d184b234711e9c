"""Files that are older than the boundary are not searched for it; all others are."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpflow import MultipartWriter, WriteError
from mpflow.openfiles import READ_SIZE
from mpflow.wire import Encoder, PartBegin, PartData
from mpflow.wire.headers import Head

pytestmark = pytest.mark.anyio

HOUR = 3600 * 10**9

WAYS: dict[str, Callable[[Path], Any]] = {
    "path": Path,
    "buffered": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "both": lambda path: path.open("r+b"),
}


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return WAYS[request.param]


def close(given: Any) -> None:
    if not isinstance(given, Path):
        given.close()


async def test_a_file_that_is_newer_than_the_boundary(
    tmp_path: Path, way: Callable[[Path], Any]
) -> None:
    root = MultipartWriter()
    path = tmp_path / "x"
    path.write_bytes(b"a\r\n--" + root.boundary.encode() + b"\r\n")
    os.utime(path, (0, 0))  # anybody can say so; when it was changed, the system tells
    given = way(path)
    root.append(given)
    with pytest.raises(WriteError, match="without the boundary"):
        await root.as_bytes()
    close(given)


async def test_a_file_that_is_older_is_not_searched(
    tmp_path: Path, way: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1000)
    searched: list[bytes] = []
    send = Encoder.send

    def spy(self: Encoder, event: Any) -> bytes:
        if isinstance(event, PartData):
            searched.append(event.data)
        return send(self, event)

    monkeypatch.setattr(Encoder, "send", spy)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + HOUR)  # when the boundary is made
    given = way(path)
    root = MultipartWriter()
    root.append(given)
    assert b"\r\n\r\n" + b"abc" * 1000 + b"\r\n--" in await root.as_bytes()
    assert searched == []
    chosen = MultipartWriter(boundary="chosen")  # perhaps long ago, and known to all
    chosen.append(given)
    await chosen.as_bytes()
    assert searched == [b"abc" * 1000]
    close(given)


async def test_a_file_that_is_changed_while_it_is_sent(
    tmp_path: Path, way: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 3 * READ_SIZE)
    now = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: now() + HOUR)
        root = MultipartWriter()
    given = way(path)
    root.append(given)
    pieces = aiter(root)
    await anext(pieces)
    await anext(pieces)
    monkeypatch.setattr("mpflow.outgoinglevel._MARGIN", 0)
    with path.open("r+b") as file:
        file.seek(2 * READ_SIZE)
        file.write(b"\r\n--" + root.boundary.encode())
    later = now() + 2 * HOUR
    os.utime(path, ns=(later, later))  # as if an hour had passed since the boundary was made
    with pytest.raises(WriteError, match="without the boundary"):
        async for _ in pieces:
            pass
    close(given)


async def test_a_file_that_reads_in_its_own_way_is_searched(tmp_path: Path) -> None:
    """What it gives need not be what stands on the disk."""
    root = MultipartWriter()
    blank = b"?" * len(root.boundary)

    class Odd(io.FileIO):
        def read(self, size: int | None = -1, /) -> Any:
            return super().read(size).replace(blank, root.boundary.encode())

    path = tmp_path / "x"
    path.write_bytes(b"\r\n--" + blank)
    with Odd(path) as file:
        root.append(file)
        root._made_at = time.time_ns() + HOUR  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(WriteError, match="without the boundary"):
            await root.as_bytes()


def test_older_bytes_and_searched_ones_may_follow_each_other() -> None:
    encoder = Encoder("b")
    encoder.send(PartBegin(Head.of([])))
    assert encoder.send_older(b"abc\r\n--") == b"abc\r\n--"
    with pytest.raises(WriteError, match="without the boundary"):
        encoder.send(PartData(b"b"))
    with pytest.raises(WriteError, match="outside of a part"):
        Encoder("b").send_older(b"x")
