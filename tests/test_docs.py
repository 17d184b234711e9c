"""The reference pages say what the code says: names, limits, errors, deviations, options.

Knows: the tables under docs/reference. Must not know: how they are rendered.
"""

from __future__ import annotations

import argparse
import gzip
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import mpflow
import mpflow.testing
import mpflow_handlers
from mpflow import LimitExceeded, Limits, MultipartError, MultipartReader, Router, errors, wire
from mpflow.predicates import __all__ as predicate_names
from mpflow.rate import WINDOW, Rate
from mpflow.testing import PartSpec, body, content_type_of, nested
from mpflow.wire import DEVIATIONS, TOLERANCES
from mpflow_handlers import Collect, Discard, Nested

DOCS = Path(__file__).parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text("utf-8")


def tables(text: str) -> list[list[tuple[str, ...]]]:
    """The tables of a page, row by row, without their heads; code marks are taken off."""
    found: list[list[tuple[str, ...]]] = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [tuple(c.strip() for c in line[1:-1].split("|")) for line in block.splitlines()]
        found.append([(row[0].strip("`"), *row[1:]) for row in rows[2:]])
    return found


# -- names ------------------------------------------------------------------------------------


def documented(module: str) -> set[str]:
    """The names of a module that the API page lists one by one."""
    pattern = rf"^\.\. auto(?:class|data|function):: {re.escape(module)}\.(\w+)$"
    return set(re.findall(pattern, page("api"), re.MULTILINE))


def whole_modules() -> set[str]:
    return set(re.findall(r"^\.\. automodule:: (\S+)$", page("api"), re.MULTILINE))


def test_the_api_page_lists_every_public_name() -> None:
    assert whole_modules() == {
        "mpflow.errors",
        "mpflow.integrations.asgi",
        "mpflow.integrations.django",
        "mpflow.integrations.wsgi",
        "mpflow.observers",
        "mpflow.reports",
        "mpflow.wire",
        "mpflow_handlers",
    }
    assert set(mpflow.__all__) - set(errors.__all__) == documented("mpflow")
    assert set(mpflow.testing.__all__) == documented("mpflow.testing")
    types = {"MatchOptions", "PredicateLike", "as_predicate", "keywords"}
    assert set(predicate_names) - types == documented("mpflow.predicates")
    assert mpflow_handlers.__all__
    assert wire.__all__


def test_every_page_stands_in_the_index() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    listed = set(re.findall(r"^[\w/-]+$", index, re.MULTILINE))
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix()
        for path in DOCS.rglob("*.md")
        if not {"_build", "examples"}.intersection(path.parts)
    }
    assert pages - {"index"} == listed & pages
    assert listed <= pages


# -- limits -----------------------------------------------------------------------------------

LIMITS = {row[0]: row[1:] for row in tables(page("limits"))[0]}


def test_every_limit_stands_in_the_table() -> None:
    assert list(LIMITS) == [field.name for field in attrs.fields(Limits)]


@pytest.mark.parametrize("name", LIMITS)
def test_the_default_of_a_limit(name: str) -> None:
    default = LIMITS[name][0]
    expected: Any = getattr(Limits(), name)
    if default.endswith("B"):
        assert getattr(Limits(**{name: default}), name) == expected
    else:
        assert float(default.removesuffix(" s")) == expected


DEEP = body([nested([nested([("a", "b")], boundary="third")], boundary="second")])
FORM = body([("a", "bcd"), ("e", "fgh")], preamble=b"preamble", epilogue=b"epilogue")
CODED = body(
    [
        nested(
            [PartSpec(gzip.compress(bytes(2 * 1024 * 1024)), headers={"Content-Encoding": "gzip"})],
            boundary="second",
        )
    ]
)
REACHED = {
    "max_parts": (FORM, 1),
    "max_headers": (body([PartSpec(name="a", content_type="text/plain")]), 1),
    "max_header_line": (FORM, 20),
    "max_header_bytes": (FORM, 20),
    "max_total_header_bytes": (FORM, 50),
    "max_boundary": (FORM, 5),
    "max_preamble": (FORM, 3),
    "max_epilogue": (FORM, 3),
    "max_part_bytes": (FORM, 2),
    "max_total_bytes": (FORM, 30),
    "max_memory": (FORM, 2),
    "max_total_memory": (FORM, 5),
    "max_depth": (DEEP, 2),
    "max_decoded_bytes": (CODED, 2),
    "max_decoded_ratio": (CODED, 2),
}


async def refusal(data: bytes, limits: Limits) -> LimitExceeded:
    router = Router()
    router.add(Nested(router), content_type="multipart/*")

    @router.route()
    async def read(part: mpflow.Part) -> bytes:
        return await part.read(decode=True)

    with pytest.raises(LimitExceeded) as caught:
        await router.dispatch(MultipartReader(data, content_type_of(), limits=limits))
    return caught.value


@pytest.mark.anyio
@pytest.mark.parametrize("name", REACHED)
async def test_the_status_of_a_limit(name: str) -> None:
    data, value = REACHED[name]
    error = await refusal(data, Limits(**{name: value}))
    assert error.limit == name
    assert str(error.status) == LIMITS[name][2]


@pytest.mark.anyio
async def test_the_status_of_a_routes_own_limit() -> None:
    router = Router()
    router.add(Collect(), name="a", max_bytes=2)
    router.add(Discard())
    with pytest.raises(LimitExceeded) as caught:
        await router.dispatch(MultipartReader(FORM, content_type_of()))
    assert (caught.value.limit, caught.value.status) == ("max_bytes", 413)
    assert "A route's `max_bytes` is refused under that name, status 413." in page("limits")


def test_the_status_of_the_times() -> None:
    idle = MultipartReader(b"", content_type_of()).idle_error()
    assert LIMITS["idle_timeout"][2] == str(idle.status)
    with pytest.raises(LimitExceeded) as slow:
        Rate(100).count(WINDOW, 0)
    assert LIMITS["min_rate"][2] == str(slow.value.status)
    assert LIMITS["stall_timeout"][2] == f"`Stalled`, {mpflow.Stalled.status}"
    assert LIMITS["handler_timeout"][2] == f"`HandlerTimeout`, {mpflow.HandlerTimeout.status}"


def test_the_limits_without_a_status_are_not_in_use() -> None:
    unused = {name for name, row in LIMITS.items() if row[2] == "—"}
    elsewhere = {"max_spool_bytes"}  # tests/test_related.py
    elsewhere |= {"min_rate"}  # tests/flow/test_min_rate.py
    elsewhere |= {name for name in LIMITS if name.endswith("_timeout")}
    assert unused == LIMITS.keys() - REACHED.keys() - elsewhere
    assert all(LIMITS[name][1].endswith("not in use yet") for name in unused)


@pytest.mark.parametrize(
    ("small", "large"), re.findall(r"^- `(\w+)` above `(\w+)`$", page("limits"), re.M)
)
def test_limits_that_contradict_each_other(small: str, large: str) -> None:
    with pytest.raises(ValueError, match=small):
        Limits(**{small: 200, large: 100})


# -- errors -----------------------------------------------------------------------------------

ERRORS = {row[0]: row[1:] for row in tables(page("errors"))[0]}


def kinds(error: type[MultipartError] = MultipartError) -> list[type[MultipartError]]:
    """The error and all that are derived from it in mpflow, depth first."""
    below = [kind for kind in error.__subclasses__() if kind.__module__ == "mpflow.errors"]
    return [error, *(found for kind in below for found in kinds(kind))]


def tree(error: type[MultipartError], indent: str = "") -> list[str]:
    """The lines of the tree below an error, as the page draws them."""
    below = [kind for kind in error.__subclasses__() if kind.__module__ == "mpflow.errors"]
    lines: list[str] = []
    for kind in below:
        others = [base.__name__ for base in kind.__bases__ if not issubclass(base, MultipartError)]
        last = kind is below[-1]
        label = kind.__name__ + (f" ({', '.join(others)})" if others else "")
        lines.append(f"{indent}{'└── ' if last else '├── '}{label}")
        lines += tree(kind, indent + ("    " if last else "│   "))
    return lines


def test_every_error_stands_in_the_table() -> None:
    assert list(ERRORS) == [kind.__name__ for kind in kinds()]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_the_status_of_an_error(kind: type[MultipartError]) -> None:
    assert ERRORS[kind.__name__][0] == str(kind.status)


def test_the_tree_of_errors() -> None:
    drawn = re.search(r"^```text\n(.*?)^```$", page("errors"), re.DOTALL | re.MULTILINE)
    assert drawn is not None
    assert drawn[1].splitlines() == ["MultipartError", *tree(MultipartError)]


# -- deviations -------------------------------------------------------------------------------


def test_the_tables_of_deviations() -> None:
    deviations, tolerances = tables(page("deviations"))
    assert dict(deviations) == dict(DEVIATIONS)
    assert dict(tolerances) == dict(TOLERANCES)


# -- the command line -------------------------------------------------------------------------


def test_the_options_of_serve() -> None:
    from mpflow.cli import serve

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    options = {
        action.option_strings[0]: action for action in parser._actions[1:] if action.option_strings
    }
    _, rows, *_ = tables(page("cli"))
    documented = {row[0].strip("`").split()[0]: row[1].strip("`") for row in rows}
    assert documented.keys() == options.keys() | {"DIR"}
    assert documented["--bind"] == options["--bind"].default
    assert documented["--backend"] == options["--backend"].default
    assert options["--max-bytes"].default is None
