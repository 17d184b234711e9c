"""Handlers of others in a configuration: real distributions, as an installer would leave them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpflow import ConfigError, Router

Install = Callable[..., None]

SOURCE = '''\
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mpflow import PartInfo

if TYPE_CHECKING:
    from mpflow import Router


class Inner:
    """Has a type that only type checkers can look up, and takes whatever else there is."""

    def __init__(self, router: Router | None = None, **others: object) -> None:
        self.router, self.others = router, others

    async def __call__(self, part: object) -> None: ...


def fails(size: int = 1) -> Inner:
    raise OSError(f"no room for {size}")


class Named:
    """Takes digests alone for a name, as it is or as it is made; and can be there once only."""

    there = []

    def __init__(
        self,
        name: str | Callable[[PartInfo], str] = "ab",
        kind: str | Callable[[PartInfo], bytes] = "x",
        once: bool = False,
    ) -> None:
        if not callable(name) and name.strip("0123456789abcdef"):
            raise ValueError(f"expected a digest, got {name}")
        if kind not in ("x", "y") and not callable(kind):
            raise ValueError("expected x or y")
        if once and self.there:
            raise ValueError("is there")
        self.there.append(self)

    async def __call__(self, part: object) -> None: ...


def sized(size: int, /, unit: str = "B", *words: str, loud: bool = False) -> Inner:
    return Inner(said=(size, unit, words, loud))
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one module and its entry points on the path."""

    def install(distribution: str, source: str, **names: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{distribution}.py").write_text(source)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        points = "".join(f"{name} = {value}\n" for name, value in names.items())
        (info / "entry_points.txt").write_text(f"[mpflow.handlers]\n{points}")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, distribution, raising=False)

    return install


def config(**handler: Any) -> dict[str, Any]:
    return {
        "route": [{"handler": handler}],
        "router": {"deep": {"route": [{"handler": "discard"}]}},
    }


def faults(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        Router.from_config(config)
    (fault,) = caught.value.problems
    return fault


def test_a_router_and_other_options(install: Install) -> None:
    install("given_inner", SOURCE, inner="given_inner:Inner")
    inner = {"use": "discard"}
    router = Router.from_config(config(use="inner", router="deep", x=1, y=[{"deeper": inner}]))
    handler: Any = router.routes[0].handler
    assert isinstance(handler.router, Router)
    assert handler.others["x"] == 1
    assert callable(handler.others["y"][0]["deeper"])


def test_what_its_maker_raises_is_told(install: Install) -> None:
    install("given_fails", SOURCE, fails="given_fails:fails")
    assert faults({"route": [{"handler": {"use": "fails", "size": 3}}]}) == (
        "route[0].handler: fails cannot be made: OSError: no room for 3"
    )
    assert faults({"route": [{"handler": {"use": "fails", "size": "x"}}]}) == (
        "route[0].handler.size: expected int, got 'x'"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, (3, "B", (), False)),
        ({"words": ["a", "b"]}, (3, "B", ("a", "b"), False)),
        ({"loud": True, "unit": "KB"}, (3, "KB", (), True)),
    ],
    ids=["least", "many", "more"],
)
def test_options_of_every_kind(
    install: Install, options: dict[str, Any], said: tuple[Any, ...]
) -> None:
    install("given_sized", SOURCE, sized="given_sized:sized")
    router = Router.from_config({"route": [{"handler": {"use": "sized", "size": 3, **options}}]})
    handler: Any = router.routes[0].handler
    assert handler.others["said"] == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": {"format": "{random}"}}, ""),
        ({"name": {"format": "{index}"}}, ""),
        ({"name": {"format": "x{index}"}}, "name.format: named cannot be made: ValueError: expect"),
        ({"name": {"format": "{safe_filename}"}}, ""),  # which may be one
        ({"name": {"format": "{safe_filename}.bak"}}, "name.format: named cannot be made: ValueEr"),
        ({"kind": {"format": "{index}"}}, ""),  # a callable makes something else
        ({"name": {"format": "x{index}"}, "once": True}, ""),  # no second one can be tried
    ],
)
def test_what_a_format_is_tried_for(install: Install, options: dict[str, Any], said: str) -> None:
    install("given_named", SOURCE, named="given_named:Named")
    tried = {"route": [{"handler": {"use": "named", **options}}]}
    if said:
        assert faults(tried).startswith(f"route[0].handler.{said}")
    else:
        assert Router.from_config(tried).routes


def test_one_that_two_distributions_claim_is_named(install: Install) -> None:
    install("given_one", SOURCE, shout="given_one:Inner")
    install("given_two", SOURCE, shout="given_two:Inner")
    said = faults({"route": [{"handler": "shout"}]})
    assert said.startswith("route[0].handler: the handler 'shout' is installed more than once: by ")
    assert "given_one (given_one:Inner)" in said
    assert "given_two (given_two:Inner)" in said


def test_one_that_cannot_be_imported_is_named(install: Install) -> None:
    install("given_broken", "1 / 0", shout="given_broken:Inner")
    said = faults({"route": [{"handler": "shout"}]})
    assert "of given_broken (given_broken:Inner) cannot be imported: ZeroDivisionError" in said
