"""Handlers of all shapes: what is called, and what it gives.

Knows: lambdas, partials, methods. Must not know: how the flow is built.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager

import pytest

from mpflow import Part, RouteError, Router
from tests.flow.support import Diary, form, reader

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))


class TestCallables:
    """Handlers of all shapes: what is called, and what it gives."""

    async def test_lambdas_partials_and_methods(self) -> None:
        class Keep:
            async def method(self, part: Part) -> bytes:
                return await part.read()

            async def __call__(self, part: Part, suffix: bytes = b"!") -> bytes:
                return await part.read() + suffix

        def sync(part: Part) -> Awaitable[bytes]:
            return part.read()

        router = Router()
        router.add(lambda part: part.read(), name="a")
        router.add(functools.partial(Keep(), suffix=b"?"), name="b")
        router.add(Keep().method, name="c")
        router.add(sync, name="d")
        router.add(Keep(), name="e")
        results = await router.dispatch(reader(form(*[(n, b"x") for n in "abcde"])))
        assert [h.value for h in results] == [b"x", b"x?", b"x", b"x", b"x!"]

    async def test_a_context_manager_that_only_the_call_shows(self) -> None:
        diary = Diary()
        router = Router()
        router.add(lambda part: diary(part))
        async with router.flow(reader(BODY)) as flow:
            assert [h.value for h in flow.results] == [b"1", b"22", b"333"]
            assert diary.committed == []
        assert diary.committed == ["a", "b", "c"]

    async def test_a_handler_that_gives_no_awaitable(self) -> None:
        router = Router()
        router.add(lambda part: 42)  # type: ignore[arg-type, return-value]
        with pytest.raises(TypeError, match="int"):
            await router.dispatch(reader(BODY))

    async def test_a_context_manager_that_only_its_type_promised(self) -> None:
        def broken(part: Part) -> AbstractAsyncContextManager[None]:
            return 42  # type: ignore[return-value]

        router = Router()
        router.add(broken)
        with pytest.raises(RouteError, match=r"broken to give an async context manager, got int"):
            await router.dispatch(reader(BODY))

    async def test_a_sync_callable_that_raises(self) -> None:
        router = Router()
        router.add(lambda part: part.nothing())  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="nothing"):
            await router.dispatch(reader(BODY))
