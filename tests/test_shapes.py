"""Classes that results are put into: what each field takes, and what is said of what does not fit.

Knows: `Results.into` on results made by hand. Must not know: flows.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import (
    Collection,
    Container,
    Iterable,
    MutableSequence,
    MutableSet,
    Reversible,
    Sequence,
)
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, NewType, TypeVar

import attr
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import MissingParts, Part, PartInfo, ResultsMismatch, RouteError
from mpflow.results import Handled, Results
from mpflow.router import RouteTable
from mpflow.shapes import Shape

T = TypeVar("T")
PhotoId = NewType("PhotoId", int)


async def handler(part: Part) -> Any: ...


def results(*values: tuple[str, Any], keys: Sequence[str] = ()) -> Results:
    """What a flow gives: a route for each key, and the parts that came; exceptions are failures."""
    table = RouteTable()
    for key in dict.fromkeys([key for key, _ in values] + list(keys)):
        table.add(handler, name=key)
    handled: list[Handled] = []
    for index, (key, value) in enumerate(values):
        info = PartInfo.of(name=key, index=index, size=3)
        route = table.match(info)
        assert route is not None
        failed = isinstance(value, BaseException)
        handled.append(
            Handled(info, key, route, None if failed else value, value if failed else None)
        )
    return Results(handled, keys=table.keys)


@attrs.frozen
class Photo:
    path: str


@attrs.define
class Upload:
    title: str
    photos: list[Photo]
    note: str | None
    count: int = 7


# -- attrs classes ----------------------------------------------------------------------------


def test_required_many_optional_and_default() -> None:
    photos = [Photo("a"), Photo("b")]
    came = results(
        ("title", "t"), ("photos", photos[0]), ("photos", photos[1]), keys=["note", "count"]
    )
    assert came.into(Upload) == Upload("t", photos, None, 7)


def test_what_came_beats_the_default() -> None:
    came = results(("title", "t"), ("note", "n"), ("count", 1), keys=["photos"])
    assert came.into(Upload) == Upload("t", [], "n", 1)


def test_parts_of_no_field_are_left_out() -> None:
    came = results(("title", "t"), ("other", 3), keys=["photos", "note", "count"])
    assert came.into(Upload).title == "t"


def test_names_as_init_has_them() -> None:
    @attrs.define(kw_only=True, slots=False)
    class Odd:
        _token: str
        renamed: int = attrs.field(alias="size")
        made: list[int] = attrs.field(init=False, factory=list)
        total: ClassVar[int] = 3

    came = results(("token", "secret"), ("size", 3))
    made = came.into(Odd)
    assert (made._token, made.renamed, made.made) == ("secret", 3, [])


def test_a_class_that_inherits() -> None:
    @attrs.define
    class Base:
        title: str

    @attrs.define
    class Further(Base):
        size: int

    class Plain(Further):
        """Not decorated: it has the fields of the one above."""

    assert results(("title", "t"), ("size", 3)).into(Further) == Further("t", 3)
    assert isinstance(results(("title", "t"), ("size", 3)).into(Plain), Plain)


def test_a_converter_gets_what_came() -> None:
    @attrs.frozen
    class Converted:
        size: int = attrs.field(converter=int)
        tags: tuple[str, ...] = attrs.field(converter=tuple)
        note: str | None = attrs.field(converter=attrs.converters.optional(str))
        mode: str = attrs.field(default=None, converter=attrs.converters.default_if_none("r"))

    came = results(("size", "12"), ("tags", "a"), ("tags", "b"), keys=["note", "mode"])
    assert came.into(Converted) == Converted("12", ("a", "b"), None)
    assert came.into(Converted).mode == "r"


def test_what_the_class_raises_comes_out_as_it_is() -> None:
    failure = LookupError("not this one")

    def refuse(instance: object, attribute: object, value: object) -> None:
        raise failure

    @attrs.frozen
    class Picky:
        title: str = attrs.field(validator=refuse)

    with pytest.raises(LookupError) as info:
        results(("title", "t")).into(Picky)
    assert info.value is failure
    assert info.value.__context__ is None


def test_nothing_is_constructed_before_all_fits() -> None:
    made: list[str] = []

    @attrs.frozen
    class Inner:
        name: str

        def __attrs_post_init__(self) -> None:
            made.append(self.name)

    @attrs.frozen
    class Outer:
        inners: list[Inner]
        title: str

    inner = results(("name", "x"))
    with pytest.raises(MissingParts):
        results(("inners", inner), keys=["title"]).into(_globals(Outer, Inner=Inner))
    assert made == []
    assert results(("inners", inner), ("title", "t")).into(Outer).title == "t"
    assert made == ["x"]


def _globals(cls: type[T], **names: Any) -> type[T]:
    """Let the class's annotations find classes that are local to a test."""
    attrs.resolve_types(cls, globalns=globals(), localns=names)
    for field in attrs.fields(cls):  # type: ignore[arg-type] # it is an attrs class
        cls.__annotations__[field.name] = field.type
    return cls


# -- dataclasses ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    title: str
    scale: InitVar[int]
    pages: tuple[int, ...] = ()
    tags: list[str] = dataclasses.field(default_factory=lambda: ["none"])
    size: int = dataclasses.field(init=False, default=0)
    renamed: str | None = dataclasses.field(default=None, metadata={"key": "other-name"})

    def __post_init__(self, scale: int) -> None:
        object.__setattr__(self, "size", scale * 2)


def test_a_dataclass() -> None:
    came = results(("title", "t"), ("scale", 4), ("other-name", "o"), keys=["pages", "tags"])
    made = came.into(Report)
    assert (made.title, made.pages, made.tags, made.size) == ("t", (), ["none"], 8)
    assert made.renamed == "o"


def test_a_field_of_init_only_is_asked_for_and_checked() -> None:
    keys = ["title", "scale", "pages", "tags", "other-name"]
    with pytest.raises(MissingParts, match="scale"):
        results(("title", "t"), keys=keys).into(Report)
    with pytest.raises(ResultsMismatch, match="scale: expected int, got str"):
        results(("title", "t"), ("scale", "x"), keys=keys).into(Report)


def test_a_field_of_init_only_without_a_type() -> None:
    @dataclass
    class Scaled:
        size: int
        scale: InitVar

        def __post_init__(self, scale: Any) -> None:
            self.size *= scale

    assert results(("size", 2), ("scale", 3)).into(Scaled).size == 6


def test_what_post_init_raises() -> None:
    @dataclass
    class Positive:
        size: int

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError("below zero")

    with pytest.raises(ValueError, match="below zero"):
        results(("size", -1)).into(Positive)


# -- how many ---------------------------------------------------------------------------------


def test_many_in_each_spelling() -> None:
    @attrs.define
    class Spelled:
        a: list[int]
        b: tuple[int, ...]
        c: Sequence[int]
        d: list  # type: ignore[type-arg] # that is the point
        e: list[int] | None
        f: Annotated[list[int], "said"]
        g: list[int] | None = attrs.field(factory=lambda: [0])
        h: list[int] = attrs.field(factory=lambda: [0])

    keys = "abcdefgh"
    none = results(keys=keys).into(Spelled)
    assert none == Spelled([], (), [], [], None, [], [0], [0])
    two = results(*((key, n) for key in keys for n in (1, 2))).into(Spelled)
    assert two == Spelled([1, 2], (1, 2), [1, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2])


def test_one_part_whose_value_is_a_list() -> None:
    @attrs.define
    class Listed:
        numbers: list[int] = attrs.field(metadata={"many": False})
        pair: tuple[int, str]
        unique: frozenset[int] = attrs.field(metadata={"many": False})

    came = results(("numbers", [1, 2]), ("pair", (1, "a")), ("unique", frozenset({1})))
    assert came.into(Listed) == Listed([1, 2], (1, "a"), frozenset({1}))
    with pytest.raises(ResultsMismatch, match=r"numbers: expected one part, got 2: part 0"):
        results(("numbers", [1]), ("numbers", [2]), keys=["pair", "unique"]).into(Listed)


def test_the_keys_of_one_part() -> None:
    assert Shape.of(Upload).single == {"title", "note", "count"}


def test_two_fields_of_one_key() -> None:
    @attrs.define
    class Twice:
        first: str = attrs.field(metadata={"key": "title"})
        second: str | None = attrs.field(metadata={"key": "title"})

    assert results(("title", "t")).into(Twice) == Twice("t", "t")


# -- types ------------------------------------------------------------------------------------


def test_types_that_wrap_types() -> None:
    @attrs.define
    class Wrapped:
        number: PhotoId
        mode: Literal["r", "w"]
        either: int | str
        said: Annotated[int, "in words"]
        anything: Any

    came = results(("number", 1), ("mode", "r"), ("either", "x"), ("said", 2), ("anything", None))
    assert came.into(Wrapped) == Wrapped(PhotoId(1), "r", "x", 2, None)
    wrong = results(("number", "1"), ("mode", "x"), ("either", b""), ("said", ""), ("anything", 1))
    with pytest.raises(ResultsMismatch) as info:
        wrong.into(Wrapped)
    assert [text.partition(":")[0] for text in info.value.wrong] == [
        "number", "mode", "either", "said",
    ]  # fmt: skip
    assert "anything" not in str(info.value)


@attrs.define
class Box(Generic[T]):
    value: T
    more: list[T]


@attrs.define
class HasBox:
    box: Box[int]


def test_a_generic_class() -> None:
    came = results(("value", 1), ("more", 2))
    assert came.into(Box) == Box(1, [2])
    assert came.into(Box[int]) == Box(1, [2])
    with pytest.raises(ResultsMismatch, match="value: expected str, got int"):
        came.into(Box[str])
    with pytest.raises(MissingParts, match="value"):
        results(keys=["value", "more"]).into(Box)


def test_a_generic_class_inside() -> None:
    inner = results(("value", 1), ("more", 2))
    assert results(("box", inner)).into(HasBox) == HasBox(Box(1, [2]))
    with pytest.raises(ResultsMismatch, match=r"box\.value: expected int, got str"):
        results(("box", results(("value", "x"), keys=["more"]))).into(HasBox)


# -- classes inside ---------------------------------------------------------------------------


@attrs.define
class Album:
    cover: Upload
    others: list[Upload]
    last: Upload | None = None


def inner(title: str | None = "t", **more: Any) -> Results:
    came = [] if title is None else [("title", title)]
    return results(*came, *more.items(), keys=["title", "photos", "note", "count"])


def test_results_of_inner_flows() -> None:
    came = results(
        ("cover", inner("c")), ("others", inner("x")), ("others", inner("y")), keys=["last"]
    )
    made = came.into(Album)
    assert made.cover == Upload("c", [], None)
    assert [upload.title for upload in made.others] == ["x", "y"]
    assert made.last is None


def test_a_value_that_is_of_the_class_already() -> None:
    upload = Upload("u", [], None)
    assert results(("cover", upload), keys=["others", "last"]).into(Album).cover is upload


def test_results_where_results_are_wanted() -> None:
    @attrs.define
    class Raw:
        cover: Results

    inside = inner()
    assert results(("cover", inside)).into(Raw).cover is inside


def test_two_classes_in_a_union_are_not_chosen_between() -> None:
    @attrs.define
    class Unclear:
        cover: Upload | Photo

    with pytest.raises(
        ResultsMismatch, match=r"cover: expected '.*Upload [|] .*Photo', got Results"
    ):
        results(("cover", inner())).into(Unclear)


def test_an_inner_field_of_an_unknown_key() -> None:
    with pytest.raises(RouteError, match="Upload has fields for the keys 'note', 'count'"):
        results(("cover", results(("title", "t"), keys=["photos"])), keys=["others", "last"]).into(
            Album
        )


# -- what does not fit ------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_together() -> None:
    came = results(
        ("cover", inner(None)),
        ("others", inner("fine")),
        ("others", inner(title=3)),
        ("others", inner(count="x")),
        ("others", OSError("disk full")),
        ("last", inner()),
        ("last", inner()),
    )
    with pytest.raises(ResultsMismatch) as info:
        came.into(Album)
    error = info.value
    assert error.missing == ("cover.title",)
    assert error.surplus == ("last: expected one part, got 2: part 5 'last', part 6 'last'",)
    assert error.wrong == (
        "others[1].title: expected str, got int from part 0 'title'",
        "others[2].count: expected int, got str from part 1 'count'",
    )
    assert error.failed == ("others[3]: part 4 'others' failed: OSError: 'disk full'",)
    assert error.status == 500
    assert isinstance(error.__cause__, ExceptionGroup)
    assert [str(cause) for cause in error.__cause__.exceptions] == ["disk full"]
    assert str(error).startswith("the results do not fit Album: cover.title: expected a part")


def test_only_missing_parts() -> None:
    with pytest.raises(MissingParts) as info:
        results(("others", inner(None)), keys=["cover", "last"]).into(Album)
    assert info.value.missing == ("cover", "others[0].title")
    assert info.value.status == 422


def test_a_surplus_alone_is_the_clients() -> None:
    with pytest.raises(ResultsMismatch) as info:
        results(("value", 1), ("value", 2), keys=["more"]).into(Box)
    assert info.value.status == 422


def test_the_message_is_bounded() -> None:
    @attrs.define
    class Many:
        numbers: list[int]
        inners: list[Upload]

    came = results(*[("numbers", "x")] * 500, keys=["inners"])
    with pytest.raises(ResultsMismatch) as info:
        came.into(Many)
    assert len(info.value.wrong) == 500
    assert str(info.value).endswith("; and 490 more")
    with pytest.raises(MissingParts) as missing:
        results(*[("inners", inner(None))] * 500, keys=["numbers"]).into(Many)
    assert len(missing.value.missing) == 500
    assert len(str(missing.value)) < 1000


# -- failures ---------------------------------------------------------------------------------


def test_a_type_that_names_an_exception_takes_it() -> None:
    @attrs.define
    class Tolerant:
        photos: list[Photo | ValueError]
        note: str | Exception | None = None

    failure, bad = ValueError("no photo"), KeyError("k")
    made = results(("photos", Photo("a")), ("photos", failure), ("note", bad)).into(Tolerant)
    assert made == Tolerant([Photo("a"), failure], bad)
    with pytest.raises(ResultsMismatch, match=r"photos\[0\]: part 0 'photos' failed: KeyError"):
        results(("photos", bad), keys=["note"]).into(Tolerant)


@pytest.mark.parametrize("hint", [Any, object, T, None])
def test_a_type_that_says_nothing_takes_no_failure(hint: Any) -> None:
    cls = attrs.make_class("Loose", {"value": attrs.field(type=hint)})
    with pytest.raises(ResultsMismatch, match="value: part 0 'value' failed"):
        results(("value", ValueError("x"))).into(cls)


def test_a_class_that_is_an_exception_is_none_to_fill() -> None:
    @attrs.define
    class Oops(Exception):
        code: int

    @attrs.define
    class Holder:
        value: Photo | Oops

    cls = attrs.make_class("Holder", {"value": attrs.field(type=Photo | Oops)})
    failure = Oops(3)
    assert results(("value", failure)).into(cls).value is failure  # type: ignore[attr-defined]
    filled = results(("value", results(("path", "p")))).into(cls)
    assert filled.value == Photo("p")  # type: ignore[attr-defined]


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\nb"), r"ValueError: 'a\nb'"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 999), f"ValueError: '{'x' * 200}'..."),
        (Unshowable(), "Unshowable"),
    ],
    ids=["escaped", "empty", "long", "unshowable"],
)
def test_a_failure_is_told_in_one_bounded_line(error: Exception, text: str) -> None:
    with pytest.raises(ResultsMismatch) as info:
        results(("title", error), keys=["photos", "note", "count"]).into(Upload)
    assert info.value.failed == (f"title: part 0 'title' failed: {text}",)


# -- classes of no use ------------------------------------------------------------------------


class Unfit:
    """Neither an attrs class nor a dataclass."""


@pytest.mark.parametrize("wanted", [int, dict, Unfit, "Upload", None, 3, list[Upload], Exception])
def test_other_classes_are_refused(wanted: Any) -> None:
    with pytest.raises(RouteError, match="expected an attrs class or a dataclass"):
        Shape.of(wanted)


def test_types_that_cannot_be_looked_up() -> None:
    @attrs.define
    class Local:
        title: str

    @attrs.define
    class Uses:
        inner: Local

    with pytest.raises(RouteError, match=r"types of Uses cannot be looked up: NameError: .*Local"):
        Shape.of(Uses)


def test_a_class_with_an_init_of_its_own() -> None:
    @dataclass(init=False)
    class Own:
        title: str

        def __init__(self, name: str) -> None:
            self.title = name

    with pytest.raises(RouteError, match="Own cannot be made of its fields: missing"):
        Shape.of(Own)


@pytest.mark.parametrize(
    ("metadata", "default", "message"),
    [
        ({"key": 3}, attrs.NOTHING, "expected the metadata of the field 'x' as 'key'"),
        ({"many": "yes"}, attrs.NOTHING, "and 'many', a bool"),
        ({"many": True}, attrs.NOTHING, "expected the field 'x' of many parts as a list"),
        ({"key": None}, attrs.NOTHING, "expected a default of the field 'x', as its key is None"),
    ],
)
def test_metadata_that_makes_no_sense(metadata: Any, default: Any, message: str) -> None:
    cls = attrs.make_class("Odd", {"x": attrs.field(type=int, metadata=metadata, default=default)})
    with pytest.raises(RouteError, match=message):
        Shape.of(cls)


def test_a_field_that_is_left_to_its_default() -> None:
    @attrs.define
    class Stamped:
        title: str
        version: int = attrs.field(default=3, metadata={"key": None})

    assert results(("title", "t")).into(Stamped) == Stamped("t", 3)
    assert results(("title", "t"), ("version", 9)).into(Stamped).version == 3


def test_types_that_stand_in_the_field() -> None:
    class Old:
        """As before annotations, with its fields made by hand."""

        numbers = attr.ib(type=list[int])
        anything = attr.ib()

    old: Any = attr.s(Old)
    made = results(("numbers", 1), ("numbers", 2), ("anything", 3)).into(old)
    assert (made.numbers, made.anything) == ([1, 2], 3)


def test_a_key_that_no_route_declares() -> None:
    with pytest.raises(RouteError, match="Upload has fields for the keys 'note', 'count', which"):
        results(("title", "t"), keys=["photos"]).into(Upload)
    Shape.of(Upload).check({"title", "photos", "note", "count", "more"})


def test_a_client_that_names_a_part_like_a_field_gets_nowhere() -> None:
    table = RouteTable()
    table.add(handler, filename=True, key="title")
    table.add(handler)
    info = PartInfo.of(name="title")
    route = table.match(info)
    assert route is table.routes[1]
    # Even if it were filed there.
    came = Results([Handled(info, "title", route, "forged")], keys={"title", "note"})
    with pytest.raises(MissingParts):
        came.into(attrs.make_class("Wants", {"title": attrs.field(type=str)}))


# -- any class, any results -------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "one": {"type": int},
    "maybe": {"type": int | None},
    "default": {"type": int, "default": 0},
    "many": {"type": list[int]},
    "tolerant": {"type": list[int | ValueError]},
}
keys = st.sampled_from(list(KINDS))
values = st.integers(0, 9) | st.just("x") | st.builds(ValueError, st.just("v"))


@given(st.sets(keys, min_size=1), st.lists(st.tuples(keys, values), max_size=8))
def test_what_is_told_is_what_is_wrong(chosen: set[str], came: list[tuple[str, Any]]) -> None:
    """Against a model in so many words."""
    cls = attrs.make_class(
        "Any", {key: attrs.field(kw_only=True, **KINDS[key]) for key in KINDS if key in chosen}
    )
    found = {key: [value for name, value in came if name == key] for key in chosen}
    single = {key: parts for key, parts in found.items() if key in ("one", "maybe", "default")}
    looked_at = [
        (key, value)
        for key, parts in found.items()
        for value in (parts if key not in single or len(parts) == 1 else [])
    ]
    missing = ["one"] if single.get("one") == [] else []
    surplus = [key for key, parts in single.items() if len(parts) > 1]
    wrong = [key for key, value in looked_at if value == "x"]
    failed = [
        key for key, value in looked_at if isinstance(value, ValueError) and key != "tolerant"
    ]
    made, told = put(results(*came, keys=list(KINDS)), cls)
    assert told == [missing, sorted(surplus), sorted(wrong), sorted(failed)]
    if made is None:
        return
    for key in chosen:
        parts = found[key]
        nothing = {"maybe": None, "default": 0}.get(key)
        expected = (parts[0] if parts else nothing) if key in single else parts
        assert getattr(made, key) == expected


def put(came: Results, cls: type[Any]) -> tuple[Any, list[list[str]]]:
    """The instance, or None and the keys of what is missing, surplus, wrong and failed."""
    try:
        return came.into(cls), [[], [], [], []]
    except MissingParts as error:
        return None, [list(error.missing), [], [], []]
    except ResultsMismatch as error:
        told = [error.missing, error.surplus, error.wrong, error.failed]
        return None, [sorted(re.split(r"\W", text)[0] for text in texts) for texts in told]


# -- what is inherited, other containers, and what is no class -----------------------------------

U = TypeVar("U")


@dataclass
class Above(Generic[T]):
    a: T


@attrs.frozen
class AboveAttrs(Generic[T]):
    a: T


@dataclass
class Below(Above[int]):
    b: str


@attrs.frozen
class BelowAttrs(AboveAttrs[int]):
    b: str


@dataclass
class Between(Above[list[U]], Generic[U]):
    c: U


@dataclass
class Lowest(Between[bytes]):
    c: bytes


@pytest.mark.parametrize("cls", [Below, BelowAttrs])
def test_type_variables_of_a_class_above(cls: Any) -> None:
    assert results(("a", 1), ("b", "x")).into(cls) == cls(1, "x")
    with pytest.raises(ResultsMismatch, match="a: expected int, got str"):
        results(("a", "no"), ("b", "x")).into(cls)


@pytest.mark.parametrize("cls", [Between[bytes], Lowest])
def test_type_variables_over_two_classes(cls: Any) -> None:
    fields = {field.name: (field.type, field.gather) for field in Shape.of(cls).fields}
    assert fields == {"a": (bytes, list), "c": (bytes, None)}


@dataclass
class Gathered:
    a: set[int]
    b: frozenset[int]
    c: deque[int]


def test_sets_and_deques_take_many() -> None:
    came = results(("a", 1), ("a", 2), ("a", 2), ("b", 3), ("b", 4), ("c", 5), ("c", 6))
    assert came.into(Gathered) == Gathered({1, 2}, frozenset({3, 4}), deque([5, 6]))
    with pytest.raises(ResultsMismatch, match=r"a\[1\]: expected int"):
        results(("a", 1), ("a", "x"), keys=["b", "c"]).into(Gathered)
    empty = results(keys=["a", "b", "c"]).into(Gathered)
    assert empty == Gathered(set(), frozenset(), deque())
    assert type(empty.b) is frozenset
    assert Shape.of(Gathered).single == frozenset()


@pytest.mark.parametrize(
    ("hint", "made"),
    [
        (set, {1, 2}),
        (set[int] | None, {1, 2}),
        (deque[int] | None, deque([1, 2])),
        (AbstractSet[int], frozenset({1, 2})),
        (MutableSet[int], {1, 2}),
        (MutableSequence[int], [1, 2]),
        (Collection[int], [1, 2]),
        (Iterable[int], [1, 2]),
        (Reversible[int], [1, 2]),
        (Container[int], [1, 2]),
    ],
    ids=str,
)
def test_each_container_takes_many(hint: Any, made: Any) -> None:
    cls = attrs.make_class("Held", {"a": attrs.field(type=hint)})
    value = results(("a", 1), ("a", 2)).into(cls).a
    assert value == made
    assert type(value) is type(made)


@pytest.mark.parametrize(
    "value", [{1, 2}, frozenset({1}), deque([1])], ids=lambda value: type(value).__name__
)
def test_one_part_whose_value_is_a_set_or_a_deque(value: Any) -> None:
    field = attrs.field(type=type(value)[int], metadata={"many": False})
    cls = attrs.make_class("Whole", {"a": field})
    assert results(("a", value)).into(cls).a is value
    with pytest.raises(ResultsMismatch, match="a: expected one part, got 2"):
        results(("a", value), ("a", value)).into(cls)
    with pytest.raises(MissingParts):
        results(keys=["a"]).into(cls)


@pytest.mark.parametrize("value", [[1], {}, ([],)], ids=str)
def test_what_cannot_be_in_a_set_is_told_by_its_part(value: Any) -> None:
    cls = attrs.make_class("Held", {"a": attrs.field(type=set[Any])})
    told = f"a[1]: expected a value that can be in a set, got {type(value).__name__} from part 1"
    with pytest.raises(ResultsMismatch, match=re.escape(told)):
        results(("a", 1), ("a", value)).into(cls)


def test_a_class_that_cannot_be_in_a_set() -> None:
    with pytest.raises(RouteError, match="the field 'a', and Gathered has no hash"):
        Shape.of(attrs.make_class("Held", {"a": attrs.field(type=set[Gathered])}))
    photos = attrs.make_class("Held", {"a": attrs.field(type=frozenset[Photo])})
    came = results(("a", results(("path", "x"))), ("a", results(("path", "x"))))
    assert came.into(photos).a == frozenset({Photo("x")})


def test_an_instance_that_has_no_hash_is_no_class() -> None:
    with pytest.raises(RouteError, match="an attrs class or a dataclass"):
        Shape.of(Gathered(set(), frozenset(), deque()))
