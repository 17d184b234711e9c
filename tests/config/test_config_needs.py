"""Needs in a configuration: who meets them, and what is told where nobody does.

Knows: files of routes. Must not know: how needs are met (`tests/flow/test_needs.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from mpflow import ConfigError, Part, RouteError, Router
from mpflow_handlers import Nested

ROUTER_IN = """
[router.in]
given = ["meta"]
[[router.in.route]]
handler = "text"
"""


def faults(folder: Path, text: str, given: Collection[str] | None = None) -> list[str]:
    path = folder / "r.toml"
    path.write_text(text)
    try:
        Router.from_toml(path, given=given)
    except ConfigError as error:
        return [line.removeprefix(f"{path}:") for line in error.problems]
    return []


def test_a_handler_that_does_not_give_what_its_router_is_given(tmp_path: Path) -> None:
    outer = """
[[route]]
match.name = "meta"
handler = "text"

[[route]]
match.name = "fine"
handler = { use = "nested", router = "in", needs = "meta" }

[[route]]
match.name = "by the route"
handler = { use = "nested", router = "in" }
needs = "meta"

[[route]]
key = "bad"
handler = { use = "nested", router = "in" }
"""
    (fault,) = faults(tmp_path, outer + ROUTER_IN)
    assert fault == (
        "17: route[3].handler: expected needs with 'meta': the router 'in' says that it is given "
        "that, and this handler does not give it"
    )


def test_routers_inside_routers_and_inside_a_tee(tmp_path: Path) -> None:
    text = """
[[route]]
handler = { use = "nested", router = "between" }

[router.between]
given = ["user"]
[[router.between.route]]
match.name = "a"
needs = "user"

[router.between.route.handler]
use = "tee"
handlers = [{ use = "text" }, { use = "nested", router = "in", needs = { other = "user" } }]
"""
    told = faults(tmp_path, text + ROUTER_IN)
    assert [line.partition(": expected needs with ")[::2] for line in told] == [
        ("3: route[0].handler", "'user': the router 'between' says that it is given that, and this "
         "handler does not give it"),
        ("9: router.between.route[0].needs", "'meta': the router 'in' says that it is given that, "
         "and this handler does not give it"),
    ]  # fmt: skip


def test_what_a_route_inside_declares_cannot_be_given_to_it(tmp_path: Path) -> None:
    text = """
[[route]]
match.name = "a"
handler = "text"

[[route]]
handler = { use = "nested", router = "in", needs = "a" }

[[router.in.route]]
match.name = "a"
handler = "text"
"""
    (fault,) = faults(tmp_path, text)
    assert fault.startswith("7: route[1].handler.needs: expected to give the router 'in' no key")
    assert fault.endswith("got 'a': whose value counts?")


def test_a_need_that_nobody_meets_stands_at_its_route(tmp_path: Path) -> None:
    text = """
given = ["b", "user"]

[[route]]
match.name = "a"
handler = "text"

[[route]]
match.name = "b"
handler = { use = "nested", router = "in", needs = ["zz"] }
required = true
needs = { meta = "meta", user = "user" }
"""
    told = faults(tmp_path, text + ROUTER_IN)
    assert told == [
        "2: given[0]: expected given keys that no route declares, got 'b': whose value counts?",
        "10: route[1].handler.needs: route[1] to Nested ('b') needs 'zz', which no route declares "
        "and nobody gives",
        "12: route[1].needs: route[1] to Nested ('b') needs 'meta', which no route declares and "
        "nobody gives",
    ]


def test_a_circle_stands_at_a_route_of_it(tmp_path: Path) -> None:
    nested = '{ use = "nested", router = "in" }'
    text = f"""
[[route]]
match.name = "start"
handler = "text"

[[route]]
match.name = "meta"
needs.meta = "b"
order = "spool"
handler = {nested}

[[route]]
match.name = "b"
needs = "meta"
order = "spool"
handler = {nested}
"""
    (fault,) = faults(tmp_path, text + ROUTER_IN)
    assert fault == "14: route[2].needs: these needs can never be met: 'b' needs 'meta' needs 'b'"


@pytest.mark.parametrize("key", ['key = "meta"', 'match.name = "meta"'])
def test_a_route_that_needs_its_own_key(tmp_path: Path, key: str) -> None:
    text = f"""
[[route]]
match.filename = true
key = "meta"
handler = "text"

[[route]]
{key}
needs = "meta"
handler = {{ use = "nested", router = "in" }}
"""
    (fault,) = faults(tmp_path, text + ROUTER_IN)
    assert fault.startswith("9: route[1].needs: the route to Nested needs 'meta', its own key")


def test_faults_of_one_router_hide_no_needs_of_another(tmp_path: Path) -> None:
    text = """
[[route]]
handler = "nothing of the kind"

[[router.in.route]]
handler = { use = "nested", router = "in", needs = "zz" }
"""
    assert [line.partition(": ")[0] for line in faults(tmp_path, text)] == ["3", "6"]


def test_the_caller_says_what_it_gives(tmp_path: Path) -> None:
    text = 'given = ["user", "mood"]\n[[route]]\nkey = "k"\nhandler = "discard"\n'
    assert faults(tmp_path, text) == []
    assert faults(tmp_path, text, ["mood", "user", "more"]) == []
    assert faults(tmp_path, text, ["user"]) == [
        "1: given[1]: expected keys of what is given here ('user'), got 'mood'"
    ]
    assert faults(tmp_path, text, ()) == [
        "1: given[0]: expected keys of what is given here (nothing), got 'user'",
        "1: given[1]: expected keys of what is given here (nothing), got 'mood'",
    ]
    (fault,) = faults(tmp_path, text, ["user", "mood", "k"])
    assert fault.startswith("1: expected to give the router 'main' no key that a route of it decl")
    with pytest.raises(RouteError, match="expected given as keys, got the str 'user'"):
        Router.from_toml(tmp_path / "r.toml", given="user")


def test_a_router_of_python_is_asked_as_well() -> None:
    async def greet(part: Part, who: str) -> str:
        return who

    inner = Router()
    inner.add(greet, name="x", needs="who")
    config: dict[str, Any] = {
        "route": [
            {"match": {"name": "who"}, "handler": "text"},
            {"match": {"name": "a"}, "handler": Nested(inner, needs="who")},
            {"match": {"name": "b"}, "handler": {"use": "nested", "router": inner}},
        ]
    }
    with pytest.raises(ConfigError) as caught:
        Router.from_config(config)
    (fault,) = caught.value.problems
    assert fault.startswith("route[2].handler: in the router inside: route[0] to ")
    config["route"][2]["needs"] = "who"
    assert len(Router.from_config(config).routes) == 3


def test_routers_that_name_only_each_other_are_used_by_nobody(tmp_path: Path) -> None:
    text = """
[[route]]
handler = { use = "nested", router = "used" }
[[router.used.route]]
handler = { use = "nested", router = "used" }
[[router.alone.route]]
handler = { use = "nested", router = "alone" }
[[router.a.route]]
handler = { use = "nested", router = "b" }
[[router.b.route]]
handler = { use = "tee", handlers = [{ use = "nested", router = "a" }] }
"""
    assert faults(tmp_path, text) == [
        "6: router.alone: no handler uses the router 'alone'",
        "8: router.a: no handler uses the router 'a' but 'b', which nobody uses",
        "10: router.b: no handler uses the router 'b' but 'a', which nobody uses",
    ]


def test_each_header_of_a_match_is_looked_at(tmp_path: Path) -> None:
    text = """
[[route]]
handler = "text"
[route.match.header]
"Y Z" = "a"
X-Fine = "*"
X-Bad = 5
"""
    assert faults(tmp_path, text) == [
        "5: route[0].match.header.'Y Z': expected the name of a header, got 'Y Z'",
        "7: route[0].match.header.X-Bad: expected header as a str, got '5'",
    ]
