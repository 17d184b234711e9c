"""`Json`, `Text`, `Form`, `Collect`, `Discard`: a part as a value.

Knows: bodies and what they stand for. Must not know: how a part is gathered.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from json import loads
from typing import Any

import pytest

from mpflow import (
    InvalidContent,
    LimitExceeded,
    Limits,
    MultipartReader,
    RouteError,
    Router,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.testing import Bytewise, PartSpec, body, content_type_of
from mpflow_handlers import Collect, Discard, Form, Json, Text
from tests.handlers.support import Pieces, part_of

pytestmark = pytest.mark.anyio

BASE64 = {"Content-Transfer-Encoding": "base64"}
GZIP = {"Content-Encoding": "gzip"}


# -- Json -------------------------------------------------------------------------------------


async def test_json() -> None:
    assert await Json()(part_of([b'{"a": [', b"1]}"])) == {"a": [1]}


async def test_json_by_another_decoder() -> None:
    decoder = partial(loads, parse_float=Decimal)
    assert await Json(decoder=decoder)(part_of(b"0.1")) == Decimal("0.1")


async def test_json_that_is_none() -> None:
    with pytest.raises(InvalidContent, match=r"expected JSON, got '\{'"):
        await Json()(part_of(b"{"))


# -- Text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "encoding", "content_type", "charset"),
    [
        ("é".encode(), None, None, None),
        ("é".encode("latin-1"), "latin-1", "text/plain; charset=utf-8", "utf-8"),
        ("é".encode("utf-16"), None, "text/plain; charset=utf-16", "utf-8"),
        ("é".encode("cp1252"), None, None, "windows-1252"),
    ],
    ids=["utf-8", "its owner's", "the part's", "the form's"],
)
async def test_text(
    data: bytes, encoding: str | None, content_type: str | None, charset: str | None
) -> None:
    part = part_of([data[:1], data[1:]], content_type=content_type, charset=charset)
    assert await Text(encoding)(part) == "é"


async def test_text_that_is_none() -> None:
    with pytest.raises(InvalidContent, match="utf-8"):
        await Text()(part_of(b"\xff"))


@pytest.mark.parametrize("handler", [Text, Form])
@pytest.mark.parametrize("encoding", ["none-such", "base64", 5], ids=str)
def test_an_encoding_that_is_none(handler: Any, encoding: Any) -> None:
    with pytest.raises(RouteError, match="expected a known encoding"):
        handler(encoding)


# -- Form -------------------------------------------------------------------------------------


async def test_form() -> None:
    pairs = await Form()(part_of([b"a=1&b", b"=&a=%C3%A9+x"]))
    assert pairs == [("a", "1"), ("b", ""), ("a", "é x")]


async def test_form_in_another_encoding() -> None:
    assert await Form("latin-1")(part_of(b"a=%E9")) == [("a", "é")]
    with pytest.raises(InvalidContent, match="form"):
        await Form()(part_of(b"a=%E9"))


# -- Collect ----------------------------------------------------------------------------------


async def test_collect() -> None:
    assert await Collect()(part_of([b"\0", b"\r\n", b"x"])) == b"\0\r\nx"
    assert await Collect()(part_of(b"")) == b""


async def test_collect_takes_what_its_owner_allows() -> None:
    data = bytes(3 * 1024 * 1024)
    pieces = [data[:65536]] * 48
    with pytest.raises(LimitExceeded, match="at most 1048576 bytes"):
        await Collect()(part_of(pieces))
    assert await Collect("3 MiB")(part_of(pieces)) == data
    assert await Collect(None)(part_of(pieces)) == data


async def test_collect_stops_reading_at_its_limit() -> None:
    source = Pieces([b"x" * 1000] * 100)
    with pytest.raises(LimitExceeded) as caught:
        await Collect(2500)(part_of(source))
    assert (caught.value.limit, caught.value.value) == ("max_memory", 2500)
    assert source.received == 3
    assert await Collect(3)(part_of(b"xxx")) == b"xxx"
    with pytest.raises(LimitExceeded):
        await Collect(2)(part_of(b"xxx"))


async def test_what_is_collected_counts_in_total() -> None:
    limits = Limits(max_total_memory=10, max_memory=10)
    reader = MultipartReader(
        body([("a", b"x" * 8), ("b", b"x" * 8)]), content_type_of(), limits=limits
    )
    router = Router()
    router.add(Collect(8))
    with pytest.raises(LimitExceeded, match="max_total_memory"):
        await router.dispatch(reader)


async def test_collect_keeps_content_codings() -> None:
    assert await Collect()(part_of(b"\x1f\x8b", headers=GZIP)) == b"\x1f\x8b"


async def test_collect_never_gives_what_is_still_encoded() -> None:
    part = part_of(b"eA==", headers={"Content-Transfer-Encoding": "x-unknown"})
    with pytest.raises(UnsupportedCoding):
        await Collect()(part)


@pytest.mark.parametrize("limit", [-1, "much", 1.5, True], ids=str)
def test_a_limit_that_is_none(limit: Any) -> None:
    with pytest.raises(RouteError, match="limit"):
        Collect(limit)


# -- Discard ----------------------------------------------------------------------------------


async def test_discard_reads_to_the_end() -> None:
    source = Pieces([b"x"] * 10)
    assert await Discard()(part_of(source)) is None  # type: ignore[func-returns-value]
    assert source.received == 10


async def test_discard_hides_no_cut() -> None:
    with pytest.raises(TruncatedBody):
        await Discard()(part_of(Pieces([b"x"], error=TruncatedBody("cut"))))


# -- all of them ------------------------------------------------------------------------------


async def test_on_a_router() -> None:
    router = Router()
    router.add(Json(), name="json")
    router.add(Text(), name="text")
    router.add(Form(), name="form")
    router.add(Collect(), name="file")
    router.add(Discard())
    parts = [
        ("text", "é"),
        PartSpec(b"\0", name="file", filename="f"),
        ("form", "a=1"),
        ("other", "x" * 100),
        ("json", "[1]"),
    ]
    source = Bytewise(body(parts))
    results = await router.dispatch(MultipartReader(source, content_type_of()))
    assert {item.key: item.value for item in results} == {
        "text": "é",
        "file": b"\0",
        "form": [("a", "1")],
        "other": None,
        "json": [1],
    }


def test_they_are_values() -> None:
    assert Json() == Json()
    assert hash(Text("utf-8")) == hash(Text("utf-8"))
    assert Collect(5) != Collect(6)
    assert Discard() == Discard()
    assert Form() == Form(None)
