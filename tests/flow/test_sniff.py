"""flow.md, rule 27: `sniff` makes the pump hold the first bytes of a part, and no more.

Knows: routes that look at bytes. Must not know: how they are held.
"""

from __future__ import annotations

import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    LimitExceeded,
    Limits,
    MultipartReader,
    NoRoute,
    Part,
    PartInfo,
    RouteError,
    Router,
    TruncatedBody,
)
from mpflow.predicates import NeedBytes, filename, name, sniff
from mpflow.testing import Bytewise, Chunked, Cut, PartSpec, body, content_type_of

pytestmark = pytest.mark.anyio
TYPE = content_type_of()
GIF = b"GIF89a" + bytes(70_000)
DATA = body(
    [
        PartSpec(GIF, name="picture", filename="x.png"),
        PartSpec(b"PK", name="short", filename="y"),
        PartSpec(b"", name="empty", filename="z"),
        PartSpec(b"text", name="note"),
    ]
)


def is_gif(data: bytes) -> bool:
    return data.startswith(b"GIF8")


class TestSniff:
    @pytest.mark.parametrize("size", [1, 7, 100, 65536, 10**6])
    async def test_routes_by_the_first_bytes(self, size: int) -> None:
        asked: list[bytes] = []

        def is_zip(data: bytes) -> bool:
            asked.append(data)
            return data.startswith(b"PK")

        router = Router()

        @router.route(filename(True) & sniff(6, is_gif), key="gif")
        async def gif(part: Part) -> int:
            return len(await part.read(limit=None))

        @router.route(filename(True) & sniff(4, is_zip), key="zip")
        async def zipped(part: Part) -> bytes:
            return await part.read()

        @router.route(key="other")
        async def other(part: Part) -> bytes:
            return await part.read()

        source = Chunked(DATA, size) if size > 1 else Bytewise(DATA)
        results = await router.dispatch(MultipartReader(source, TYPE))
        assert results["gif"] == len(GIF)
        assert results["zip"] == b"PK"
        assert results.all("other") == [b"", b"text"]
        assert asked == [b"PK", b""]  # neither for the first, nor for what has no filename
        assert [item.part.sniffed for item in results] == [None] * 4

    async def test_a_later_route_may_ask_for_more(self) -> None:
        router = Router()
        seen: list[int] = []

        def no(data: bytes) -> bool:
            seen.append(len(data))
            return False

        def yes(data: bytes) -> bool:
            seen.append(len(data))
            return True

        @router.route(sniff(2, no))
        async def first(part: Part) -> str:
            raise AssertionError

        @router.route(sniff(500, yes), key="second")
        async def second(part: Part) -> bytes:
            return await part.read()

        data = body([PartSpec(b"z" * 1000, name="f")])
        results = await router.dispatch(MultipartReader(Bytewise(data), TYPE))
        assert results["second"] == b"z" * 1000
        assert seen[-1] == 500
        assert set(seen) == {2, 500}

    async def test_no_more_is_read_than_was_asked_for(self) -> None:
        pulled: list[int] = []
        router = Router()
        source = Bytewise(DATA)

        @router.route(sniff(6, is_gif))
        async def gif(part: Part) -> None:
            pulled.append(source.pulled)

        @router.route()
        async def other(part: Part) -> None:
            await checkpoint()

        await router.dispatch(MultipartReader(source, TYPE))
        assert pulled[0] < DATA.index(b"GIF89a") + 6 + 10

    @pytest.mark.parametrize("at", [DATA.index(b"GIF89a") + 3, DATA.index(b"GIF89a") + 50])
    async def test_a_cut_part_names_itself(self, at: int) -> None:
        router = Router()

        @router.route(sniff(10, is_gif))
        async def gif(part: Part) -> bytes:
            return await part.read()

        with pytest.raises(TruncatedBody, match="'picture'"):
            await router.dispatch(MultipartReader(Cut(DATA, at), TYPE))

    async def test_limits_hold_while_it_sniffs(self) -> None:
        router = Router(limits=Limits(max_part_bytes=10))

        @router.route(sniff(60, is_gif))
        async def gif(part: Part) -> bytes:
            return await part.read()

        with pytest.raises(LimitExceeded) as caught:
            await router.dispatch(MultipartReader(Bytewise(DATA), TYPE))
        assert caught.value.limit == "max_part_bytes"

    async def test_what_no_route_takes(self) -> None:
        router = Router()

        @router.route(sniff(4, is_gif))
        async def gif(part: Part) -> None:
            return None

        with pytest.raises(NoRoute, match="'short'"):
            await router.dispatch(MultipartReader(Chunked(DATA, 999), TYPE))

    async def test_without_a_flow(self) -> None:
        asks = name("a") & sniff(4, is_gif)
        assert not asks(PartInfo.of(name="b"))
        with pytest.raises(NeedBytes, match="4 bytes") as caught:
            asks(PartInfo.of(name="a"))
        assert caught.value.count == 4
        assert repr(asks) == "name('a') & sniff(4, is_gif)"

    @pytest.mark.parametrize("count", [0, -1, 65537, True, "4"])
    async def test_a_count_that_cannot_be(self, count: int) -> None:
        with pytest.raises(RouteError, match="65536"):
            sniff(count, is_gif)

    async def test_a_test_that_cannot_be(self) -> None:
        with pytest.raises(RouteError, match="test"):
            sniff(4, b"GIF8")  # type: ignore[arg-type]
