"""A blocking file, read piece by piece for an event loop: `Pieces`.

Knows: threads. Must not know: what the bytes mean, WSGI.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from mpflow.integrations.honest import honest

__all__ = ["Pieces"]

FIRST: Final = 4 * 1024
LEAST: Final = 1024
MOST: Final = 256 * 1024
"""Bytes that are asked for at once: at first, of a slow client, of a quick one."""

QUICK: Final = 0.05
SLOW: Final = 0.5
"""Seconds for one piece, below and above which the next one is larger or smaller."""

PATIENCE: Final = 2.0
"""Seconds from its start for a read that is under way when nobody wants it any more."""

ENDING: Final = 1.0
"""Seconds for the same once it was told to stop."""


class Pieces:
    """The bytes of a file whose `read(n)` blocks until there are `n`, or the end.

    A thread of its own reads, so that a read which never returns holds up nobody: not the loop,
    not the end of the process. The pieces are small where the client is slow, since what has come
    of a piece is not seen before it is whole. `stop` makes a read under way end, if it can.
    """

    def __init__(self, file: Any, stop: Callable[[], None] | None = None) -> None:
        self._file = honest(file)
        self._stop = stop
        self._size = FIRST
        self._wanted = threading.Semaphore(0)
        self._next: tuple[int, Future[bytes], anyio.Event] | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._start = 0.0  # of the latest read
        self._idle = threading.Event()  # no read is under way
        self._idle.set()

    async def receive(self, most: int | None = None) -> bytes:
        """The next piece, of at most `most` bytes; empty at the end. Raises what `read` does."""
        size = self._size if most is None else min(self._size, most)
        outcome: Future[bytes] = Future()
        came = anyio.Event()
        self._next = size, outcome, came
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(current_token(),), daemon=True, name="mpflow-input"
            )
            self._thread.start()
        self._idle.clear()
        start = self._start = time.monotonic()
        self._wanted.release()
        await came.wait()
        took = time.monotonic() - start
        if took < QUICK:
            self._size = min(MOST, self._size * 2)
        elif took > SLOW:
            self._size = max(LEAST, self._size // 4)
        return outcome.result()

    def close(self) -> None:
        """Read no more. A read under way is waited for, but not for long, and told to stop.

        One that has taken long already is given up: after a timeout, nothing is to come.
        """
        self._is_closed = True
        self._wanted.release()
        # Two threads must not read at once: what the server does next is to read on by itself.
        left = max(0.0, self._start + PATIENCE - time.monotonic())
        if not self._idle.wait(left) and self._stop is not None:
            self._stop()
            self._idle.wait(ENDING)

    def _run(self, token: Any) -> None:
        while True:
            self._wanted.acquire()
            if self._is_closed or self._next is None:
                return
            size, outcome, came = self._next
            try:
                outcome.set_result(self._file.read(size))
            except BaseException as error:
                outcome.set_exception(error)
            self._idle.set()
            try:
                from_thread.run_sync(came.set, token=token)
            except RuntimeError:  # the loop has ended: nobody waits for the piece
                return
