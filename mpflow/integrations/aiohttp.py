"""aiohttp's server: `flow` and `dispatch` in a handler, problems as answers.

Knows: aiohttp's requests, middlewares, and when it asks a client to go on.
Must not know: multipart. aiohttp itself reads on for a while after an early answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import attrs
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from mpflow import MultipartError, MultipartReader, Problem, RouteError, Router
from mpflow.integrations.asgi import answer_for
from mpflow.integrations.requests import READ_BEFORE, Requests, begin

__all__ = ["dispatch", "expect_later", "flow", "install", "problems"]


def _key(name: str, kind: type[Any]) -> Any:
    # Older versions of aiohttp have plain names, of which newer ones warn.
    return web.RequestKey(name, kind) if hasattr(web, "RequestKey") else name


_EXPECTED: Final = _key("mpflow.expected", bool)
_BEGUN: Final = _key("mpflow.begun", list)


def _reader(request: web.Request, router: Router) -> MultipartReader:
    content = request.content
    is_read = request.body_exists and content.at_eof() and content.total_bytes
    if is_read or getattr(content, "_cursor", 0):  # how many bytes of it somebody has
        raise RouteError(READ_BEFORE)
    return MultipartReader.from_message(_Asked(request), limits=router.limits)


_requests: Final = Requests(_reader)
flow: Final = _requests.flow
dispatch: Final = _requests.dispatch


@attrs.frozen
class _Asked:
    """A request whose client is asked for the body when somebody reads it."""

    _request: web.Request

    @property
    def headers(self) -> object:
        return self._request.headers

    @property
    def content(self) -> _Asked:
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        request = self._request
        begin(request, request.content, key=_BEGUN)
        if request.pop(_EXPECTED, False):
            # RFC 9110, 10.1.1: "the client will wait for a 100 (Continue) response".
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # as aiohttp's own does: the answer has not begun
        async for chunk in request.content.iter_any():
            yield chunk


async def expect_later(request: web.Request) -> None:
    """For `add_post(..., expect_handler=expect_later)`: ask for a body only if somebody reads it.

    aiohttp asks for the body of an `Expect: 100-continue` before any handler of yours is called.
    With this a refusal by the headers comes first, and the client sends nothing. It is for handlers
    that read by `flow` or `dispatch`.
    """
    # RFC 9110, 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request
    # MUST ignore that expectation."
    if request.version < HttpVersion11:
        return
    expected = request.headers.get(hdrs.EXPECT, "")
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="expected 100-continue")
    request[_EXPECTED] = True


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware that answers every `MultipartError` with problem details, and a full disk."""
    try:
        return await handler(request)
    except (MultipartError, OSError) as error:
        if isinstance(error, OSError) and Problem.of(error).status != 507:
            raise  # of somebody else
        answer = answer_for(error)
        if answer is None:
            # Nobody hears it, and aiohttp notes that quietly: an exception it would log as a fault.
            gone = web.Response(status=Problem.of(error).status)
            gone.force_close()
            return gone
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def install(app: web.Application) -> None:
    """Have an application answer every `MultipartError` with problem details."""
    app.middlewares.append(problems)
