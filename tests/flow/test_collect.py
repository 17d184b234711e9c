"""Rules 14 and 15 of a flow: failures that are kept, parts that are missing or too many.

Knows: `on_error="collect"`, `required`, `max_count`. Must not know: commits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from mpflow import (
    HandlerTimeout,
    InvalidContent,
    LimitExceeded,
    Limits,
    MissingParts,
    NoRoute,
    Part,
    Rejected,
    RolledBack,
    Router,
    SurplusPart,
    TruncatedBody,
)
from tests.flow.support import Chunks, Diary, cut, form, notes, read, reader

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))


class TestCollect:
    """Rule 14."""

    @pytest.mark.parametrize("size", [None, 1000])
    async def test_failures_are_kept_and_their_parts_drained(self, size: int | None) -> None:
        diary = Diary()
        router = Router()
        error = ZeroDivisionError()

        @router.route(name="bad", on_error="collect")
        async def fail(part: Part) -> None:
            raise error

        @router.route(name="enter", on_error="collect")
        @asynccontextmanager
        async def enter(part: Part) -> AsyncIterator[None]:
            await part.receive()
            raise KeyError
            yield

        @router.route(name="json", on_error="collect")
        async def json(part: Part) -> object:
            return await part.json()

        router.add(diary)
        big = b"x" * 100_000
        body = form(("bad", big), ("enter", big), ("json", b"{"), ("good", b"1"))
        results = await router.dispatch(reader(body, size=size))
        assert [type(h.error) for h in results] == [
            ZeroDivisionError, KeyError, InvalidContent, type(None),
        ]  # fmt: skip
        assert [h.part.size for h in results] == [100_000, 100_000, 1, 1]
        assert diary.committed == ["good"]
        with pytest.raises(ZeroDivisionError) as info:
            results["bad"]
        assert info.value is error
        with pytest.raises(ExceptionGroup) as group:
            results.raise_for_errors()
        assert group.value.exceptions == tuple(results.errors)

    async def test_its_own_timeout_and_max_bytes(self) -> None:
        router = Router()

        @router.route(name="slow", timeout=0.01, on_error="collect")
        @asynccontextmanager
        async def slow(part: Part) -> AsyncIterator[None]:
            await anyio.sleep_forever()
            yield

        router.add(read, name="big", max_bytes=10, on_error="collect")
        router.add(read)
        results = await router.dispatch(
            reader(form(("slow", b""), ("big", b"x" * 11), ("big", b"x" * 10), ("c", b"3")))
        )
        assert [type(h.error) for h in results] == [
            HandlerTimeout, LimitExceeded, type(None), type(None),
        ]  # fmt: skip
        assert results["c"] == b"3"

    @pytest.mark.parametrize("verdict", ["rejected", "limits", "wire", "route"])
    async def test_what_it_never_covers(self, verdict: str) -> None:
        diary = Diary()
        router = Router(limits=Limits(max_memory=10))
        router.add(diary, name="first")

        @router.route(name="x", on_error="collect")
        async def handle(part: Part) -> None:
            if verdict == "rejected":
                raise Rejected(451, "not here")
            if verdict == "limits":
                await part.read()
            await part.drain()

        body = form(("first", b""), ("x", b"y" * 100), ("other", b""))
        if verdict == "wire":
            body = form(("first", b""), ("x", b"y" * 100))[:-20]
        expected = {
            "rejected": Rejected, "limits": LimitExceeded, "wire": TruncatedBody, "route": NoRoute,
        }[verdict]  # fmt: skip
        for size in (None, 30):
            with pytest.raises(expected):
                await router.dispatch(reader(body, size=size))
        assert diary.committed == []
        diary.check()

    async def test_a_rollback_that_fails_beside_a_collected_failure_is_a_note(self) -> None:
        """Rule 17, for the one handler that is rolled back though the flow goes on."""
        router = Router()
        causes: list[BaseException | None] = []

        @router.route(max_bytes=200, on_error="collect")
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            with pytest.raises(LimitExceeded):
                await part.read()
            try:
                yield
            except RolledBack as error:
                causes.append(error.__cause__)
                raise KeyError("in the rollback") from error

        results = await router.dispatch(reader(form(("a", b"x" * 300)), size=50))
        assert [type(e) for e in results.errors] == [LimitExceeded]
        assert causes == results.errors
        assert "the rollback of part 0 'a' failed: KeyError" in notes(results.errors[0])

    async def test_a_whole_part_that_is_too_large_is_handled_as_one_in_pieces(self) -> None:
        router = Router()
        called: list[str] = []

        @router.route(max_bytes=3, on_error="collect")
        async def handle(part: Part) -> None:
            called.append(part.name or "")

        results = await router.dispatch(reader(form(("a", b"1234"), ("b", b"123"))))
        assert called == ["a", "b"]
        assert [type(h.error) for h in results] == [LimitExceeded, type(None)]


class TestMissingAndSurplus:
    """Rule 15."""

    async def test_all_that_is_missing_is_reported_together_at_the_end(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary, name="x", required=True)
        router.add(diary, key="photos", filename="*.jpg", required=True)
        router.add(diary, name="a", required=True)
        router.add(diary)
        with pytest.raises(MissingParts) as info:
            await router.dispatch(reader(BODY, size=20))
        assert info.value.missing == ("'x'", "'photos'")
        assert {"a", "b"} <= set(diary.staged)
        assert diary.committed == []
        diary.check()

    async def test_an_unexpected_part_is_refused_at_once(self) -> None:
        router = Router()
        router.add(read, name="a")
        body = form(("a", b""), ("other", b"x" * 100_000))
        source = Chunks(cut(body, 200))
        with pytest.raises(NoRoute) as info:
            await router.dispatch(reader(source))
        assert info.value.part is not None
        assert info.value.part.name == "other"
        assert source.given <= 400

    async def test_a_surplus_part_is_refused_at_once(self) -> None:
        router = Router()
        router.add(read, max_count=2)
        body = form(("a", b""), ("b", b""), ("c", b"x" * 100_000))
        source = Chunks(cut(body, 300))
        with pytest.raises(SurplusPart, match="at most 2 parts"):
            await router.dispatch(reader(source))
        assert source.given <= 600
