"""Open files and odd paths as parts: who shares a file, what wraps one, and what has no size."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import anyio
import pytest

from mpflow import FormData, MultipartReader, MultipartWriter, WriteError
from mpflow.openfiles import READ_SIZE
from tests.clock import virtual_time

pytestmark = pytest.mark.anyio

DATA = b"".join(b"%07d\n" % number for number in range(400_000))
"""More than three reads, no two alike."""


def writer(*parts: Any, **options: Any) -> MultipartWriter:
    root = MultipartWriter(boundary="b", **options)
    for obj in parts:
        root.append(obj)
    return root


async def bodies(data: bytes, root: MultipartWriter) -> list[bytes]:
    return [await part.read(limit=None) async for part in MultipartReader(data, root.content_type)]


async def in_turns(*roots: MultipartWriter) -> list[bytes | WriteError]:
    """What comes of writers that are written at the same time, a chunk of each at a time."""
    found: dict[int, bytes | WriteError] = {}
    chunks: dict[int, AsyncIterator[bytes]] = {i: aiter(root) for i, root in enumerate(roots)}
    sent = [b"" for _ in roots]
    while chunks:
        for index, its in list(chunks.items()):
            try:
                sent[index] += await anext(its)
            except StopAsyncIteration:
                found[index] = sent[index]
            except WriteError as error:
                found[index] = error
            else:
                continue
            del chunks[index]
    return [found[index] for index in range(len(roots))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    return path


# -- one file, several readings ---------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("options", [{}, {"buffering": 0}, {"mode": "r+b"}])
async def test_one_open_file_of_two_writers(path: Path, options: Any, start: int) -> None:
    with path.open(**{"mode": "rb", **options}) as file:
        file.seek(start)
        roots = writer(file), writer(b"before", file)
        for root in roots:
            root.parts[-1].headers.popall("Content-Length")
        for root, sent in zip(roots, await in_turns(*roots), strict=True):
            assert isinstance(sent, bytes)
            assert (await bodies(sent, root))[-1] == DATA[start:]


async def test_one_open_file_in_two_tasks(path: Path) -> None:
    sent: dict[int, bytes] = {}

    async def write(number: int, root: MultipartWriter) -> None:
        sent[number] = await root.as_bytes()

    with path.open("rb") as file:
        root = writer(file, file)
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(write, number, root)
        for data in sent.values():
            assert await bodies(data, root) == [DATA, DATA]


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("start", [0, 3, 8000])
async def test_two_files_of_one_descriptor(path: Path, buffering: int, start: int) -> None:
    """They have one place between them, which each has to go back to."""
    with (
        path.open("rb", buffering=buffering) as file,
        os.fdopen(os.dup(file.fileno()), "rb", buffering=buffering) as other,
    ):
        file.read(start)
        start = file.tell()
        roots = writer(file), writer(other)
        places = start, other.tell()
        for root in roots:
            root.parts[0].headers.popall("Content-Length")
        sent = await in_turns(*roots)
        for root, place, found in zip(roots, places, sent, strict=True):
            assert isinstance(found, bytes)
            assert await bodies(found, root) == [DATA[place:]]


async def test_a_file_that_is_moved_while_it_is_read(path: Path) -> None:
    class Moved(io.FileIO):
        def read(self, size: int | None = -1, /) -> Any:
            data = super().read(size)
            self.seek(1)  # as another process would, which has the descriptor, too
            return data

    with Moved(path) as file:
        root = writer(file)
        with pytest.raises(WriteError, match="another file object has its descriptor"):
            await root.as_bytes()


async def test_an_abandoned_reading_of_a_file_disturbs_none(path: Path) -> None:
    with path.open("rb") as file:
        root = writer(file)
        chunks = aiter(root)
        await anext(chunks)
        await anext(chunks)
        file.seek(5)
        assert await bodies(await root.as_bytes(), root) == [DATA]


async def test_a_file_in_memory_is_left_where_it_stands() -> None:
    root = MultipartWriter()
    for file in (io.BytesIO(b"xabc"), io.StringIO("xabc")):
        file.read(1)
        root.append(file)
        root.append(file)
        assert file.tell() == 1
    assert await bodies(await root.as_bytes(), root) == [b"abc"] * 4


def opened_text(path: Path) -> Any:
    return path.open(encoding="utf-8")


def opened_gzip(path: Path) -> Any:
    path.write_bytes(gzip.compress(DATA, 1))
    return gzip.open(path)


@pytest.mark.parametrize("opened", [opened_text, opened_gzip])
async def test_a_file_that_counts_no_bytes_is_read_by_the_last_who_began(
    path: Path, opened: Callable[[Path], Any]
) -> None:
    with opened(path) as file:
        roots = writer(file), writer(file)
        first, second = await in_turns(*roots)
        assert isinstance(first, WriteError)
        assert "another one has begun" in str(first)
        assert isinstance(second, bytes)
        assert await bodies(second, roots[1]) == [DATA]


async def test_two_text_files_of_one_descriptor(path: Path) -> None:
    with (
        path.open(encoding="utf-8") as file,
        os.fdopen(os.dup(file.fileno()), encoding="utf-8") as other,
    ):
        roots = writer(file), writer("before", other)
        sent = await in_turns(*roots)
    assert any(isinstance(found, WriteError) for found in sent)
    for root, found in zip(roots, sent, strict=True):
        if isinstance(found, bytes):
            assert (await bodies(found, root))[-1] == DATA


async def test_two_text_files_of_one_path(path: Path) -> None:
    with path.open(encoding="utf-8") as one, path.open(encoding="utf-8") as two:
        roots = writer(one), writer(two)
        for root, sent in zip(roots, await in_turns(*roots), strict=True):
            assert isinstance(sent, bytes)
            assert await bodies(sent, root) == [DATA]


@pytest.mark.parametrize("duplicate", [False, True])
async def test_a_pipe_is_read_by_one(duplicate: bool) -> None:
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    with os.fdopen(read, "rb") as source, os.fdopen(os.dup(read), "rb") as other:
        root = writer(source, other if duplicate else source)
        out = io.BytesIO()
        with pytest.raises(WriteError, match="cannot seek") as caught:
            await root.write(out)
        assert caught.value.part is not None
        assert caught.value.part.path == (1,)
        assert out.getvalue().count(b"--b") <= 1
        later = writer(source)  # of what is left of it now
        assert await bodies(await later.as_bytes(), later) == [b""]


# -- wrappers ---------------------------------------------------------------------------------


@pytest.fixture(params=["in memory", "spooled", "named", "plain"])
def text(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A temporary text file that has a wrapper around it, or not."""
    with ExitStack() as stack:
        options: Any = {"mode": "w+", "encoding": "latin-1"}
        file: Any
        if request.param == "named":
            file = stack.enter_context(tempfile.NamedTemporaryFile(**options, suffix=".html"))
        elif request.param == "plain":
            file = stack.enter_context(tempfile.TemporaryFile(**options))
        else:
            most = 1 if request.param == "spooled" else 1000
            file = stack.enter_context(tempfile.SpooledTemporaryFile(most, **options))
        file.write("xé" * 5)
        file.seek(1)
        yield file


async def test_text_in_temporary_files(text: Any) -> None:
    root = writer(text)
    assert root.size is None
    assert "Content-Length" not in root.parts[0].headers
    kind = "text/html" if isinstance(text.name, str) else "text/plain"
    assert root.parts[0].headers["Content-Type"] == f"{kind}; charset=utf-8"
    for _ in range(2):
        assert await bodies(await root.as_bytes(), root) == [("xé" * 5)[1:].encode()]


async def test_a_spooled_file_in_memory_stays_there() -> None:
    with tempfile.SpooledTemporaryFile(1000) as file:
        file.write(b"abc")
        file.seek(1)
        roots = writer(file), writer(file)
        for root in roots:
            assert root.size == len(await root.as_bytes())
        assert isinstance(getattr(file, "_file"), io.BytesIO)  # noqa: B009 - typed as private


@pytest.mark.parametrize("mode", ["ab", "wb", "w", "a"])
async def test_files_that_cannot_be_read(tmp_path: Path, mode: str) -> None:
    refused = pytest.raises(WriteError, match=f"open for reading, got mode '{mode}'")
    with (tmp_path / "x").open(mode) as file, refused:
        writer(file)


@pytest.mark.parametrize("opened", [open, codecs.open], ids=["open", "codecs"])
async def test_text_that_is_not_in_the_encoding_of_its_file(
    path: Path, opened: Callable[..., Any]
) -> None:
    os.truncate(path, 100)
    with path.open("ab") as end:
        end.write(b"\xff")
    with opened(path, encoding="utf-8") as file:
        form = FormData({"first": "x"})
        form.add("text", file)
        with pytest.raises(
            WriteError, match=r"text is in 'utf-8', .*0xff .*part 1 'text'"
        ) as caught:
            await form.as_bytes()
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    assert str(caught.value).count("00000") == 0


# -- how much is read at once -----------------------------------------------------------------


class Counting(io.FileIO):
    """A file that counts its reads."""

    reads = 0

    def read(self, size: int | None = -1, /) -> Any:
        self.reads += 1
        return super().read(size)


@virtual_time
async def test_a_file_is_read_ahead_for_who_is_quick(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as sparse:
        sparse.truncate(20 * READ_SIZE)
    with Counting(path) as file:
        sizes = [len(chunk) / READ_SIZE async for chunk in writer(file) if len(chunk) >= READ_SIZE]
        assert sizes == [1, 2, 4, 4, 4, 4, 1]
        assert file.reads == 8  # the last hop finds the end as well


@virtual_time
async def test_a_file_is_not_read_ahead_for_who_is_slow(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as sparse:
        sparse.truncate(9 * READ_SIZE)
    with Counting(path) as file:
        sizes: list[float] = []
        async for chunk in writer(file):
            if len(chunk) >= READ_SIZE:
                sizes.append(len(chunk) / READ_SIZE)
                await anyio.sleep(len(sizes) // 3)
        assert sizes == [1, 2, 4, 1, 1]


async def test_a_small_file_takes_one_hop(path: Path) -> None:
    os.truncate(path, 8)
    with Counting(path) as file:
        chunks = aiter(writer(file, b"y" * READ_SIZE))
        assert DATA[:8] in await anext(chunks)
        assert file.reads == 2


async def test_a_file_whose_reads_may_wait_is_not_read_ahead() -> None:
    """Who has a piece of a pipe gets it, whenever the next one comes."""
    ours, theirs = os.pipe()
    with Counting(ours) as file, io.FileIO(theirs, "wb") as sending:
        chunks = aiter(writer(file))
        for number in range(8):
            piece = b"%d" % number * 20_000
            sending.write(piece)
            if not number:
                await anext(chunks)  # the headers
            assert await anext(chunks) == piece
            assert file.reads == number + 1


# -- sizes ------------------------------------------------------------------------------------


@pytest.fixture(params=["/proc/self/mountinfo", "/sys/kernel/mm/transparent_hugepage/enabled"])
def odd(request: pytest.FixtureRequest) -> Iterator[IO[bytes]]:
    """`/proc` says 0 bytes of each of its files, `/sys` a page."""
    if not Path(request.param).exists():
        pytest.skip("needs this file of Linux")
    with Path(request.param).open("rb") as file:
        yield file


@pytest.mark.parametrize("opened", [False, True])
async def test_files_whose_size_nobody_knows(odd: IO[bytes], opened: bool) -> None:
    root = writer(odd if opened else Path(odd.name))
    assert root.size is None
    assert "Content-Length" not in root.parts[0].headers
    expected = os.pread(odd.fileno(), 100_000, 0)
    assert expected
    assert await bodies(await root.as_bytes(), root) == [expected]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_cannot_be_looked_into() -> None:
    assert writer(Path("/proc/self/mem")).size is None  # nothing is mapped at its beginning


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("data", [b"", b"x"])
async def test_small_files_have_a_size(tmp_path: Path, data: bytes, opened: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with path.open("rb") as file:
        root = writer(file if opened else path)
        assert root.parts[0].headers["Content-Length"] == str(len(data))
        assert root.size == len(await root.as_bytes())
