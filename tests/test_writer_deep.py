"""Writers in writers, deeper than Python's stack: what they cost, how they end, who holds whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import MultipartReader, MultipartWriter, Payload, WriteError
from mpflow.contents import Memory

pytestmark = pytest.mark.anyio

DEPTH = 1000


def nested(depth: int, *leaves: Any) -> MultipartWriter:
    root = inner = MultipartWriter(boundary="b0")
    for number in range(1, depth):
        inner = inner.nested(boundary=f"b{number}x")
    for leaf in leaves:
        inner.append(leaf)
    return root


async def test_writers_deeper_than_the_stack() -> None:
    root = nested(DEPTH, b"the leaf")
    data = await root.as_bytes()
    assert root.replayable
    assert root.size == len(data)
    assert root.headers["Content-Length"] == str(len(data))
    for number in reversed(range(DEPTH)):  # from outside, each level in its own delimiters
        tail = f"--b{number}{'x' if number else ''}--\r\n".encode()
        assert data.count(tail) == 1
    expected = b"Content-Length: 8\r\n\r\nthe leaf\r\n--b999x--\r\n\r\n--b998x--\r\n"
    assert expected in data
    assert await root.as_bytes() == data


async def test_deep_writers_are_made_from_inside_too() -> None:
    root = MultipartWriter(boundary="b0")
    root.append(b"x")
    for number in range(1, DEPTH):
        outer = MultipartWriter(boundary=f"b{number}x")
        outer.append(root)
        root = outer
    assert root.size == len(await root.as_bytes())


async def test_each_part_is_asked_as_often_at_any_depth() -> None:
    class Counting(Memory):
        asked = 0

        def check(self) -> None:
            self.asked += 1

        def size(self, charset: str) -> int | None:
            self.asked += 1
            return super().size(charset)

    counts: set[int] = set()
    for depth in (2, 40):
        leaf = Counting(b"x")
        root = nested(depth, Payload.of(leaf))
        leaf.asked = 0
        await root.as_bytes()
        assert root.size
        assert root.replayable
        counts.add(leaf.asked)
    assert len(counts) == 1


async def test_what_waits_deep_inside_holds_nothing_back() -> None:
    async def waiting() -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.sleep_forever()

    chunks = root = aiter(nested(DEPTH, b"before", waiting()))
    data = b""
    while b"first" not in data:
        data += await anext(chunks)
    assert data.count(b"--b") == DEPTH + 1  # each level's, and the second of the innermost
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(chunks)
    assert scope.cancelled_caught
    with pytest.raises(WriteError, match="cannot be written on"):
        await anext(root)


async def test_a_failure_deep_inside_closes_all_levels() -> None:
    class Parts:
        closed = False

        def __init__(self, *parts: Any) -> None:
            self.parts = iter(parts)

        def __aiter__(self) -> Parts.Iterator:
            return Parts.Iterator(self)

        class Iterator:
            def __init__(self, parts: Parts) -> None:
                self.parts = parts

            def __aiter__(self) -> Parts.Iterator:
                return self

            async def __anext__(self) -> Any:
                for part in self.parts.parts:
                    return part
                raise ZeroDivisionError

            async def aclose(self) -> None:
                self.parts.closed = True

    inner_parts = Parts(b"x")
    inner = MultipartWriter(boundary="inner", parts=inner_parts)
    middle = nested(DEPTH, b"y", inner)
    outer_parts = Parts(middle)
    root = MultipartWriter(boundary="outer", parts=outer_parts)
    with pytest.raises(ZeroDivisionError):
        await root.as_bytes()
    assert inner_parts.closed
    assert outer_parts.closed


async def test_an_error_names_the_part_at_its_depth() -> None:
    root = nested(3, b"x", b"text")
    inner: Any = root.parts[0].content
    inner = inner.writer.parts[0].content
    inner.writer.parts[1].headers["Content-Length"] = "5"
    with pytest.raises(WriteError, match="body of 5 bytes") as caught:
        await root.as_bytes()
    assert caught.value.part is not None
    assert caught.value.part.path == (0, 0, 1)


async def test_a_wrong_length_of_a_level_inside() -> None:
    root = nested(3, b"x")
    root.parts[0].headers["Content-Length"] = "5"
    with pytest.raises(WriteError, match="body of 5 bytes") as caught:
        await root.as_bytes()
    assert caught.value.part is not None
    assert caught.value.part.path == (0,)
    with pytest.raises(WriteError, match="body of 5 bytes"):
        assert root.size


async def test_a_cycle_that_is_closed_by_hand() -> None:
    root = nested(DEPTH)
    deepest = root
    while deepest.parts:
        content: Any = deepest.parts[0].content
        deepest = content.writer
    deepest.parts.append(root.parts[0])
    for ask in (lambda: root.size, lambda: root.replayable, root.start):
        with pytest.raises(WriteError, match="does not hold itself"):
            ask()


async def test_a_cycle_that_is_closed_while_it_is_written() -> None:
    async def closing() -> AsyncIterator[bytes]:
        yield b"x"
        inner.parts.append(middle.parts[0])

    root = MultipartWriter(boundary="root")
    root.append(closing())
    middle = root.nested(boundary="middle")
    inner = middle.nested(boundary="inner")
    with pytest.raises(WriteError, match="does not hold itself"):
        await root.as_bytes()


async def test_one_writer_twice_is_no_cycle() -> None:
    root, inner = MultipartWriter(boundary="root"), MultipartWriter(boundary="inner")
    inner.append("twice")
    root.append(inner)
    root.append(inner)
    data = await root.as_bytes()
    assert root.size == len(data)
    assert data.count(b"twice") == 2
    async with MultipartReader(data, root.content_type) as reader:
        assert [part.info.content_type async for part in reader] == ["multipart/mixed"] * 2


async def test_deep_writers_let_others_run() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    root = nested(DEPTH, b"the leaf")
    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await checkpoint()
        turns = 0
        await root.as_bytes()
        group.cancel_scope.cancel()
    assert turns > 20
