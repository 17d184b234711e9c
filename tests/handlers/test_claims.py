"""`claimed`: who gets a name, and that it is free afterwards.

Knows: tasks that begin in one pass. Must not know: what the names are of.
"""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow_handlers import claims
from mpflow_handlers.claims import claimed

pytestmark = pytest.mark.anyio


async def test_the_first_place_gets_it_in_whatever_order_they_ask() -> None:
    found: dict[int, bool] = {}

    async def ask(place: int) -> None:
        async with claimed("a", (0, place)) as owns:
            found[place] = owns
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        for place in (3, 1, 2):
            tasks.start_soon(ask, place)
    assert found == {1: True, 2: False, 3: False}
    assert claims._claims == {}


async def test_who_has_it_keeps_it() -> None:
    async with claimed("a", (5,)) as first:
        async with claimed("a", (0,)) as second, claimed("b", (0,)) as other:
            assert (first, second, other) == (True, False, True)
        async with claimed("a", (0,)) as third:
            assert not third
    async with claimed("a", (9,)) as again:
        assert again


async def test_none_is_free_for_everybody() -> None:
    async with claimed(None, (0,)) as first, claimed(None, (0,)) as second:
        assert first
        assert second


async def test_who_is_cancelled_while_asking_leaves_nothing() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with claimed("a", (0,)):
            pytest.fail("it was cancelled")
    assert claims._claims == {}
    async with claimed("a", (1,)) as owns:
        assert owns
