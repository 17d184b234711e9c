"""`mpflow.testing`: parts, bodies, sources, and runs of handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mpflow import (
    CommitFailed,
    LimitExceeded,
    Limits,
    MultipartReader,
    Part,
    RolledBack,
    RouteError,
    TruncatedBody,
    WriteError,
)
from mpflow.testing import (
    Bytewise,
    Chunked,
    Cut,
    Failing,
    PartSpec,
    Sentinel,
    Slow,
    Stuck,
    body,
    chunkings,
    content_type_of,
    nested,
    part,
    run,
    splits,
)
from tests.clock import virtual_time

pytestmark = pytest.mark.anyio

FORM = body([("a", "1"), ("b", b"\x00")])


async def read(
    source: Any, content_type: str = content_type_of()
) -> list[tuple[str | None, bytes]]:
    return [(p.name, await p.read()) async for p in MultipartReader(source, content_type)]


# -- parts ------------------------------------------------------------------------------------


async def test_part_has_the_headers_that_were_asked_for() -> None:
    made = part(
        "h\u00e9",
        name="a",
        filename="a.txt",
        content_type="Text/Plain; charset=utf-8",
        headers={"X-One": "1"},
        index=3,
    )

    assert (made.name, made.filename, made.content_type) == ("a", "a.txt", "text/plain")
    assert (made.charset, made.headers["x-one"], made.index, made.path) == ("utf-8", "1", 3, (3,))
    assert await made.text() == "h\u00e9"


async def test_part_of_nothing_is_empty_and_has_no_name() -> None:
    made = part()

    assert made.name is None
    assert await made.read() == b""


async def test_body_of_a_part_comes_in_the_given_chunks() -> None:
    made = part(chunks=[b"ab", b"", b"c"])

    assert [chunk async for chunk in made] == [b"ab", b"c"]


async def test_body_of_a_part_may_be_a_source() -> None:
    assert await part(chunks=Bytewise(b"abc")).read() == b"abc"
    made = part(chunks=Failing(b"abc", 2))
    with pytest.raises(ConnectionResetError):
        await made.read()


async def test_part_keeps_to_its_limits() -> None:
    made = part(chunks=[b"abc"], limits=Limits(max_memory=2))

    with pytest.raises(LimitExceeded, match="at most 2 bytes"):
        await made.read()


async def test_part_may_be_a_multipart() -> None:
    spec = nested([("x", "1"), ("y", "2")])
    made = part(spec.data, content_type=spec.content_type)

    assert [(p.path, await p.text()) async for p in made.multipart()] == [
        ((0, 0), "1"),
        ((0, 1), "2"),
    ]


def test_part_takes_data_or_chunks() -> None:
    with pytest.raises(TypeError, match="got both"):
        part(b"x", chunks=[b"y"])


# -- bodies -----------------------------------------------------------------------------------


def test_body_is_what_stands_on_the_wire() -> None:
    assert body([("a", "1")]) == (
        b'--boundary\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--boundary--\r\n'
    )


async def test_parts_of_a_body_may_be_tuples_mappings_and_specs() -> None:
    data = body([("a", "1"), {"name": "b", "data": "2"}, PartSpec(b"3", name="c", filename="f")])

    assert await read(data) == [("a", b"1"), ("b", b"2"), ("c", b"3")]


async def test_nested_bodies_are_walked() -> None:
    data = body([nested([nested([("x", "1")], boundary="deep")]), ("y", "2")])
    reader = MultipartReader(data, content_type_of())

    assert [(p.path, await p.text()) async for p in reader.walk()] == [
        ((0, 0, 0), "1"),
        ((1,), "2"),
    ]


async def test_body_with_preamble_and_epilogue() -> None:
    data = body([("a", "1")], preamble=b"hello", epilogue=b"bye", boundary="x y")

    assert data.startswith(b"hello\r\n--x y\r\n")
    assert data.endswith(b"--x y--\r\nbye")
    assert await read(data, content_type_of("x y")) == [("a", b"1")]


async def test_body_without_its_close_delimiter_is_cut() -> None:
    with pytest.raises(TruncatedBody):
        await read(body([("a", "1")], close=False))


def test_body_refuses_what_would_break_it() -> None:
    with pytest.raises(WriteError, match="delimiter"):
        body([("a", "x\r\n--boundary--")])
    with pytest.raises(ValueError, match="control character"):
        body([PartSpec(headers={"A": "1\r\nB: 2"})])


def test_content_type_is_quoted_where_it_must_be() -> None:
    assert content_type_of() == "multipart/form-data; boundary=boundary"
    assert content_type_of("a b", "mixed") == 'multipart/mixed; boundary="a b"'


# -- sources ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 65536, [1, 0, 5]], ids=str)
async def test_sources_give_the_body_once(size: Any) -> None:
    for source in (Chunked(FORM, size), Cut(FORM, len(FORM), size)):
        assert b"".join([chunk async for chunk in source]) == FORM
        assert source.pulled == len(FORM)
        assert [chunk async for chunk in source] == []


async def test_chunks_have_the_sizes_that_were_asked_for() -> None:
    assert [chunk async for chunk in Chunked(b"abcdef", 4)] == [b"abcd", b"ef"]
    assert [chunk async for chunk in Chunked(b"abcdef", [1, 2])] == [b"a", b"bc", b"def"]
    assert [chunk async for chunk in Chunked(b"ab", [1, 1])] == [b"a", b"b"]
    assert [chunk async for chunk in Bytewise(b"ab")] == [b"a", b"b"]
    with pytest.raises(ValueError, match="at least 1 byte"):
        Chunked(b"ab", 0)


async def test_cut_ends_early() -> None:
    source = Cut(FORM, 20)

    with pytest.raises(TruncatedBody):
        await read(source)
    assert source.pulled == 20


async def test_failing_raises_its_error() -> None:
    error = OSError("gone")
    source = Failing(FORM, 20, 7, error=error)

    with pytest.raises(OSError, match="gone") as caught:
        await read(source)
    assert caught.value is error
    assert source.pulled == 20


@virtual_time
async def test_stuck_waits_for_ever() -> None:
    source = Stuck(FORM, 20)

    with anyio.move_on_after(1e6) as scope:
        await read(source)
    assert scope.cancelled_caught
    assert source.pulled == 20


@virtual_time
async def test_slow_takes_its_time() -> None:
    start = anyio.current_time()

    assert [chunk async for chunk in Slow(b"abc", seconds=10)] == [b"a", b"b", b"c"]
    assert anyio.current_time() - start == pytest.approx(40)


async def test_sentinel_fails_when_it_is_read_past_what_is_needed() -> None:
    needed = FORM.index(b"--boundary--") + 12
    source = Sentinel(FORM, needed)

    assert await read(source) == [("a", b"1"), ("b", b"\0")]
    assert source.pulled == needed
    with pytest.raises(AssertionError, match=f"after the {needed} bytes"):
        await anext(source)


def test_splits_are_all_of_them() -> None:
    assert list(splits(b"ab")) == [(b"", b"ab"), (b"a", b"b"), (b"ab", b"")]


def test_chunkings_are_of_the_data_and_repeat() -> None:
    cuts = list(chunkings(FORM, seed=7, count=20))

    assert [b"".join(chunks) for chunks in cuts] == [FORM] * 20
    assert cuts == list(chunkings(FORM, seed=7, count=20))
    assert cuts != list(chunkings(FORM, seed=8, count=20))


# -- runs -------------------------------------------------------------------------------------


class Staged:
    """A handler in two phases that writes down what happens to it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.reason: BaseException | None = None

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncIterator[bytes]:
        data = await part.read()
        try:
            yield data
            self.log.append("committed")
        except RolledBack as error:
            self.log.append("rolled back")
            self.reason = error.__cause__
            raise


async def chunks_of(part: Part) -> list[bytes]:
    return [chunk async for chunk in part]


async def name_of(part: Part) -> tuple[str | None, str]:
    return part.name, part.content_type


async def test_run_gives_what_the_handler_answers() -> None:
    assert await run(chunks_of, b"abc") == [b"abc"]
    assert await run(chunks_of, "") == []
    assert await run(name_of, b"{}", name="a", content_type="application/json") == (
        "a",
        "application/json",
    )


async def test_run_streams_the_chunks() -> None:
    assert b"".join(await run(chunks_of, chunks=[b"ab", b"\r", b"", b"\n--"])) == b"ab\r\n--"
    assert b"".join(await run(chunks_of, chunks=Bytewise(b"\r\n" * 9))) == b"\r\n" * 9


async def test_run_takes_a_part() -> None:
    made = part(name="a", content_type="image/png", chunks=[b"ab", b"c"])

    assert await run(name_of, made) == ("a", "image/png")
    assert b"".join(await run(chunks_of, part(chunks=[b"ab", b"c"]))) == b"abc"
    with pytest.raises(TypeError, match="no options beside a part, got name"):
        await run(name_of, part(), name="a")


async def test_run_commits() -> None:
    staged = Staged()

    assert await run(staged, b"abc") == b"abc"
    assert staged.log == ["committed"]


async def test_run_rolls_back() -> None:
    staged = Staged()
    reason = RuntimeError("why not")

    assert await run(staged, b"abc", rollback=True) == b"abc"
    assert await run(staged, chunks=[b"abc"], rollback=reason) == b"abc"
    assert staged.log == ["rolled back"] * 2
    assert staged.reason is reason


async def test_run_raises_what_the_handler_raises() -> None:
    async def broken(part: Part) -> None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        await run(broken, b"abc")


async def test_run_raises_what_the_commit_raises() -> None:
    @asynccontextmanager
    async def broken(part: Part) -> AsyncIterator[None]:
        yield
        raise LookupError("broken")

    with pytest.raises(CommitFailed) as caught:
        await run(broken, b"abc")
    assert isinstance(caught.value.__cause__, LookupError)


async def test_run_keeps_to_the_limits() -> None:
    with pytest.raises(LimitExceeded, match="max_part_bytes"):
        await run(chunks_of, chunks=Bytewise(b"abc"), limits=Limits(max_part_bytes=2))


async def test_run_ends_by_the_error_of_its_source() -> None:
    with pytest.raises(ConnectionResetError):
        await run(chunks_of, chunks=Failing(b"abc", 2))


@virtual_time
async def test_run_of_a_stuck_source_ends_by_the_idle_timeout() -> None:
    start = anyio.current_time()

    with pytest.raises(LimitExceeded, match="idle_timeout"):
        await run(chunks_of, chunks=Stuck(b"abc", 2), limits=Limits(idle_timeout=5))
    assert anyio.current_time() - start == pytest.approx(5)


async def test_run_takes_every_kind_of_handler() -> None:
    class Answering:
        def __call__(self, part: Part) -> Awaitable[bytes]:
            return part.read()

    assert await run(Answering(), b"abc") == b"abc"


@pytest.mark.parametrize(
    ("options", "told"),
    [({"filenmae": "a.png"}, "filenmae"), ({"name": "a", "header": {}, "at": 1}, "at, header")],
)
@pytest.mark.parametrize("first", [b"x", part(b"x")], ids=["data", "part"])
async def test_run_refuses_options_that_are_none(
    options: dict[str, Any], told: str, first: Any
) -> None:
    there = "name, filename, content_type, headers, chunks, limits"
    with pytest.raises(TypeError, match=f"^expected options among {there}, got {told}$"):
        await run(chunks_of, first, **options)


async def test_run_gives_what_a_handler_needs() -> None:
    async def greet(part: Part, *, who: str, mark: str = "!") -> str:
        return f"{await part.text()} {who}{mark}"

    assert await run(greet, "hello", given={"who": "Ann"}) == "hello Ann!"
    assert await run(greet, part("bye"), given={"who": "Ann", "mark": "."}) == "bye Ann."
    with pytest.raises(RouteError, match="'who'"):
        await run(greet, "hello")
    with pytest.raises(RouteError, match="'whom'"):
        await run(greet, "hello", given={"who": "Ann", "whom": "Bob"})
