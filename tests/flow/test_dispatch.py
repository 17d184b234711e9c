"""`Router.dispatch` as people use it: results, keys, refusals and limits.

Knows: the public names. Must not know: how a flow runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    EmptyBody,
    LimitExceeded,
    Limits,
    MultipartReader,
    NoResult,
    NoRoute,
    Part,
    PartInfo,
    Rejected,
    Router,
    TruncatedBody,
)
from tests.flow.support import (
    CONTENT_TYPE,
    Chunks,
    Diary,
    Field,
    cut,
    form,
    nested,
    read,
    reader,
    tail,
)

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))


class TestResults:
    @pytest.mark.parametrize("size", [None, 1, 30])
    async def test_wire_order_whoever_answers_first(self, size: int | None) -> None:
        router = Router()

        @router.route()
        async def handle(part: Part) -> int:
            for _ in range(20 - 2 * part.index):
                await checkpoint()
            return part.index

        results = await router.dispatch(reader(form(*[("n", b"")] * 10), size=size))
        assert [h.value for h in results] == list(range(10))
        assert [h.part.index for h in results] == list(range(10))
        assert results.all(handle) == list(range(10))

    async def test_keys_handlers_and_routes(self) -> None:
        router = Router()

        @router.route(name="a")
        async def first(part: Part) -> bytes:
            return await part.read()

        rest = router.add(read, key="rest")
        results = await router.dispatch(reader(BODY))
        assert results["a"] == results[first] == b"1"
        assert results.all("rest") == results.all(rest) == results.all(read) == [b"22", b"333"]
        with pytest.raises(NoResult, match="rest"):
            results["rest"]

    async def test_a_client_chooses_no_declared_key(self) -> None:
        router = Router()
        router.add(read, filename=True, key="photos")
        router.add(read)
        results = await router.dispatch(reader(form(("photos", b"mine"), ("x", b"1"))))
        assert "photos" not in results
        assert results["x"] == b"1"
        assert [h.key for h in results] == [None, "x"]

    async def test_an_empty_form(self) -> None:
        router = Router()
        router.add(read)
        assert list(await router.dispatch(reader(tail()))) == []

    async def test_no_body_at_all(self) -> None:
        router = Router()
        router.add(read)
        with pytest.raises(EmptyBody):
            await router.dispatch(reader(b""))

    async def test_sizes_on_the_wire(self) -> None:
        router = Router()
        router.add(read)
        for size in (None, 10):
            results = await router.dispatch(reader(form(("a", b"x" * 500), ("b", b"")), size=size))
            assert [h.part.size for h in results] == [500, 0]

    async def test_a_reader_that_was_read_before(self) -> None:
        """What is left goes to the routes; the part at hand is drained."""
        router = Router()
        router.add(read)
        made = reader(BODY, size=10)
        part = await made.next_part()
        assert part is not None
        results = await router.dispatch(made)
        assert [(h.key, h.part.index) for h in results] == [("b", 1), ("c", 2)]
        with pytest.raises(anyio.ClosedResourceError):
            await part.receive()

    async def test_a_reader_is_dispatched_once(self) -> None:
        router = Router()
        router.add(read)
        made = reader(BODY)
        await router.dispatch(made)
        for again in (router.dispatch(made), made.next_part()):
            with pytest.raises(anyio.ClosedResourceError):
                await again

    async def test_a_router_is_used_by_many_at_once(self) -> None:
        router = Router(max_handlers=1)
        router.add(read)
        values: list[list[bytes]] = []

        async def one(text: bytes) -> None:
            body = form(*[(f"n{i}", text) for i in range(20)])
            results = await router.dispatch(reader(body, size=25))
            values.append([h.value for h in results])

        async with anyio.create_task_group() as tasks:
            for i in range(10):
                tasks.start_soon(one, b"%d" % i)
        assert sorted(values) == [[b"%d" % i] * 20 for i in range(10)]


class TestRefusals:
    async def test_no_route(self) -> None:
        router = Router()
        router.add(read, name="a")
        with pytest.raises(NoRoute, match="got one of text/plain") as info:
            await router.dispatch(reader(BODY))
        assert info.value.status == 422
        assert "part 1 'b'" in str(info.value)

    async def test_a_verdict_of_a_predicate(self) -> None:
        router = Router()
        diary = Diary()
        router.add(diary, name="a")

        def small(info: PartInfo) -> bool:
            if info.name == "b":
                raise Rejected(413, "too large", {"X-Limit": "1"})
            return True

        router.add(diary, small)
        for size in (None, 20):
            with pytest.raises(Rejected) as info:
                await router.dispatch(reader(BODY, size=size))
            assert (info.value.status, info.value.reason) == (413, "too large")
            assert info.value.headers == {"X-Limit": "1"}
            assert info.value.part is not None
            assert info.value.part.name == "b"
        assert diary.committed == []
        diary.check()

    async def test_a_predicate_that_fails(self) -> None:
        error = ZeroDivisionError()

        def bad(info: PartInfo) -> bool:
            raise error

        router = Router()
        router.add(read, bad)
        with pytest.raises(ZeroDivisionError) as info:
            await router.dispatch(reader(BODY))
        assert info.value is error

    @pytest.mark.parametrize("two_phase", [False, True])
    async def test_a_verdict_of_a_handler_ends_the_upload_at_once(self, two_phase: bool) -> None:
        async def one(part: Part) -> None:
            raise Rejected(403, "not yours")

        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[None]:
            await one(part)
            yield

        router = Router()
        router.add(two if two_phase else one, name="a")
        router.add(read)
        source = Chunks(cut(form(("a", b""), ("b", b"x" * 1_000_000)), 1000))
        with pytest.raises(Rejected) as info:
            await router.dispatch(reader(source))
        assert info.value.status == 403
        assert source.given < 100_000

    async def test_a_body_that_ends_early(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary)
        for end in range(1, len(BODY) - 5):
            with pytest.raises(TruncatedBody):
                await router.dispatch(reader(BODY[:end], size=17))
        assert diary.committed == []


class TestLimits:
    @pytest.mark.parametrize("size", [None, 7])
    @pytest.mark.parametrize(
        ("mine", "routers", "limit"),
        [
            (None, Limits(max_parts=2), "max_parts"),
            (Limits(max_parts=2), None, "max_parts"),
            (Limits(max_parts=2), Limits(max_parts=100), "max_parts"),
            (Limits(max_parts=100), Limits(max_parts=2), "max_parts"),
            (Limits(max_parts=None), Limits(max_part_bytes=2), "max_part_bytes"),
            (Limits(max_part_bytes=2), Limits(max_parts=100), "max_part_bytes"),
            (None, Limits(max_total_bytes=50), "max_total_bytes"),
            (None, Limits(max_headers=0), "max_headers"),
        ],
    )
    async def test_the_tighter_of_the_readers_and_the_routers(
        self, mine: Limits | None, routers: Limits | None, limit: str, size: int | None
    ) -> None:
        diary = Diary()
        router = Router(limits=routers)
        router.add(diary)
        with pytest.raises(LimitExceeded) as info:
            await router.dispatch(reader(BODY, size=size, limits=mine))
        assert info.value.limit == limit
        assert diary.committed == []
        diary.check()

    async def test_a_reader_without_its_own_takes_the_routers(self) -> None:
        """Also where the router allows more than the defaults do."""
        router = Router(limits=Limits(max_parts=2000))
        router.add(read)
        assert len(await router.dispatch(reader(form(*[("n", b"")] * 1500)))) == 1500
        plain = Router()
        plain.add(read)
        with pytest.raises(LimitExceeded):
            await plain.dispatch(reader(form(*[("n", b"")] * 1500)))

    @pytest.mark.parametrize("size", [None, 7, 70_000])
    async def test_max_bytes_below_max_part_bytes(self, size: int | None) -> None:
        router = Router(limits=Limits(max_part_bytes=1000))
        router.add(read, name="a", max_bytes=10)
        router.add(read)
        ok = form(("a", b"x" * 10), ("b", b"x" * 1000))
        assert len(await router.dispatch(reader(ok, size=size))) == 2
        for body, limit in (
            (form(("a", b"x" * 11)), "max_bytes"),
            (form(("b", b"x" * 1001)), "max_part_bytes"),
        ):
            with pytest.raises(LimitExceeded) as info:
                await router.dispatch(reader(body, size=size))
            assert info.value.limit == limit
            assert info.value.part is not None

    @pytest.mark.parametrize("size", [None, 7, 70_000])
    async def test_max_bytes_above_max_part_bytes(self, size: int | None) -> None:
        router = Router(limits=Limits(max_part_bytes=100))
        router.add(read, name="a", max_bytes=1000)
        router.add(read)
        ok = form(("a", b"x" * 1000), ("b", b"x" * 100), ("a", b""))
        assert [h.part.size for h in await router.dispatch(reader(ok, size=size))] == [1000, 100, 0]
        for body, limit in (
            (form(("a", b"x" * 1001)), "max_bytes"),
            (form(("b", b"x" * 101)), "max_part_bytes"),
        ):
            with pytest.raises(LimitExceeded) as info:
                await router.dispatch(reader(body, size=size))
            assert info.value.limit == limit

    async def test_max_bytes_within_a_nested_part(self) -> None:
        """The outer part's limit bounds it whatever the inner route allows."""
        inner = Router()
        inner.add(read, max_bytes=1000)
        outer = Router(limits=Limits(max_part_bytes=300))
        outer.add(lambda part: inner.flow(part.multipart()))
        made = form(("a", b"x" * 400), boundary="inner")
        field = Field("x", made, content_type="multipart/mixed; boundary=inner")
        for size in (None, 50):
            with pytest.raises(LimitExceeded) as info:
                await outer.dispatch(reader(form(field), size=size))
            assert info.value.limit == "max_part_bytes"

    async def test_counts_span_the_levels(self) -> None:
        inner = Router()
        inner.add(read)
        outer = Router(limits=Limits(max_parts=5))
        outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
        outer.add(read)
        many = form(*[("n", b"")] * 5, boundary="inner")
        field = Field("x", many, content_type="multipart/mixed; boundary=inner")
        with pytest.raises(LimitExceeded) as info:
            await outer.dispatch(reader(form(field)))
        assert info.value.limit == "max_parts"

    @pytest.mark.parametrize("most", range(1, 10))
    async def test_counts_that_span_levels_refuse_the_same_bodies_in_any_cut(
        self, most: int
    ) -> None:
        """Not at the same part: a level is read ahead of those inside."""
        diary = Diary()
        inner = Router()
        inner.add(diary)
        outer = Router(limits=Limits(max_parts=most))
        outer.add(lambda part: inner.flow(part.multipart()), name="x")
        outer.add(diary)
        body = form(nested("x", *[("n", b"")] * 3), *[("n", b"")] * 3, nested("x", ("n", b"")))
        for size in (None, 1, 7, 50, 100, 200, 400):
            diary.committed.clear()
            if most == 9:
                await outer.dispatch(reader(body, size=size))
                assert len(diary.committed) == 7
                continue
            with pytest.raises(LimitExceeded) as info:
                await outer.dispatch(reader(body, size=size))
            assert info.value.limit == "max_parts"
            assert diary.committed == []

    async def test_gathering_stops_at_the_total(self) -> None:
        router = Router(limits=Limits(max_total_memory=1000, max_memory=400))

        @router.route()
        async def gather(part: Part) -> bytes:
            return await part.read()

        with pytest.raises(LimitExceeded) as info:
            await router.dispatch(reader(form(*[("n", b"x" * 300)] * 4)))
        assert info.value.limit == "max_total_memory"

    async def test_a_content_length_that_is_too_much_is_refused_before_a_byte(self) -> None:
        received = 0

        async def receive() -> dict[str, object]:
            nonlocal received
            received += 1
            return {"type": "http.request", "body": BODY}

        scope = {
            "headers": [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"99999999")]
        }
        router = Router(limits=Limits(max_total_bytes=1000))
        router.add(read)
        made = MultipartReader.from_asgi(scope, receive)
        with pytest.raises(LimitExceeded, match="Content-Length says 99999999"):
            await router.dispatch(made)
        assert received == 0
