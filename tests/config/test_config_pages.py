"""The pages about files of routes say what the code does: each key, and files that work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from mpflow import MultipartReader, Results, Router
from mpflow.config.matching import MATCH_KEYS
from mpflow.config.tables import ROUTE_KEYS, ROUTER_KEYS, TOP_KEYS
from mpflow.config.templates import FIELDS
from mpflow.router import RouteTable
from mpflow.routes import Route
from mpflow.testing import PartSpec, body, content_type_of, nested

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "config.md").read_text("utf-8")
HOW_TO = (DOCS / "how-to" / "configure-routes.md").read_text("utf-8")


def rows(heading: str, head: str) -> list[list[str]]:
    """The rows of the table under a heading whose first column is called `head`."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{heading}\n")]
    match = re.search(rf"^\| {head} \|.*\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert match is not None
    return [[cell.strip() for cell in line[1:-1].split(" | ")] for line in match[1].splitlines()]


@pytest.mark.parametrize(
    ("heading", "head", "known"),
    [
        ("The file", "key", TOP_KEYS),
        ("A route", "key", ROUTE_KEYS),
        ("A match", "key", MATCH_KEYS),
        ("A handler", "field", [f"{{{name}}}" for name in FIELDS]),
        ("A router", "key", ROUTER_KEYS),
    ],
    ids=["file", "route", "match", "format", "router"],
)
def test_every_key_stands_in_its_table(heading: str, head: str, known: Any) -> None:
    assert sorted(row[0].strip("`") for row in rows(heading, head)) == sorted(known)


def test_the_defaults_of_a_route() -> None:
    defaults = {field.name: field.default for field in attrs.fields(Route)}
    for key, default, _ in rows("A route", "key")[4:]:
        told = default.strip("`")
        if told in ("none", "`max_part_bytes`", "max_part_bytes"):
            assert defaults[key.strip("`")] is None
        else:
            assert tomllib.loads(f"a = {told}")["a"] == defaults[key.strip("`")]


def test_the_default_of_max_handlers() -> None:
    for heading in ("The file", "A router"):
        (row,) = [row for row in rows(heading, "key") if row[0] == "`max_handlers`"]
        assert int(row[1]) == RouteTable().max_handlers


@pytest.mark.anyio
async def test_the_file_of_the_how_to_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.findall(r"^```toml\n(.*?)^```$", HOW_TO, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "routes.toml").write_text(text)
    (tmp_path / "inbox").mkdir()
    monkeypatch.chdir(tmp_path)
    router = Router.from_toml("routes.toml")
    data = body(
        [
            PartSpec('{"album": "Summer"}', name="metadata", content_type="application/json"),
            PartSpec(b"GIF8", name="file", filename="photo.png", content_type="image/png"),
            nested([PartSpec("hello"), PartSpec(b"x", content_type="text/html")]),
        ]
    )
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results["metadata"] == {"album": "Summer"}
    saved, digests = results["media"]
    assert (saved.path, list(digests)) == (Path("inbox/photo.png"), ["sha256"])
    inner = next(one.value for one in results if isinstance(one.value, Results))
    assert inner["text"] == "hello"
