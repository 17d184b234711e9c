"""`ByteRanges`: the three shapes of an answer, where each range goes, and what is missing."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import httpx
import pytest

from mpflow import (
    ByteRanges,
    ContentRange,
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartReader,
    NotMultipart,
    TruncatedBody,
    UnsupportedCoding,
    range_header,
)
from mpflow.testing import Chunked, body, content_type_of
from tests.http import answering

pytestmark = pytest.mark.anyio

TYPE = content_type_of(subtype="byteranges")
WHOLE = bytes(range(256)) * 4


def ranges(*pairs: tuple[int, int], total: int | str = len(WHOLE)) -> bytes:
    return body(
        [
            {
                "data": WHOLE[start:end],
                "content_type": "image/png",
                "headers": {"Content-Range": f"bytes {start}-{end - 1}/{total}"},
            }
            for start, end in pairs
        ]
    )


def reader(sent: bytes, size: int = 1000) -> ByteRanges:
    return ByteRanges(MultipartReader(Chunked(sent, size), TYPE))


# -- the header -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "start", "end", "total"),
    [
        ("bytes 0-499/1234", 0, 500, 1234),
        ("bytes 42-1233/*", 42, 1234, None),
        (" Bytes 0-0/1 ", 0, 1, 1),
    ],
)
def test_a_content_range(value: str, start: int, end: int, total: int | None) -> None:
    found = ContentRange.parse(value)
    assert (found.start, found.end, found.total) == (start, end, total)
    assert str(found) == value.strip().lower()


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes */1234", "bytes 5-4/10", "bytes 0-10/10", "bytes -1-4/9", "items 0-4/9",
     "bytes 0-4/9/9", "bytes 9223372036854775803-9223372036854775807/*",
     "bytes 9999999999999999990-9999999999999999994/9999999999999999999",
     "bytes 0-" + "9" * 5000 + "/*", "bytes ٠-٤/٩"],
)  # fmt: skip
def test_what_is_no_content_range(value: str) -> None:
    with pytest.raises(MalformedBody, match="expected a Content-Range") as caught:
        ContentRange.parse(value)
    assert len(str(caught.value)) < 200


def test_a_range_header() -> None:
    assert range_header([(0, 500), (1000, None)]) == "bytes=0-499,1000-"
    for wrong in ([], [(5, 5)], [(-1, 4)]):
        with pytest.raises(ValueError, match="at least one byte"):
            range_header(wrong)


# -- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_parts_with_their_places(size: int) -> None:
    found = [
        (it.start, it.end, it.total, it.headers["content-type"], b"".join([c async for c in it]))
        async for it in reader(ranges((0, 10), (900, 1000)), size)
    ]
    assert found == [
        (0, 10, 1024, "image/png", WHOLE[:10]),
        (900, 1000, 1024, "image/png", WHOLE[900:1000]),
    ]


async def test_what_is_passed_over_is_drained() -> None:
    found = reader(ranges((0, 10), (10, 20)), 3)
    first = await anext(found)
    assert WHOLE[:4].startswith(await first.receive(4))
    await first.aclose()
    second = await anext(found)
    assert b"".join([chunk async for chunk in second]) == WHOLE[10:20]
    with pytest.raises(StopAsyncIteration):
        await anext(found)
    await found.aclose()


# -- into a file ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000])
async def test_ranges_go_to_their_places(size: int) -> None:
    file = io.BytesIO(b"." * 50)
    found = reader(ranges((900, 1024), (10, 20), (20, 30)), size)
    assert await found.write_to(file) == [(0, 10), (30, 900)]
    assert found.total == 1024
    assert found.written == [(10, 30), (900, 1024)]
    assert file.getvalue()[:50] == b"." * 10 + WHOLE[10:30] + b"." * 20
    assert file.getvalue()[900:] == WHOLE[900:]


async def test_a_file_is_filled_in_two_answers(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    missing = await reader(ranges((0, 400), (600, 1024))).write_to(path)
    assert range_header(missing) == "bytes=400-599"
    again = reader(ranges((400, 600)))
    await again.write_to(str(path))
    assert path.read_bytes() == WHOLE
    assert again.missing == [(0, 400), (600, 1024)]  # it knows of its own answer only


async def test_an_unknown_total() -> None:
    found = reader(ranges((10, 20), (30, 40), total="*"))
    assert await found.write_to(io.BytesIO()) == [(0, 10), (20, 30)]
    assert found.total is None


async def test_a_body_that_is_cut() -> None:
    file = io.BytesIO()
    sent = ranges((0, 500), (600, 1000))
    found = ByteRanges(MultipartReader(Chunked(sent[:-200], 50), TYPE))
    with pytest.raises(TruncatedBody):
        await found.write_to(file)
    (first, second) = found.written
    assert first == (0, 500)
    assert second[0] == 600
    assert file.getvalue()[600 : second[1]] == WHOLE[600 : second[1]]
    assert found.missing == [(500, 600), (second[1], 1024)]


# -- what does not fit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        (ranges((0, 10), (5, 20)), MalformedBody, "do not overlap, got 'bytes 5-19/1024'"),
        (ranges((5, 20), (0, 10)), MalformedBody, "do not overlap"),
        (ranges((0, 10)).replace(b"0-9/", b"0-8/"), MalformedBody, "expected 9 bytes.*more came"),
        (ranges((0, 10)).replace(b"0-9/", b"0-10/"), TruncatedBody, "expected 11 bytes.*ended"),
        (ranges((0, 10)).replace(b"0-9/", b"9-0/"), MalformedBody, "expected a Content-Range 'by"),
        (ranges((0, 9)).replace(b"Content-Range", b"Range"), MalformedBody, "Range, got none"),
    ],
    ids=["overlap", "overlap-back", "more", "fewer", "wrong", "none"],
)
async def test_ranges_that_do_not_fit(sent: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        await reader(sent).write_to(io.BytesIO())
    assert getattr(caught.value, "part", None) is not None


async def test_a_range_that_lies_too_far_for_the_file(tmp_path: Path) -> None:
    for at in (2**63 - 20, 2**62):
        sent = ranges((0, 10), (10, 20), total="*").replace(b"10-19", b"%d-%d" % (at, at + 9))
        found = reader(sent)
        with pytest.raises(MalformedBody, match=f"the file can hold, got 'bytes {at}-") as caught:
            await found.write_to(tmp_path / "whole")
        assert caught.value.part is not None
        assert caught.value.part.path == (1,)
        assert found.written == [(0, 10)]


async def test_a_full_disk_is_no_fault_of_the_body() -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(errno.ENOSPC, "No space left")

    with pytest.raises(OSError, match="No space left"):
        await reader(ranges((0, 10))).write_to(Full())


@pytest.mark.parametrize("mode", ["ab", "a+b", "wb"])
async def test_a_file_that_appends(tmp_path: Path, mode: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if mode == "wb" else 0)
    path = tmp_path / "whole"
    path.write_bytes(b"before")
    opened = os.fdopen(os.open(path, flags), mode) if mode == "wb" else path.open(mode)
    with opened as file, pytest.raises(ValueError, match="at any place, got one that appends"):
        await reader(ranges((0, 10))).write_to(file)
    assert path.read_bytes() == b"before"


async def test_totals_that_differ() -> None:
    sent = ranges((0, 10), (10, 20)).replace(b"10-19/1024", b"10-19/1025")
    with pytest.raises(
        MalformedBody, match="expected a total of 1024 bytes, got 'bytes 10-19/1025"
    ):
        await reader(sent).write_to(io.BytesIO())


def test_another_subtype() -> None:
    with pytest.raises(NotMultipart, match="multipart/byteranges"):
        ByteRanges(MultipartReader(b"", content_type_of()))


# -- answers ----------------------------------------------------------------------------------

ANSWERS = [
    pytest.param(206, {"Content-Type": TYPE}, ranges((0, 10), (20, 30)), id="multipart"),
    pytest.param(206, {"Content-Range": "bytes 20-29/1024"}, WHOLE[20:30], id="single"),
    pytest.param(200, {}, WHOLE, id="whole"),
    pytest.param(200, {}, b"", id="empty"),
]
LEFT = {
    "multipart": [(10, 20), (30, 1024)],
    "single": [(0, 20), (30, 1024)],
    "whole": [],
    "empty": [],
}


@pytest.mark.parametrize(("status", "headers", "sent"), ANSWERS)
async def test_the_shapes_of_an_answer(
    status: int, headers: dict[str, str], sent: bytes, request: pytest.FixtureRequest
) -> None:
    file = io.BytesIO()
    async with (
        answering(sent, headers, status=status) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url, headers={"Range": range_header([(0, 10), (20, 30)])}) as response,
        ByteRanges.from_message(response) as found,
    ):
        missing = await found.write_to(file)
    shape = request.node.callspec.id.split("-")[-1]
    assert missing == LEFT[shape]
    assert found.total == (0 if shape == "empty" else 1024)
    for start, end in found.written:
        assert file.getvalue()[start:end] == WHOLE[start:end]


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (416, {"Content-Range": "bytes */1024"}, NotMultipart),
        (206, {"Content-Type": "image/png"}, NotMultipart),
        (206, {"Content-Range": "bytes x"}, MalformedBody),
        (206, {"Content-Encoding": "gzip", "Content-Range": "bytes 0-2/9"}, UnsupportedCoding),
    ],
)
async def test_an_answer_without_ranges(
    status: int, headers: dict[str, str], error: type[Exception]
) -> None:
    async with (
        answering(b"abc", headers, status=status) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        with pytest.raises(error):
            ByteRanges.from_message(response)


async def test_the_limit_of_a_single_range() -> None:
    async with (
        answering(WHOLE, {}) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        limits = Limits(max_part_bytes=1000)
        async with ByteRanges.from_message(response, limits=limits) as found:
            with pytest.raises(LimitExceeded, match="max_part_bytes"):
                await found.write_to(io.BytesIO())


async def test_a_single_range_that_is_cut() -> None:
    async with (
        answering(WHOLE[:10], {"Content-Range": "bytes 0-10/1024"}, status=206) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
        ByteRanges.from_message(response) as found,
    ):
        with pytest.raises(TruncatedBody, match=r"expected 11 bytes.*ended after 10"):
            await found.write_to(io.BytesIO())
        assert found.written == [(0, 10)]
