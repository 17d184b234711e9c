"""Dependencies: what a handler gets of other parts, and what is refused (flow.md, rules 8 to 11).

Knows: routes with needs, parts in any order, every chunking.
Must not know: how a flow keeps what waits.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    MissingParts,
    MultipartReader,
    Order,
    Part,
    Results,
    RouteError,
    Router,
    SurplusPart,
    UnmetNeed,
)
from mpflow.predicates import sniff
from mpflow.testing import PartSpec, content_type_of
from mpflow.testing import body as make_body
from mpflow_handlers import Nested, Tee
from tests.flow.support import Chunks, Diary, Field, cut, form, nested, read, reader

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 1200
"""More than a channel holds, and more than the spool gathers: 300 KiB."""
ORDERS: list[Order] = ["reject", "spool"]


async def take(part: Part, **needs: Any) -> tuple[bytes, dict[str, Any]]:
    """The handler that gives its body, and what it needed."""
    return await part.read(limit=None), needs


@asynccontextmanager
async def stage(part: Part, **needs: Any) -> AsyncGenerator[tuple[bytes, dict[str, Any]], None]:
    """The same in two phases."""
    yield await take(part, **needs)


async def every_chunking(
    make: Callable[[], Router], body: bytes, **options: Any
) -> list[list[tuple[str | None, Any]]]:
    """What the parts gave, for every size of chunks from 1 byte to the whole body."""
    seen: list[list[tuple[str | None, Any]]] = []
    for size in range(1, len(body) + 1):
        results = await make().dispatch(reader(body, size=size), **options)
        seen.append([(item.part.name, item.value) for item in results])
    return seen


# -- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 16])
async def test_values_in_order_and_spooled_by_every_chunking(slots: int) -> None:
    """A value of a part before, one that is given, one of a part after; a need of a need."""

    def make() -> Router:
        router = Router(max_handlers=slots)
        router.add(stage, name="a")
        router.add(take, name="b", needs={"it": "a", "me": "user", "again": "a"})
        router.add(stage, name="c", needs=["b"], order="spool")
        router.add(take, name="d", needs=["c", "a"], order="spool")
        return router

    a: tuple[bytes, dict[str, Any]] = (b"1", {})
    b = (b"22", {"it": a, "me": "me", "again": a})
    c = (b"333", {"b": b})
    d = (b"", {"c": c, "a": a})
    values = {"a": a, "b": b, "c": c, "d": d}
    for order in ("abcd", "dcab"):
        body = form(*[(name, values[name][0]) for name in order])
        seen = await every_chunking(make, body, given={"user": "me"})
        assert len(seen) == len(body)
        for values_of in seen:
            assert values_of == [(name, values[name]) for name in order]


@pytest.mark.parametrize("size", [7000, 65536, None])
@pytest.mark.parametrize("handler", [take, stage])
async def test_large_parts(handler: Any, size: int | None) -> None:
    router = Router(max_handlers=1)
    router.add(handler, name="a")
    router.add(handler, name="b", needs="a", order="spool")
    router.add(handler, name="c", needs="b")
    body = form(("b", BIG), ("a", BIG[1:]), ("c", BIG[2:]))
    results = await router.dispatch(reader(body, size=size))
    a: tuple[bytes, dict[str, Any]] = (BIG[1:], {})
    b = (BIG, {"a": a})
    assert [item.value for item in results] == [b, a, (BIG[2:], {"b": b})]
    assert [item.part.size for item in results] == [len(BIG), len(BIG) - 1, len(BIG) - 2]


async def test_a_given_value_may_be_anything() -> None:
    router = Router()
    router.add(take, name="a", needs=["none", "false"])
    given: dict[str, object] = {"none": None, "false": False, "not_needed": 1}
    results = await router.dispatch(reader(form(("a", b"x"))), given=given)
    assert results["a"] == (b"x", {"none": None, "false": False})


async def test_the_value_of_a_two_phase_handler_is_that_of_its_yield() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def first(part: Part) -> AsyncGenerator[str, None]:
        log.append("staged")
        yield "value"
        log.append("committed")

    async def second(part: Part, a: str) -> str:
        log.append(f"called with {a}")
        return a

    router = Router()
    router.add(first, name="a")
    router.add(second, name="b", needs="a")
    await router.dispatch(reader(form(("a", b""), ("b", b""))))
    assert log == ["staged", "called with value", "committed"]


async def test_a_slow_need_is_waited_for_without_the_next_part_being_read() -> None:
    """The open part of which one waits holds the pump, once its channel is full."""
    go = anyio.Event()
    source = Chunks(cut(form(("a", b"1"), ("b", BIG), ("c", b"")), 16384))
    seen: list[int] = []

    async def slow(part: Part) -> int:
        for _ in range(200):
            await checkpoint()
        seen.append(source.given)
        go.set()
        return 1

    router = Router()
    router.add(slow, name="a")
    router.add(take, name="b", needs="a")
    router.add(take)
    results = await router.dispatch(reader(source))
    assert results["b"] == (BIG, {"a": 1})
    assert seen[0] <= 65536 + 2 * 16384


# -- parts that come before what they need ----------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, None])
async def test_reject_before_a_byte_of_the_body(size: int | None) -> None:
    body = form(Field("b", b"x" * 1000, "b.txt"), ("a", b""))
    source = Chunks(cut(body, size or len(body)))
    router = Router()
    router.add(take, name="a")
    router.add(take, name="b", needs="a")
    with pytest.raises(UnmetNeed) as caught:
        await router.dispatch(reader(source))
    text = str(caught.value)
    assert "expected 'a' before it, as take needs it, and it has not come" in text
    assert "part 0 'b' (file 'b.txt')" in text
    assert "order='spool' would wait" in text
    assert caught.value.status == 422
    if size is not None:
        # The blank line ends the headers; what stands in the chunk of its last byte came, too.
        assert source.given < body.index(b"x" * 1000) + size


async def test_reject_of_a_part_that_waits_for_a_spooled_one() -> None:
    diary = Diary()
    router = Router()
    router.add(diary, name="z")
    router.add(take, name="a")
    router.add(take, name="b", needs="a", order="spool")
    router.add(take, name="c", needs="b")
    body = form(("z", b""), ("b", b"2"), ("c", b"3"), ("a", b"1"))
    with pytest.raises(UnmetNeed) as caught:
        await router.dispatch(reader(body, size=10))
    text = str(caught.value)
    assert "expected 'b' before it, as take needs it: that one waits for 'a'" in text
    assert "part 2 'c'" in text
    assert diary.rolled_back == ["z"]
    # Once what it waits for has come, it is in order again.
    results = await router.dispatch(reader(form(("b", b"2"), ("a", b"1"), ("c", b"3"), ("z", b""))))
    a: tuple[bytes, dict[str, Any]] = (b"1", {})
    assert results["c"] == (b"3", {"b": (b"2", {"a": a})})


async def test_spooled_only_if_it_must_be() -> None:
    """A part that is in order gets its bytes while they come, whatever its route says."""
    before_the_end: list[bool] = []

    async def early(part: Part, a: object) -> None:
        await part.receive()
        before_the_end.append(source.ended)

    router = Router()
    router.add(take, name="a")
    router.add(early, name="b", needs="a", order="spool")
    for names in ("ab", "ba"):
        source = Chunks(cut(form(*[(name, b"x" * 500) for name in names]), 20))
        await router.dispatch(reader(source))
    assert before_the_end == [False, True]


async def test_a_spooled_part_is_the_part_that_came() -> None:
    """Its headers, codings, lines and sizes are those of the wire; it may be sniffed before."""

    async def look(part: Part, a: bytes) -> list[Any]:
        found: list[Any] = [part.info.size, part.filename, part.bytes_received]
        found += [await part.peek(4), await part.readline(), await part.text()]
        return [*found, part.bytes_received]

    def undone(part: Part, a: bytes) -> Any:  # whether it has two phases shows when it is called
        @asynccontextmanager
        async def manage() -> AsyncGenerator[bytes, None]:
            yield await part.read(decode=True)

        return manage()

    router = Router(max_handlers=1)
    router.add(read, name="a")
    router.add(look, sniff(7, lambda data: data == b"line on"), needs="a", order="spool", key="b")
    router.add(undone, content_type="text/html", needs="a", order="spool", key="c")
    headers = {"Content-Transfer-Encoding": "base64"}
    body = make_body(
        [
            PartSpec(b"line one\r\nline two", filename="x.txt"),
            PartSpec(b64encode(BIG), content_type="text/html", headers=headers),
            ("a", "1"),
        ]
    )
    for size in (1, 5000, len(body)):
        if size == 1:
            body_now, big = body.replace(b64encode(BIG), b"YWJj"), b"abc"
        else:
            body_now, big = body, BIG
        chunks = Chunks(cut(body_now, size))
        results = await router.dispatch(MultipartReader(chunks, content_type_of()))
        assert results["b"] == [18, "x.txt", 0, b"line", b"line one\r\n", "line two", 18]
        assert results["c"] == big


# -- parts that never come, or twice ----------------------------------------------------------


async def test_a_needed_part_that_never_comes() -> None:
    """All that is missing is told at once, and who waits for it."""
    diary = Diary()
    router = Router()
    router.add(diary, name="z")
    router.add(take, name="a")
    router.add(take, name="b", needs=["a", "r"], order="spool")
    router.add(take, name="c", needs="b", order="spool")
    router.add(take, name="r", required=True)
    router.add(take, name="s", required=True)
    with pytest.raises(MissingParts) as caught:
        await router.dispatch(reader(form(("z", b""), ("b", b"2"), ("c", b"3")), size=9))
    assert caught.value.missing == ("'r'", "'s'", "'a'")
    assert caught.value.waiting == (
        "part 1 'b' needs 'a'",
        "part 1 'b' needs 'r'",
        "part 2 'c' needs 'b', which needs 'a'",
    )
    assert "part 2 'c' needs 'b', which needs 'a'" in str(caught.value)
    assert caught.value.status == 422
    assert diary.rolled_back == ["z"]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_needed_part_that_comes_twice(order: Order) -> None:
    body = form(("a", b"1"), ("a", b"2" * 1000), ("b", b"3"))
    source = Chunks(cut(body, 1))
    router = Router()
    router.add(take, name="a")
    router.add(take, name="b", needs="a", order=order)
    with pytest.raises(SurplusPart) as caught:
        await router.dispatch(reader(source))
    assert "expected one part of key 'a', as others need it, and part 0 'a' came" in str(
        caught.value
    )
    assert caught.value.part is not None
    assert caught.value.part.path == (1,)
    assert source.given <= body.index(b"2" * 1000)


async def test_several_parts_of_a_key_that_nobody_needs() -> None:
    router = Router()
    router.add(take, name="a")
    router.add(take, key="many", filename=True, needs="a")
    files = [Field(f"f{i}", b"%d" % i, "x") for i in range(5)]
    results = await router.dispatch(reader(form(("a", b""), *files)))
    assert results.all("many") == [(b"%d" % i, {"a": (b"", {})}) for i in range(5)]


async def test_two_routes_of_a_key_that_is_needed() -> None:
    router = Router()
    router.add(take, key="a", filename=True)
    router.add(take, key="a", content_type="application/json")
    router.add(take, name="b", needs="a")
    as_file, as_json = Field("x", b"1", "x"), Field("y", b"2", None, "application/json")
    for field in (as_file, as_json):
        results = await router.dispatch(reader(form(field, ("b", b""))))
        assert results["b"] == (b"", {"a": (field.data, {})})
    with pytest.raises(SurplusPart):
        await router.dispatch(reader(form(as_file, as_json, ("b", b""))))


# -- circles ----------------------------------------------------------------------------------


async def test_a_circle_of_routes_before_anything_is_read() -> None:
    source = Chunks(cut(form(("a", b"")), 5))
    router = Router()
    router.add(take, name="a", needs="b", order="spool")
    router.add(take, name="b", needs="a", order="spool")
    with pytest.raises(RouteError, match="can never be met: 'b' needs 'a' needs 'b'"):
        router.flow(reader(source))
    with pytest.raises(RouteError, match="can never be met"):
        await router.dispatch(reader(source))
    assert source.given == 0


def shared() -> Router:
    """Routes of a shared key, so that only the parts tell whether there is a circle."""
    router = Router()
    router.add(take, key="a", filename=True, needs="b", order="spool")
    router.add(take, key="a", content_type="application/json")
    router.add(take, name="b", needs="a", order="spool")
    return router


async def test_a_circle_of_parts() -> None:
    for names in ("ab", "ba"):
        fields = {"a": Field("x", b"1", "x"), "b": Field("b", b"2")}
        with pytest.raises(UnmetNeed, match="wait for each other") as caught:
            await shared().dispatch(reader(form(*[fields[name] for name in names])))
        first, second = names
        chain = f"'{second}', which needs '{first}', which needs '{second}'"
        assert chain in str(caught.value)
        assert "part 0" in str(caught.value)
    no_circle = form(Field("b", b"2"), Field("y", b"1", None, "application/json"))
    results = await shared().dispatch(reader(no_circle))
    assert results["b"] == (b"2", {"a": (b"1", {})})


async def test_what_is_missing_is_told_before_a_circle() -> None:
    router = shared()
    router.add(take, name="c", needs="d", order="spool")
    router.add(take, name="d")
    with pytest.raises(MissingParts) as caught:
        await router.dispatch(reader(form(Field("x", b"1", "x"), ("b", b"2"), ("c", b"3"))))
    assert caught.value.missing == ("'d'",)


# -- hostile clients --------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{"user": "me"}, {"user": "me", "admin": False}])
async def test_names_that_a_client_chooses_meet_no_need(given: dict[str, object]) -> None:
    """Parts named like a key that is needed or given go to a route without a key."""
    router = Router()
    router.add(take, content_type="application/json", key="a")
    router.add(take, key="b", filename=True, needs=["a", "user"])
    router.add(take)
    fakes = [("a", b"fake"), ("user", b"fake"), ("admin", b"fake"), ("a", b"again")]
    real = Field("whatever", b"real", None, "application/json")
    body = form(*fakes, real, Field("b", b"", "b"), *fakes)
    results = await router.dispatch(reader(body), given=given)
    assert results["b"] == (b"", {"a": (b"real", {}), "user": "me"})
    assert [item.key for item in results if item.value[0] == b"fake"].count("a") == 0
    with pytest.raises(UnmetNeed, match="expected 'a' before it"):
        await router.dispatch(reader(form(*fakes, Field("b", b"", "b"))), given=given)


# -- routers inside ---------------------------------------------------------------------------


@pytest.mark.parametrize("tee", [False, True], ids=["nested", "tee"])
@pytest.mark.parametrize("names", [("in", "out"), ("out", "in")], ids=["spooled", "in-order"])
@pytest.mark.parametrize("size", [3, None])
async def test_an_inner_route_sees_what_nested_says(
    names: tuple[str, str], size: int | None, tee: bool
) -> None:
    inner = Router(max_handlers=1)
    inner.add(take, name="a")
    inner.add(take, name="b", needs=["a", "owner"], order="spool")
    nest: Any = Nested(inner, needs={"owner": "out"})
    router = Router(max_handlers=1)
    router.add(take, name="out")
    router.add(
        Tee(nest, read) if tee else nest, key="in", content_type="multipart/*", order="spool"
    )
    fields = {"out": Field("out", b"me"), "in": nested("in", ("b", b"2"), ("a", b"1"))}
    results = await router.dispatch(reader(form(*[fields[n] for n in names]), size=size))
    found: Results = results["in"][0] if tee else results["in"]
    assert found["b"] == (b"2", {"a": (b"1", {}), "owner": (b"me", {})})
    if tee:
        assert results["in"][1] == fields["in"].data


async def test_a_tee_gives_each_child_its_own_needs() -> None:
    """What a router inside did not ask for is not seen there, and is no second value of a key."""
    inner = Router()
    inner.add(take, name="a")
    inner.add(take, name="b", needs=["a", "self"])

    async def another(part: Part, c: Any) -> Any:
        return c

    router = Router()
    router.add(read, name="a")
    router.add(read, name="c")
    tee = Tee(Nested(inner, needs={"self": "a"}), Tee(another), take)
    router.add(tee, content_type="multipart/*", key="in", needs="c")
    body = form(("a", b"1"), ("c", b"3"), nested("in", ("a", b"inner"), ("b", b"2")))
    results = await router.dispatch(reader(body))
    found, (c,), (_, everything) = results["in"]
    assert found["b"] == (b"2", {"a": (b"inner", {}), "self": b"1"})
    assert c == b"3"
    assert everything == {"c": b"3", "self": b"1"}


async def test_keys_are_per_level() -> None:
    inner = Router()
    inner.add(take, name="b", needs="a")
    router = Router()
    router.add(take, name="a")
    router.add(Nested(inner), content_type="multipart/*", needs={"unused": "a"})
    body = form(("a", b"1"), nested("in", ("b", b"2")))
    with pytest.raises(RouteError, match="needs 'a', which no route declares and nobody gives"):
        await router.dispatch(reader(body))


async def test_a_key_that_is_given_inside_and_declared_there() -> None:
    inner = Router()
    inner.add(take, name="a")
    router = Router()
    router.add(take, name="a")
    router.add(Nested(inner, needs="a"), content_type="multipart/*")
    body = form(("a", b"1"), nested("in", ("a", b"2")))
    with pytest.raises(RouteError, match="expected given keys that no route declares, got 'a'"):
        await router.dispatch(reader(body))
