"""Values of any handler, as JSON."""

from __future__ import annotations

import datetime
import enum
import json
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from mpflow import InvalidContent, Rejected, ServiceFailed
from mpflow.cli.told import MAX_DEPTH, for_clients, tell


class Color(enum.Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    _hidden: int = 0

    @property
    def double(self) -> int:
        return 2 * self.x

    @property
    def broken(self) -> int:
        raise RuntimeError("the flow has ended")

    @property
    def _secret(self) -> int:
        return 1


@dataclass
class Pair:
    left: Any
    right: Any = None


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2.5, 2.5),
        (float("inf"), "inf"),
        ("é", "é"),
        (b"ab", "ab"),
        (b"\xff", {"base64": "/w=="}),
        ((1, [2]), [1, [2]]),
        ({1: b"x"}, {"1": "x"}),
        (CIMultiDict(A="b"), {"A": "b"}),
        (PurePosixPath("a/b"), "a/b"),
        (datetime.datetime(2020, 1, 2, 3, 4), "2020-01-02T03:04:00"),
        (Color.RED, "red"),
        (ValueError("no"), {"error": "no"}),
        (KeyError(), {"error": "KeyError"}),
        (Point(3), {"x": 3, "double": 6}),
        (Pair(Point(1), b"y"), {"left": {"x": 1, "double": 2}, "right": "y"}),
        (Odd(), "Odd"),
        (1j, "1j"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_told(value: object, told: object) -> None:
    assert tell(value) == told
    assert json.loads(json.dumps(tell(value), allow_nan=False)) == told


SECRET = "/srv/secret at 10.0.0.1"


class Shows:
    """No field that is public, and a `repr` that tells what it holds."""

    def __init__(self, held: object) -> None:
        self._held = held

    def __repr__(self) -> str:
        return f"Shows({self._held!r})"

    def __hash__(self) -> int:
        return 1


@attrs.frozen
class Hidden:
    _held: object


def deep(value: object) -> object:
    for _ in range(MAX_DEPTH):
        value = [value]
    return value


FAILURE = OSError(5, SECRET)


@pytest.mark.parametrize(
    "value",
    [
        FAILURE,
        (1, FAILURE),
        [{"a": (FAILURE,)}],
        {FAILURE: 1},
        {Shows(FAILURE): 1},
        deque([FAILURE]),
        {FAILURE},
        Pair(1, FAILURE),
        Pair(Pair(Pair(Pair(FAILURE)))),
        ExceptionGroup(SECRET, [FAILURE]),
        Shows(FAILURE),
        Hidden(FAILURE),
        [SimpleNamespace(failure=FAILURE)],
        deep(FAILURE),
        deep([FAILURE]),
        ServiceFailed(SECRET),
    ],
)
def test_no_failure_in_a_value_is_told_to_clients(value: object) -> None:
    told = json.dumps(tell(value, for_clients))
    assert "secret" not in told
    assert "10.0.0.1" not in told


def test_clients_are_told_what_is_meant_for_them() -> None:
    value = ("a", FAILURE, Rejected(422, "a virus"), InvalidContent("no JSON"), Decimal("1.5"))
    assert tell(value, for_clients) == [
        "a",
        {"error": "the upload failed on the side of the service"},
        {"error": "a virus"},
        {"error": "no JSON"},
        "Decimal('1.5')",
    ]


def test_what_holds_itself_has_an_end() -> None:
    pair = Pair(1)
    pair.right = pair
    assert json.dumps(tell(pair))
    many: list[Any] = []
    many.append(many)
    assert json.dumps(tell(many)).count("[") <= MAX_DEPTH + 80
