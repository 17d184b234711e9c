"""What each service does with an upload, whatever its framework: it tells what came.

Knows: routers and parts. Must not know: frameworks, servers, who uploads.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from mpflow import Part, Results, Router

__all__ = ["PAGE", "ROUTER", "told"]

PAGE: Final = b"<!doctype html><title>a page of this service</title>"
"""From here a browser uploads."""

ROUTER: Final = Router()


@ROUTER.route(key="parts")
async def tell(part: Part) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    async for chunk in part:
        digest.update(chunk)
        size += len(chunk)
    told = {"name": part.name, "filename": part.filename}
    return {**told, "size": size, "sha256": digest.hexdigest()}


def told(results: Results) -> dict[str, list[dict[str, Any]]]:
    """The answer of a service."""
    return {"parts": [handled.value for handled in results]}
