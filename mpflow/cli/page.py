"""`Page`: the form, and what became of an upload, for browsers.

Knows: where the page is, what is put into it, and what it may do in a browser.
Must not know: who may upload; what an outcome looks like (`outcome.py`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from mpflow import Problem
from mpflow.cli.outcome import in_units, render_parts, render_problem
from mpflow.integrations.exchange import Answer

__all__ = ["Page", "prefers_html"]

_SIGN_IN: Final = """
<noscript><p class="notice">This service asks for a token. Without JavaScript,
<a href="/?token">enter it first</a>: as the password, beside any user name.</p></noscript>
""".strip()


class Page:
    """The page in each of its states, allowed its own script and style, and to upload to here.

    It works without the script, which shows progress: the browser sends the form and shows the
    page that comes back. `max_bytes` is what an upload may have, None for any.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._html: Final = resources.files("mpflow.cli").joinpath("page.html").read_text("utf-8")
        self._limit: Final = "" if max_bytes is None else str(max_bytes)
        self._hint: Final = "" if max_bytes is None else f" Together {in_units(max_bytes)} at most."
        style, script = _hash(self._html, "style"), _hash(self._html, "script")
        policy = (
            f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        self._headers: Final = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-cache",
            "Vary": "Accept, Authorization",
        }

    def form(self, *, needs_token: bool = False) -> Answer:
        """The form alone."""
        return self._answer(200, "", needs_token)

    def stored(self, document: Mapping[str, Any], *, needs_token: bool = False) -> Answer:
        """The form, and what became of each part."""
        return self._answer(200, render_parts(document["parts"]), needs_token)

    def problem(self, problem: Problem, *, needs_token: bool = False) -> Answer:
        """The form, and why the upload failed."""
        answer = self._answer(problem.status, render_problem(problem), needs_token)
        return Answer(answer.status, answer.body, {**problem.headers, **answer.headers})

    def _answer(self, status: int, outcome: str, needs_token: bool) -> Answer:
        html = self._html.replace("{max-bytes}", self._limit)
        html = html.replace("{needs-token}", "yes" if needs_token else "")
        html = html.replace("<!--limit-->", self._hint)
        html = html.replace("<!--sign-in-->", _SIGN_IN if needs_token else "")
        # Last: what somebody called a file is not looked into.
        html = html.replace("<!--outcome-->", outcome)
        # A name may have bytes that are no UTF-8, as lone surrogates.
        return Answer(status, html.encode("utf-8", "replace"), self._headers)


def prefers_html(accept: str) -> bool:
    """Whether this header `Accept` would rather have HTML than JSON (RFC 9110, 12.5.1).

    Browsers do where a page is to be shown. Who takes anything, as curl, gets JSON.
    """
    return _quality(accept, "text/html") > _quality(accept, "application/json")


def _quality(accept: str, kind: str) -> float:
    """The weight of a media type: that of the most specific range that it is in."""
    ranges = {"*/*": 0, f"{kind.partition('/')[0]}/*": 1, kind: 2}
    found = (-1, 0.0)
    for item in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in item.split(";"))
        if name in ranges:
            found = max(found, (ranges[name], _weight(parameters)))
    return found[1]


def _weight(parameters: list[str]) -> float:
    given = [it.removeprefix("q=") for it in parameters if it.startswith("q=")]
    # RFC 9110, 12.4.2: "1" where there is none; at most three digits behind the point.
    match = re.fullmatch(r"[01](\.[0-9]{0,3})?", given[0]) if given else None
    return float(given[0]) if match else 0.0 if given else 1.0


def _hash(html: str, element: str) -> str:
    """The source expression of the policy (CSP 3, 2.3.1) for the page's one such element."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
