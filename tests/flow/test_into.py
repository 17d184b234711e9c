"""`dispatch(into=...)`: results in a class of the caller's own, before anything is committed.

Knows: what a caller sees. Must not know: how a class is read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import attrs
import pytest
from anyio import sleep_forever
from anyio.lowlevel import checkpoint

from mpflow import (
    InvalidContent,
    MissingParts,
    MultipartReader,
    Part,
    Problem,
    Results,
    ResultsMismatch,
    RouteError,
    Router,
    SurplusPart,
    TruncatedBody,
)
from mpflow_handlers import Nested, Tee
from tests.flow.support import (
    CONTENT_TYPE,
    Chunks,
    Diary,
    Field,
    cut,
    form,
    names,
    nested,
    read,
    reader,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@attrs.frozen
class Upload:
    title: bytes
    photos: list[bytes]
    note: bytes | None = None


@dataclass
class Plain:
    title: bytes
    photos: tuple[bytes, ...]


def router(diary: Diary | None = None, **photo: Any) -> Router:
    made = Router()
    made.add(read, name="title", filename=False)
    made.add(read if diary is None else diary, filename=True, key="photos", **photo)
    made.add(read, name="note")
    made.add(read)
    return made


def photo(data: bytes, name: str = "p") -> Field:
    return Field(name, data, filename="p.jpg")


async def text(part: Part) -> str:
    return await part.text()


# -- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 1, 17])
async def test_an_attrs_class(size: int | None) -> None:
    body = form(photo(b"1"), ("title", b"t"), photo(b"2"), ("unknown", b"?"))
    upload = await router().dispatch(reader(body, size=size), into=Upload)
    assert upload == Upload(b"t", [b"1", b"2"])


async def test_a_dataclass() -> None:
    body = form(("title", b"t"), photo(b"1"))
    assert await router().dispatch(reader(body), into=Plain) == Plain(b"t", (b"1",))


async def test_a_generic_class() -> None:
    @attrs.frozen
    class Box(Generic[T]):
        title: T

    body = form(("title", b"t"))
    assert await router().dispatch(reader(body), into=Box[bytes]) == Box(b"t")
    with pytest.raises(ResultsMismatch, match="title: expected str, got bytes from part 0 'title'"):
        await router().dispatch(reader(body), into=Box[str])


@attrs.frozen
class Meta:
    owner: bytes


@attrs.frozen
class Album:
    title: bytes
    meta: Meta
    others: list[Meta]
    last: Meta | None = None


def album() -> Router:
    inner = Router()
    inner.add(read, name="owner")
    outer = Router()
    outer.add(read, name="title")
    for key in ("meta", "others", "last"):
        outer.add(Nested(inner), name=key)
    return outer


async def test_classes_inside_classes() -> None:
    body = form(
        nested("others", ("owner", b"x"), boundary="i1"),
        ("title", b"t"),
        nested("meta", ("owner", b"me"), boundary="i2"),
        nested("others", ("owner", b"y"), boundary="i3"),
    )
    made = await album().dispatch(reader(body, size=30), into=Album)
    assert made == Album(b"t", Meta(b"me"), [Meta(b"x"), Meta(b"y")])


async def test_what_is_missing_inside_is_named() -> None:
    body = form(nested("meta", boundary="i1"), nested("others", boundary="i2"))
    with pytest.raises(MissingParts) as info:
        await album().dispatch(reader(body), into=Album)
    assert info.value.missing == ("title", "meta.owner", "others[0].owner")


# -- nothing is committed that does not fit -----------------------------------------------------


@pytest.mark.parametrize("size", [None, 1, 50])
async def test_what_is_missing_rolls_back(size: int | None) -> None:
    diary = Diary()
    body = form(photo(b"1", "a"), photo(b"2", "b"))
    with pytest.raises(MissingParts, match="title") as info:
        await router(diary).dispatch(reader(body, size=size), into=Upload)
    assert diary.rolled_back == ["b", "a"]
    assert diary.committed == []
    assert all(reason.__cause__ is info.value for reason in diary.reasons)


async def test_what_is_of_the_wrong_type_rolls_back() -> None:
    @attrs.frozen
    class Wrong:
        title: str
        note: int

    diary = Diary()
    made = router(diary)
    body = form(("title", b"t"), photo(b"1", "a"), ("note", b"n"))
    with pytest.raises(ResultsMismatch) as info:
        await made.dispatch(reader(body), into=Wrong)
    assert info.value.wrong == (
        "title: expected str, got bytes from part 0 'title'",
        "note: expected int, got bytes from part 2 'note'",
    )
    assert diary.rolled_back == ["a"]


async def test_what_the_class_raises_rolls_back_and_comes_out_bare() -> None:
    failure = ZeroDivisionError("of the class's own")

    @attrs.frozen
    class Strict:
        title: bytes

        def __attrs_post_init__(self) -> None:
            raise failure

    diary = Diary()
    body = form(("title", b"t"), photo(b"1", "a"))
    with pytest.raises(ZeroDivisionError) as info:
        await router(diary).dispatch(reader(body), into=Strict)
    assert info.value is failure
    assert diary.rolled_back == ["a"]


async def test_the_class_is_made_before_the_commit() -> None:
    order: list[str] = []

    @attrs.frozen
    class Noted:
        title: bytes

        def __attrs_post_init__(self) -> None:
            order.append("made")

    async def step(what: str, name: str) -> None:
        order.append(what)

    await router(Diary(step)).dispatch(reader(form(("title", b"t"), photo(b"1", "a"))), into=Noted)
    assert order == ["stage", "made", "commit"]


async def test_a_flow_leaves_it_to_its_block() -> None:
    diary = Diary()
    body = form(("title", b"t"), photo(b"1", "a"))
    async with router(diary).flow(reader(body), into=Upload) as flow:
        upload = flow.results.into(Upload)
        assert diary.committed == []
    assert upload == Upload(b"t", [b"1"])
    assert diary.committed == ["a"]


# -- failures ---------------------------------------------------------------------------------


async def fails_for_bad(part: Part) -> bytes:
    data = await part.read()
    if data == b"bad":
        raise ValueError("bad photo")
    return data


def collecting() -> Router:
    made = Router()
    made.add(read, name="title")
    made.add(fails_for_bad, name="photos", on_error="collect")
    return made


async def test_a_collected_failure_that_the_type_admits() -> None:
    @attrs.frozen
    class Tolerant:
        photos: list[bytes | ValueError]

    body = form(("photos", b"1"), ("photos", b"bad"), ("photos", b"2"))
    made = await collecting().dispatch(reader(body), into=Tolerant)
    assert [str(photo) for photo in made.photos] == ["b'1'", "bad photo", "b'2'"]


async def test_collected_failures_that_it_does_not_admit() -> None:
    body = form(("photos", b"bad"), ("photos", b"bad"), ("photos", b"2"))
    with pytest.raises(ResultsMismatch) as info:
        await collecting().dispatch(reader(body), into=Photos)
    error = info.value
    assert error.missing == ("title",)
    assert error.failed == (
        "photos[0]: part 0 'photos' failed: ValueError: 'bad photo'",
        "photos[1]: part 1 'photos' failed: ValueError: 'bad photo'",
    )
    assert isinstance(error.__cause__, ExceptionGroup)
    assert [type(cause) for cause in error.__cause__.exceptions] == [ValueError, ValueError]


@attrs.frozen
class Photos:
    title: bytes
    photos: list[bytes]


async def test_a_handlers_own_failure_comes_first() -> None:
    """It ended the flow before anything could be put anywhere."""
    made = Router()
    made.add(read, name="title")
    made.add(fails_for_bad, name="photos")
    with pytest.raises(ValueError, match="bad photo"):
        await made.dispatch(reader(form(("photos", b"bad"))), into=Photos)


# -- at once ----------------------------------------------------------------------------------


async def test_a_second_part_of_a_single_field_is_refused_at_once() -> None:
    diary = Diary()
    body = form(("title", b"t"), photo(b"1", "a"), ("title", b"u"), photo(bytes(100_000), "b"))
    source = Chunks(cut(body, 64))
    with pytest.raises(SurplusPart, match="one part of key 'title'") as info:
        await router(diary).dispatch(_reader(source), into=Upload)
    assert info.value.part is not None
    assert info.value.part.path == (2,)
    assert source.given < 1000
    assert diary.staged == diary.rolled_back
    assert "b" not in diary.staged


def _reader(source: Any) -> Any:
    from mpflow import MultipartReader

    return MultipartReader(source, CONTENT_TYPE)


async def test_two_routes_of_one_single_key_count_together() -> None:
    made = Router()
    made.add(read, name="a", key="title")
    made.add(read, name="b", key="title")
    made.add(read, name="photos")
    with pytest.raises(SurplusPart):
        await made.dispatch(reader(form(("a", b"1"), ("b", b"2"))), into=Photos)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (int, "expected an attrs class or a dataclass"),
        (attrs.make_class("Unknown", {"nope": attrs.field(type=int)}), "Unknown has fields for"),
    ],
)
async def test_a_class_that_cannot_be_filled_is_refused_before_a_byte(
    wanted: Any, message: str
) -> None:
    async def never() -> None:
        await checkpoint()
        raise AssertionError("it was read")

    with pytest.raises(RouteError, match=message):
        await router().dispatch(reader(Chunks([b"x"], never)), into=wanted)


# -- a client that chooses its names ----------------------------------------------------------


async def test_a_name_is_no_key() -> None:
    """`photos` is the key of files; a field that is called so is none."""
    body = form(("title", b"t"), ("photos", b"forged"), photo(b"1", "note"))
    upload = await router().dispatch(reader(body), into=Upload)
    assert upload == Upload(b"t", [b"1"], None)


async def test_what_the_handler_gives_is_what_counts() -> None:
    """A multipart in place of a text is a matter of its route, not of the class."""
    body = form(nested("title", ("title", b"t")))
    made = await router().dispatch(reader(body), into=Upload)
    assert made.title.startswith(b"--inner")


async def test_inner_results_of_a_two_phase_handler() -> None:
    committed: list[list[str | None]] = []
    inner = Router()
    inner.add(read, name="owner")

    @asynccontextmanager
    async def both(part: Part) -> AsyncGenerator[Results, None]:
        async with inner.flow(part.multipart()) as flow:
            yield flow.results
        committed.append(names(flow.results))

    outer = Router()
    outer.add(both, name="meta")

    @attrs.frozen
    class Holder:
        meta: Any

    made = await outer.dispatch(
        reader(form(nested("meta", ("owner", b"me")))), into=_with(Holder, meta=Meta)
    )
    assert made.meta == Meta(b"me")
    assert committed == [["owner"]]


def _with(cls: type[T], **types: Any) -> type[T]:
    cls.__annotations__.update(types)
    return cls


@attrs.frozen
class Tree:
    a: bytes
    kids: list[Tree]


@attrs.frozen
class Shelf:
    title: bytes
    books: list[Upload]


async def test_a_key_that_no_inner_route_declares_is_refused_before_a_byte() -> None:
    inner = Router()
    inner.add(read, name="title")
    outer = Router()
    outer.add(read, name="title")
    outer.add(Nested(inner), name="books")
    source = Chunks([form(("title", b"1"))])
    with pytest.raises(RouteError, match="Upload has fields for the keys 'photos', 'note'"):
        await outer.dispatch(MultipartReader(source, CONTENT_TYPE), into=Shelf)
    assert source.given == 0


async def test_a_class_inside_itself() -> None:
    tree = Router()
    tree.add(read, name="a")
    tree.add(Nested(tree), name="kids")
    body = form(("a", b"1"), nested("kids", ("a", b"2")))
    made = await tree.dispatch(reader(body), into=Tree)
    assert made == Tree(b"1", [Tree(b"2", [])])


async def test_all_that_is_missing_is_told_together() -> None:
    made = Router()
    made.add(read, name="other", required=True)
    made.add(read, name="title")
    made.add(read, name="photos")
    made.add(read, name="note")
    with pytest.raises(MissingParts) as caught:
        await made.dispatch(reader(form(("note", b""))), into=Upload)
    assert caught.value.missing == ("'other'", "title")


# -- a handler that gives several values ---------------------------------------------------------


@attrs.frozen
class Signed:
    meta: tuple[Meta, bytes]
    others: list[tuple[Meta | ValueError, bytes]]


def signed(inner: Router | None = None) -> Router:
    if inner is None:
        inner = Router()
        inner.add(fails_for_bad, name="owner")
    outer = Router()
    outer.add(Tee(Nested(inner), read), name="meta")
    outer.add(Tee(Tee.collect(Nested(inner)), read), name="others")
    return outer


async def test_results_in_a_tuple_go_into_classes() -> None:
    meta = nested("meta", ("owner", b"me"), boundary="i")
    other = nested("others", ("owner", b"x"), boundary="i")
    bad = nested("others", ("owner", b"bad"), boundary="i")
    body = form(other, meta, bad)
    made = await signed().dispatch(reader(body), into=Signed)
    assert made.meta == (Meta(b"me"), meta.data)
    assert made.others[0] == (Meta(b"x"), other.data)
    failure, data = made.others[1]
    assert isinstance(failure, ValueError)
    assert data == bad.data


async def test_what_does_not_fit_in_a_tuple_is_told_by_its_place() -> None:
    @attrs.frozen
    class Strict:
        meta: tuple[Meta, str]
        others: list[tuple[Meta, bytes]]

    empty = nested("others", boundary="i")
    bad = nested("others", ("owner", b"bad"), boundary="i")
    body = form(nested("meta", ("owner", b""), boundary="i"), empty, bad)
    with pytest.raises(ResultsMismatch) as caught:
        await signed().dispatch(reader(body), into=_with(Strict, meta=tuple[Meta, str]))
    assert caught.value.missing == ("others[0][0].owner",)
    assert caught.value.wrong == ("meta[1]: expected str, got bytes from part 0 'meta'",)
    assert caught.value.failed == ("others[1][0]: part 2 'others' failed: ValueError: 'bad photo'",)


@attrs.frozen
class Author:
    author: bytes


@pytest.mark.parametrize(
    "hint",
    [
        tuple[Author, bytes],
        tuple[Author, bytes] | None,
        list[tuple[Author, bytes]],
        tuple[bytes, tuple[Author, bytes]],
    ],
    ids=str,
)
async def test_a_key_that_no_route_inside_a_tee_declares_is_refused_before_a_byte(
    hint: Any,
) -> None:
    """The class is checked wherever a `Tee` gives the results of a router that is known."""
    inner = Router()
    inner.add(read, name="owner")
    tee = Tee(Nested(inner), read)
    outer = Router()
    outer.add(Tee(read, tee) if "bytes, tuple" in str(hint) else tee, name="meta")
    source = Chunks([form(("meta", b""))])
    wanted = attrs.make_class("Wanted", {"meta": attrs.field(type=hint)})
    with pytest.raises(RouteError, match="Author has fields for the keys 'author'"):
        await outer.dispatch(MultipartReader(source, CONTENT_TYPE), into=wanted)
    assert source.given == 0


async def test_a_need_inside_a_tee_that_nobody_meets_is_refused_before_a_byte() -> None:
    async def needy(part: Part, user: str) -> str:
        return user + await part.text()

    inner = Router()
    inner.add(needy, name="owner", needs="user")
    source = Chunks([form()])
    with pytest.raises(RouteError, match="needs 'user', which no route declares and nobody gives"):
        await signed(inner).dispatch(MultipartReader(source, CONTENT_TYPE))
    assert source.given == 0

    outer = Router()
    outer.add(Tee(Nested(inner, needs="user"), read), name="meta")
    body = form(nested("meta", ("owner", b"!"), boundary="i"))
    results = await outer.dispatch(reader(body), given={"user": "me"})
    assert results["meta"][0]["owner"] == "me!"


# -- a refusal tells all that is known ------------------------------------------------------------


@attrs.frozen
class Wrong:
    title: bytes
    note: int
    meta: Meta
    others: list[int]


def requiring(inner: Router | None = None, **note: Any) -> Router:
    """Its routes refuse a body without the parts, as the class would."""
    if inner is None:
        inner = Router()
        inner.add(read, name="owner", required=True)
    made = Router()
    made.add(read, name="title", required=True)
    made.add(read, name="note", **note)
    made.add(Nested(inner), name="meta")
    made.add(read, name="others")
    made.add(read, name="more", required=True)
    return made


@pytest.mark.parametrize("size", [None, 1, 40])
async def test_wrong_types_are_told_with_required_parts_that_are_missing(size: int | None) -> None:
    """However the body is cut: what answers without waiting is known at the refusal."""
    body = form(("note", b"n"), nested("meta", ("owner", b"me")), ("others", b"1"))
    with pytest.raises(ResultsMismatch) as caught:
        await requiring().dispatch(reader(body, size=size), into=Wrong)
    assert caught.value.missing == ("title", "'more'")
    assert caught.value.wrong == (
        "note: expected int, got bytes from part 0 'note'",
        "others[0]: expected int, got bytes from part 2 'others'",
    )
    assert caught.value.unfit == ("note", "others[0]")
    assert caught.value.status == 422


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("size", [None, 1])
async def test_a_client_is_told_what_it_has_to_send(size: int | None, required: bool) -> None:
    """Of the program no type is told, and the fault of this side only once it stands alone."""
    wanted = attrs.make_class(
        "Wanted", {"title": attrs.field(type=bytes), "note": attrs.field(type=int)}
    )
    made = Router()
    made.add(read, name="title", required=required)
    made.add(read, name="note")
    with pytest.raises(ResultsMismatch) as caught:
        await made.dispatch(reader(form(("note", b"n")), size=size), into=wanted)
    assert Problem.of(caught.value).document() == {
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "title: expected a part, got none; note: the part does not fit",
        "error": "ResultsMismatch",
        "missing": ["title"],
        "unfit": ["note"],
    }
    with pytest.raises(ResultsMismatch) as caught:
        await made.dispatch(reader(form(("note", b"n"), ("title", b"")), size=size), into=wanted)
    assert caught.value.status == 500


async def test_whose_fault_a_collected_failure_is() -> None:
    async def refuses(part: Part) -> bytes:
        raise {"client": InvalidContent("no"), "service": OSError("full")}[await part.text()]

    made = Router()
    made.add(read, name="title")
    made.add(refuses, name="photos", on_error="collect")
    for sent, status in ((b"client", 422), (b"service", 500)):
        with pytest.raises(ResultsMismatch) as caught:
            await made.dispatch(reader(form(("photos", sent))), into=Photos)
        assert (caught.value.missing, caught.value.unfit) == (("title",), ("photos[0]",))
        assert caught.value.status == status
        body = form(("title", b""), ("photos", sent))
        with pytest.raises(ResultsMismatch) as caught:
            await made.dispatch(reader(body), into=Photos)
        assert caught.value.status == status


async def test_the_same_for_a_flow_whose_block_is_not_run() -> None:
    with pytest.raises(ResultsMismatch, match="title: expected a part, got none; 'more'"):
        async with requiring().flow(reader(form(("note", b"n"))), into=Wrong):
            raise AssertionError("it was entered")


def pages(*flags: bool) -> list[Field]:
    """Multiparts that lack one of the parts that they must have, or none."""
    owner, extra = ("owner", b"me"), ("extra", b"")
    return [
        nested("pages", *([owner, extra] if whole else [extra]), boundary="i") for whole in flags
    ]


def paged() -> Router:
    inner = Router()
    inner.add(read, name="owner", required=True)
    inner.add(read, name="extra", required=True)
    made = Router()
    made.add(read, name="title", required=True)
    made.add(Nested(inner), name="pages")
    made.add(fails_for_bad, name="note")
    return made


@attrs.frozen
class Paged:
    title: bytes
    pages: list[Meta]
    note: bytes


SIZES = [None, 1, 2, 7, 50, 100, 200, 400, 1000]
"""Chunks within a part inside, of some parts, of most of the body."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 30])
async def test_what_is_missing_inside_is_told_however_the_body_is_cut(
    count: int, size: int | None
) -> None:
    for more, missing in (([("note", b"")], ["title"]), ([("title", b"")], ["note"])):
        body = form(*pages(*[i % 3 == 1 for i in range(count)]), *more)
        with pytest.raises(MissingParts) as caught:
            await paged().dispatch(reader(body, size=size), into=Paged)
        inside = [f"pages[{i}].owner" for i in range(count) if i % 3 != 1]
        assert sorted(caught.value.missing) == sorted([*missing, *inside])
        assert [text for text in caught.value.missing if "pages" in text] == inside


@pytest.mark.parametrize("size", SIZES)
async def test_the_same_two_levels_deep_and_inside_a_tee(size: int | None) -> None:
    @attrs.frozen
    class Shelves:
        title: bytes
        books: list[tuple[Paged, bytes]]

    outer = Router()
    outer.add(read, name="title")
    outer.add(Tee(Nested(paged()), read), name="books")
    books = [nested("books", *pages(False, True, False), boundary=f"b{i}") for i in range(2)]
    with pytest.raises(MissingParts) as caught:
        await outer.dispatch(reader(form(*books), size=size), into=Shelves)
    inside = ("title", "pages[0].owner", "pages[2].owner", "note")
    assert sorted(caught.value.missing) == sorted(
        ["title", *(f"books[{i}][0].{text}" for i in range(2) for text in inside)]
    )


@pytest.mark.parametrize("size", SIZES)
async def test_any_other_failure_comes_before_what_is_missing_inside(size: int | None) -> None:
    """What is missing is known at the end of the body, so this one is the first."""
    body = form(*pages(False, True), ("note", b"bad"), *pages(False))
    with pytest.raises(ValueError, match="bad photo"):
        await paged().dispatch(reader(body, size=size), into=Paged)
    body = form(*pages(False, True), ("note", b""))
    with pytest.raises(TruncatedBody):
        await paged().dispatch(reader(body[:-20], size=size), into=Paged)


@pytest.mark.parametrize("size", SIZES)
async def test_who_needs_a_part_that_lacks_some_is_neither_called_nor_waited_for(
    size: int | None,
) -> None:
    async def needy(part: Part, pages: Results) -> bytes:
        raise AssertionError("it was called")

    made = paged()
    made.add(needy, name="early", needs="pages", order="spool")
    made.add(needy, name="late", needs="pages")
    wanted = attrs.make_class(
        "Wanted",
        {
            "title": attrs.field(type=bytes),
            "pages": attrs.field(type=Meta),
            "early": attrs.field(type=list[bytes]),
            "late": attrs.field(type=list[bytes]),
        },
    )
    body = form(("early", b"1"), ("early", b""), *pages(False), *[("late", b"x" * 9000)] * 100)
    with pytest.raises(MissingParts) as caught:
        await made.dispatch(reader(body, size=size and size * 50), into=wanted)
    assert caught.value.missing == ("title", "pages.owner")


async def test_without_into_nothing_is_read_behind_a_part_that_lacks_some() -> None:
    source = Chunks(cut(form(*pages(False), ("note", bytes(100_000))), 64))
    with pytest.raises(MissingParts) as caught:
        await paged().dispatch(_reader(source))
    assert caught.value.missing == ("'owner'",)
    assert source.given < 1000


@pytest.mark.parametrize("size", [None, 1])
async def test_what_is_missing_and_wrong_inside_is_told_with_it(size: int | None) -> None:
    @attrs.frozen
    class Wide:
        title: bytes
        meta: Meta
        note: int

    inner = Router()
    inner.add(read, name="owner", required=True)
    inner.add(read, name="extra", required=True)
    body = form(("note", b"n"), nested("meta"), ("more", b""))
    wanted = _with(Wide, meta=_with(attrs.make_class("Sized", {"owner": attrs.field()}), owner=int))
    with pytest.raises(ResultsMismatch) as caught:
        await requiring(inner).dispatch(reader(body, size=size), into=wanted)
    assert caught.value.missing == ("title", "meta.owner", "'extra' in meta")
    assert caught.value.wrong == ("note: expected int, got bytes from part 0 'note'",)


async def test_what_is_wrong_beside_a_missing_part_inside() -> None:
    @attrs.frozen
    class Sized:
        owner: bytes
        size: int

    @attrs.frozen
    class Holder:
        kids: list[Any]

    inner = Router()
    inner.add(read, name="owner", required=True)
    inner.add(read, name="size")
    middle = Router()
    middle.add(Nested(inner), name="meta")
    outer = Router()
    outer.add(Nested(middle), name="kids")

    middle_class = attrs.make_class("Middle", {"meta": attrs.field(type=Sized)})
    good = nested("meta", ("owner", b""), ("size", b"1"), boundary="i1")
    bad = nested("meta", ("size", b"2"), boundary="i2")
    body = form(nested("kids", good, boundary="m"), nested("kids", bad, boundary="m"))
    with pytest.raises(ResultsMismatch) as caught:
        await outer.dispatch(reader(body), into=_with(Holder, kids=list[middle_class]))
    assert caught.value.missing == ("kids[1].meta.owner",)
    assert caught.value.wrong == (
        "kids[0].meta.size: expected int, got bytes from part 0.0.1 'size'",
        "kids[1].meta.size: expected int, got bytes from part 1.0.0 'size'",
    )


async def test_a_missing_part_inside_is_told_by_its_path() -> None:
    inner = Router()
    inner.add(read, name="owner", required=True)
    outer = Router()
    outer.add(read, name="title")
    outer.add(Tee(Nested(inner), read), name="meta")
    outer.add(Nested(inner), name="extra")
    wanted = attrs.make_class("Wanted", {"meta": attrs.field(type=tuple[Meta, bytes])})
    with pytest.raises(MissingParts) as caught:
        await outer.dispatch(reader(form(nested("meta"))), into=wanted)
    assert caught.value.missing == ("meta[0].owner",)
    with pytest.raises(MissingParts) as caught:
        await outer.dispatch(reader(form(nested("extra"))), into=wanted)
    assert "'owner' in part 0 'extra'" in caught.value.missing
    with pytest.raises(MissingParts) as caught:
        await outer.dispatch(reader(form(nested("extra"))))
    assert caught.value.missing == ("'owner'",)
    assert caught.value.known is None


async def test_a_handler_that_has_not_answered_is_neither_missing_nor_waited_for() -> None:
    async def never(part: Part) -> bytes:
        await part.read()
        await sleep_forever()
        raise AssertionError("it was waited for")

    @attrs.frozen
    class Slow:
        title: bytes
        slow: bytes
        note: int

    made = requiring()
    made.add(never, name="slow")
    body = form(("slow", b""), ("note", b"n"), ("more", b""))
    with pytest.raises(ResultsMismatch) as caught:
        await made.dispatch(reader(body), into=Slow)
    assert caught.value.missing == ("title",)
    assert caught.value.wrong == ("note: expected int, got bytes from part 1 'note'",)


async def test_who_waits_in_vain_is_told_with_what_is_wrong() -> None:
    async def needy(part: Part, owner: bytes) -> bytes:
        return owner

    @attrs.frozen
    class Needy:
        title: bytes
        late: bytes
        note: int

    made = Router()
    for key in ("title", "owner", "note"):
        made.add(read, name=key)
    made.add(needy, name="late", needs="owner", order="spool")
    with pytest.raises(ResultsMismatch) as caught:
        await made.dispatch(reader(form(("late", b""), ("note", b"n"))), into=Needy)
    error = caught.value
    assert error.missing == ("'owner'", "title")
    assert error.waiting == ("part 0 'late' needs 'owner'",)
    assert error.wrong == ("note: expected int, got bytes from part 1 'note'",)
    assert str(error).endswith("part 0 'late' needs 'owner'")


async def test_the_refusal_is_what_handlers_roll_back_for() -> None:
    diary = Diary()
    made = requiring()
    made.add(diary, filename=True, key="photos")
    body = form(photo(b"1", "a"), ("note", b"n"))
    wanted = attrs.make_class("Numbered", {"note": attrs.field(type=int)})
    with pytest.raises(ResultsMismatch) as caught:
        await made.dispatch(reader(body), into=wanted)
    assert diary.committed == []
    assert diary.reasons[-1].__cause__ is caught.value
