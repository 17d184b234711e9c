"""Values of any handler, as JSON."""

from __future__ import annotations

import datetime
import enum
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from mpflow.cli.told import MAX_DEPTH, tell


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


def test_what_holds_itself_has_an_end() -> None:
    pair = Pair(1)
    pair.right = pair
    assert json.dumps(tell(pair))
    many: list[Any] = []
    many.append(many)
    assert json.dumps(tell(many)).count("[") <= MAX_DEPTH + 80
