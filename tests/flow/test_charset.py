"""Rule 27 of a flow, its second half: the `_charset_` field of a form.

Knows: RFC 7578, 4.6. Must not know: how text is decoded.
"""

from __future__ import annotations

import pytest

from mpflow import InvalidContent, MultipartReader, Part, Router
from tests.flow.support import Field, form, nested, read, reader

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("size", [None, 1, 25])]

WORD = "Grüße"


async def text(part: Part) -> str:
    return await part.text()


async def test_it_sets_the_charset_of_what_follows(size: int | None) -> None:
    router = Router()
    router.add(text)
    body = form(
        ("before", WORD.encode()),
        ("_charset_", b"iso-8859-1"),
        ("after", WORD.encode("iso-8859-1")),
        Field("own", WORD.encode("utf-16"), content_type="text/plain; charset=utf-16"),
    )
    results = await router.dispatch(reader(body, size=size))
    assert [(h.key, h.value) for h in results] == [
        ("before", WORD), ("after", WORD), ("own", WORD),
    ]  # fmt: skip
    assert [h.part.index for h in results] == [0, 2, 3]


async def test_it_is_not_routed_and_none_need_take_it(size: int | None) -> None:
    router = Router()
    router.add(text, name="a", required=True, max_count=1)
    results = await router.dispatch(reader(form(("_charset_", b"utf-8"), ("a", b"1")), size=size))
    assert [h.key for h in results] == ["a"]


async def test_a_route_that_names_it_takes_it(size: int | None) -> None:
    router = Router()
    router.add(read, name="_charset_")
    router.add(text)
    body = form(("_charset_", b"iso-8859-1"), ("a", WORD.encode()))
    results = await router.dispatch(reader(body, size=size))
    assert results["_charset_"] == b"iso-8859-1"
    assert results["a"] == WORD


@pytest.mark.parametrize("value", [b"no-such-charset", b"", b"u" * 65, b"x" * 100_000, b"zlib"])
async def test_an_unknown_one_is_refused(size: int | None, value: bytes) -> None:
    if size == 1 and len(value) > 1000:
        size = 1000
    router = Router()
    router.add(text)
    with pytest.raises(InvalidContent, match="a known charset in the field _charset_") as info:
        await router.dispatch(reader(form(("_charset_", value), ("a", b"")), size=size))
    assert info.value.part is not None
    assert info.value.part.name == "_charset_"


async def test_a_file_of_that_name_is_a_file(size: int | None) -> None:
    router = Router()
    router.add(read)
    body = form(Field("_charset_", b"x", filename="x.txt"), ("a", b"1"))
    results = await router.dispatch(reader(body, size=size))
    assert [h.value for h in results] == [b"x", b"1"]


async def test_it_means_nothing_outside_of_forms(size: int | None) -> None:
    router = Router()
    router.add(read)
    source = form(("_charset_", b"x"), boundary="b")
    made = MultipartReader(source, "multipart/mixed; boundary=b")
    results = await router.dispatch(made)
    assert results["_charset_"] == b"x"


async def test_it_holds_in_a_multipart_inside_the_form(size: int | None) -> None:
    inner = Router()
    inner.add(text)
    outer = Router()
    outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
    outer.add(text)
    word = WORD.encode("iso-8859-1")
    body = form(
        nested("before", ("a", WORD.encode()), boundary="one"),
        ("_charset_", b"latin1"),
        nested("after", ("a", word), boundary="two"),
    )
    results = await outer.dispatch(reader(body, size=size))
    assert results["before"].results["a"] == WORD
    assert results["after"].results["a"] == WORD
