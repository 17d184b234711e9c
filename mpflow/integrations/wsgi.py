"""WSGI: a router in Django, Flask and other services whose threads have no event loop.

Knows: PEP 3333's environ, `wsgi.input`, and which failures become which answers.
Must not know: any framework but by the shape of what it leaves in the environ.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias, TypeVar, overload

from anyio.from_thread import BlockingPortalProvider

from mpflow import (
    ClientDisconnected,
    Flow,
    MalformedBody,
    MultipartError,
    MultipartReader,
    Problem,
    Rejected,
    Results,
    RouteError,
    Router,
)
from mpflow.errors import excerpt
from mpflow.integrations.exchange import Answer
from mpflow.integrations.held import HeldFlow
from mpflow.integrations.pieces import Pieces
from mpflow.integrations.requests import begin
from mpflow.integrations.wsgi_linger import Lingering, Watched, is_lingering, stop_reading

__all__ = [
    "Answer",
    "Environ",
    "HeldFlow",
    "Lingering",
    "answer_for",
    "dispatch",
    "flow",
    "install",
    "respond",
]

Environ: TypeAlias = Mapping[str, Any]
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]
Backend: TypeAlias = str | BlockingPortalProvider

T = TypeVar("T")

_log: Final = logging.getLogger("mpflow.integrations")

_providers: Final[dict[tuple[int, str], BlockingPortalProvider]] = {}
"""An event loop for each process and backend, which runs while a flow of any thread does."""

_GONE: Final = "the client went away before the body was whole"

_OWN: Final = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")
"""What servers make of `Content_Type:`, which is no header that WSGI speaks of."""


@overload
def dispatch(
    router: Router,
    environ: Environ,
    *,
    into: None = None,
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> Results: ...


@overload
def dispatch(
    router: Router,
    environ: Environ,
    *,
    into: type[T],
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> T: ...


def dispatch(
    router: Router,
    environ: Environ,
    *,
    into: type[Any] | None = None,
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> Any:
    """Read the request's body, handle every part, commit, and give the results.

    It blocks until that is done, and raises what `Router.dispatch` does: `answer_for` makes an
    answer of it. `environ` is WSGI's, of which nobody may have read the body. The handlers run in
    an event loop of another thread, on `backend`: "asyncio", "trio", or a provider of anyio's.
    """
    with flow(router, environ, into=into, given=given, backend=backend) as held:
        made = None if into is None else held.results.into(into)
    return held.results if into is None else made


def flow(
    router: Router,
    environ: Environ,
    *,
    into: type[Any] | None = None,
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> HeldFlow:
    """The same in two steps: in the block of `with`, nothing is committed yet.

    The block runs in the thread that calls, where connections to a database are its own. The end
    of the block commits, or `commit()` in it; an exception that leaves it rolls all back.
    """
    stop = None if is_lingering(environ) else partial(stop_reading, environ)
    source = environ.get("wsgi.input")
    body = Pieces(source, stop)

    def make() -> Flow:
        _expect_unread(environ)
        scope = _scope(environ)
        receive = _Receive(body, _length(environ), lambda: _begin(environ, source))
        reader = MultipartReader.from_asgi(scope, receive, limits=router.limits)
        return router.flow(reader, into=into, given=given)

    return HeldFlow(make, _provider(backend), body.close)


def answer_for(error: BaseException) -> Answer:
    """The answer to a request that failed: a status, headers and problem details.

    What is not the client's fault is logged (`mpflow.integrations`), since the answer has no word
    of it. A client that has gone is answered too: WSGI knows no request without an answer.
    """
    problem = Problem.of(error)
    if problem.status >= 500:
        _log.error("an upload failed: %s", error, exc_info=error)
    return Answer.problem(problem)


def respond(error: BaseException, start_response: StartResponse) -> list[bytes]:
    """The same for an application that speaks WSGI itself: what it has to return."""
    answer = answer_for(error)
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Error"
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    start_response(f"{answer.status} {phrase}", list(headers.items()))
    return [answer.body]


def install(app: Any) -> None:
    """Have a Flask application answer each `MultipartError` with problem details, and linger."""

    def answer(error: MultipartError) -> tuple[bytes, int, dict[str, str]]:
        told = answer_for(error)
        return told.body, told.status, dict(told.headers)

    app.register_error_handler(MultipartError, answer)
    app.wsgi_app = Lingering(app.wsgi_app)


# -- the request ------------------------------------------------------------------------------


class _Receive:
    """`wsgi.input` as the `receive` of ASGI."""

    def __init__(self, body: Pieces, length: int | None, begin: Callable[[], None]) -> None:
        self._body = body
        self._begin: Callable[[], None] | None = begin  # None: the body was begun
        self._length = length  # None: as long as the server gives more
        self._received = 0

    async def __call__(self) -> dict[str, Any]:
        if self._begin is not None:
            self._begin()
            self._begin = None
        left = None if self._length is None else self._length - self._received
        data = b"" if left == 0 else await self._read(left)
        self._received += len(data)
        more = bool(data) and self._received != self._length
        return {"type": "http.request", "body": data, "more_body": more}

    async def _read(self, left: int | None) -> bytes:
        try:
            data = await self._body.receive(left)
        except OSError as error:  # gunicorn, Django, waitress: the connection is broken
            raise ClientDisconnected(_GONE) from error
        except Exception as error:
            meant = _unreadable(error)
            if meant is None:
                raise
            raise meant from error
        if not data and left is not None:
            text = f"expected {self._length} bytes of body, got {self._received}"
            text += ": the client went away"
            if not self._received:
                text += ", or the body was read before (request.POST, request.form)"
            raise ClientDisconnected(text)
        return data


def _unreadable(error: Exception) -> MultipartError | None:
    """What a server means that raises `error` instead of a piece of the body; None for a bug.

    A chunked body is taken apart as it is read, and servers tell a malformed one by exceptions of
    their own (gunicorn), or by ValueError (cheroot, eventlet). Other exceptions of Python's own
    are somebody's bug.
    """
    if isinstance(error, EOFError):
        return ClientDisconnected(_GONE)
    kind = type(error)
    is_pythons = kind.__module__ == "builtins" and kind is not ValueError
    if is_pythons or isinstance(error, MultipartError):
        return None
    # gunicorn's ChunkMissingTerminator has what stood in its place: nothing, or no more than a CR,
    # where the body ends.
    term: object = getattr(error, "term", None)
    if isinstance(term, bytes) and b"\r\n".startswith(term):
        return ClientDisconnected(_GONE)
    # Its text is not told: nobody knows what it speaks of.
    return MalformedBody(f"expected a body that the server can read, got {kind.__name__}")


def _scope(environ: Environ) -> dict[str, Any]:
    headers: list[tuple[bytes, bytes]] = []
    chunked = _is_chunked(environ)
    for name, value in environ.items():
        if name.startswith("HTTP_") and name not in _OWN:
            headers.append((_header(name[5:]), str(value).encode("latin-1", "replace")))
        elif value and (name == "CONTENT_TYPE" or (name == "CONTENT_LENGTH" and not chunked)):
            headers.append((_header(name), str(value).encode("latin-1", "replace")))
    return {
        "type": "http",
        "method": environ.get("REQUEST_METHOD", "POST"),
        "path": environ.get("PATH_INFO", ""),
        "headers": headers,
    }


def _header(name: str) -> bytes:
    return name.replace("_", "-").lower().encode("latin-1", "replace")


def _is_chunked(environ: Environ) -> bool:
    return "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower()


def _length(environ: Environ) -> int | None:
    """How many bytes the body has; None where the server knows its end by itself.

    PEP 3333: an application "should not attempt to read more data than is specified by the
    CONTENT_LENGTH variable"; on many servers it would wait for ever. Of a chunked body there is
    none (RFC 9112, 6.3: its framing counts), and servers that can tell its end say so by
    `wsgi.input_terminated`.
    """
    text = str(environ.get("CONTENT_LENGTH") or "").strip()
    if text and not _is_chunked(environ):
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise MalformedBody(f"expected a Content-Length of digits, got {excerpt(text)}")
        return int(text)
    if environ.get("wsgi.input_terminated"):
        return None
    if _is_chunked(environ):
        raise Rejected(411, "expected a Content-Length: this server does not take chunked bodies")
    return 0


def _begin(environ: Environ, source: Any) -> None:
    while isinstance(source, Watched):
        source = source.source
    try:
        place = source.tell() if source.seekable() else None
    except Exception:  # whatever a server's file says to that: it is none that was rewound
        place = None
    if isinstance(environ, MutableMapping):
        begin(environ, source, place=place)


def _expect_unread(environ: Environ) -> None:
    """Refuse a body of which werkzeug has made a form: some servers would wait for more of it."""
    read = getattr(environ.get("werkzeug.request"), "__dict__", {})
    if "form" in read or "_cached_data" in read:
        raise RouteError("expected a body that nobody has read; request.form or its like has")


def _provider(backend: Backend) -> BlockingPortalProvider:
    if isinstance(backend, BlockingPortalProvider):
        return backend
    # A process that was forked has none of its parent's threads.
    key = os.getpid(), backend
    return _providers.setdefault(key, BlockingPortalProvider(backend))
