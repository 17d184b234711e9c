"""The versions of all that take part in a run.

Knows: where each stands. Must not know: what they are for.
"""

from __future__ import annotations

import platform
from importlib.metadata import version

from tests.clients.matrix.senders import SENDERS

__all__ = ["versions"]

_DISTRIBUTIONS = {
    "uvicorn": "uvicorn",
    "h11": "h11",
    "httptools": "httptools",
    "hypercorn": "hypercorn",
    "granian": "granian",
    "gunicorn": "gunicorn",
    "werkzeug": "werkzeug",
    "aiohttp": "aiohttp",
    "Starlette": "starlette",
    "FastAPI": "fastapi",
    "Litestar": "litestar",
    "Falcon": "falcon",
    "BlackSheep": "blacksheep",
    "Quart": "quart",
    "Quart-Trio": "quart-trio",
    "Django": "django",
    "Flask": "flask",
    "anyio": "anyio",
    "trio": "trio",
}


def versions() -> dict[str, str]:
    """By program: clients, then servers and frameworks, then what they all run on."""
    clients = {name.partition(",")[0]: sender.version() for name, sender in SENDERS.items()}
    found = {name: version(distribution) for name, distribution in _DISTRIBUTIONS.items()}
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {**clients, **found, "CPython": platform.python_version(), "system": system}
