"""The page: it stands alone, says what its form does, and may do no more than it needs."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from mpflow import Problem
from mpflow.cli.outcome import MAX_SHOWN, in_units
from mpflow.cli.page import Page, prefers_html
from mpflow.integrations.exchange import Answer

VOID = {"meta", "input", "br"}


class Elements(HTMLParser):
    """The elements of a page, all of them closed, and its text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.html = answer.body.decode()
        self.feed(self.html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style") and data.strip():
            self.texts.append(data.strip())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.all if name == tag]


PARTS = [
    {"name": "note", "content_type": "text/plain", "size": 3, "value": "x<y"},
    {
        "name": "f",
        "filename": '<script>alert("1")</script>',
        "content_type": "text/html",
        "size": 1536,
        "saved_as": "a&b",
        "sha256": "00ff",
    },
    {"name": "more", "size": 9, "parts": [{"key": "k", "size": 1, "error": "no <JSON>"}]},
    {"name": "json", "value": {"a": [1, "ü"]}},
    {"value": ""},
]
PAGES = {
    "form": Page().form(),
    "token": Page(1000).form(needs_token=True),
    "stored": Page().stored({"parts": PARTS}),
    "problem": Page().problem(
        Problem(413, "too <large>", {"Allow": "GET"}, {"part": {"path": [3], "name": "<f>"}})
    ),
}


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Answer:
    return PAGES[request.param]


# -- every page -----------------------------------------------------------------------------------


def test_the_form_works_without_a_script(page: Answer) -> None:
    (form,) = Elements(page).named("form")
    assert form["method"] == "post"
    assert form["enctype"] == "multipart/form-data"
    assert form["action"] == "/"
    files, note, token = Elements(page).named("input")
    assert files["type"] == "file"
    assert "multiple" in files
    assert note["type"] == "text"
    assert all("name" in field for field in (files, note))
    # It has no name: it is no part of any upload.
    assert token["type"] == "password"
    assert "name" not in token


def test_each_field_has_a_label(page: Answer) -> None:
    elements = Elements(page)
    labelled = {label["for"] for label in elements.named("label")}
    assert {field["id"] for field in elements.named("input")} == labelled


def test_it_is_encoded_as_utf8_so_that_names_are(page: Answer) -> None:
    """A form on a page of another encoding sends names in that (windows-1252, with entities)."""
    assert {"charset": "utf-8"} in Elements(page).named("meta")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"


def test_what_happens_is_announced(page: Answer) -> None:
    elements = Elements(page)
    roles = {attributes.get("role") for _, attributes in elements.all}
    assert {"status", "alert"} <= roles
    assert elements.named("html") == [{"lang": "en"}]


def test_ids_are_unique_and_those_that_the_script_uses_exist() -> None:
    for page in PAGES.values():
        elements = Elements(page)
        ids = [attributes["id"] for _, attributes in elements.all if "id" in attributes]
        assert len(set(ids)) == len(ids)
    used = set(re.findall(r'\$\("(\w[\w-]*)"\)', elements.html))
    assert "told" in used
    assert used <= set(ids)


def test_nothing_comes_from_elsewhere(page: Answer) -> None:
    elements = Elements(page)
    assert re.findall(r"\w+://", elements.html) == []
    assert [a for _, a in elements.all if a.keys() & {"src", "style", "onclick"}] == []
    assert [a["href"] for _, a in elements.all if "href" in a] in ([], ["/?token"])
    assert "innerHTML" not in elements.html


def test_the_policy_allows_its_own_script_and_style_alone(page: Answer) -> None:
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["Content-Security-Policy"].split(";")
    )
    for element in ("style", "script"):
        html = page.body.decode()
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"


# -- what is put into it --------------------------------------------------------------------------


def test_the_form_knows_the_limit_and_whether_a_token_is_needed() -> None:
    (form,) = Elements(PAGES["form"]).named("form")
    assert (form["data-max-bytes"], form["data-needs-token"]) == ("", "")
    (form,) = Elements(PAGES["token"]).named("form")
    assert (form["data-max-bytes"], form["data-needs-token"]) == ("1000", "yes")
    assert "Together 1000 B at most." in Elements(PAGES["token"]).html


def test_each_part_is_told() -> None:
    elements = Elements(PAGES["stored"])
    told = elements.texts[elements.texts.index("The upload is done, but for one part") :]
    assert told == [
        "The upload is done, but for one part", "5 parts, in the order in which they were sent.",
        "note", "text/plain ·", "3 B", "Value", "x<y",
        '<script>alert("1")</script>', "text/html ·", "1.5 KiB",
        "Saved as", "a&b", "SHA-256", "00ff",
        "more", "9 B", "k", "1 B", "Failed", "no <JSON>",
        "json", "Value", '{\n  "a": [\n    1,\n    "ü"\n  ]\n}',
        "without a name", "Value", "empty",
    ]  # fmt: skip
    assert len(elements.named("script")) == 1


def test_a_problem_is_told() -> None:
    page = PAGES["problem"]
    assert (page.status, page.headers["Allow"]) == (413, "GET")
    elements = Elements(page)
    told = elements.texts[elements.texts.index("The upload failed") :]
    assert told == [
        "The upload failed", "Too <large>.", "Part", "<f>", "Status", "413 Content Too Large",
    ]  # fmt: skip


def test_how_many_are_done() -> None:
    whole = Elements(Page().stored({"parts": PARTS[:1]})).texts
    assert {"The upload is done", "One part, in the order in which they were sent."} <= set(whole)
    failed = {"name": "a", "error": "e"}
    assert (
        "The upload is done, but for 2 parts"
        in Elements(Page().stored({"parts": [failed] * 2})).texts
    )


def test_a_long_value_is_cut() -> None:
    page = Page().stored({"parts": [{"name": "a", "value": "x" * (MAX_SHOWN + 1)}]})
    assert "x" * MAX_SHOWN + "…" in Elements(page).texts


@pytest.mark.parametrize("name", ["\udcfc", "a\0b", "{needs-token}", "<!--sign-in-->"])
def test_odd_names_spoil_nothing(name: str) -> None:
    answer = Page().stored({"parts": [{"name": name, "value": "v"}]}, needs_token=True)
    elements = Elements(answer)
    shown = name.replace("\udcfc", "?").replace("\0", "\ufffd")
    assert shown in elements.texts
    assert "\0" not in elements.html


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (3 * 2**50, "3072.0 TiB"),
    ],
)
def test_sizes_for_people(size: int, told: str) -> None:
    assert in_units(size) == told


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),  # browsers
        ("text/html", True),
        ("Text/HTML ; charset=utf-8 ; Q=0.1", True),
        ("text/*", True),
        ("text/html, application/json;q=0.9", True),
        ("text/html;q=0.001, */*;q=0", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=2", False),
        ("text/html;q=x", False),
        ("text/*, text/html;q=0", False),
        ("*/*, application/*;q=0.5, text/html;q=0.4", False),
        (",;,q=1,/", False),
    ],
)
def test_who_would_rather_have_html(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html
