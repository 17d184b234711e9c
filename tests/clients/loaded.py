"""A service that saves files, and says how it is.

Knows: its routes. Must not know: servers, clients.
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mpflow import Flow, Limits, Router
from mpflow.integrations.asgi import Front, Upload
from mpflow.reports import FlowFinished, FlowStarted, Report
from mpflow_handlers import Save, Text

__all__ = ["app"]


class Running:
    """How many flows are under way."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, report: Report) -> None:
        if isinstance(report, FlowStarted):
            self.count += 1
        elif isinstance(report, FlowFinished):
            self.count -= 1


running = Running()
limits = Limits(max_parts=10_000, max_total_header_bytes="1 MiB", idle_timeout=4)
router = Router(limits=limits, observer=running)
router.add(Text(), name="field", key="field")
router.add(Save(Path(os.environ["FOLDER"])), key="file")


def respond(flow: Flow) -> dict[str, int]:
    results = flow.results
    return {
        "fields": len(results.all("field")),
        "bytes": sum(saved.size for saved in results.all("file")),
    }


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"running": running.count})


starlette = Starlette(routes=[Route("/health", health)])
app = Front(starlette, {"/upload": Upload(router, respond)})
