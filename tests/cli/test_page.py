"""The page: it stands alone, says what its form does, and may do no more than it needs."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from mpflow.cli.page import load_page

PAGE = load_page()
HTML = PAGE.body.decode()


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(HTML)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.all if name == tag]


ELEMENTS = Elements()


def test_the_form_works_without_a_script() -> None:
    (form,) = ELEMENTS.named("form")
    assert form["method"] == "post"
    assert form["enctype"] == "multipart/form-data"
    assert form["action"] == "/"
    (files, note) = ELEMENTS.named("input")
    assert files["type"] == "file"
    assert "multiple" in files
    assert note["type"] == "text"
    assert all("name" in field for field in (files, note))


def test_each_field_has_a_label() -> None:
    labelled = {label["for"] for label in ELEMENTS.named("label")}
    assert {field["id"] for field in ELEMENTS.named("input")} == labelled


def test_it_is_encoded_as_utf8_so_that_names_are() -> None:
    """A form on a page of another encoding sends names in that (windows-1252, with entities)."""
    assert {"charset": "utf-8"} in ELEMENTS.named("meta")
    assert PAGE.headers["Content-Type"] == "text/html; charset=utf-8"


def test_what_happens_is_announced() -> None:
    roles = {attributes.get("role") for _, attributes in ELEMENTS.all}
    assert {"status", "alert"} <= roles
    (progress,) = ELEMENTS.named("progress")
    assert progress["aria-label"]
    assert ELEMENTS.named("html") == [{"lang": "en"}]


def test_ids_are_unique_and_those_that_the_script_uses_exist() -> None:
    ids = [attributes["id"] for _, attributes in ELEMENTS.all if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'\$\("(\w+)"\)', HTML)) <= set(ids)


def test_nothing_comes_from_elsewhere() -> None:
    assert re.findall(r"\w+://", HTML) == []
    assert [a for _, a in ELEMENTS.all if a.keys() & {"src", "href", "style", "onclick"}] == []
    assert "innerHTML" not in HTML


def test_the_policy_allows_its_own_script_and_style_alone() -> None:
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in PAGE.headers["Content-Security-Policy"].split(";")
    )
    for element in ("style", "script"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", HTML, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
