"""The page with the upload form, as an answer.

Knows: where the page is, and what it may do in a browser.
Must not know: what is on it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from mpflow.integrations.exchange import Answer

__all__ = ["load_page"]


def load_page() -> Answer:
    """The page, allowed to run its own script and style, to upload to here, and nothing else."""
    html = resources.files("mpflow.cli").joinpath("page.html").read_text("utf-8")
    policy = (
        f"default-src 'none'; style-src {_hash(html, 'style')}; script-src {_hash(html, 'script')};"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    return Answer(200, html.encode(), headers)


def _hash(html: str, element: str) -> str:
    """The source expression of the policy (CSP 3, 2.3.1) for the page's one such element."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
