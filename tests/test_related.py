"""`related()`: the root, parts by Content-ID, and what has to be kept in between."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import anyio
import pytest

from mpflow import (
    LimitExceeded,
    Limits,
    MalformedBody,
    MissingParts,
    MultipartReader,
    NotMultipart,
    Related,
    TruncatedBody,
)
from mpflow.testing import Chunked, Cut, PartSpec, body
from tests.support import TYPE, cancelled

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 2000


def member(cid: str | None, data: bytes, content_type: str = "image/png", **more: str) -> PartSpec:
    headers = dict(more) if cid is None else {"Content-ID": cid, **more}
    return PartSpec(data, headers=headers, content_type=content_type)


PARTS = [
    member("<logo@x>", b"logo"),
    member("<large@x>", LARGE),
    member("<root@x>", b"<html>", "text/html"),
    member("<50%@x>", b"half"),
    member(None, b"style", "text/css", **{"Content-Location": "https://x.example/a%20b.css"}),
]
SENT = body(PARTS)


def related(params: str = "", source: Any = None, **options: Any) -> Related:
    content_type = f"multipart/related; boundary=boundary{params}"
    reader = MultipartReader(source or Chunked(SENT, 1000), content_type, **options)
    return reader.related()


START = '; start="<root@x>"; type="text/html"'


async def test_the_first_part_is_the_root_by_default() -> None:
    it = related()
    root = await it.root()
    assert await root.read() == b"logo"
    assert [part.headers.get("Content-ID") async for part in it] == [
        "<large@x>", "<root@x>", "<50%@x>", None,
    ]  # fmt: skip


@pytest.mark.parametrize("start", ["<root@x>", "root@x"])
async def test_start_names_the_root(start: str) -> None:
    async with related(f'; start="{start}"; type="text/html"') as it:
        root = await it.root()
        assert root.content_type == "text/html"
        assert await root.read() == b"<html>"
        assert [await part.read() async for part in it] == [b"logo", LARGE, b"half", b"style"]


async def test_the_root_after_the_others() -> None:
    async with related(START) as it:
        assert [await part.read() async for part in it] == [b"logo", LARGE, b"half", b"style"]
        for _ in range(2):
            assert await (await it.root()).read() == b"<html>"


async def test_get_by_reference() -> None:
    async with related(START) as it:
        assert await (await it.root()).read() == b"<html>"
        assert await (await it.get("cid:50%25@x")).read() == b"half"
        assert await (await it.get("CID:logo%40x")).read() == b"logo"
        kept = await it.get("<large@x>")
        assert kept.info.size == len(LARGE)
        assert kept.path == (1,)
        assert await kept.receive() == LARGE[:65536]
        assert await (await it.get("large@x")).read() == LARGE
        assert await (await it.get("https://x.example/a%20b.css")).read() == b"style"
        assert [part async for part in it] == []


@pytest.mark.parametrize("cid", ["a", "<a>", "a>b<", "<a>b>", "<<a>>", "<", "a b", "<a%41>"])
async def test_any_content_id_is_found_as_it_was_set(cid: str) -> None:
    sent = body([member("<other>", b"root"), member(cid, b"wanted")])
    for reference in (cid, f"<{cid}>" if cid[:1] != "<" else cid, "cid:" + quote(cid)):
        async with related(source=sent) as it:
            assert await (await it.get(reference)).read() == b"wanted"


async def test_iteration_gives_what_get_did_not() -> None:
    async with related(START) as it:
        assert await (await it.get("50%@x")).read() == b"half"
        found = [await part.read() async for part in it]
        assert found == [b"logo", LARGE, b"style"]
        assert await (await it.root()).read() == b"<html>"


async def test_what_came_live_is_not_kept() -> None:
    it = related()
    await it.root()
    await it.get("50%@x")
    for again in (it.root(), it.get("50%@x")):
        with pytest.raises(anyio.ClosedResourceError, match="was not kept"):
            await again
    it.close()


async def test_nobody_is_called_so() -> None:
    async with related(START) as it:
        with pytest.raises(MissingParts, match="nobody@x") as caught:
            await it.get("cid:nobody@x")
        assert caught.value.missing == ("cid:nobody@x",)
        assert await (await it.root()).read() == b"<html>"  # all that came was kept


async def test_no_root_comes() -> None:
    async with related('; start="<other@x>"') as it:
        with pytest.raises(MalformedBody, match="a root with the Content-ID '<other@x>'"):
            await it.root()
    with pytest.raises(MalformedBody, match="expected a part"):
        await related(source=b"--boundary--").root()


async def test_the_type_of_the_root() -> None:
    wrong = '; start="<root@x>"; type="image/png"'
    async with related(wrong) as it:
        with pytest.raises(MalformedBody, match=r"'image/png', got 'text/html'.*related-type") as e:
            await it.root()
        assert e.value.part is not None
        assert e.value.part.path == (2,)
    async with related(wrong, tolerate={"related-type"}) as it:
        assert await (await it.root()).read() == b"<html>"
    reader = MultipartReader(
        SENT, 'multipart/related; boundary=boundary; type="text/html"', tolerate=["related-type"]
    )
    await reader.related().root()
    assert [(found.code, found.part) for found in reader.deviations] == [("related-type", (0,))]


async def test_another_subtype() -> None:
    with pytest.raises(NotMultipart, match="expected a content type of multipart/related"):
        MultipartReader(SENT, TYPE).related()


@pytest.mark.parametrize("most", [0, 3, 4, 4 + len(LARGE) - 1, 4 + len(LARGE)])
async def test_the_limit_of_what_is_kept(most: int) -> None:
    async with related(START, limits=Limits(max_spool_bytes=most)) as it:
        if most >= 4 + len(LARGE):
            assert await (await it.root()).read() == b"<html>"
            return
        with pytest.raises(LimitExceeded, match="have to be kept") as caught:
            await it.root()
    assert (caught.value.limit, caught.value.status) == ("max_spool_bytes", 413)
    assert caught.value.part is not None
    assert caught.value.part.path == ((0,) if most < 4 else (1,))


async def test_what_was_too_large_to_be_kept_says_so_again() -> None:
    async with related(START, limits=Limits(max_spool_bytes=1000)) as it:
        with pytest.raises(LimitExceeded, match="have to be kept"):
            await it.root()
        assert await (await it.get("logo@x")).read() == b"logo"
        for _ in range(2):
            with pytest.raises(LimitExceeded, match="have to be kept") as caught:
                await it.get("large@x")
            assert caught.value.part is not None
            assert caught.value.part.path == (1,)
        assert await (await it.root()).read() == b"<html>"
        assert await (await it.get("50%@x")).read() == b"half"


async def test_a_root_that_was_too_large_to_be_kept() -> None:
    async with related(limits=Limits(max_spool_bytes=3)) as it:
        with pytest.raises(LimitExceeded):
            await anext(it)
        for _ in range(2):
            with pytest.raises(LimitExceeded, match="have to be kept"):
                await it.root()
        assert await (await anext(it)).read() == LARGE


async def test_iteration_tells_once_of_what_was_not_kept() -> None:
    async with related(START, limits=Limits(max_spool_bytes=1000)) as it:
        with pytest.raises(LimitExceeded):
            await it.root()
        found: list[bytes] = []
        with pytest.raises(LimitExceeded):
            found += [await part.read() async for part in it]
        found += [await part.read() async for part in it]
    assert found == [b"half", b"style"]


@pytest.mark.parametrize("after", range(2, 40, 7))
async def test_what_was_not_kept_since_that_was_cancelled(after: int) -> None:
    async with related(START, Chunked(SENT, 20_000)) as it:
        if not await cancelled(it.root, after=after):
            return
        for cid, data in (("logo@x", b"logo"), ("large@x", LARGE)):
            try:
                found = await (await it.get(cid)).read()
            except anyio.ClosedResourceError as error:
                assert "was not kept: that was cancelled" in str(error)  # noqa: PT017 - or found
            else:
                assert found == data


async def test_a_root_of_another_type_is_refused_again() -> None:
    async with related('; start="<root@x>"; type="text/plain"') as it:
        for _ in range(2):
            with pytest.raises(MalformedBody, match="expected a root of the type"):
                await it.root()
        with pytest.raises(MalformedBody, match="expected a root of the type"):
            await it.get("root@x")


async def test_no_limit_of_what_is_kept() -> None:
    async with related(START, limits=Limits(max_spool_bytes=None)) as it:
        assert await (await it.root()).read() == b"<html>"


async def test_a_cut_body() -> None:
    async with related(START, Cut(SENT, at=len(SENT) // 2)) as it:
        with pytest.raises(TruncatedBody):
            await it.root()


async def test_closing_the_reader_removes_what_was_kept() -> None:
    reader = MultipartReader(SENT, "multipart/related; boundary=boundary" + START)
    async with reader:
        it = reader.related()
        await it.root()
        kept = await it.get("logo@x")
    with pytest.raises(anyio.ClosedResourceError):
        await kept.read()
    with pytest.raises(anyio.ClosedResourceError):
        await it.get("50%@x")


async def test_two_at_once() -> None:
    class Waiting:
        async def receive(self) -> bytes:
            await anyio.sleep_forever()
            raise AssertionError

    it = related(source=Waiting())
    async with anyio.create_task_group() as group:
        group.start_soon(it.root)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await it.get("logo@x")
        group.cancel_scope.cancel()
