"""What became of an upload, as HTML.

Knows: how parts and problems are shown. Must not know: the page around them, HTTP.

All that comes from elsewhere is escaped, and stands in text or in nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from mpflow import Problem

__all__ = ["in_units", "render_parts", "render_problem"]

MAX_SHOWN: Final = 10_000
"""Characters of a value that are shown: a page is to be looked at."""

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def render_parts(parts: list[Mapping[str, Any]]) -> str:
    """Each part and what became of it, in wire order, multiparts with what is in them."""
    failed = sum(_count_failed(part) for part in parts)
    but = "" if not failed else ", but for one part" if failed == 1 else f", but for {failed} parts"
    how_many = "One part" if len(parts) == 1 else f"{len(parts)} parts"
    return (
        '<section class="outcome card" aria-labelledby="told">'
        f'<h2 id="told" tabindex="-1" autofocus>The upload is done{but}</h2>'
        f'<p class="quiet">{how_many}, in the order in which they were sent.</p>'
        f"{_list(parts)}</section>"
    )


def render_problem(problem: Problem) -> str:
    """What went wrong, and where."""
    facts: dict[str, str] = {}
    part = problem.members.get("part")
    if part is not None:
        facts["Part"] = str(part.get("filename") or part.get("name") or part["path"][-1] + 1)
    facts["Status"] = f"{problem.status} {problem.title}"
    return (
        '<section class="outcome card failed" aria-labelledby="told">'
        '<h2 id="told" tabindex="-1" autofocus>The upload failed</h2>'
        f"<p>{_text(_sentence(problem.detail))}</p>{_facts(facts)}</section>"
    )


def _list(parts: Iterable[Mapping[str, Any]]) -> str:
    return f'<ol class="parts">{"".join(map(_part, parts))}</ol>'


def _part(part: Mapping[str, Any]) -> str:
    title = part.get("filename") or part.get("name") or part.get("key") or "without a name"
    quiet = [_text(part["content_type"])] if "content_type" in part else []
    if "size" in part:
        quiet.append(f'<span class="size">{in_units(part["size"])}</span>')
    kind = "failed" if "error" in part else "saved" if "saved_as" in part else "read"
    return (
        f'<li class="{kind}"><p class="what"><strong>{_text(str(title))}</strong> '
        f'<span class="quiet">{" · ".join(quiet)}</span></p>{_result(part)}</li>'
    )


def _result(part: Mapping[str, Any]) -> str:
    if "parts" in part:
        return _list(part["parts"])
    if "error" in part:
        return _facts({"Failed": part["error"]})
    if "saved_as" in part:
        saved = {"Saved as": _text(part["saved_as"]), "SHA-256": f"<code>{part['sha256']}</code>"}
        return _rows(saved)
    value = part.get("value")
    if value in (None, ""):
        return _rows({"Value": '<span class="quiet">empty</span>'})
    if isinstance(value, str):
        return _rows({"Value": f"<pre>{_text(_short(value))}</pre>"})
    told = json.dumps(value, indent=2, ensure_ascii=False)
    return _rows({"Value": f"<pre>{_text(_short(told))}</pre>"})


def _facts(facts: Mapping[str, str]) -> str:
    return _rows({name: _text(told) for name, told in facts.items()})


def _rows(rows: Mapping[str, str]) -> str:
    told = "".join(f"<div><dt>{name}</dt><dd>{html}</dd></div>" for name, html in rows.items())
    return f"<dl>{told}</dl>"


def _count_failed(part: Mapping[str, Any]) -> int:
    return ("error" in part) + sum(_count_failed(inner) for inner in part.get("parts", ()))


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}." if line else ""


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _text(text: str) -> str:
    # HTML has no way to write a NUL.
    return escape(text).replace("\0", "\ufffd")


def in_units(size: int) -> str:
    """Bytes for people: `1.5 MiB`."""
    if size < 1024:
        return f"{size} B"
    scaled, power = size / 1024, 0
    while scaled >= 1024 and power < len(_UNITS) - 1:
        scaled, power = scaled / 1024, power + 1
    return f"{scaled:.1f} {_UNITS[power]}"
