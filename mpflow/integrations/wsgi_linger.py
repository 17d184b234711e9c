"""Early answers of WSGI applications, so that they reach clients which are still sending.

Knows: PEP 3333, threads. Must not know: multipart, frameworks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, Final, TypeAlias

import attrs

from mpflow.integrations.exchange import HURRIED_SECONDS, Linger

__all__ = ["Lingering", "WsgiApp"]

WsgiApp: TypeAlias = Callable[[MutableMapping[str, Any], Any], Iterable[bytes]]

_PIECE: Final = 64 * 1024


@attrs.define(eq=False)
class Lingering:
    """An application whose early answers reach clients that are still sending.

    An answer that comes before the body was read, a 413 say, is lost on some servers to clients
    that write all of it before they read. So what still comes is read and thrown away within
    `linger`, once the answer has gone out and before it ends. Behind a 408 it is half a second:
    who was silent for too long is not waited for once more.
    """

    app: WsgiApp
    linger: Linger = attrs.field(factory=Linger)

    def __call__(self, environ: MutableMapping[str, Any], start_response: Any) -> Iterable[bytes]:
        body = Watched(environ["wsgi.input"], _length(environ))
        environ["wsgi.input"] = body
        statuses: list[str] = []

        def start(status: str, *others: Any, **named: Any) -> Any:
            statuses.append(status)
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
        if close is not None:
            close()


class Watched:
    """`wsgi.input`, with an eye on how much of it was read. One thread reads at a time."""

    def __init__(self, file: Any, length: int | None) -> None:
        self._file = file
        self._left = length  # None: nobody knows before the end
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
            if self._left is not None:
                size = self._left if size < 0 else min(size, self._left)
            data = read(size)
            self.ended = self.ended or (size != 0 and not data)
            if self._left is not None:
                self._left -= len(data)
                self.ended = self.ended or self._left == 0
        return data

    def discard(self, linger: Linger, most: float | None = None) -> None:
        """Read on and throw away, within bounds. A read that takes longer is left alone.

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
