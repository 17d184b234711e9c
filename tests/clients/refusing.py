"""An application that refuses uploads early, each path in its own way.

Knows: when something is refused. Must not know: servers, clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mpflow import Limits, Part, PartInfo, Rejected, Router
from mpflow.integrations.asgi import Front, Lingering, Upload
from mpflow_handlers import Discard

__all__ = ["app"]


def refuse(*args: object) -> Any:
    """What all of them say who want to know who asks."""
    raise Rejected(401, "who are you", {"WWW-Authenticate": "Bearer"})


def total() -> Upload:
    """Refuses by Content-Length, or where so many bytes have come."""
    router = Router(limits=Limits(max_total_bytes="1 MiB"))
    router.add(Discard())
    return Upload(router)


def part() -> Upload:
    """Refuses in the middle of a part."""
    router = Router(limits=Limits(max_part_bytes="1 MiB"))
    router.add(Discard())
    return Upload(router)


def given() -> Upload:
    return Upload(Router(), given=refuse)


def before() -> Upload:
    router = Router()

    @router.before
    async def hook(headers: Mapping[str, str]) -> None:
        refuse()

    return Upload(router)


def predicate() -> Upload:
    router = Router()

    def is_mine(info: PartInfo) -> bool:
        return bool(refuse())

    router.add(Discard(), is_mine)
    return Upload(router)


def handler() -> Upload:
    router = Router()

    @router.route()
    async def look(part: Part) -> None:
        await part.peek(1)
        refuse()

    return Upload(router)


def taking() -> Upload:
    """Refuses nothing, and tells how many bytes came."""
    router = Router()

    @router.route(key="size")
    async def count(part: Part) -> int:
        size = 0
        async for chunk in part:
            size += len(chunk)
        return size

    return Upload(router, lambda flow: flow.results["size"])


async def refuse_unread(request: Request) -> PlainTextResponse:
    return PlainTextResponse("too large", 413)


starlette = Starlette(routes=[Route("/foreign", refuse_unread, methods=["POST"])])

app = Front(
    Lingering(starlette),
    {
        f"/{make.__name__}": make()
        for make in (total, part, given, before, predicate, handler, taking)
    },
)
