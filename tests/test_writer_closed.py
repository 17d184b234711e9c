"""Files that are closed too early, and files of `codecs`, whose place is not where they read."""

from __future__ import annotations

import codecs
import gzip
import io
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mpflow import FormData, MultipartReader, MultipartWriter, WriteError

pytestmark = pytest.mark.anyio


def writer(*parts: Any) -> MultipartWriter:
    root = MultipartWriter(boundary="b")
    for part in parts:
        root.append(part)
    return root


async def all_of(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def bodies(root: MultipartWriter) -> list[bytes]:
    reader = MultipartReader(await root.as_bytes(), root.content_type)
    return [await part.read() async for part in reader]


# -- closed files -----------------------------------------------------------------------------


def named(path: Path) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by the test
    file.write(path.read_bytes())
    file.seek(0)
    return file


def spooled(path: Path) -> Any:
    file = tempfile.SpooledTemporaryFile(10**9)  # noqa: SIM115 - closed by the test
    file.write(path.read_bytes())
    file.seek(0)
    return file


def zipped(path: Path) -> Any:
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return gzip.open(path)


Opened = Callable[[Path], Any]

ON_DISK: dict[str, Opened] = {
    "binary": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "updated": lambda path: path.open("r+b"),
    "text": lambda path: path.open(encoding="utf-8"),
    "codecs": lambda path: codecs.open(str(path), encoding="utf-8"),  # noqa: SIM115 - closed by the test
    "codecs reader": lambda path: codecs.getreader("utf-8")(path.open("rb")),
    "gzip": zipped,
    "named": named,
    "spooled": spooled,
}
IN_MEMORY: dict[str, Opened] = {
    "bytes": lambda _: io.BytesIO(b"x"),
    "string": lambda _: io.StringIO("x"),
}


@pytest.mark.parametrize("kind", [*ON_DISK, *IN_MEMORY])
async def test_a_closed_file_is_refused_where_it_is_appended(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"text")
    file = {**ON_DISK, **IN_MEMORY}[kind](path)
    file.close()
    form = FormData({"first": "x"})
    with pytest.raises(WriteError, match=r"open file, got .*closed file") as caught:
        form.add("upload", file)
    assert caught.value.part is not None
    assert caught.value.part.path == (1,)
    assert caught.value.part.name == "upload"
    with pytest.raises(WriteError, match=r"closed file.*\(in part 0\)"):
        writer(file)
    assert len(form.parts) == 1


@pytest.mark.parametrize("kind", ON_DISK)
async def test_a_file_that_is_closed_before_it_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"text")
    file = {**ON_DISK, **IN_MEMORY}[kind](path)
    form = FormData({"first": "x"})
    form.add("upload", file)
    file.close()
    with pytest.raises(WriteError, match=r"open file, got .*closed file") as caught:
        await form.as_bytes()
    assert caught.value.part is not None
    assert caught.value.part.path == (1,)
    assert caught.value.part.name == "upload"


@pytest.mark.parametrize("kind", ON_DISK)
async def test_a_file_that_is_closed_while_it_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"text" * 2_000_000)
    file = {**ON_DISK, **IN_MEMORY}[kind](path)
    root = MultipartWriter()
    root.nested().append(file)
    chunks = aiter(root)
    await anext(chunks)
    file.close()  # what was read ahead may still come
    with pytest.raises(WriteError, match=r"open file, got .*closed file") as caught:
        await all_of(chunks)
    assert caught.value.part is not None
    assert caught.value.part.path == (0, 0)


async def test_another_error_of_a_file_stays_what_it_is() -> None:
    class Odd(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            raise ValueError("odd")

    with Odd() as file, pytest.raises(ValueError, match=r"\Aodd\Z"):
        await writer(file).as_bytes()


# -- codecs -----------------------------------------------------------------------------------

TEXT = "first é\nsecond line\nthird\n"


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    path = tmp_path / "latin.txt"
    path.write_bytes(TEXT.encode("latin-1"))
    return path


def by_open(path: Path) -> Any:
    return codecs.open(str(path), encoding="latin-1")


def by_reader(path: Path) -> Any:
    return codecs.getreader("latin-1")(path.open("rb"))


def by_recoder(path: Path) -> Any:
    return codecs.EncodedFile(path.open("rb"), "utf-8", "latin-1")


KINDS = [by_open, by_reader, by_recoder]


@pytest.mark.parametrize("opened", KINDS)
async def test_a_file_of_codecs_behind_a_line(latin: Path, opened: Opened) -> None:
    """It has read all of it into a buffer, and says that it stands at the end."""
    with opened(latin) as file:
        file.readline()
        root = writer(file)
        assert not root.replayable
        assert await bodies(root) == [b"second line\nthird\n"]
        with pytest.raises(WriteError, match="cannot seek"):
            await root.as_bytes()


@pytest.mark.parametrize("opened", KINDS)
async def test_a_file_of_codecs_that_holds_nothing(latin: Path, opened: Opened) -> None:
    with opened(latin) as file:
        root = writer(file, file)
        assert root.size is None
        assert root.replayable
        for _ in range(2):
            assert await bodies(root) == [TEXT.encode()] * 2


async def test_a_line_that_is_read_after_the_file_was_appended(latin: Path) -> None:
    with by_open(latin) as file:
        root = writer(file)
        file.readline()
        assert await bodies(root) == [TEXT.encode()]
