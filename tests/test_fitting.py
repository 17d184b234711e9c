"""Whether a value is of a type, as far as looking can tell."""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    runtime_checkable,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow.fitting import admits, arms, bare, fits, shown

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
UserId = NewType("UserId", int)
Deep = NewType("Deep", UserId)


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str


class Closes(Protocol):
    def close(self) -> None: ...


@runtime_checkable
class Sized(Protocol):
    def __len__(self) -> int: ...


class Box(Generic[T]):
    pass


class Both(NamedTuple, Generic[T]):
    a: T
    b: T


class Rows(list[tuple[str, V]], Generic[V]):
    pass


class Turned(dict[V, K], Generic[K, V]):
    pass


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (True, int),
        (True, bool),
        (1, float),
        (1.5, float),
        (1, complex),
        (1.5, complex),
        ("a", str),
        (None, None),
        (None, type(None)),
        (None, int | None),
        (None, Optional[int]),  # noqa: UP045 - the old spelling is read as well
        (object(), object),
        (None, Any),
        (3, T),
        (Path("a"), PurePath),
        (3, UserId),
        (3, Deep),
        (3, Annotated[int, "said"]),
        (3, Final[int]),
        ("r", Literal["r", "w"]),
        (None, Literal["r", None]),
        (Colour.RED, Colour),
        (Colour.RED, Literal[Colour.RED]),
        ([1, 2], list[int]),
        ([], list[int]),
        ([1, "a"], list[int | str]),
        ([[1], []], list[list[int]]),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ((1, "a", "b"), tuple[int, *tuple[str, ...]]),
        ((1, "a", "b"), tuple[int, Unpack[tuple[str, ...]]]),  # noqa: UP044 - the old spelling
        ({1}, set[int]),
        (frozenset({1}), frozenset[int]),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, Mapping[str, int]),
        ([1], Sequence[int]),
        ((1, 2), Sequence[int]),
        ({1, 2}, Collection[int]),
        # What the variables of somebody's own class stand for is theirs to say.
        (Both(1, 2), Both[int]),
        (Rows([("a", 1)]), Rows[int]),
        (Turned({"a": 1}), Turned[int, str]),
        (Both(1, 2), tuple[int, int]),
        (Rows([("a", 1)]), list[tuple[str, int]]),
        (Counter("a"), Counter[str]),
        (deque([1]), deque[int]),
        (Pair(1, 2), Pair),
        (Pair(1, 2), tuple[int, int]),
        ({"title": "x"}, Movie),
        (3, Closes),  # a protocol that is not for run time tells nothing
        ("abc", Sized),
        (Box(), Box[int]),  # nor does what a generic was filled in with
        (print, Callable[..., None]),
        (int, type[int]),
    ],
)
def test_fits(value: object, hint: Any) -> None:
    assert fits(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("1", int),
        (1, bool),
        (True, float),
        (1.5, int),
        (1, str),
        (None, int),
        (0, None),
        (b"a", str),
        (bytearray(b"a"), bytes),
        ("3", UserId),
        ("3", Annotated[int, "said"]),
        ("x", Literal["r", "w"]),
        (1, Literal[True]),
        ("red", Colour),
        ([1, "a"], list[int]),
        ((1,), list[int]),
        ([1], tuple[int, ...]),
        ((1, 2), tuple[int]),
        (("a", 1), tuple[int, str]),
        ((1, "a"), tuple[int, ...]),
        ({"a"}, set[int]),
        ({"a": "b"}, dict[str, int]),
        ({1: 1}, Mapping[str, int]),
        ((1, "a"), Sequence[int]),
        ({"a"}, Collection[int]),
        (Both(1, "a"), tuple[int, int]),
        (Rows([("a", 1)]), list[tuple[str, str]]),
        (Turned({"a": 1}), dict[str, str]),
        ((1, 2), Both[int]),
        ([], Movie),
        (3, Sized),
        (3, Callable[..., None]),
        ("a", int | None),
        ([None], list[int]),
    ],
)
def test_does_not_fit(value: object, hint: Any) -> None:
    assert not fits(value, hint)


def test_arms() -> None:
    assert arms(int) == (int,)
    assert arms(int | str | None) == (int, str, type(None))
    assert arms(Annotated[int | Deep, "said"] | None) == (int, int, type(None))


def test_bare() -> None:
    assert bare(Annotated[Final[Deep], 1]) is int
    assert bare(list[int]) == list[int]


@pytest.mark.parametrize(
    ("hint", "admitted"),
    [
        (int | ValueError, True),
        (Exception, True),
        (BaseException | None, True),
        (KeyError, False),
        (int, False),
        (object, False),
        (Any, False),
        (T, False),
        (Closes, False),
        (Sized, False),
    ],
)
def test_only_what_names_an_exception_admits_one(hint: Any, admitted: bool) -> None:
    assert admits(ValueError("no"), hint) is admitted


def test_a_group_is_admitted_by_its_class() -> None:
    assert admits(ExceptionGroup("two", [ValueError()]), int | ExceptionGroup[ValueError])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_is_of_its_own_class_and_of_any_union_with_it(value: object) -> None:
    assert fits(value, type(value))
    assert fits(value, type(value) | Colour)
    assert fits([value], list[Any])
    assert not fits(value, Colour)


def test_shown() -> None:
    assert shown(int) == "int"
    assert shown(Path).endswith("Path")
    assert shown(int | None) == "'int | None'"
    assert len(shown(Literal["x" * 500])) < 100
