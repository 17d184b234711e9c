"""The reader: parts one at a time, levels inside levels, what is drained, closed and recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from mpflow import (
    BrokenSource,
    InvalidBoundary,
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartReader,
    NotMultipart,
    Part,
    Router,
    TruncatedBody,
)
from mpflow.testing import Bytewise, Chunked, PartSpec, body, chunkings, content_type_of, nested
from mpflow.wire import NEED_DATA, BodyEnd, WholePart
from mpflow_handlers import Discard, Nested
from tests.support import BODY, TYPE, crlf, parts_of

pytestmark = pytest.mark.anyio

DEEP = body(
    [
        {"data": "first"},
        nested(
            [
                ("a", "1"),
                nested([("x", "11"), ("y", "12")], boundary="c"),
                ("b", "2"),
            ],
            boundary="b",
        ),
        {"data": "last"},
    ]
)
"""Three levels; their boundaries are `boundary`, `b` and `c`."""


# -- made -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "text/plain", "multiparty/mixed", "x/" + "x" * 999])
def test_what_is_not_multipart(value: str | None) -> None:
    with pytest.raises(NotMultipart, match=r"expected a content type of multipart/\*") as caught:
        MultipartReader(BODY, value)
    assert caught.value.status == 415
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["", "multipart", "multipart/", "x" * 999])
def test_what_is_no_content_type(value: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        MultipartReader(BODY, value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        "multipart/mixed",
        "multipart/mixed; charset=x",
        'multipart/mixed; boundary=""',
        'multipart/mixed; boundary="é"',
        'multipart/mixed; boundary="a "',
    ],
)
def test_what_has_no_boundary(value: str) -> None:
    with pytest.raises(InvalidBoundary, match="expected a boundary") as caught:
        MultipartReader(BODY, value)
    assert caught.value.status == 400


def test_a_long_boundary() -> None:
    MultipartReader(BODY, content_type_of("x" * 70))
    with pytest.raises(LimitExceeded, match="at most 70 characters"):
        MultipartReader(BODY, content_type_of("x" * 71))
    MultipartReader(BODY, content_type_of("x" * 71), limits=Limits(max_boundary=71))


def test_two_boundaries() -> None:
    with pytest.raises(MalformedBody, match="duplicate-parameter"):
        MultipartReader(BODY, "multipart/mixed; boundary=a; boundary=b")


def test_tolerate_takes_known_names() -> None:
    with pytest.raises(ValueError, match="expected tolerate to name some of"):
        MultipartReader(BODY, TYPE, tolerate={"everything"})


def test_tolerate_takes_one_name() -> None:
    name = MultipartReader(
        BODY, "multipart/mixed; boundary=boundary; boundary=b", tolerate="duplicate-parameter"
    )
    assert [found.code for found in name.deviations] == ["duplicate-parameter"]
    with pytest.raises(ValueError, match="got 'everything'"):
        MultipartReader(BODY, TYPE, tolerate="everything")


def test_a_content_type_that_is_no_text() -> None:
    wrong: Any = b"multipart/mixed; boundary=boundary"
    with pytest.raises(TypeError, match="expected the content type as str, got b'multi"):
        MultipartReader(BODY, wrong)


def test_what_the_reader_says_of_itself() -> None:
    reader = MultipartReader(BODY, "Multipart/Form-Data; Boundary=boundary")
    assert reader.content_type == "multipart/form-data"
    assert reader.headers["content-type"] == "Multipart/Form-Data; Boundary=boundary"
    assert reader.deviations == []
    assert aiter(reader) is reader


# -- parts ------------------------------------------------------------------------------------


async def test_iteration() -> None:
    reader = MultipartReader(BODY, TYPE)
    assert [(it.index, it.path, await it.read()) async for it in reader] == [
        (0, (0,), b"one"),
        (1, (1,), b"two"),
    ]
    assert [it async for it in reader] == []


async def test_next_part_gives_none_after_the_last_for_ever() -> None:
    reader = MultipartReader(BODY + b"x" * 100_000, TYPE)  # past max_epilogue, and not read
    assert await reader.next_part() is not None
    assert await reader.next_part() is not None
    for _ in range(3):
        assert await reader.next_part() is None


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_asking_for_the_next_part_drains_the_one_before(size: int) -> None:
    sent = body([("a", "x" * 500), ("b", "keep\nlast"), ("c", b"y" * 500), ("d", "end")])
    reader = MultipartReader(Chunked(sent, size), TYPE)
    async for it in reader:
        if it.name == "a":
            assert await it.peek(3) == b"xxx"
        if it.name == "b":
            assert await it.readline() == b"keep\n"
        if it.name == "d":
            assert await it.read() == b"end"
            break
    else:
        pytest.fail("a part was lost")


async def test_the_end_of_a_part_is_its_end_for_ever() -> None:
    reader = MultipartReader(Chunked(BODY, 1), TYPE)
    it = await anext(reader)
    assert await it.read() == b"one"
    for _ in range(3):
        with pytest.raises(anyio.EndOfStream):
            await it.receive()
        assert await it.read() == b""
    assert await parts_rest(reader) == [b"two"]


async def test_drain_reads_all_that_is_left() -> None:
    source = Chunked(BODY, 1)
    reader = MultipartReader(source, TYPE)
    await anext(reader)
    await reader.drain()
    assert source.pulled == BODY.index(b"--boundary--") + 12
    assert await reader.next_part() is None


async def test_drain_meets_errors_and_limits() -> None:
    with pytest.raises(TruncatedBody):
        await MultipartReader(BODY[:-9], TYPE).drain()
    limits = Limits(max_total_bytes=40)
    with pytest.raises(LimitExceeded) as caught:
        await MultipartReader(Bytewise(BODY), TYPE, limits=limits).drain()
    assert caught.value.limit == "max_total_bytes"


async def test_any_chunking_gives_the_same_parts() -> None:
    for chunks in chunkings(DEEP, count=30):
        source = Chunked(DEEP, [len(chunk) for chunk in chunks])
        leaves = [(it.path, await it.read()) async for it in MultipartReader(source, TYPE).walk()]
        assert [data for _, data in leaves] == [b"first", b"1", b"11", b"12", b"2", b"last"]


async def test_an_error_is_raised_again_and_again() -> None:
    reader = MultipartReader(BODY[:-20], TYPE)
    await anext(reader)
    for _ in range(3):
        with pytest.raises(TruncatedBody):
            await reader.drain()


# -- levels -----------------------------------------------------------------------------------


async def test_levels_inside_levels() -> None:
    seen: list[tuple[tuple[int, ...], str]] = []

    async def read(reader: MultipartReader) -> None:
        async for it in reader:
            if it.is_multipart:
                await read(it.multipart())
            else:
                seen.append((it.path, await it.text()))

    await read(MultipartReader(Chunked(DEEP, 5), TYPE))
    assert seen == [
        ((0,), "first"),
        ((1, 0), "1"),
        ((1, 1, 0), "11"),
        ((1, 1, 1), "12"),
        ((1, 2), "2"),
        ((2,), "last"),
    ]


async def test_walk_gives_the_leaves_depth_first() -> None:
    walk = MultipartReader(DEEP, TYPE).walk()
    assert aiter(walk) is walk
    names = [(it.info.depth, it.name) async for it in walk]
    assert names == [(0, None), (1, "a"), (2, "x"), (2, "y"), (1, "b"), (0, None)]
    assert [it async for it in walk] == []


async def test_a_level_that_is_left_early_is_drained_from_outside() -> None:
    reader = MultipartReader(Chunked(DEEP, 3), TYPE)
    await anext(reader)
    inner = (await anext(reader)).multipart()
    first = await anext(inner)
    assert await (await anext(reader)).read() == b"last"
    for stale in (first.read, inner.next_part):
        with pytest.raises(anyio.ClosedResourceError):
            await stale()


async def test_a_level_of_a_part_that_was_whole_in_hand() -> None:
    reader = MultipartReader(DEEP, TYPE)
    await anext(reader)
    inner = (await anext(reader)).multipart()
    assert inner.holder is not None
    assert inner.headers["Content-Type"] == "multipart/mixed; boundary=b"
    await anext(inner)
    leaf = await anext((await anext(inner)).multipart())
    assert await parts_rest(reader) == [b"last"]
    for stale in (leaf.read, inner.next_part):
        with pytest.raises(anyio.ClosedResourceError):
            await stale()


CUT = "--in\r\n\r\nx"
UNDELIMITED = "no delimiter"


@pytest.mark.parametrize("in_flow", [False, True])
@pytest.mark.parametrize("inside", [CUT, UNDELIMITED])
async def test_an_offset_says_of_which_body_it_counts(inside: str, in_flow: bool) -> None:
    cut = PartSpec(inside, content_type="multipart/mixed; boundary=in")
    middle = nested([("first", "x"), cut], boundary="middle")
    message = body([("a", "1"), middle])
    reader = MultipartReader(message, TYPE)
    leaves = Router()
    leaves.add(Discard(), content_type="text/plain")
    leaves.add(Nested(leaves), content_type="multipart/*")

    async def read_leaves() -> None:
        async for leaf in reader.walk():
            await leaf.drain()

    with pytest.raises(TruncatedBody) as caught:
        await (leaves.dispatch(reader) if in_flow else read_leaves())
    error = caught.value
    assert error.offset == len(inside)
    assert error.level == (1, 1)
    assert f"at byte {len(inside)} of the body of part 1.1)" in str(error)


async def test_an_offset_in_the_outermost_body_says_no_more() -> None:
    with pytest.raises(TruncatedBody) as caught:
        await MultipartReader(BODY[:-4], TYPE).drain()
    assert caught.value.level == ()
    assert str(caught.value).endswith(f"at byte {len(BODY) - 4})")


async def test_an_inner_level_that_is_cut_says_where() -> None:
    inner = PartSpec("--in\r\n\r\nx", content_type="multipart/mixed; boundary=in")
    reader = MultipartReader(body([("a", "1"), inner]), TYPE)
    with pytest.raises(TruncatedBody) as caught:
        [await it.read() async for it in reader.walk()]
    assert caught.value.part is not None
    assert caught.value.part.path == (1, 0)


async def test_an_outer_level_that_is_cut_is_an_error_inside() -> None:
    reader = MultipartReader(Chunked(DEEP[: DEEP.index(b"12")], 4), TYPE)
    for _ in range(2):
        with pytest.raises(TruncatedBody) as caught:
            [await it.read() async for it in reader.walk()]
        assert caught.value.part is not None
        assert caught.value.part.path == (1,)


async def test_a_part_that_is_no_multipart_has_no_levels() -> None:
    it = await anext(MultipartReader(body([{"content_type": "text/csv"}]), TYPE))
    with pytest.raises(NotMultipart, match="got 'text/csv'"):
        it.multipart()


async def test_a_digest_has_messages_for_parts() -> None:
    digest = content_type_of(subtype="digest")
    assert [it.content_type async for it in MultipartReader(BODY, digest)] == ["message/rfc822"] * 2
    assert [it.content_type async for it in MultipartReader(BODY, TYPE)] == ["text/plain"] * 2
    inner = nested([{"data": "m"}], subtype="digest")
    walk = MultipartReader(body([inner]), TYPE).walk()
    assert [it.content_type async for it in walk] == ["message/rfc822"]


# -- limits over all levels -------------------------------------------------------------------


async def leaves(limits: Limits, sent: bytes = DEEP) -> int:
    return len([await it.read() async for it in MultipartReader(sent, TYPE, limits=limits).walk()])


@pytest.mark.parametrize(
    ("limit", "enough"),
    [("max_parts", 8), ("max_depth", 3), ("max_total_bytes", DEEP.index(b"--boundary--") + 12)],
)
async def test_limits_are_shared_by_all_levels(limit: str, enough: int) -> None:
    assert await leaves(Limits(**{limit: enough})) == 6
    with pytest.raises(LimitExceeded) as caught:
        await leaves(Limits(**{limit: enough - 1}))
    assert (caught.value.limit, caught.value.value) == (limit, enough - 1)


async def test_header_bytes_and_memory_are_shared_by_all_levels() -> None:
    reader = MultipartReader(DEEP, TYPE)
    memory = sum([len(await it.read()) async for it in reader.walk()])
    assert reader.budget.counts.memory == memory == 15
    most = reader.budget.counts.header_bytes
    assert await leaves(Limits(max_total_header_bytes=most, max_header_bytes=most)) == 6
    with pytest.raises(LimitExceeded) as caught:
        await leaves(Limits(max_total_header_bytes=most - 1, max_header_bytes=most - 1))
    assert caught.value.limit == "max_total_header_bytes"
    with pytest.raises(LimitExceeded) as caught:
        await leaves(Limits(max_total_memory=14, max_memory=9))
    assert caught.value.limit == "max_total_memory"


async def test_depth_is_refused_before_anything_is_read() -> None:
    inner = nested([{"data": "x"}])
    reader = MultipartReader(body([inner]), TYPE, limits=Limits(max_depth=1))
    part = await anext(reader)
    with pytest.raises(LimitExceeded) as caught:
        part.multipart()
    assert (caught.value.limit, caught.value.part) == ("max_depth", part.info.ref)


async def descend(part: Part, **options: Any) -> int:
    """How many levels a part holds, read by readers that are made of parts by hand."""
    reader = MultipartReader(part, part.headers["Content-Type"], **options)
    return 1 + max([await descend(it) async for it in reader if it.is_multipart], default=0)


def onion(levels: int) -> bytes:
    """A body of so many levels, one inside the other."""
    inner = nested([{"data": "x"}], boundary=f"b{levels:04}")
    for level in range(levels - 1, 1, -1):
        inner = nested([inner], boundary=f"b{level:04}")
    return body([inner])


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_reader_of_a_part_is_a_level_of_its_message(size: int) -> None:
    sent = onion(4)
    reader = MultipartReader(Chunked(sent, size), TYPE)
    assert await descend(await anext(reader)) == 3
    assert reader.budget.counts.parts == 4

    sent = onion(5)
    with pytest.raises(LimitExceeded, match="max_depth") as caught:
        await descend(await anext(MultipartReader(Chunked(sent, size), TYPE)))
    assert caught.value.part is not None
    assert caught.value.part.path == (0, 0, 0, 0)


async def test_the_limits_of_a_reader_of_a_part_can_only_be_tighter() -> None:
    outer = MultipartReader(onion(4), TYPE, limits=Limits(max_depth=3))
    with pytest.raises(LimitExceeded, match="max_depth"):
        await descend(await anext(outer), limits=Limits(max_depth=9))
    inner = await anext(MultipartReader(onion(2), TYPE))
    with pytest.raises(LimitExceeded) as caught:
        await descend(inner, limits=Limits(max_total_bytes=20))
    assert (caught.value.limit, caught.value.value) == ("max_total_bytes", 20)


async def test_a_reader_of_a_part_shares_charset_and_deviations() -> None:
    inner = PartSpec(crlf("--in\nX:1\n--in--"), content_type="multipart/mixed; boundary=in;")
    sent = body([("_charset_", "latin-1"), inner])
    outer = MultipartReader(sent, content_type_of("boundary", "form-data"))
    part = await anext(outer)
    reader = MultipartReader(part, part.headers["Content-Type"])
    assert (reader.charset, reader.headers) == ("latin-1", part.headers)
    assert [it.path async for it in reader] == [(1, 0)]
    own = MultipartReader(part, "multipart/mixed; boundary=in;;")
    assert own.deviations is reader.deviations is outer.deviations
    found = [(it.code, it.part) for it in outer.deviations if it.code != "not-form-data"]
    # The content type that was given by hand stands nowhere else.
    assert found == [
        ("empty-parameter", (1,)),
        ("no-blank-line", (1, 0)),
        ("empty-parameter", (1,)),
    ]


async def test_more_levels_than_the_stack_holds() -> None:
    limits = Limits(max_depth=None)
    reader = MultipartReader(Chunked(onion(400), 64), TYPE, limits=limits)
    with pytest.raises(LimitExceeded, match="fewer levels than Python's stack holds") as caught:
        await reader.walk().__anext__()
    assert (caught.value.limit, caught.value.value) == ("max_depth", None)
    assert isinstance(caught.value.__cause__, RecursionError)


@pytest.mark.parametrize("close", ["reader", "part", "next"])
async def test_more_levels_than_calls_are_closed(close: str) -> None:
    """Levels that came whole are read without a call a level, and so they are closed."""
    limits = Limits(max_depth=None, max_parts=None, max_total_header_bytes=None)
    outer = MultipartReader(onion(600), TYPE, limits=limits)
    reader, parts = outer, [await anext(outer)]
    while parts[-1].is_multipart:
        reader = parts[-1].multipart()
        parts.append(await anext(reader))
    assert len(parts) == 600
    if close == "reader":
        await outer.aclose()
    elif close == "part":
        await parts[0].aclose()
    else:
        assert await outer.next_part() is None
    for part in parts:
        with pytest.raises(anyio.ClosedResourceError):
            await part.read()
    with pytest.raises(anyio.ClosedResourceError):
        await reader.next_part()


async def below(frames: int, call: Callable[[], Awaitable[object]]) -> None:
    """Call so many frames further down the stack."""
    if frames:
        await below(frames - 1, call)
    else:
        await call()


async def test_nothing_is_lost_where_the_stack_ends() -> None:
    sent = onion(200)
    inner = sent[sent.index(b"--b0002") : sent.rindex(b"\r\n--boundary--")]
    for frames in range(12):  # it ends at another line each time
        limits = Limits(max_depth=None)
        part = await anext(MultipartReader(Chunked(sent, 64), TYPE, limits=limits))
        walk = part.multipart().walk()
        with pytest.raises(LimitExceeded, match="max_depth"):
            await below(frames, walk.__anext__)
        with suppress(BrokenSource):
            await part.drain()
            assert part.bytes_received == len(inner)


async def test_a_source_that_exhausts_the_stack_itself() -> None:
    class Endless:
        async def receive(self) -> bytes:
            return await self.receive()

    with pytest.raises(RecursionError):
        await MultipartReader(Endless(), TYPE).drain()


async def test_drained_bytes_count() -> None:
    limits = Limits(max_part_bytes=100)
    reader = MultipartReader(Chunked(body([("a", "x" * 101), ("b", "")]), 9), TYPE, limits=limits)
    await anext(reader)
    with pytest.raises(LimitExceeded) as caught:
        await anext(reader)
    assert caught.value.limit == "max_part_bytes"


async def test_strict_and_tolerate_pass_to_the_levels_inside() -> None:
    inner = PartSpec(
        crlf("--in\nBad : 1\n\nx\n--in--"), content_type="multipart/mixed; boundary=in"
    )
    odd = PartSpec("--in\r\n--in--", content_type="multipart/mixed; boundary=in")
    walk = MultipartReader(body([inner]), TYPE, tolerate={"space-before-colon"}).walk()
    assert [it.headers["Bad"] async for it in walk] == ["1"]
    with pytest.raises(MalformedBody, match="space-before-colon"):
        await MultipartReader(body([inner]), TYPE).walk().__anext__()
    await MultipartReader(body([odd]), TYPE).walk().__anext__()
    with pytest.raises(MalformedBody, match="strict refuses 'no-blank-line'"):
        await MultipartReader(body([odd]), TYPE, strict=True).walk().__anext__()


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
async def test_only_flows_count_the_epilogue(size: int) -> None:
    """What came in the chunk of the close delimiter makes no difference."""
    sent, limits = BODY + b"e" * 3000, Limits(max_epilogue=100)
    await MultipartReader(Chunked(sent, size), TYPE, limits=limits).drain()
    assert len(await parts_of(Chunked(sent, size), limits=limits)) == 2
    router = Router()
    router.add(Part.read)
    with pytest.raises(LimitExceeded) as caught:
        await router.dispatch(MultipartReader(Chunked(sent, size), TYPE, limits=limits))
    assert caught.value.offset == BODY.rindex(b"--") + 2 + 100
    reader = MultipartReader(Chunked(sent, size), TYPE, limits=limits)
    assert len(await router.dispatch(reader, epilogue="ignore")) == 2


# -- deviations -------------------------------------------------------------------------------


async def test_deviations_of_all_levels_are_recorded_once_where_they_stand() -> None:
    inner = crlf("--in[\n--in[--")
    sent = crlf('--out]\nContent-Type: multipart/mixed; ; boundary="in["\n\n')
    sent += inner + crlf("\n--out]\nX:1\n--out]--")
    reader = MultipartReader(sent, 'multipart/mixed; boundary="out]";;')
    assert [it.path async for it in reader.walk()] == [(0, 0), (1,)]
    assert [(found.code, found.part) for found in reader.deviations] == [
        ("empty-parameter", None),
        ("boundary-characters", None),
        ("empty-parameter", (0,)),
        ("boundary-characters", (0,)),
        ("no-blank-line", (0, 0)),
        ("no-blank-line", (1,)),
    ]
    with pytest.raises(MalformedBody, match="strict"):
        MultipartReader(sent, 'multipart/mixed; boundary="out]"', strict=True)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_deviation_says_on_which_level_it_stands(size: int) -> None:
    inner = "pre\n--in\nX: ;\nContent-Type: text/plain; ;\n\nx\n--in--"
    kind = 'multipart/mixed; boundary="in"; ;'
    sent = f"--out\n\n\n--out\nContent-Type: {kind}\n\n{inner}\n--out--".encode()
    kind = "multipart/mixed; boundary=out"
    reader = MultipartReader(Chunked(sent, size), kind, tolerate={"bare-lf"})
    assert [it.path async for it in reader.walk()] == [(0,), (1, 0)]
    found = [(it.code, it.part, it.level, it.offset) for it in reader.deviations]
    assert found == [
        ("bare-lf", None, (), 0),
        ("empty-parameter", (1,), (), sent.index(b"Content-Type: multi")),
        ("bare-lf", (1,), (1,), inner.index("\n--in")),
        ("empty-parameter", (1, 0), (1,), inner.index("Content-Type: text")),
    ]


async def test_a_content_type_of_the_caller_has_no_place() -> None:
    reader = MultipartReader(BODY, TYPE + "; ;")
    assert [(it.code, it.part, it.level, it.offset) for it in reader.deviations] == [
        ("empty-parameter", None, None, None)
    ]


async def test_deviations_do_not_grow_without_end() -> None:
    odd = PartSpec("--in[--", content_type='multipart/mixed; boundary="in["')
    sent = body([odd] * 1500)
    reader = MultipartReader(sent, TYPE, limits=Limits.stream())
    assert [it async for it in reader.walk()] == []
    assert len(reader.deviations) == 1000


# -- subclasses -------------------------------------------------------------------------------

PAIRS = crlf("""\
--:
CONTENT-TYPE: application/json

{"_id": "foo"}
--:
CONTENT-TYPE: multipart/related; boundary=----:

----:
CONTENT-TYPE: application/json

{"_id": "bar"}
----:
CONTENT-TYPE: text/plain
CONTENT-DISPOSITION: attachment; filename=bar.txt

bar! bar! bar!
----:--
--:
CONTENT-TYPE: application/json

{"_id": "boo"}
--:
CONTENT-TYPE: multipart/related; boundary=----:

----:
CONTENT-TYPE: application/json

{"_id": "baz"}
----:
CONTENT-TYPE: text/plain
CONTENT-DISPOSITION: attachment; filename=baz.txt

baz! baz! baz!
----:--
--:--
""")


class Pairs(MultipartReader):
    """Gives documents with a reader of their attachments, where there are any."""

    reader_class = MultipartReader  # of the levels inside

    async def next_part(self) -> Any:
        it = await super().next_part()
        if it is None:
            return None
        if not it.is_multipart:
            return await it.json(), None
        attachments = it.multipart()
        return await (await anext(attachments)).json(), attachments


@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_a_subclass_may_give_pairs(size: int) -> None:
    reader = Pairs(
        Chunked(PAIRS, size), "multipart/mixed; boundary=--:", tolerate={"dashed-boundary"}
    )
    pairs: list[tuple[str, list[tuple[str, str]]]] = []
    while (pair := await reader.next_part()) is not None:
        document, attachments = pair
        pairs.append((document["_id"], []))
        if attachments is not None:
            async for it in attachments:
                pairs[-1][1].append((it.filename, await it.text()))
    assert pairs == [
        ("foo", []),
        ("bar", [("bar.txt", "bar! bar! bar!")]),
        ("boo", []),
        ("baz", [("baz.txt", "baz! baz! baz!")]),
    ]
    assert {found.code for found in reader.deviations} == {"dashed-boundary", "unquoted-value"}


class Own(Part):
    """A part with more to say."""

    @property
    def shout(self) -> str:
        return (self.name or "").upper()


class OwnReader(MultipartReader):
    part_class = Own


async def test_a_subclass_reads_the_levels_inside_by_itself() -> None:
    seen: list[str] = []
    async for it in OwnReader(DEEP, TYPE).walk():
        assert isinstance(it, Own)
        seen.append(it.shout)
    assert seen == ["", "A", "X", "Y", "B", ""]


# -- closed, claimed, busy --------------------------------------------------------------------


async def test_a_closed_reader_gives_nothing_more() -> None:
    async with MultipartReader(Chunked(BODY, 4), TYPE) as reader:
        it = await anext(reader)
    for call in (reader.next_part, reader.drain, reader.claim, it.read):
        with pytest.raises(anyio.ClosedResourceError):
            await call()
    with pytest.raises(anyio.ClosedResourceError, match="cannot be read: it was closed"):
        await anext(reader)


async def test_closing_an_inner_reader_leaves_the_rest_alone() -> None:
    reader = MultipartReader(DEEP, TYPE)
    await anext(reader)
    async with (await anext(reader)).multipart() as inner:
        assert (await anext(inner)).name == "a"
    assert await parts_rest(reader) == [b"last"]


async def parts_rest(reader: MultipartReader) -> list[bytes]:
    return [await it.read() async for it in reader]


async def test_an_exception_leaves_the_block_bare() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with MultipartReader(BODY, TYPE):
            raise KeyError("mine")


async def test_a_reader_that_a_flow_claimed() -> None:
    reader = MultipartReader(BODY, TYPE)
    first = await anext(reader)
    await reader.claim()
    with pytest.raises(anyio.ClosedResourceError):
        await first.read()
    for call in (reader.next_part, reader.drain, reader.claim):
        with pytest.raises(anyio.ClosedResourceError, match="a flow reads it"):
            await call()
    event = await reader.next_event()
    assert isinstance(event, WholePart)
    assert event.data == b"two"
    assert isinstance(await reader.next_event(), BodyEnd)


async def test_a_reader_that_is_claimed_before_its_first_part() -> None:
    reader = MultipartReader(BODY, TYPE)
    await reader.claim()
    assert isinstance(await reader.next_event(), WholePart)


async def test_two_at_once_are_refused_and_lose_nothing() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](9)
    with send, receive:
        cut = BODY.index(b"one") + 1
        send.send_nowait(BODY[:cut])
        reader = MultipartReader(receive, TYPE)
        part = await anext(reader)
        got: list[bytes] = []

        async def read() -> None:
            got.append(await part.read())

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            for call in (part.receive, part.read, part.readline, reader.next_part, reader.fill):
                with pytest.raises(anyio.BusyResourceError):
                    await call()
            send.send_nowait(BODY[cut:])
        assert got == [b"one"]
        assert await parts_rest(reader) == [b"two"]


async def test_a_busy_outer_level_does_not_break_the_inner_one() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](9)
    cut = DEEP.index(b"11")
    with send, receive:
        send.send_nowait(DEEP[:cut])
        reader = MultipartReader(receive, TYPE)
        await anext(reader)
        middle = await anext(reader)
        inner = middle.multipart()
        await anext(inner)
        got: list[bytes] = []

        async def read() -> None:
            got.append(await middle.peek(1))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await (await anext(inner)).multipart().next_part()
            send.send_nowait(DEEP[cut:])
        assert len(got) == 1
        assert [it.name async for it in inner] == ["b"]


# -- for flows --------------------------------------------------------------------------------


async def test_the_limits_of_a_router() -> None:
    plain = MultipartReader(BODY, TYPE)
    plain.limit(None)
    assert plain.budget.limits == Limits()
    plain.limit(Limits(max_parts=7, max_headers=99))
    assert (plain.budget.limits.max_parts, plain.budget.limits.max_headers) == (7, 99)

    own = MultipartReader(BODY, TYPE, limits=Limits(max_parts=5, max_depth=9))
    own.limit(Limits(max_parts=7, max_headers=3))
    limits = own.budget.limits
    assert (limits.max_parts, limits.max_headers, limits.max_depth) == (5, 3, 4)


@pytest.mark.parametrize("size", [1, 1000])
async def test_the_limits_of_a_router_for_a_reader_that_was_read(size: int) -> None:
    own = MultipartReader(Chunked(BODY, size), TYPE, limits=Limits(max_parts=5))
    await anext(own)
    own.limit(Limits(max_parts=1))
    assert own.budget.limits.max_parts == 1
    with pytest.raises(LimitExceeded) as caught:
        await parts_rest(own)
    assert (caught.value.limit, caught.value.value) == ("max_parts", 1)

    plain = MultipartReader(Chunked(BODY, size), TYPE)
    await anext(plain)
    plain.limit(Limits(max_parts=9999))
    assert plain.budget.limits.max_parts == 9999
    assert await parts_rest(plain) == [b"two"]


async def test_the_limits_of_an_inner_router_can_only_be_tighter() -> None:
    reader = MultipartReader(DEEP, TYPE, limits=Limits(max_parts=50))
    await anext(reader)
    inner = (await anext(reader)).multipart()
    inner.limit(Limits(max_parts=99, max_headers=5))
    assert (inner.budget.limits.max_parts, inner.budget.limits.max_headers) == (50, 5)
    assert inner.budget.counts is reader.budget.counts
    assert len([it async for it in inner]) == 3


@pytest.mark.parametrize(("most", "allowed"), [(5, False), (100, True)])
async def test_a_flow_may_let_a_part_be_larger(most: int, allowed: bool) -> None:
    reader = MultipartReader(body([("a", "x" * 50)]), TYPE, limits=Limits(max_part_bytes=10))
    reader.allow_part_bytes(most)
    assert reader.part_bytes_allowed is allowed
    if allowed:
        assert await parts_rest(reader) == [b"x" * 50]
    else:
        with pytest.raises(LimitExceeded):
            await parts_rest(reader)


async def test_events_as_flows_see_them() -> None:
    reader = MultipartReader(Chunked(BODY, 1000), TYPE)
    assert reader.poll() is NEED_DATA
    assert (reader.taken, reader.at_eof) == (0, False)
    await reader.fill()
    assert isinstance(reader.poll(), WholePart)
    await reader.fill()
    assert reader.at_eof
    await reader.fill()
    assert isinstance(reader.poll(), WholePart)
    assert isinstance(reader.poll(), BodyEnd)
    assert len(await parts_of(BODY)) == 2
