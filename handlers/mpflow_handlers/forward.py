"""`Forward`: a part relayed to another HTTP service as it arrives.

Knows: httpx, what of a part's headers may go on, and what counts as an answer.
Must not know: how a multipart is written, or what the service does with it.
"""

from __future__ import annotations

import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
)
from contextlib import asynccontextmanager
from inspect import Signature
from typing import TYPE_CHECKING, Any, Concatenate, Final, TypeAlias, cast

import anyio
import attrs
from anyio import to_thread
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow import (
    FormData,
    Part,
    PartInfo,
    RouteError,
    ServiceFailed,
    UnsupportedCoding,
    accepted_needs,
    signature_over,
)
from mpflow.errors import excerpt
from mpflow_handlers.relaying import (
    Received,
    Sent,
    check_url,
    encoded,
    library,
    once,
    shown,
    trusted,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["Forward", "Forwarded"]

ANSWER_BYTES: Final = 64 * 1024
"""Bytes of the service's answer that are kept."""

_EXCERPT: Final = 200
"""Bytes of a refusal that its error shows."""

_UNDO: Final = 30.0
"""Seconds that undoing has, as a rollback has."""

# RFC 9110, 7.6.1, and what says where the body ends or which host is meant.
_HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"),
    }
)

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
# RFC 9110, 5.5: no control characters but tabs. Bytes that are no text are surrogates here.
_VALUE: Final = re.compile(r"[^\x00-\x08\n-\x1f\x7f\ud800-\udc7f\udd00-\udfff]*")

_Headers: TypeAlias = Mapping[str, str]


@attrs.frozen
class Forwarded:
    """What the service answered: its `status` (2xx), `headers`, and the first 64 KiB of its body.

    `is_whole` is False where the body was longer, or came to no end, which only `undo` sees. The
    body is as it came: with a content coding, if the service used one, though it was asked not to.
    """

    status: int
    headers: CIMultiDictProxy[str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    is_whole: bool


Undo: TypeAlias = "Callable[[Forwarded, httpx.AsyncClient], Awaitable[object]]"


def _url_or_maker(forward: Any, field: Any, url: Any) -> None:
    if callable(url):
        library()
    else:
        check_url(url)


def check_headers(headers: object) -> Mapping[str, str]:
    """The headers if they may be set; `RouteError` for those of the connection, and for no text."""
    if not isinstance(headers, Mapping):
        raise RouteError(f"expected headers as a mapping, got {headers!r:.60}")
    for name, value in cast("Mapping[object, object]", headers).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise RouteError(f"expected a header's name as a token, got {name!r:.60}")
        if name.lower() in _HOP_BY_HOP:
            raise RouteError(f"expected headers of the message, got {excerpt(name)}")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise RouteError(
                f"expected the header {excerpt(name)} as text without control characters, "
                f"got {value!a:.60}"
            )
    return cast("Mapping[str, str]", headers)


def _method(forward: Any, field: Any, method: object) -> None:
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise RouteError(f"expected an HTTP method such as 'PUT', got {method!r:.60}")


def _timeout(forward: Any, field: Any, timeout: object) -> None:
    if timeout is None or (
        isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    ):
        return
    raise RouteError(f"expected timeout in seconds above 0, or None, got {timeout!r:.60}")


def _text_or_flag(forward: Any, field: Any, as_form: object) -> None:
    if not isinstance(as_form, bool | str):
        raise RouteError(f"expected as_form as a bool or a part's name, got {as_form!r:.60}")


def _headers_or_maker(forward: Any, field: Any, headers: Any) -> None:
    if headers is not None and not callable(headers):
        check_headers(headers)


@attrs.frozen
class Forward:
    """Sends the part on to another HTTP service while it comes; gives `Forwarded`. Needs httpx.

    `url` is where to, or a callable that makes it of the `PartInfo` and, by the names of its other
    parameters, of what the route `needs`. The body is that of the part, without its transfer
    encoding, unless the route's `decode` says otherwise; with `as_form` it is a form of one file,
    under the part's name or the one that `as_form` gives. Of the part's headers only its content
    type goes on, and its content coding where that was kept; never cookies, authorization or
    anything else. `headers` are set beside them, or over them; a callable makes them as `url`
    does. Those of the connection raise `RouteError`.

    `client` is an `httpx.AsyncClient`, whose connections are used again; without it each part gets
    a client of its own. Redirects are not followed: the body is sent once. `timeout` is in seconds
    for each step (to connect, to write a chunk, to hear the answer), None for no limit.

    The service is read and written at the speed of the slowest; nothing is gathered. A part that
    is cut, a cancellation or a failure ends the connection before the body is complete, so that
    the service can tell. An answer other than 2xx raises `ServiceFailed`, status 502, as do
    failures of the connection; a timeout, status 504. So does a 2xx that comes before all of the
    part is sent: nobody can tell what such a service has kept.

    **The service has the part before the flow commits.** Where that matters, `undo` is awaited at
    a rollback, with the `Forwarded` and a client, within 30 s: it may send a DELETE, say. So it is
    where the handler fails, or is cancelled, once a status of 2xx came: what had come of the body
    by then is in the `Forwarded`, whose `is_whole` is False where that was not all. Undoing is not
    possible where no answer came: such a service has to forget what nobody names.
    """

    url: str | Callable[Concatenate[PartInfo, ...], str] = attrs.field(
        validator=_url_or_maker, repr=lambda url: shown(url) if isinstance(url, str) else repr(url)
    )
    method: str = attrs.field(default="POST", kw_only=True, validator=_method)
    headers: _Headers | Callable[Concatenate[PartInfo, ...], _Headers] | None = attrs.field(
        default=None, kw_only=True, validator=_headers_or_maker, hash=False, repr=False
    )
    as_form: bool | str = attrs.field(default=False, kw_only=True, validator=_text_or_flag)
    client: httpx.AsyncClient | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=60.0, kw_only=True, validator=_timeout)
    undo: Undo | None = attrs.field(default=None, kw_only=True)

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        return signature_over(*(made for made in (self.url, self.headers) if callable(made)))

    @asynccontextmanager
    async def __call__(self, part: Part, **needs: Any) -> AsyncGenerator[Forwarded, None]:
        body, headers = self._message(part)
        url, more = self.url, self.headers
        if not isinstance(url, str):
            url = check_url(url(part.info, **accepted_needs(url, needs)))
        if callable(more):
            more = check_headers(more(part.info, **accepted_needs(more, needs)))
        headers.update(more or {})
        answer, sent = _Answer(), False
        try:
            await self._send(url, headers, body, answer)
            sent = True
            yield answer.forwarded()
        except BaseException as reason:
            if self.undo is not None and answer.is_success:
                try:
                    await self._take_back(self.undo, answer.forwarded())
                except Exception as error:
                    if sent or not isinstance(reason, Exception):
                        raise  # of a rollback, the flow notes it
                    told = f"{type(error).__name__}: {error}"
                    reason.add_note(f"what the service has kept was not undone: {told}")
            raise

    async def _take_back(self, undo: Undo, forwarded: Forwarded) -> None:
        with anyio.CancelScope(shield=True), anyio.fail_after(_UNDO):
            async with self._client() as client:
                await undo(forwarded, client)

    def _message(self, part: Part) -> tuple[AsyncIterable[bytes], CIMultiDict[str]]:
        """The body, and the headers that belong to it."""
        stream, kind = part.stored(), part.headers.get("Content-Type")
        headers: CIMultiDict[str] = CIMultiDict({"Accept-Encoding": "identity"})
        if self.as_form is not False:
            name = self.as_form if isinstance(self.as_form, str) else part.name or "file"
            form = FormData()
            form.add(name, Received(stream), filename=part.filename, content_type=kind)
            headers["Content-Type"] = form.content_type
            return form, headers
        if kind is not None:
            headers["Content-Type"] = kind
        if _keeps_coding(part):
            headers["Content-Encoding"] = ", ".join(part.headers.getall("Content-Encoding"))
        return stream, headers

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        """The client that was given, or one for this part."""
        if self.client is not None:
            yield self.client
            return
        trust = await to_thread.run_sync(trusted)  # the first time, files are read
        async with library().AsyncClient(timeout=self.timeout, verify=trust) as client:
            yield client

    async def _send(
        self,
        url: str,
        headers: CIMultiDict[str],
        body: AsyncIterable[bytes],
        answer: _Answer,
    ) -> None:
        httpx = library()
        where, sent = f"{self.method} {shown(url)}", Sent(body)
        try:
            async with self._client() as client:
                request = self._request(client, url, headers, sent)
                response = await client.send(request, stream=True, follow_redirects=False)
                try:
                    await answer.take(response)
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except httpx.HTTPError as error:
            late = isinstance(error, httpx.TimeoutException)
            text = f"got {type(error).__name__}: {excerpt(str(error), limit=_EXCERPT)}"
            if sent.begun and not sent.whole and not late:
                # On asyncio an answer is lost where the service closes with bytes unread.
                text += "; it closed before the whole part was sent, and may have said why"
            raise ServiceFailed(
                f"expected {where} to be answered, {text}",
                status=504 if late else None,
            ) from error
        if not answer.is_success:
            raise ServiceFailed(
                f"expected {where} to be answered with 2xx, got {answer.status}: "
                f"{excerpt(bytes(answer.body), limit=_EXCERPT)}"
            )
        if not sent.whole:
            raise ServiceFailed(
                f"expected {where} to be answered once the whole part was sent, got "
                f"{answer.status} before"
            )

    def _request(
        self,
        client: httpx.AsyncClient,
        url: str,
        headers: CIMultiDict[str],
        body: AsyncIterable[bytes],
    ) -> httpx.Request:
        """The request as the client would send it, with the body as it comes."""
        made = client.build_request(
            self.method, url, headers=encoded(headers), timeout=self.timeout
        )
        if "Content-Length" not in headers:
            made.headers.pop("Content-Length", None)  # of the empty body
            made.headers["Transfer-Encoding"] = "chunked"
        return library().Request(  # type: ignore[no-any-return] # httpx is imported late
            made.method,
            made.url,
            headers=made.headers,
            stream=once()(body),
            extensions=made.extensions,
        )


@attrs.define(eq=False)
class _Answer:
    """What came of the service's answer: nothing yet, its head, its body up to `ANSWER_BYTES`."""

    status: int | None = attrs.field(default=None, init=False)
    headers: CIMultiDict[str] = attrs.field(factory=CIMultiDict[str], init=False)
    body: bytearray = attrs.field(factory=bytearray, init=False)
    is_whole: bool = attrs.field(default=False, init=False)

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    async def take(self, response: httpx.Response) -> None:
        """Receive the body. It is not decoded: it may be a bomb."""
        self.status = response.status_code
        self.headers.extend(response.headers.multi_items())
        more = False
        if response.is_stream_consumed:  # by a hook of the client's
            more = self._add(response.content)
        else:
            with anyio.CancelScope() as scope:
                async for chunk in response.aiter_raw():
                    more = self._add(chunk)
                    if more:
                        scope.cancel()  # ends httpx's generators, which leaving them would not
        self.is_whole = not more

    def _add(self, data: bytes) -> bool:
        """Keep what there is room for; whether there was more."""
        room = ANSWER_BYTES - len(self.body)
        self.body += data[:room]
        return len(data) > room

    def forwarded(self) -> Forwarded:
        assert self.status is not None
        headers = CIMultiDictProxy(self.headers)
        return Forwarded(self.status, headers, bytes(self.body), self.is_whole)


def _keeps_coding(part: Part) -> bool:
    """Whether what is stored of the part still has the content coding that its headers name."""
    if part.decode_policy == "all" or "Content-Encoding" not in part.headers:
        return False
    try:
        return part.decoded(transfer=False) is not part
    except UnsupportedCoding:
        return True  # it is kept because nobody here knows it; the service may
