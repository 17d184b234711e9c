"""The page of profiles: each row's example, decoded by default, strictly and tolerantly.

Knows: the table in docs/reference/profiles.md, and how its cells are written.
Must not know: which answer is right; the page says so, and the decoder.

An example is a content type, a header block, or a body. A header block stands in a body of one
part, `x`. The boundary is `b` where the second cell names no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest

from mpflow import Deviation, MultipartError
from mpflow.wire import DEVIATIONS, TOLERANCES, Decoder, parse_content_type, parse_head
from mpflow.wire.headers import Policy
from tests.wire.observe import chunkings, observe

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "profiles.md"
ESCAPE = re.compile(r"\\(r|n|t|0|x[0-9a-f]{2})")
ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0"}
NONE = "—"


@attrs.frozen
class Row:
    """A row, cell by cell."""

    shape: str
    where: str
    example: str
    default: str
    strict: str
    tolerated: str
    read_as: str


def rows() -> list[Row]:
    lines = re.findall(r"^\| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return [Row(*line.split(" | ")) for line in lines[1:]]


def unescape(text: str) -> bytes:
    r"""The bytes of an example, in which `\r`, `\n`, `\t`, `\0` and `\x80` are escapes."""
    raw = ESCAPE.sub(lambda m: ESCAPES.get(m[1]) or chr(int(m[1][1:] or "0", 16)), text)
    return raw.encode("latin-1")


def show(text: str | bytes) -> str:
    """A value as a cell has it."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    escapes = {"\r": "\\r", "\n": "\\n", "\t": "\\t", "\0": "\\0"}
    shown = "".join(
        escapes.get(char, char if " " <= char <= "~" else f"\\x{ord(char):02x}")
        for char in data.decode("latin-1")
    )
    return f"`{shown}`" if shown else "nothing"


@attrs.frozen
class Answer:
    """What comes of an example under one policy."""

    codes: tuple[str, ...]
    read_as: str


def decode(where: str, example: bytes, policy: Policy) -> Answer:
    """Raises where the example is refused."""
    if where == "content type":
        parsed = parse_content_type(example.decode("latin-1"), policy=policy)
        assert parsed.boundary is not None
        decoder = Decoder(parsed.boundary, strict=policy.strict, tolerate=policy.tolerate)
        found = [*parsed.deviations, *decoder.deviations]
        return Answer(codes_of(found), f"boundary {show(parsed.boundary)}")
    subtype, _, given = where.removeprefix("multipart/").partition("; boundary=")
    whole = bool(given) or b"--b" in example
    data = example if whole else b"--b\r\n" + example + b"\r\n\r\nx\r\n--b--\r\n"

    def fresh() -> Decoder:
        policed: Any = {"strict": policy.strict, "tolerate": policy.tolerate}
        return Decoder(given or "b", subtype=subtype, **policed)

    outcome = observe(fresh(), [data])
    assert all(observe(fresh(), chunks) == outcome for chunks in chunkings(data, cuts=5))
    if outcome.error is not None:
        raise outcome.error[0](outcome.error[-1])
    if whole:
        read_as = ", ".join(show(part.data) for part in outcome.parts) or "no parts"
        return Answer(codes_of(outcome.deviations), read_as)
    (part,) = outcome.parts
    assert part.data == b"x"
    head = parse_head(part.raw, form=subtype == "form-data", policy=policy)
    told = {"name": head.name, "filename": head.filename}
    read_as = ", ".join(f"{key} {show(value)}" for key, value in told.items() if value is not None)
    if "Content-Type" in head.headers:
        read_as = ", ".join(filter(None, [read_as, f"content type {show(head.content_type)}"]))
    return Answer(codes_of(outcome.deviations), read_as or "no name")


def codes_of(found: list[Deviation]) -> tuple[str, ...]:
    return tuple(sorted({deviation.code for deviation in found}))


def answers(where: str, example: str) -> tuple[str, str, str, str]:
    """The last four cells of a row, as the code gives them."""
    data = unescape(example)

    def ask(*names: str, strict: bool = False) -> Answer | MultipartError:
        try:
            return decode(where, data, Policy(strict=strict, tolerate=frozenset(names)))
        except MultipartError as error:
            return error

    default, strict = ask(), ask(strict=True)
    names: list[str] = []
    found = default
    while isinstance(found, MultipartError):
        match = re.search(r"unless tolerate names '([\w-]+)'", str(found))
        if match is None:
            break
        names.append(match[1])
        found = ask(*names)
    asked = ask(*UNNAMED)
    if not names and isinstance(asked, Answer):
        names = sorted(UNNAMED & set(asked.codes))
        found = asked if names else found
    if isinstance(found, MultipartError):
        return told(default), told(strict), NONE, NONE
    read_as = found.read_as
    if names and isinstance(default, Answer):
        read_as = f"{default.read_as}; tolerated {read_as}"
    return told(default), told(strict), cell(names) or NONE, read_as


UNNAMED = {"bare-lf", "dashed-boundary", "missing-first-delimiter"}
"""Tolerances that no refusal names: without them there is no delimiter to be seen."""


def told(answer: Answer | MultipartError) -> str:
    """What is done: refused, recorded or accepted."""
    if isinstance(answer, MultipartError):
        return "refused"
    return f"recorded: {cell(answer.codes)}" if answer.codes else "accepted"


def cell(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in sorted(codes))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.shape)
def test_a_row(row: Row) -> None:
    found = answers(row.where, row.example.strip("`"))
    assert found == (row.default, row.strict, row.tolerated, row.read_as)


def test_every_code_has_its_row() -> None:
    named = {code for row in rows() for code in re.findall(r"`([\w-]+)`", row.default)}
    named |= {code for row in rows() for code in re.findall(r"`([\w-]+)`", row.tolerated)}
    # That one is told when the root of a multipart/related is read: tests/test_related.py.
    assert named == (DEVIATIONS.keys() | TOLERANCES.keys()) - {"related-type"}
