"""How a source ends: read up, closed, cancelled, failed; and the messages of ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from mpflow import BrokenSource, ClientDisconnected, MultipartReader
from mpflow.sources import Source, asgi_source, open_source
from mpflow.testing import Failing, Sentinel, content_type_of
from tests.support import BODY, TYPE, Closable, cancelled, parts_of, read_all

pytestmark = pytest.mark.anyio


# -- closing ----------------------------------------------------------------------------------


async def test_an_iterator_that_was_made_is_closed() -> None:
    given = Closable()
    async with MultipartReader(given, TYPE) as reader:
        await anext(reader)
        assert given.closed == 0
    assert given.closed == 1
    await reader.aclose()
    assert given.closed == 1


async def test_an_iterator_that_was_given_is_not_closed() -> None:
    given = aiter(Closable())
    source = open_source(given)
    first = await anext(source)
    await source.aclose()
    assert bytes(first) + b"".join([chunk async for chunk in given]) == BODY


async def test_a_stream_that_was_given_is_not_closed(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    send, receive = anyio.create_memory_object_stream[bytes](1)
    with send, receive, path.open("rb") as file:
        for given in (receive, file):
            await MultipartReader(given, TYPE).aclose()
        send.send_nowait(b"still open")
        assert await receive.receive() == b"still open"
        assert not file.closed


async def test_a_closed_source_is_dead_but_an_ended_one_has_ended() -> None:
    source = open_source(BODY)
    await source.aclose()
    with pytest.raises(BrokenSource, match="it was closed"):
        await anext(source)

    ended = open_source(BODY)
    assert await read_all(ended) == BODY
    await ended.aclose()
    assert await read_all(ended) == b""


# -- death ------------------------------------------------------------------------------------


async def stuck() -> AsyncIterator[bytes]:
    yield BODY[:-4]
    await anyio.sleep_forever()


class Waits:
    """A stream that gives nothing the first time, and would give on afterwards."""

    def __init__(self) -> None:
        self.calls = 0

    async def receive(self) -> bytes:
        self.calls += 1
        if self.calls == 2:
            await anyio.sleep_forever()
        return BODY[:-4] if self.calls == 1 else BODY[-4:]


@pytest.mark.parametrize("make", [stuck, Waits])
async def test_a_cancelled_read_leaves_the_source_dead(make: Callable[[], Any]) -> None:
    source = open_source(make())
    await anext(source)
    assert await cancelled(source.__anext__)
    for _ in range(2):
        with pytest.raises(BrokenSource, match="cancelled or failed") as caught:
            await anext(source)
        assert caught.value.status == 500


async def test_a_part_whose_source_died_never_looks_whole() -> None:
    reader = MultipartReader(stuck(), TYPE)
    await anext(reader)
    part = await anext(reader)
    assert await cancelled(part.read)
    for _ in range(2):
        with pytest.raises(BrokenSource):
            await part.read()
    with pytest.raises(BrokenSource):
        await reader.next_part()


async def test_a_failed_read_leaves_the_source_dead() -> None:
    source = open_source(Failing(BODY, 9))
    await anext(source)
    with pytest.raises(ConnectionResetError):
        await anext(source)
    with pytest.raises(BrokenSource):
        await anext(source)


async def test_what_the_source_said_of_the_body_is_said_again() -> None:
    source = open_source(Failing(BODY, 9, error=ClientDisconnected("gone")))
    await anext(source)
    for _ in range(2):
        with pytest.raises(ClientDisconnected, match="gone"):
            await anext(source)


async def test_a_busy_source_is_not_dead() -> None:
    class Busy:
        async def receive(self) -> bytes:
            raise anyio.BusyResourceError("reading from")

    source = open_source(Busy())
    for _ in range(2):
        with pytest.raises(anyio.BusyResourceError):
            await anext(source)


async def test_nothing_is_read_after_the_end() -> None:
    ends: list[int] = []

    class Once:
        async def receive(self) -> bytes:
            ends.append(1)
            raise anyio.EndOfStream

    source = open_source(Once())
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(source)
    assert ends == [1]


# -- asgi -------------------------------------------------------------------------------------


class Messages:
    """An ASGI `receive` that fails the test when it is called after its last message."""

    def __init__(self, *messages: MutableMapping[str, Any]) -> None:
        self._messages: Iterator[MutableMapping[str, Any]] = iter(messages)

    async def __call__(self) -> MutableMapping[str, Any]:
        message = next(self._messages, None)
        assert message is not None, "receive() was called after its last message"
        return message


def request(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "http.request", "body": data, **more}


def asgi(*messages: MutableMapping[str, Any]) -> Source:
    return asgi_source(Messages(*messages))


async def test_asgi_bodies_end_without_another_call() -> None:
    source = asgi(request(b"a", more_body=True), request(b"b", more_body=False))
    assert await read_all(source) == b"ab"
    assert await read_all(source) == b""


async def test_asgi_extra_empty_messages() -> None:
    empty = {"type": "http.request", "more_body": True}
    source = asgi(empty, request(b"a", more_body=True), empty, request(b""))
    assert await read_all(source) == b"a"


async def test_asgi_absent_body_and_more_body() -> None:
    assert await read_all(asgi({"type": "http.request"})) == b""
    assert await read_all(asgi(request(b"a"))) == b"a"


async def test_asgi_disconnect_is_latched() -> None:
    source = asgi(request(b"a", more_body=True), {"type": "http.disconnect"})
    assert await anext(source) == b"a"
    for _ in range(3):
        with pytest.raises(ClientDisconnected, match="before the body was whole") as caught:
            await anext(source)
        assert caught.value.status == 400


async def test_asgi_disconnect_in_a_part() -> None:
    source = asgi(request(BODY[:-15], more_body=True), {"type": "http.disconnect"})
    reader = MultipartReader(source, content_type_of())
    assert await (await anext(reader)).read() == b"one"
    part = await anext(reader)
    for _ in range(2):
        with pytest.raises(ClientDisconnected):
            await part.read()


async def test_asgi_is_not_read_past_the_close_delimiter() -> None:
    assert await parts_of(asgi(request(BODY, more_body=True))) == [b"one", b"two"]


async def test_the_sentinel_itself() -> None:
    source = open_source(Sentinel(b"ab"))
    assert [await anext(source), await anext(source)] == [b"a", b"b"]
    with pytest.raises(AssertionError, match="read on"):
        await anext(source)
