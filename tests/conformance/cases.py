"""The cases of the suites: bodies that others wrote down, and what they say comes of each.

Knows: how each suite keeps its cases on disk. Must not know: how a body is decoded.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import yaml

__all__ = ["ANY", "Case", "Expected", "cases_of"]

ANY = "any"


@attrs.frozen
class Expected:
    """A part: `content_type` is the value of its header, None where there is none.

    `ANY` is one that the suite does not tell. `sha256` is that of its body, whose transfer
    encoding is undone.
    """

    name: str | None
    filename: str | None
    content_type: str | None
    sha256: str


@attrs.frozen
class Case:
    """A body with its content type, and its parts; None where it is to be refused."""

    id: str
    content_type: str
    body: bytes = attrs.field(repr=False)
    parts: list[Expected] | None
    tolerate: frozenset[str] = frozenset()


def cases_of(folder: Path) -> list[Case]:
    """Every case that stands below a folder, into which the suites were unpacked."""
    return [*_forms(folder), *_http(folder), *_browsers(folder)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- multipart-form-data-conformance: a folder a case, with input.raw, headers.json, test.json -----


def _forms(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("multipart_form_data_conformance-*/src/*/tests/*/*/test.json")):
        test = json.loads(path.read_text("utf-8"))
        headers = json.loads(path.with_name("headers.json").read_text("utf-8"))
        expected = test["expected"]
        # The suite runs these with a switch of its own, which is ours of that name.
        lenient = test.get("parser_options", {}).get("strict_line_endings") is False
        yield Case(
            id=f"forms-{test['id']}",
            content_type=headers["content-type"],
            body=path.with_name("input.raw").read_bytes(),
            parts=[_form(part) for part in expected["parts"]] if expected["valid"] else None,
            tolerate=frozenset({"bare-lf"} if lenient else ()),
        )


def _form(part: dict[str, Any]) -> Expected:
    # It tells `filename` and `filename*` apart; where both are there it prefers the second.
    filename = part.get("filename_star", part["filename"])
    if "body_sha256" in part:
        digest = part["body_sha256"]
    elif "body_base64" in part:
        digest = sha256(base64.b64decode(part["body_base64"]))
    else:
        digest = sha256(part["body_text"].encode())
    return Expected(part["name"], filename, part["content_type"], digest)


# -- python-multipart: pairs of *.http and *.yaml --------------------------------------------------


def _http(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("python_multipart-*/tests/test_data/http/*.yaml")):
        test = yaml.safe_load(path.read_text("utf-8"))
        parts = None
        if isinstance(test["expected"], list):
            parts = [
                Expected(
                    part["name"],
                    part.get("file_name"),
                    # Of a field it may name one that nobody sent; its own tests look at none.
                    part.get("content_type") if part["type"] == "file" else ANY,
                    sha256(part["data"]),
                )
                for part in test["expected"]
            ]
        yield Case(
            id=f"http-{path.stem}",
            content_type=f'multipart/form-data; boundary="{test["boundary"]}"',
            body=path.with_suffix(".http").read_bytes(),
            parts=parts,
        )


# -- Werkzeug: a folder a browser, with the request, and with what was sent in it ------------------

_BROWSERS = {
    "firefox3-2png1txt": ("image/png", "anchor.png", "application_edit.png"),
    "firefox3-2pnglongtext": ("image/png", "accept.png", "add.png"),
    "ie6-2png1txt": ("image/x-png", "file1.png", "file2.png"),
    "opera8-2png1txt": ("image/png", "arrow_branch.png", "award_star_bronze_1.png"),
    "webkit3-2png1txt": ("image/png", "gtk-apply.png", "gtk-no.png"),
}


def _browsers(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("werkzeug-*/tests/multipart/*/request.http")):
        kind, first, second = _BROWSERS[path.parent.name]
        body = path.read_bytes()
        one, two = (sha256(path.with_name(f"file{n}.png").read_bytes()) for n in (1, 2))
        # Stored as a text file: with LFs, and one more at the end than was sent.
        text = path.with_name("text.txt").read_bytes().removesuffix(b"\n")
        yield Case(
            id=f"browsers-{path.parent.name}",
            content_type=_content_type_of(body),
            body=body,
            parts=[
                Expected("file1", first, kind, one),
                Expected("file2", second, kind, two),
                Expected("text", None, None, sha256(text.replace(b"\n", b"\r\n"))),
            ],
        )


def _content_type_of(body: bytes) -> str:
    """The content type by the first line, which is a delimiter."""
    line = body.partition(b"\n")[0].rstrip(b"\r").decode("ascii")
    return f'multipart/form-data; boundary="{line.removeprefix("--")}"'
