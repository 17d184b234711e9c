"""Parts without their codings: streamed, gathered, bounded, cancelled, stored, on every backend.

Knows: parts, routes, and the handlers that store. Must not know: how a coding is done.
"""

from __future__ import annotations

import base64
import gzip
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from mpflow import (
    InvalidContent,
    LimitExceeded,
    Limits,
    MultipartReader,
    Part,
    RouteError,
    Router,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.decoding import DecodedStream
from mpflow.testing import Bytewise, PartSpec, body, content_type_of
from mpflow.testing import part as form_part
from mpflow.wire import Encoding, codings_of
from mpflow.wire.codings import PIECE
from mpflow_handlers import Collect, Digest, Save, Tee
from tests.support import TYPE, cancelled, only_asyncio, part_of

pytestmark = pytest.mark.anyio

GZIP = {"Content-Encoding": "gzip"}
BASE64 = {"Content-Transfer-Encoding": "base64"}
BOTH = {"Content-Encoding": "deflate, gzip", "Content-Transfer-Encoding": "base64"}
EVERY = [
    GZIP, BASE64, BOTH, {"Content-Encoding": "x-gzip"}, {"Content-Encoding": "br, zstd"},
    {"Content-Transfer-Encoding": "quoted-printable"},
]  # fmt: skip
TEXT = "".join(f"{number}: é\r\n" for number in range(300))
MIB = 1024 * 1024


def encoded(data: bytes, headers: dict[str, str]) -> bytes:
    encoding = Encoding(codings_of(part_of([], headers=headers).headers))
    return encoding.encode(data) + encoding.finish()


def pieces_of(data: bytes, size: int) -> list[bytes | None]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def coded(
    data: bytes, headers: dict[str, str], *, size: int = 10, limits: Limits | None = None
) -> Part:
    level = MultipartReader(b"", TYPE, limits=limits)
    return part_of(pieces_of(encoded(data, headers), size), level=level, headers=headers, name="n")


# -- streamed and gathered --------------------------------------------------------------------


@pytest.mark.parametrize("headers", EVERY, ids=str)
@pytest.mark.parametrize("size", [1, 7, 10**6])
async def test_a_part_without_its_codings(headers: dict[str, str], size: int) -> None:
    def fresh() -> Part:
        return coded(TEXT.encode(), headers, size=size)

    it = fresh()
    assert b"".join([piece async for piece in it.decoded()]) == TEXT.encode()
    with pytest.raises(anyio.EndOfStream):
        await it.decoded().receive()
    assert await fresh().read(decode=True) == TEXT.encode()
    assert await fresh().text() == TEXT
    assert fresh().decode(await fresh().read()) == TEXT.encode()
    assert it.bytes_received == len(encoded(TEXT.encode(), headers))


async def test_json_and_forms_are_taken_without_codings() -> None:
    assert await coded(b'{"a": 1}', BOTH).json() == {"a": 1}
    assert await coded(b"a=1&b=2", BOTH).form() == [("a", "1"), ("b", "2")]


async def test_one_of_the_codings_is_kept() -> None:
    assert gzip.decompress(await coded(b"x", GZIP | BASE64).read(decode="transfer")) == b"x"
    assert await coded(b"x", GZIP | BASE64).read(decode="all") == b"x"
    kept = await coded(b"x", GZIP | BASE64).read(decode="none")
    assert gzip.decompress(base64.b64decode(kept)) == b"x"
    stream = part_of([gzip.compress(b"x")], headers=GZIP | BASE64).decoded(transfer=False)
    assert await stream.receive() == b"x"


async def test_reading_goes_on_where_the_stream_stopped() -> None:
    it = coded(bytes(range(100)), BOTH, size=1000)
    assert await it.decoded().receive(10) == bytes(range(10))
    assert await it.decoded().receive(5) == bytes(range(10, 15))
    assert await it.read(decode=True) == bytes(range(15, 100))
    assert await it.read(decode=True) == b""
    with pytest.raises(ValueError, match="at least 1"):
        await it.decoded().receive(0)


async def test_the_codings_of_form_data_are_those_of_transfer() -> None:
    data = gzip.compress(b"x")
    it = form_part(base64.b64encode(data), headers=GZIP | BASE64)
    assert await it.read(decode=True) == data
    assert form_part(b"x", headers=GZIP).decoded() is not None
    it = form_part("as it is", headers=GZIP)
    assert it.decoded() is it
    assert await it.text() == "as it is"


async def test_a_part_whole_in_hand() -> None:
    data = TEXT.encode() * 50
    sent = body([PartSpec(encoded(data, GZIP), headers=GZIP)])
    async for it in MultipartReader(sent, TYPE):
        assert await it.read(decode=True, limit="2 MiB") == data
        assert isinstance(it.decoded(), DecodedStream)


# -- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "headers", "match"),
    [
        (gzip.compress(b"x" * 99, mtime=0)[:-3], GZIP, "whole body in gzip"),
        (gzip.compress(b"x", mtime=0) + b"junk", GZIP, "gzip"),
        (b"", GZIP, "cut or empty"),
        (b"plain", GZIP, "expected a body in gzip, got none"),
        (b"YWJ", BASE64, "got 3 of the 4 characters"),
        (b"YW!Jj", BASE64, "at byte 2 of the encoded body"),
    ],
)
async def test_a_part_that_is_not_what_it_says(
    data: bytes, headers: dict[str, str], match: str
) -> None:
    for size in (1, 1000):
        it = part_of(pieces_of(data, size), headers=headers, name="n")
        for _ in range(2):  # never the end
            with pytest.raises(InvalidContent, match=match) as caught:
                await it.read(decode=True)
            assert caught.value.part == it.info.ref
    with pytest.raises(InvalidContent, match=match) as caught:
        it.decode(data)
    assert caught.value.part == it.info.ref


@pytest.mark.parametrize(("size", "count"), [(1, 100), (1000, 50_000), (1 << 20, 50_000)])
@pytest.mark.parametrize(
    ("unit", "wrong", "headers"),
    [
        (b"YWJj", b"YW!JYWJj", BASE64),
        (b"=61bc", b"=ZZ=61", {"Content-Transfer-Encoding": "quoted-printable"}),
    ],
    ids=["base64", "quoted-printable"],
)
async def test_what_is_right_comes_before_the_error(
    unit: bytes, wrong: bytes, headers: dict[str, str], size: int, count: int
) -> None:
    it = part_of(pieces_of(unit * count + wrong, size), headers=headers, name="n")
    out: list[bytes] = []

    async def take() -> None:
        async for piece in it.decoded():
            out.append(piece)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(InvalidContent, match="of the encoded body"):
        await take()
    assert b"".join(out) == b"abc" * count
    with pytest.raises(InvalidContent):
        await it.decoded().receive()


async def test_a_limit_is_told_in_the_same_words_however_a_part_is_cut() -> None:
    bomb, told = bytes(8 * MIB), set[str]()
    for limits in (None, Limits(max_decoded_bytes=2 * MIB, max_decoded_ratio=None)):
        for size in (7, 1000, 1 << 20):
            with pytest.raises(LimitExceeded) as caught:
                await coded(bomb, GZIP, size=size, limits=limits).read(decode=True, limit=None)
            told.add(caught.value.message)
    assert len(told) == 2


async def test_a_cut_body_is_a_cut_body() -> None:
    cut = TruncatedBody("cut")
    it = part_of([encoded(b"x" * 99, GZIP)[:20]], error=cut, headers=GZIP)
    for _ in range(2):
        with pytest.raises(TruncatedBody):
            await it.text()


async def test_a_stream_of_a_part_that_is_over() -> None:
    reader = MultipartReader(
        body([PartSpec(encoded(b"one", GZIP), headers=GZIP), PartSpec("two")]), TYPE
    )
    first = await anext(reader)
    stream = first.decoded()
    assert await stream.receive(1) == b"o"
    second = await anext(reader)
    with pytest.raises(anyio.ClosedResourceError):
        await stream.receive()
    assert await second.text() == "two"
    await stream.aclose()


async def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    it = coded(b"x", {"Content-Encoding": "br"})
    monkeypatch.setattr("mpflow.wire.codings.br.import_module", missing)
    for call in (it.decoded, lambda: it.decode(b"")):
        with pytest.raises(UnsupportedCoding, match=r"multipart-flow\[brotli\]") as caught:
            call()
        assert caught.value.part == it.info.ref


async def test_a_multipart_with_a_coding_is_refused() -> None:
    for headers in (GZIP, BASE64):
        it = part_of([b""], headers=headers, content_type=content_type_of())
        with pytest.raises(UnsupportedCoding, match="multipart without a coding"):
            it.multipart()


# -- limits -----------------------------------------------------------------------------------


async def test_what_comes_of_a_part_is_bounded() -> None:
    bomb = bytes(8 * MIB)
    limits = Limits(max_decoded_bytes=2 * MIB, max_decoded_ratio=None)
    it = coded(bomb, GZIP, size=1000, limits=limits)
    with pytest.raises(LimitExceeded) as caught:
        async for _ in it.decoded():
            pass
    assert (caught.value.limit, caught.value.value) == ("max_decoded_bytes", 2 * MIB)
    assert caught.value.status == 413
    assert caught.value.part == it.info.ref
    it = coded(bomb, GZIP, size=1000)
    with pytest.raises(LimitExceeded, match="times its size") as caught:
        await it.read(decode=True, limit=None)
    assert caught.value.limit == "max_decoded_ratio"
    assert caught.value.part == it.info.ref
    with pytest.raises(LimitExceeded) as caught:
        it.decode(encoded(bomb, GZIP), limit=None)
    assert caught.value.limit == "max_decoded_ratio"


async def test_what_is_gathered_is_bounded_by_what_it_becomes() -> None:
    limits = Limits(max_memory=1000)
    for take in ("text", "json", "form"):
        with pytest.raises(LimitExceeded) as caught:
            await getattr(coded(b"1" * 1001, GZIP, limits=limits), take)()
        assert caught.value.limit == "max_memory"
    it = coded(b"1" * 1001, GZIP, limits=limits)
    with pytest.raises(LimitExceeded):
        await it.read(decode=True)
    assert await it.read(decode=True, limit=1001) == b"1" * 1001  # nothing was lost
    with pytest.raises(LimitExceeded, match="at most 1000 bytes"):
        it.decode(encoded(b"1" * 1001, GZIP))
    assert len(it.decode(encoded(b"1" * 1001, GZIP), limit=1001)) == 1001


# -- worker threads, and cancellation ---------------------------------------------------------


async def test_much_is_undone_in_a_worker_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(5_000_000)
    threads: set[int] = set()
    step = DecodedStream._step

    def noted(self: DecodedStream, calls: int, enough: int) -> None:
        threads.add(threading.get_ident())
        step(self, calls, enough)

    monkeypatch.setattr(DecodedStream, "_step", noted)
    limits = Limits(max_decoded_ratio=None)
    stream = coded(data, GZIP, size=10**6, limits=limits).decoded()
    assert sum([len(piece) async for piece in stream]) == len(data)
    assert threads - {threading.get_ident()}
    threads.clear()
    assert await coded(b"small", BOTH).text() == "small"
    assert threads == {threading.get_ident()}


async def test_four_pieces_take_one_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(1024 * 1024)
    sizes: list[int] = []
    step = DecodedStream._step

    def noted(self: DecodedStream, calls: int, enough: int) -> None:
        step(self, calls, enough)
        sizes.append(sum(map(len, self._ready)))

    monkeypatch.setattr(DecodedStream, "_step", noted)
    pieces = [piece async for piece in coded(data, GZIP, size=10**7).decoded()]
    assert b"".join(pieces) == data
    assert len(sizes) <= 12  # every other one finds that no more comes
    assert max(sizes) <= 4 * PIECE


async def test_a_cancelled_receive_loses_nothing() -> None:
    data = b"x" * 1000
    sent = encoded(data, BOTH)
    it = part_of([sent[:20], None, sent[20:]], headers=BOTH)
    assert await cancelled(lambda: it.read(decode=True))
    assert await it.read(decode=True) == data
    for after in range(12):
        it = coded(data, BOTH, size=5)
        done: list[bytes] = []

        async def take(it: Part = it, done: list[bytes] = done) -> None:
            done.append(await it.read(decode=True))

        if await cancelled(take, after=after):
            done.append(await it.read(decode=True))
        assert b"".join(done) == data


@only_asyncio
async def test_a_cancellation_of_asyncio_itself_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import asyncio

    data = bytes(3_000_000)
    limits = Limits(max_decoded_ratio=None)
    stream = coded(data, GZIP, size=10**6, limits=limits).decoded()
    begun, go = threading.Event(), threading.Event()
    next_data = stream._decoding.next_data  # type: ignore[attr-defined]

    def slow() -> bytes:
        begun.set()
        assert threading.current_thread() is threading.main_thread() or go.wait(10)
        return next_data()

    size = len(await stream.receive())
    stream._decoding.next_data = slow  # type: ignore[attr-defined]
    begun.clear()
    task = asyncio.ensure_future(stream.receive())
    await to_thread.run_sync(begun.wait)
    task.cancel()
    await asyncio.wait([task], timeout=0)
    go.set()
    if not task.cancelled():
        await asyncio.wait([task])
    if not task.cancelled():
        size += len(task.result())
    async for piece in stream:
        size += len(piece)
    assert size == len(data)


# -- in a flow --------------------------------------------------------------------------------


@pytest.mark.parametrize("decode", ["transfer", "all", "none"])
@pytest.mark.parametrize("large", [False, True])
async def test_what_handlers_store(decode: Any, large: bool, tmp_path: Path) -> None:
    data = b"a line\r\n" * (40_000 if large else 4)
    headers = GZIP | BASE64
    sent = encoded(data, headers)
    expected = {"transfer": gzip.compress, "all": bytes, "none": bytes}
    assert expected
    router = Router()
    router.add(
        Tee(Collect("1 MiB"), Save(tmp_path, digests=["sha256"]), Digest("sha256")),
        key="k",
        decode=decode,
    )
    source = body([PartSpec(sent, headers=headers)])
    results = await router.dispatch(
        MultipartReader(source if large else Bytewise(source), content_type_of("boundary", "mixed"))
    )
    collected, saved, digests = results["k"]
    undo: dict[str, Callable[[bytes], bytes]] = {
        "none": lambda data: gzip.decompress(base64.b64decode(data)),
        "transfer": gzip.decompress,
        "all": bytes,
    }
    assert undo[decode](collected) == data
    assert (decode == "none") == (collected == sent)
    assert saved.path.read_bytes() == collected
    assert saved.size == len(collected)
    assert saved.digests["sha256"] == digests["sha256"]


async def test_collect_takes_what_comes_of_a_part_up_to_its_limit() -> None:
    data = zlib.compress(bytes(1001))
    for limit, fits in ((1000, False), (1001, True)):
        router = Router()
        router.add(Collect(limit), key="k", decode="all")
        sent = body([PartSpec(data, headers={"Content-Encoding": "deflate"})])
        reader = MultipartReader(sent, TYPE)
        if fits:
            assert (await router.dispatch(reader))["k"] == bytes(1001)
            continue
        with pytest.raises(LimitExceeded, match="at most 1000 bytes"):
            await router.dispatch(reader)


async def test_a_part_inside_a_part_is_stored_as_its_route_says() -> None:
    async def store(part: Part) -> bytes:
        inner = await anext(part.multipart())
        assert inner.decode_policy == "all"
        return b"".join([piece async for piece in inner.stored()])

    router = Router()
    router.add(store, key="k", decode="all")
    inner = body([PartSpec(encoded(b"data", GZIP), headers=GZIP)], boundary="in")
    sent = body([PartSpec(inner, content_type=content_type_of("in", "mixed"))])
    assert (await router.dispatch(MultipartReader(sent, TYPE)))["k"] == b"data"


async def test_a_bad_coding_is_collected_and_a_bomb_is_not() -> None:
    router = Router()
    router.add(Collect(None), key="k", decode="all", on_error="collect")
    parts = [PartSpec(b"none", headers=GZIP), PartSpec(encoded(b"fine", GZIP), headers=GZIP)]
    results = await router.dispatch(MultipartReader(body(parts), TYPE))
    assert [type(item.error) for item in results] == [InvalidContent, type(None)]
    bomb = PartSpec(encoded(bytes(8 * MIB), GZIP), headers=GZIP)
    with pytest.raises(LimitExceeded, match="times its size") as caught:
        await router.dispatch(MultipartReader(body([bomb]), TYPE))
    assert str(caught.value.part) == "part 0"


def test_a_policy_that_is_none() -> None:
    with pytest.raises(RouteError, match="expected decode='transfer', 'all' or 'none', got"):
        Router().add(Collect(), decode="yes")  # type: ignore[call-overload]
