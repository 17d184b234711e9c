"""Rules 10 and 12: what a part fails with that needs others, and which place that failure has.

Knows: which parts need which, and which of them fail. Must not know: how needs are met.

Both are the same however the body is cut, and however soon which handler fails.
"""

from __future__ import annotations

from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    DependencyFailed,
    LimitExceeded,
    Limits,
    MissingParts,
    Part,
    Rejected,
    Router,
)
from mpflow_handlers import Nested
from tests.flow.support import form, inner_flow, nested, read, reader

pytestmark = pytest.mark.anyio

SIZES = [1, 20, 100, None]


class Boom(Exception):
    """A handler's own exception."""


def failing(passes: int) -> Any:
    """A handler that fails by itself, without reading."""

    async def fail(part: Part) -> None:
        for _ in range(passes):
            await checkpoint()
        raise Boom

    return fail


async def never(part: Part, **needs: object) -> None:
    raise AssertionError("a part is called that needs one which failed")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("passes", [0, 1, 3, 20])
@pytest.mark.parametrize("names", ["acd", "cad", "dac", "dca", "adc", "cda"])
async def test_the_first_in_the_order_of_needs(names: str, passes: int, size: int | None) -> None:
    """`c` fails at once, `a` as its limit is passed."""
    router = Router()
    router.add(read, name="a", max_bytes=3, on_error="collect")
    router.add(failing(passes), name="c", on_error="collect")
    router.add(never, name="d", needs=["a", "c"], order="spool")
    bodies = {"a": b"too large", "c": b"v" * 100, "d": b"d"}
    body = form(*[(name, bodies[name]) for name in names])
    with pytest.raises(DependencyFailed) as caught:
        await router.dispatch(reader(body, size=size))
    assert isinstance(caught.value.__cause__, LimitExceeded)
    assert caught.value.status == 413
    assert f"part {names.index('a')} 'a', which failed" in str(caught.value)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("passes", [0, 5])
async def test_collected_and_passed_on(passes: int, size: int | None) -> None:
    """Each of a chain waits for all that it needs; what goes well beside it is not lost."""
    router = Router(max_handlers=1)
    router.add(failing(passes), name="a", on_error="collect")
    router.add(read, name="b")
    router.add(never, name="c", needs=["b", "a", "f"], order="spool", on_error="collect")
    router.add(never, name="d", needs=["b", "c"], order="spool", on_error="collect")
    router.add(read, name="e")
    inner = Router()
    inner.add(read)
    router.add(inner_flow(inner), name="f")
    fields = [(name, name.encode() * 500) for name in "dcab"]
    results = await router.dispatch(
        reader(form(*fields, ("e", b"e"), nested("f", ("x", b"1"))), size=size)
    )
    errors = {item.part.name: item.error for item in results if item.error is not None}
    assert list(errors) == ["d", "c", "a"]
    assert errors["c"].__cause__ is errors["a"]
    assert errors["d"].__cause__ is errors["c"]
    assert results["e"] == b"e"


@pytest.mark.parametrize("size", SIZES)
async def test_a_need_that_never_comes_is_missing(size: int | None) -> None:
    """Though another one has failed: nobody waits for ever."""
    router = Router()
    router.add(failing(0), name="a", on_error="collect")
    router.add(never, name="d", needs=["a", "later"], order="spool")
    router.add(read, name="later")
    router.add(read, name="z")
    with pytest.raises(MissingParts) as caught:
        await router.dispatch(reader(form(("a", b""), ("d", b"1"), ("z", b"")), size=size))
    assert caught.value.missing == ("'later'",)


@pytest.mark.parametrize("size", SIZES)
async def test_inside_a_part(size: int | None) -> None:
    inner = Router()
    inner.add(read, name="a", max_bytes=3, on_error="collect")
    inner.add(failing(0), name="c", on_error="collect")
    inner.add(never, name="d", needs=["a", "c"], order="spool")
    router = Router()
    router.add(Nested(inner), content_type="multipart/*")
    fields = ("d", b"1"), ("c", b"2" * 100), ("a", b"too large")
    with pytest.raises(DependencyFailed) as caught:
        await router.dispatch(reader(form(nested("n", *fields)), size=size))
    assert caught.value.status == 413


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_doomed_is_not_kept_on_disk(size: int | None) -> None:
    """It waits for all that it needs, but its body is of no use to anybody."""
    router = Router(limits=Limits(max_spool_bytes=10))
    router.add(failing(0), name="a", on_error="collect")
    router.add(never, name="d", needs=["a", "later"], order="spool", on_error="collect")
    router.add(read, name="later")
    router.add(read, name="z")
    # While `z` comes, `a` fails, however the body is cut.
    body = form(("a", b""), ("z", bytes(70_000)), ("d", bytes(30)), ("later", b"l"))
    results = await router.dispatch(reader(body, size=None if size is None else 10 * size))
    assert [item.part.size for item in results] == [0, 70_000, 30, 1]
    assert [type(item.error) for item in results] == [
        Boom,
        type(None),
        DependencyFailed,
        type(None),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chain", [False, True])
async def test_no_earlier_than_the_part_that_failed(chain: bool, size: int | None) -> None:
    """A spooled part comes first, but that it fails was not known before the last one came."""

    async def refuse(part: Part) -> None:
        await part.read()
        raise Rejected(451, "no")

    router = Router()
    router.add(failing(0), name="k", on_error="collect")
    router.add(refuse, name="verdict")
    router.add(never, name="d", needs="e" if chain else "k", order="spool")
    router.add(never, name="e", needs="k", order="spool", on_error="collect")
    for names in (["d", "e", "verdict", "k"], ["e", "d", "verdict", "k"]):
        with pytest.raises(Rejected):
            await router.dispatch(reader(form(*[(name, b"x") for name in names]), size=size))
    fields = [(name, b"x") for name in ("d", "e", "k", "verdict")]
    with pytest.raises(DependencyFailed):
        await router.dispatch(reader(form(*fields), size=size))


@pytest.mark.parametrize("size", SIZES)
async def test_nor_does_its_own_failure_come_earlier(size: int | None) -> None:
    async def fail(part: Part, k: bytes) -> None:
        raise Boom

    async def refuse(part: Part) -> None:
        await part.read()
        raise Rejected(451, "no")

    router = Router()
    router.add(read, name="k")
    router.add(refuse, name="verdict")
    router.add(fail, name="d", needs="k", order="spool")
    for names, wins in (("d verdict k", Rejected), ("d k verdict", Boom)):
        with pytest.raises(wins):
            await router.dispatch(
                reader(form(*[(name, b"x") for name in names.split()]), size=size)
            )
