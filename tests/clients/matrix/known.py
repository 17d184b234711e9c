"""Who takes part: clients, servers and frameworks; what an answer is, and an upload's outcome.

Knows: their names. Must not know: how any of them is run. It needs none of them to be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from tests.clients.servers import SERVERS

__all__ = ["CLIENTS", "FRAMEWORKS", "NAMES_OF_SERVERS", "SERVICES", "Answer", "Outcome", "Outcomes"]

CLIENTS: Final = (
    "curl",
    "httpx",
    "requests",
    "aiohttp",
    "aiohttp, quote_fields=False",
    "Node's fetch",
    "Go",
    "Java, HTTP_1_1",
    "Java, HTTP_2",
    "Chromium",
)
"""Each client, and how it is told what to send where it can be told in two ways."""

_ASGI: Final = ("asgi", "starlette", "fastapi", "litestar", "falcon", "blacksheep")
SERVICES: Final[dict[str, tuple[str, ...]]] = {
    **{kind: (*_ASGI, "quart_trio" if kind.endswith("trio") else "quart") for kind in SERVERS},
    "aiohttp": ("aiohttp",),
    "gunicorn": ("django", "flask"),
    "werkzeug": ("django", "flask"),
}
"""By server: the frameworks that run on it."""

NAMES_OF_SERVERS: Final = {
    "uvicorn-h11": "uvicorn `--http h11`",
    "uvicorn-httptools": "uvicorn `--http httptools`",
    "hypercorn-asyncio": "hypercorn `-k asyncio`",
    "hypercorn-trio": "hypercorn `-k trio`",
    "granian": "granian",
    "aiohttp": "aiohttp",
    "gunicorn": "gunicorn `-k gthread`",
    "werkzeug": "werkzeug's development server",
}
FRAMEWORKS: Final = {
    "asgi": "none: `Upload`",
    "starlette": "Starlette",
    "fastapi": "FastAPI",
    "litestar": "Litestar",
    "falcon": "Falcon",
    "blacksheep": "BlackSheep",
    "quart": "Quart, behind `Front`",
    "quart_trio": "Quart-Trio, behind `Front`",
    "aiohttp": "aiohttp",
    "django": "Django",
    "flask": "Flask",
}


@attrs.frozen
class Answer:
    """What came: the status, 0 where nothing did, and the text."""

    status: int
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


@attrs.frozen
class Outcome:
    """What came of one client's upload to one service."""

    is_right: bool
    """Whether all came as the client sends it; or was refused as it must be."""
    told: str = ""
    """What is wrong."""
    parts: tuple[tuple[str | None, str | None], ...] = ()
    """Name and filename of each part that came."""


Outcomes: TypeAlias = Mapping[str, Mapping[tuple[str, str], Outcome]]
"""By client, then by server and framework."""
