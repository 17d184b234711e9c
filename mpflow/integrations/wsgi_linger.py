"""Early answers of WSGI applications, so that they reach clients which are still sending.

Knows: PEP 3333, threads, and what of its connection a server shows. Must not know: multipart,
frameworks.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import attrs

from mpflow.integrations.exchange import HURRIED_SECONDS, Linger
from mpflow.integrations.honest import honest

__all__ = ["Lingering", "WsgiApp", "is_lingering", "stop_reading"]

WsgiApp: TypeAlias = Callable[[MutableMapping[str, Any], Any], Iterable[bytes]]

_PIECE: Final = 64 * 1024

_LINGERING: Final = "mpflow.lingering"

_ENDING_SECONDS: Final = 1.0
"""How long a read may take to notice that its connection gives no more."""


@attrs.define(eq=False)
class Lingering:
    """An application whose early answers reach clients that are still sending.

    An answer that comes before the body was read, a 413 say, is lost on some servers to clients
    that write all of it before they read. So what still comes is read and thrown away within
    `linger`, once the answer has gone out and before it ends. Behind a 408 it is half a second:
    who was silent for too long is not waited for once more. Where a read is still under way then,
    the connection is closed: to another request the rest of this body must never belong.
    """

    app: WsgiApp
    linger: Linger = attrs.field(factory=Linger)

    def __call__(self, environ: MutableMapping[str, Any], start_response: Any) -> Iterable[bytes]:
        connection = _Connection.of(environ, start_response)
        body = Watched(environ["wsgi.input"], _length(environ), connection)
        environ["wsgi.input"] = body
        environ[_LINGERING] = True
        statuses: list[str] = []

        def start(status: str, *others: Any, **named: Any) -> Any:
            statuses.append(status)
            if status.startswith("408") and not body.ended and connection is not None:
                connection.close_later()  # while its header can still say so
            return start_response(status, *others, **named)

        answer = self.app(environ, start)
        # As it is where it can be: it may be a file, which some servers send in a quicker way.
        return answer if body.ended else _Lingered(answer, body, self.linger, statuses)


class _Lingered:
    """The pieces of an answer, and the end of the body before its own end."""

    def __init__(
        self, answer: Iterable[bytes], body: Watched, linger: Linger, statuses: list[str]
    ) -> None:
        self._answer = answer
        self._body = body
        self._linger = linger
        self._statuses = statuses  # which the answer has started with: the last one counts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer
        is_timeout = self._statuses[-1:] and self._statuses[-1].startswith("408")
        self._body.discard(self._linger, HURRIED_SECONDS if is_timeout else None)

    def close(self) -> None:
        close = getattr(self._answer, "close", None)
        try:
            if close is not None:
                close()
        finally:
            # Here all of the answer is written: over TLS nothing can be once a read was broken off.
            self._body.end()


class _Deaf(socket.socket):
    """What becomes of a connection whose next bytes are nobody's: nothing more is read from it."""

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return b""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return 0


@attrs.frozen
class _Connection:
    """The connection of a request, as gunicorn and werkzeug's development server show it."""

    _socket: socket.socket
    _close_later: Callable[[], None] | None

    @classmethod
    def of(cls, environ: Mapping[str, Any], start_response: object) -> _Connection | None:
        """None where the server shows none, or other requests are on it (HTTP/2)."""
        shown: object = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        is_single = str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/1.")
        if not (isinstance(shown, socket.socket) and is_single):
            return None
        # gunicorn closes by itself after a body that nobody has read to its end, but it takes a
        # body for read whose connection has ended. Its start_response is a method of its answer.
        owner: object = getattr(start_response, "__self__", None)
        return cls(shown, getattr(owner, "force_close", None))

    def close_later(self) -> None:
        """Have the server close it after the answer."""
        if self._close_later is not None:
            self._close_later()

    def stop_reading(self) -> None:
        """End a read that is under way in another thread, and all later ones.

        Without TLS one can still write.
        """
        # Linux goes on to deliver what comes after SHUT_RD, which the server could take for the
        # next request. It reads by this object, whatever middlewares have wrapped.
        how = socket.SHUT_RD
        try:
            self._socket.__class__ = _Deaf
        except TypeError:  # TLS, or a class of its own: no answer rather than a false request
            how = socket.SHUT_RDWR
        # An SSLSocket's own shutdown would go on without TLS.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, how)


def is_lingering(environ: Mapping[str, Any]) -> bool:
    """Whether somebody further out looks after what of the body is still read."""
    return bool(environ.get(_LINGERING))


def stop_reading(environ: Mapping[str, Any]) -> None:
    """End a read of the body that is under way in another thread, before the answer.

    Where the server allows that. Over TLS the answer is lost with it: what the server does next
    with an OpenSSL object that another thread is in would end the process, not the connection.
    """
    connection = _Connection.of(environ, None)
    if connection is not None:
        connection.stop_reading()


class Watched:
    """`wsgi.input`, with an eye on how much of it was read. One thread reads at a time."""

    def __init__(
        self, file: Any, length: int | None, connection: _Connection | None = None
    ) -> None:
        self.source = file
        self._file = honest(file)
        self._left = length  # None: nobody knows before the end
        self._connection = connection
        self._lock = threading.Lock()
        self._is_unwanted = False
        self.ended: bool = length == 0

    def read(self, size: int | None = -1) -> bytes:
        return self._count(self._file.read, size)

    def readline(self, size: int | None = -1) -> bytes:
        return self._count(self._file.readline, size)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _count(self, read: Callable[[int], bytes], size: int | None) -> bytes:
        size = -1 if size is None or size < 0 else size
        with self._lock:
            if self._is_unwanted:
                return b""
            if self._left is not None:
                size = self._left if size < 0 else min(size, self._left)
            data = read(size)
            self.ended = self.ended or (size != 0 and not data)
            if self._left is not None:
                self._left -= len(data)
                self.ended = self.ended or self._left == 0
        return data

    def discard(self, linger: Linger, most: float | None = None) -> None:
        """Read on and throw away, within bounds. A read that takes longer goes on.

        `most` are the seconds that it may take at most, whatever `linger` says.
        """
        size, seconds = linger.bounds(self._left)
        seconds = seconds if most is None else min(seconds, most)
        thread = threading.Thread(
            target=self._discard, args=(size,), daemon=True, name="mpflow-linger"
        )
        thread.start()
        thread.join(seconds)
        self._is_unwanted = True

    def end(self) -> None:
        """The answer is over. A read that is still under way ends, and so does the connection.

        Two threads must not read at once, and what the server does next is to read on by itself.
        Where it does not show the connection, the read is left alone.
        """
        self._is_unwanted = True
        if self._connection is not None and self._lock.locked():
            self._connection.close_later()
            self._connection.stop_reading()
            if self._lock.acquire(timeout=_ENDING_SECONDS):
                self._lock.release()

    def _discard(self, size: int) -> None:
        while size > 0 and not (self.ended or self._is_unwanted):
            try:
                size -= len(self.read(min(size, _PIECE)))
            except Exception:  # whatever a server raises of a client that is gone
                return


def _length(environ: MutableMapping[str, Any]) -> int | None:
    if "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower():
        # Nobody can tell its end where the server cannot: it is not read then.
        return None if environ.get("wsgi.input_terminated") else 0
    text = str(environ.get("CONTENT_LENGTH") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
