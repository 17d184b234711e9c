"""The server of `mpflow serve`: until a signal ends it.

Knows: hypercorn, signals, and how long who is under way may go on.
Must not know: options, what is served.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from mpflow.cli.expecting import asks_lazily, serve_lazily

if TYPE_CHECKING:
    from mpflow.cli.app import App

__all__ = ["Serve", "load_server", "serve", "server_config"]

ANSWERING: Final = 3.0
"""Seconds for the answers to uploads that were ended, before connections are cut."""

_CUT: Final = ANSWERING + 1.0
"""Seconds until hypercorn, which waits for its connections on some Pythons, is left alone."""

_FORCED: Final = 2 * ANSWERING
"""Seconds until the process ends whatever its threads do: a store may take minutes to fail."""

Serve: TypeAlias = Callable[..., Awaitable[None]]


def load_server(backend: str) -> Serve:
    """hypercorn's `serve` for the backend."""
    import_module(backend)
    found: Serve = import_module(f"hypercorn.{backend}").serve
    serve_lazily()
    return found


async def serve(
    server: Serve, app: App, listener: socket.socket, started: str, *, grace: float
) -> None:
    """Say that it has `started`, and serve until SIGINT or SIGTERM.

    The first signal refuses new uploads, and gives those under way `grace` seconds. The second
    rolls them back, the third leaves the connections. One that is ignored stays so, as SIGINT is in
    a shell's job in the background; once all is over, none is heard any more. The process is to end
    then: where threads that wait for a disk or a store keep it, it is ended with exit code 1.
    """
    stop = anyio.Event()
    heard = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN]
    with ExitStack() as stack:
        _ignore(heard)  # trio gives on what nobody took: to whom it finds here
        signals = stack.enter_context(_hearing(heard))
        async with anyio.create_task_group() as tasks:

            async def run_server() -> None:
                # In a task of its own: on asyncio hypercorn leaves its task marked as cancelled.
                config = server_config(listener)
                try:
                    await server(asks_lazily(app), config, shutdown_trigger=stop.wait)
                except Exception:
                    # On asyncio, where it is cancelled while it waits for its connections, it
                    # asks for their outcome all the same, and that is an InvalidStateError.
                    if not tasks.cancel_scope.cancel_called:
                        raise
                tasks.cancel_scope.cancel()

            async def end() -> None:
                with anyio.move_on_after(grace):
                    await app.wait_idle()
                if not stop.is_set():
                    finish()

            def finish() -> None:
                # asyncio's streams log each connection that is cut, as if that were an error.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
                app.stop()
                stop.set()
                tasks.cancel_scope.deadline = anyio.current_time() + _CUT
                _end_by_force_in(_FORCED)

            print(started, flush=True)
            tasks.start_soon(run_server)
            ending = False
            async for _ in signals:
                if stop.is_set():
                    tasks.cancel_scope.cancel()
                    _end_by_force_in(ANSWERING)
                elif ending:
                    finish()
                else:
                    ending = True
                    app.refuse()
                    _say_what_is_waited_for(app.uploads, grace)
                    tasks.start_soon(end)


@contextmanager
def _hearing(heard: Sequence[signal.Signals]) -> Generator[AsyncIterator[signal.Signals]]:
    """The signals as they come; behind the block they are ignored."""
    receiver = anyio.open_signal_receiver(*heard)
    with ExitStack() as stack:
        signals = stack.enter_context(receiver)
        try:
            yield signals
        finally:
            # asyncio goes back to what ends the process: it may, for a moment, once more.
            while True:
                with suppress(KeyboardInterrupt):
                    stack.close()
                    _ignore(heard)
                    break


def _ignore(signals: Sequence[signal.Signals]) -> None:
    """The process is about to end by itself."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)


def _end_by_force_in(seconds: float) -> None:
    """End the process then, if it is still there.

    No event loop can: a commit in a thread is waited for, and Python joins the others at its end.
    """

    def end() -> None:
        line = "mpflow serve: ended while a disk or a store did not answer; see what is left there"
        with suppress(OSError):
            os.write(2, f"{line}\n".encode())  # another thread may hold the lock of sys.stderr
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _say_what_is_waited_for(uploads: int, grace: float) -> None:
    if uploads and grace:
        what = "an upload" if uploads == 1 else f"{uploads} uploads"
        line = f"mpflow serve: ending; {what} may go on for {grace:g} s, or until the next signal"
        print(line, file=sys.stderr, flush=True)


def server_config(listener: socket.socket) -> Any:
    """The settings of hypercorn, which takes the listener over."""
    config = import_module("hypercorn.config").Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = ANSWERING
    config.include_server_header = False
    # With a handler of its own what it logs would be there twice: for the root's, too.
    config.errorlog = logging.getLogger("hypercorn.error")
    config.loglevel = "WARNING"  # it says itself where it listens, by the address alone
    return config
