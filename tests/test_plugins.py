"""Handlers by name: real distributions on a real path, as an installer would leave them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mpflow.errors import RouteError
from mpflow.plugins import handler_names, load_handler

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one module and its entry points on the path."""

    def install(distribution: str, module: str, source: str, **names: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        points = "".join(f"{name} = {value}\n" for name, value in names.items())
        (info / "entry_points.txt").write_text(f"[mpflow.handlers]\n{points}")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def test_a_handler_is_found_by_name(install: Install) -> None:
    source = "class Shout:\n    async def __call__(self, part): ...\n"
    install("shouting", "given_shouting", source, shout="given_shouting:Shout")
    assert handler_names()["shout"] == "given_shouting:Shout"
    shout = load_handler("shout")
    assert shout.__name__ == "Shout"
    assert callable(shout())


def test_names_are_sorted_and_nothing_is_imported(install: Install) -> None:
    install("broken", "given_broken", "1 / 0", zz="given_broken:A", aa="given_broken:B")
    names = list(handler_names())
    assert names == sorted(names)
    assert {"aa", "zz"} <= set(names)


def test_an_unknown_name_lists_what_is_there(install: Install) -> None:
    install("listed", "given_listed", "", shout="given_listed:Shout")
    with pytest.raises(RouteError, match=r"got 'whisper': .*shout"):
        load_handler("whisper")


def test_a_name_of_two_distributions_names_both(install: Install) -> None:
    install("first-dist", "given_first", "Same = dict", same="given_first:Same")
    install("second-dist", "given_second", "Same = dict", same="given_second:Same")
    with pytest.raises(RouteError, match="more than once") as caught:
        load_handler("same")
    assert "first-dist (given_first:Same)" in str(caught.value)
    assert "second-dist (given_second:Same)" in str(caught.value)
    assert set(handler_names()["same"].split(" and ")) == {"given_first:Same", "given_second:Same"}


@pytest.mark.parametrize(
    ("source", "value", "cause"),
    [
        ("1 / 0", "given_failing:A", ZeroDivisionError),
        ("", "given_failing:A", AttributeError),
        ("", "given_missing_module:A", ModuleNotFoundError),
    ],
)
def test_one_that_cannot_be_imported_says_why(
    install: Install, source: str, value: str, cause: type[Exception]
) -> None:
    install("failing", "given_failing", source, fail=value)
    with pytest.raises(RouteError, match="cannot be imported") as caught:
        load_handler("fail")
    assert f"'fail' of failing ({value})" in str(caught.value)
    assert isinstance(caught.value.__cause__, cause)


def test_one_that_is_not_callable_is_refused(install: Install) -> None:
    install("constant", "given_constant", "A = 3", three="given_constant:A")
    with pytest.raises(RouteError, match="is not callable: '3'"):
        load_handler("three")
