"""A part's body: received, gathered, looked ahead at, cut off, cancelled, no longer current."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import pytest
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream
from hypothesis import given
from hypothesis import strategies as st

from mpflow import (
    LimitExceeded,
    Limits,
    MultipartReader,
    Part,
    PartInfo,
    Router,
    TruncatedBody,
)
from mpflow.testing import Chunked, body, part
from tests.support import TYPE, Pieces, cancelled, part_of

pytestmark = pytest.mark.anyio

METHODS: dict[str, Callable[[Part], Awaitable[object]]] = {
    "receive": lambda p: p.receive(),
    "anext": lambda p: anext(p),
    "read": lambda p: p.read(),
    "readline": lambda p: p.readline(),
    "peek": lambda p: p.peek(9),
    "drain": lambda p: p.drain(),
    "text": lambda p: p.text(),
    "json": lambda p: p.json(),
    "form": lambda p: p.form(),
}
"""Everything that reads a body."""

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


# -- what the headers say ---------------------------------------------------------------------


async def test_the_words_of_the_info_stand_on_the_part() -> None:
    info = PartInfo.of(
        {"X-Own": "1"}, name="n", filename="f.txt", content_type="Text/CSV; charset=latin-1; a=b"
    )
    it = Part(info, None, level=MultipartReader(b"", TYPE))
    assert it.info is info
    assert (it.name, it.filename, it.content_type) == ("n", "f.txt", "text/csv")
    assert it.content_type_params == {"charset": "latin-1", "a": "b"}
    assert (it.charset, it.disposition, it.index, it.path) == ("latin-1", "form-data", 0, (0,))
    assert it.headers["x-own"] == "1"
    assert not it.is_multipart
    assert repr(it) == "<Part part 0 'n' (file 'f.txt'): text/csv>"


# -- receiving --------------------------------------------------------------------------------


async def test_receive_gives_cancelled_what_was_asked_for() -> None:
    it = part_of([b"abcdef", b"gh"])
    assert [await it.receive(4), await it.receive(4), await it.receive(4)] == [
        b"abcd",
        b"ef",
        b"gh",
    ]
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await it.receive()
    assert it.bytes_received == 8


async def test_receive_gives_64_kib_cancelled_by_default() -> None:
    it = part(bytes(65537))
    assert [len(await it.receive()), len(await it.receive())] == [65536, 1]


@pytest.mark.parametrize("size", [0, -1])
async def test_receive_of_nothing_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {size}"):
        await part(b"x").receive(size)


async def test_a_chunk_goes_out_as_the_object_that_came_in() -> None:
    chunk = b"x" * 100
    assert await part_of([chunk]).receive() is chunk


async def test_bytes_received_counts_what_has_come() -> None:
    it = part_of([b"ab", b"cde"])
    assert it.bytes_received == 0
    await it.peek(1)
    assert it.bytes_received == 2
    await it.drain()
    assert it.bytes_received == 5
    assert part(b"whole").bytes_received == 5


async def test_a_part_without_bytes() -> None:
    for it in (part(b""), part_of([])):
        assert await it.peek(3) == b""
        assert await it.readline() == b""
        assert await it.read() == b""
        assert [chunk async for chunk in it] == []
        await it.drain()


# -- mixing -----------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("receive"), st.integers(1, 12)),
    st.tuples(st.just("peek"), st.integers(1, 12)),
    st.tuples(st.just("readline"), st.just(0)),
    st.tuples(st.just("anext"), st.just(0)),
    st.tuples(st.just("read"), st.integers(0, 12)),
)


async def step(it: Part, how: str, size: int, ahead: bytes) -> bytes:
    """Do one thing, and give the bytes that it took. `ahead` is what is left to come."""
    if how == "peek":
        assert await it.peek(size) == ahead[:size]
        return b""
    if how == "readline":
        line = await it.readline()
        assert line == ahead[: ahead.find(b"\n") + 1 or None]
        return line
    if how == "read":
        try:
            return await it.read(limit=size)
        except LimitExceeded:
            assert len(ahead) > size
            return b""
    try:
        return await (it.receive(size) if how == "receive" else anext(it))
    except (anyio.EndOfStream, StopAsyncIteration):
        assert not ahead
        return b""


@given(
    pieces=st.lists(st.text("ab\n", min_size=1, max_size=9).map(str.encode), max_size=8),
    whole=st.booleans(),
    steps=st.lists(STEPS, max_size=12),
)
async def test_any_interleaving_gives_the_same_bytes_in_order(
    pieces: list[bytes], whole: bool, steps: list[tuple[str, int]]
) -> None:
    data = b"".join(pieces)
    it = part(data) if whole else part_of(pieces)
    taken = b""
    for how, size in steps:
        taken += await step(it, how, size, data[len(taken) :])
        assert data.startswith(taken)
    assert taken + await it.read() == data
    assert await it.read() == b""


async def test_lines() -> None:
    it = part_of([b"one\nt", b"w", b"o\r\n", b"\n\nlast"])
    assert [await it.readline() for _ in range(6)] == [
        b"one\n",
        b"two\r\n",
        b"\n",
        b"\n",
        b"last",
        b"",
    ]


# -- an anyio stream --------------------------------------------------------------------------


async def test_a_part_is_an_anyio_byte_stream() -> None:
    it = part_of([b"a\xc3", b"\xa9b"])
    assert isinstance(it, ByteReceiveStream)
    assert "".join([text async for text in TextReceiveStream(it)]) == "aéb"


async def test_a_buffered_stream_reads_a_part() -> None:
    stream = BufferedByteReceiveStream(part_of([b"len:4;", b"da", b"tarest"]))
    assert await stream.receive_until(b";", 100) == b"len:4"
    assert await stream.receive_exactly(4) == b"data"
    assert await stream.receive() == b"rest"


async def test_leaving_the_block_of_a_part_closes_it() -> None:
    async with part(b"x") as it:
        pass
    with pytest.raises(anyio.ClosedResourceError):
        await it.receive()


# -- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[b"x" * 8], [b"x"] * 8, [b"xxxx", b"xxxx"]], ids=len)
async def test_read_stops_at_max_memory(pieces: list[bytes]) -> None:
    exact = MultipartReader(b"", TYPE, limits=Limits(max_memory=8))
    assert await part_of(pieces, level=exact).read() == b"x" * 8

    tight = MultipartReader(b"", TYPE, limits=Limits(max_memory=7))
    it = part_of(pieces, level=tight, name="n")
    for _ in range(2):  # never a shorter part
        with pytest.raises(LimitExceeded, match="at most 7 bytes to gather") as caught:
            await it.read()
        assert (caught.value.limit, caught.value.value, caught.value.status) == (
            "max_memory",
            7,
            413,
        )
        assert caught.value.part == it.info.ref
    assert await it.read(limit=None) == b"x" * 8


async def test_read_stops_before_it_reads_on() -> None:
    level = MultipartReader(b"", TYPE, limits=Limits(max_memory=3))
    it = part_of([b"ab", b"cd", b"ef"], level=level)
    with pytest.raises(LimitExceeded):
        await it.read()
    assert it.bytes_received == 4


async def test_a_limit_of_ones_own() -> None:
    assert await part(bytes(2048)).read(limit="2 KiB") == bytes(2048)
    it = part(bytes(2049))
    with pytest.raises(LimitExceeded) as caught:
        await it.read(limit="2 KiB")
    assert caught.value.value == 2048
    with pytest.raises(ValueError, match="size"):
        await it.read(limit="much")
    large = bytes(2 * 1024 * 1024)
    for took in (part(large), part_of([large])):
        with pytest.raises(LimitExceeded):
            await took.read()
        assert await took.read(limit=None) == large


async def test_all_parts_together_stop_at_max_total_memory() -> None:
    limits = Limits(max_memory=10, max_total_memory=25)
    reader = MultipartReader(body([{"data": b"x" * 10}] * 3), TYPE, limits=limits)
    assert await (await anext(reader)).read() == b"x" * 10
    assert await (await anext(reader)).read() == b"x" * 10
    with pytest.raises(LimitExceeded) as caught:
        await (await anext(reader)).read()
    assert (caught.value.limit, caught.value.value) == ("max_total_memory", 25)


async def test_a_limit_of_ones_own_may_pass_max_total_memory() -> None:
    limits = Limits(max_memory=10, max_total_memory=25)
    level = MultipartReader(b"", TYPE, limits=limits)
    assert await part_of([b"x" * 40], level=level).read(limit=40) == b"x" * 40
    assert await part_of([b"x" * 40], level=level).read(limit=None) == b"x" * 40


async def test_a_line_stops_at_max_memory() -> None:
    level = MultipartReader(b"", TYPE, limits=Limits(max_memory=8))
    it = part_of([b"ok\n", b"1234", b"56789\nnext\n"], level=level)
    assert await it.readline() == b"ok\n"
    for _ in range(2):
        with pytest.raises(LimitExceeded, match="lines of at most 8 bytes"):
            await it.readline()
    assert await it.read(limit=None) == b"123456789\nnext\n"


@pytest.mark.parametrize("n", [0, -1, 9])
async def test_peek_stops_at_max_memory(n: int) -> None:
    level = MultipartReader(b"", TYPE, limits=Limits(max_memory=8))
    with pytest.raises(ValueError, match=f"1 to 8 bytes, got {n}"):
        await part_of([b"x" * 20], level=level).peek(n)


# -- linear work ------------------------------------------------------------------------------


@contextmanager
def quickly() -> Iterator[None]:
    """A block whose quadratic form takes minutes, and whose linear one well below the bound."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 10


async def test_lines_of_one_byte_are_read_in_linear_time() -> None:
    for it in (part(b"\n" * 65536), part_of([b"\n" * 65536]), part_of([b"\n"] * 65536)):
        with quickly():
            count = 0
            while await it.peek(1) and await it.readline() == b"\n":
                count += 1
        assert count == 65536


async def test_a_line_of_many_pieces_is_read_in_linear_time() -> None:
    with quickly():
        assert len(await part_of([b"x"] * 100_000).readline()) == 100_000
        it = part(bytes(256 * 1024))
        while await it.receive(1) and it.bytes_received:
            if it._start == 0:  # the last byte has gone
                break


# -- no longer current ------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("pieces", [None, [b"da", b"ta"]], ids=["whole", "open"])
async def test_a_stale_part_raises_everywhere(
    method: Callable[[Part], Awaitable[object]], pieces: list[bytes] | None
) -> None:
    it = part(b"data", name="n") if pieces is None else part_of(pieces, name="n")
    await it.receive(1)
    await it.aclose()
    for _ in range(2):
        with pytest.raises(anyio.ClosedResourceError, match="part 0 'n' is no longer current"):
            await method(it)


@every_method
async def test_the_part_before_raises_once_the_next_one_is_asked_for(
    method: Callable[[Part], Awaitable[object]],
) -> None:
    for source in (body([("a", "1"), ("b", "2")]), Chunked(body([("a", "1"), ("b", "2")]), 1)):
        reader = MultipartReader(source, TYPE)
        first = await anext(reader)
        second = await anext(reader)
        with pytest.raises(anyio.ClosedResourceError):
            await method(first)
        assert await second.read() == b"2"


@pytest.mark.parametrize("method", ["read", "readline", "peek", "drain"])
async def test_a_part_that_is_closed_while_it_is_read_raises(method: str) -> None:
    class Closing(Pieces):
        async def receive(self) -> bytes:
            piece = await super().receive()
            it.close()
            return piece

    it = Part(PartInfo.of(), Closing([b"a", b"b"]), level=MultipartReader(b"", TYPE))
    for _ in range(2):
        with pytest.raises(anyio.ClosedResourceError):
            await (it.peek(9) if method == "peek" else getattr(it, method)())


async def test_a_reader_of_a_stale_part_raises() -> None:
    it = part(b"--in--", content_type="multipart/mixed; boundary=in")
    inner = it.multipart()
    it.close()
    for _ in range(2):
        with pytest.raises(anyio.ClosedResourceError):
            await inner.next_part()


# -- cut off ----------------------------------------------------------------------------------


@every_method
async def test_a_cut_body_raises_every_time(
    method: Callable[[Part], Awaitable[object]],
) -> None:
    it = part_of([], error=TruncatedBody("cut"))
    for _ in range(3):
        with pytest.raises(TruncatedBody):
            await method(it)


@pytest.mark.parametrize("size", [1, 7, 1000])
@every_method
async def test_a_cut_body_never_looks_empty_or_whole(
    method: Callable[[Part], Awaitable[object]], size: int
) -> None:
    sent = body([("a", "first, 2nd")])
    it = await anext(MultipartReader(Chunked(sent[:-20], size), TYPE))
    with pytest.raises(TruncatedBody):
        await it.drain()
    for _ in range(3):
        with pytest.raises(TruncatedBody) as caught:
            await method(it)
        assert caught.value.status == 400


# -- cancelled --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["read", "readline", "peek", "receive"])
async def test_cancellation_loses_nothing(method: str) -> None:
    it = part_of([b"ab", b"c", None, b"d\n", b"ef"])
    if method == "receive":
        assert [await it.receive(), await it.receive()] == [b"ab", b"c"]
        assert await cancelled(it.receive)
        assert await it.read() == b"d\nef"
        return
    assert await cancelled((lambda: it.peek(5)) if method == "peek" else getattr(it, method))
    assert it.bytes_received == 3
    assert await it.readline() == b"abcd\n"
    assert await it.read() == b"ef"


@given(
    pieces=st.lists(st.none() | st.sampled_from([b"a", b"b\n", b"\nc", b"dd"]), max_size=8),
    tries=st.lists(
        st.tuples(st.sampled_from(["read", "readline", "peek"]), st.integers(0, 12)), max_size=9
    ),
)
async def test_many_cancellations_lose_nothing(
    pieces: list[bytes | None], tries: list[tuple[str, int]]
) -> None:
    data = b"".join(piece for piece in pieces if piece)
    it = part_of(pieces)
    taken: list[bytes] = []

    async def go_on(method: str) -> None:
        if method == "peek":
            assert await it.peek(3) == data[len(b"".join(taken)) :][:3]
        else:
            taken.append(await getattr(it, method)())

    for method, after in tries:
        await cancelled(partial(go_on, method), after=after)
    while await cancelled(partial(go_on, "read")):
        pass
    assert b"".join(taken) == data


# -- the rest ---------------------------------------------------------------------------------


async def test_a_part_outside_of_a_flow_may_hold_a_descriptor() -> None:
    it = part(b"x")
    it.alive()
    assert it.hold_descriptor() is True
    assert it.place == it.path


async def test_a_part_tells_its_flow() -> None:
    class Flow:
        calls = 0
        place = (1, 2)

        def alive(self) -> None:
            self.calls += 1

        def fails_by_itself(self) -> None:
            self.calls += 10

        def hold_descriptor(self) -> bool:
            return False

    it, flow = part(b"x"), Flow()
    it.hold(flow)
    it.alive()
    assert flow.calls == 1
    it.fails_by_itself()
    assert flow.calls == 11
    assert it.hold_descriptor() is False
    assert it.place == (1, 2)


async def test_a_step_of_an_iteration_is_what_came_and_no_more_than_256_kib() -> None:
    data = bytes(range(256)) * 4096
    chunks = [b"--b\r\n\r\n", data[: 192 * 1024], data[192 * 1024 :], b"\r\n--b--"]
    reader = MultipartReader(Pieces(chunks), "multipart/mixed; boundary=b")
    part = await anext(reader)
    sizes: list[int] = []
    whole = b""
    async for piece in part:
        sizes.append(len(piece) // 1024)
        whole += piece
    assert whole == data
    assert sizes == [192, 256, 256, 256, 64]


async def test_a_step_of_an_iteration_in_a_flow_is_64_kib_at_most() -> None:
    data = bytes(range(256)) * 4096
    chunks = [b"--b\r\n\r\n", b"x", data, b"\r\n--b--"]
    router = Router()

    @router.route()
    async def handler(part: Part) -> list[int]:
        return [len(piece) async for piece in part]

    reader = MultipartReader(Pieces(chunks), "multipart/mixed; boundary=b")
    sizes = (await router.dispatch(reader))[handler]
    assert sum(sizes) == len(data) + 1
    assert max(sizes) == 65536


async def test_a_step_of_an_iteration_of_a_nested_part_is_64_kib_at_most() -> None:
    """Also of what was gathered ahead."""
    inner = b"--i\r\n\r\n" + bytes(200_000) + b"\r\n--i--"
    outer = b"--b\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n" + inner + b"\r\n--b--"
    router = Router()

    @router.route()
    async def handler(part: Part) -> list[int]:
        sizes: list[int] = []
        async for each in part.multipart():
            await each.peek(150_000)
            sizes += [len(piece) async for piece in each]
        return sizes

    reader = MultipartReader(outer, "multipart/mixed; boundary=b")
    sizes = (await router.dispatch(reader))[handler]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 65536


async def test_iterating_calls_the_receive_of_a_subclass() -> None:
    class Counted(Part):
        seen = 0

        async def receive(self, max_bytes: int = 65536) -> bytes:
            data = await super().receive(max_bytes)
            self.seen += len(data)
            return data

    class Further(Counted):
        pass

    class Reader(MultipartReader):
        part_class = Further

    sent = b"--boundary\r\n\r\n" + b"x" * 100_000 + b"\r\n--boundary--\r\n"
    async with Reader(Chunked(sent, 1000), TYPE) as reader:
        async for it in reader:
            assert isinstance(it, Counted)
            assert sum([len(chunk) async for chunk in it]) == it.seen == 100_000
