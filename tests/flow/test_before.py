"""`router.before`: a look at the headers, before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import MultipartReader, Part, Rejected, RouteError, Router
from mpflow_handlers import Nested
from tests.flow.support import (
    CONTENT_TYPE,
    Chunks,
    Diary,
    Field,
    cut,
    form,
    nested,
    notes,
    read,
    reader,
)

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"))


def asgi(headers: Mapping[str, str]) -> dict[str, Any]:
    pairs = {"content-type": CONTENT_TYPE, **headers}
    raw = [(name.encode(), value.encode()) for name, value in pairs.items()]
    return {"type": "http", "method": "POST", "path": "/", "headers": raw}


async def never() -> Any:
    raise AssertionError("receive() was called")


def expects_token(headers: Mapping[str, str]) -> None:
    if headers.get("Authorization") != "Bearer x":
        raise Rejected(401, "who are you", {"WWW-Authenticate": "Bearer"})


async def looks_up(headers: Mapping[str, str]) -> None:
    await checkpoint()
    expects_token(headers)


@pytest.fixture(params=[expects_token, looks_up])
def hook(request: pytest.FixtureRequest) -> Callable[[Mapping[str, str]], Awaitable[None] | None]:
    return request.param  # type: ignore[no-any-return] # it is one of those above


async def test_a_request_that_waits_for_100_continue_is_refused_unread(hook: Any) -> None:
    """A server sends `100 Continue` when `receive()` is called: it never is."""
    router = Router()
    router.add(read)
    assert router.before(hook) is hook
    scope = asgi({"Expect": "100-continue", "Content-Length": "99"})
    with pytest.raises(Rejected, match="who are you") as info:
        await router.dispatch(MultipartReader.from_asgi(scope, never))
    assert (info.value.status, info.value.headers) == (401, {"WWW-Authenticate": "Bearer"})


async def test_a_request_that_passes_is_read(hook: Any) -> None:
    messages = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> Any:
        await checkpoint()
        return messages.pop(0)

    router = Router()
    router.add(read)
    router.before(hook)
    scope = asgi({"authorization": "Bearer x"})
    results = await router.dispatch(MultipartReader.from_asgi(scope, receive))
    assert results["a"] == b"1"


async def test_hooks_run_in_order_until_one_refuses() -> None:
    called: list[str] = []
    router = Router()
    router.add(read)

    @router.before
    def first(headers: Mapping[str, str]) -> None:
        called.append("first")

    @router.before
    async def second(headers: Mapping[str, str]) -> None:
        await checkpoint()
        called.append("second")
        raise Rejected(403, "no")

    @router.before
    def third(headers: Mapping[str, str]) -> None:
        called.append("third")

    assert router.hooks == (first, second, third)
    source = Chunks(cut(BODY, 10))
    with pytest.raises(Rejected):
        await router.dispatch(reader(source))
    assert called == ["first", "second"]
    assert source.given == 0


async def test_what_a_hook_raises_comes_out_bare() -> None:
    failure = ZeroDivisionError("of its own")

    def fail(headers: Mapping[str, str]) -> None:
        raise failure

    router = Router()
    router.add(read)
    router.before(fail)
    source = Chunks(cut(BODY, 10))
    with pytest.raises(ZeroDivisionError) as info:
        await router.dispatch(reader(source))
    assert info.value is failure
    assert source.given == 0


async def test_headers_are_looked_up_in_any_case() -> None:
    seen: list[str] = []
    router = Router()
    router.add(read)
    router.before(lambda headers: seen.append(headers["CONTENT-type"]))
    await router.dispatch(reader(BODY))
    await router.dispatch(MultipartReader.from_asgi(asgi({}), _whole(BODY)))
    assert seen == [CONTENT_TYPE, CONTENT_TYPE]


def _whole(body: bytes) -> Callable[[], Awaitable[Any]]:
    async def receive() -> Any:
        await checkpoint()
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def test_a_nested_router_sees_the_headers_of_its_part() -> None:
    seen: list[str] = []
    inner, outer, diary = Router(), Router(), Diary()
    inner.add(diary)

    @inner.before
    def one_kind(headers: Mapping[str, str]) -> None:
        seen.append(headers["Content-Disposition"])
        if "refused" in seen[-1]:
            raise Rejected(415, "not that")

    outer.add(diary, name="first")
    outer.add(Nested(inner))
    fine = nested("fine", ("x", b"1"), boundary="i1")
    await outer.dispatch(reader(form(("first", b""), fine)))
    assert diary.committed == ["first", "x"]
    body = form(("first", b""), fine, nested("refused", ("y", b"2"), boundary="i2"))
    with pytest.raises(Rejected, match="not that") as info:
        await outer.dispatch(reader(body, size=20))
    assert [value.partition("name=")[2] for value in seen] == ['"fine"', '"fine"', '"refused"']
    assert "part 2 'refused'" in notes(info.value)
    assert diary.committed == ["first", "x"]
    assert sorted(diary.rolled_back) == ["first", "x"]


@pytest.mark.parametrize("answer", [False, True, "no", 403])
async def test_a_hook_that_answers_is_a_mistake(answer: Any) -> None:
    """One that gives False means to refuse."""

    def sync(headers: Mapping[str, str]) -> Any:
        return answer

    async def later(headers: Mapping[str, str]) -> Any:
        await checkpoint()
        return answer

    for hook in (sync, later):
        router = Router()
        router.add(read)
        router.before(hook)
        source = Chunks(cut(BODY, 10))
        with pytest.raises(RouteError, match=r"expected the hook .* to give None, got .*Rejected"):
            await router.dispatch(reader(source))
        assert source.given == 0


async def test_what_is_no_hook() -> None:
    hook: Any = "no"
    with pytest.raises(RouteError, match="expected a hook to call"):
        Router().before(hook)


async def test_in_a_flow_that_is_entered() -> None:
    router, entered = Router(), False
    router.add(read)
    router.before(expects_token)
    with pytest.raises(Rejected):
        async with router.flow(reader(BODY)):
            entered = True
    assert not entered


async def test_a_handler_that_reads_its_part_by_hand_asks_nobody() -> None:
    inner, outer = Router(), Router()
    inner.before(expects_token)

    async def by_hand(part: Part) -> list[bytes]:
        return [await p.read() async for p in part.multipart()]

    outer.add(by_hand)
    assert (await outer.dispatch(reader(form(nested("n", Field("x", b"1"))))))["n"] == [b"1"]


async def test_a_reader_that_a_hook_refused_is_whole_for_another_router(hook: Any) -> None:
    strict, lenient = Router(), Router()
    strict.before(hook)
    lenient.add(read)
    it = reader(BODY)
    with pytest.raises(Rejected):
        await strict.dispatch(it)
    results = await lenient.dispatch(it)
    assert [result.value for result in results] == [b"1", b"22"]


async def test_a_second_flow_of_one_reader_leaves_the_first_alone() -> None:
    router = Router()
    router.add(read)
    it = reader(BODY)
    async with router.flow(it) as flow:
        with pytest.raises(anyio.ClosedResourceError):
            await router.dispatch(it)
    assert [result.value for result in flow.results] == [b"1", b"22"]
