"""`mpflow serve DIR`: an upload service that stores what it gets; `-c`: one with routes of its own.

Knows: the options, the listening socket, the server and the signals that end it.
Must not know: what an answer says (`app.py`).
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import anyio

from mpflow import Limits
from mpflow.cli.routed import Routed, add_config_argument, load_router

if TYPE_CHECKING:
    from mpflow.cli.app import Service

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "store what is uploaded by browsers, curl and their like in a directory"

GRACE: Final = 3.0
"""Seconds for the answers to uploads that a signal has ended, before connections are cut."""

_BIND: Final = re.compile(r"(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})")
_Serve: TypeAlias = Callable[..., Awaitable[None]]


class _Application(Protocol):
    """What this needs of the application."""

    def stop(self) -> None: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", help="made if it is missing"
    )
    add_config_argument(parser, required=False)
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        type=_address,
        default="127.0.0.1:8000",
        help="where to listen; port 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=["asyncio", "trio"],
        default="asyncio",
        help="what it runs on (default: %(default)s, which moves more bytes a second)",
    )
    parser.add_argument(
        "--max-bytes",
        metavar="SIZE",
        type=_size,
        help="bytes of one upload at most, such as '2 GiB' (default: no limit but the disk)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; the exit code."""
    try:
        serve = _load_server(options.backend)
    except ImportError as error:
        # What is missing may be a part of the server, too.
        return _fail(f"{error}; install it with: pip install 'multipart-flow[serve]'", code=2)
    if (options.directory is None) == (options.config is None):
        return _fail("expected a DIR, or -c FILE with the routes", code=2)
    if options.config is not None and options.max_bytes is not None:
        return _fail("expected max_total_bytes in [limits] of FILE, got --max-bytes", code=2)
    try:
        service = _inbox(options) if options.config is None else _routed(options.config)
        if service is None:
            return 2
        listener = _listen(*options.bind)
    except OSError as error:
        return _fail(_reason(error))
    logging.basicConfig(format="mpflow: %(levelname)s: %(message)s", level=logging.WARNING)

    from mpflow.cli.app import App  # only now: it is the larger part of what there is to import

    app = App(service)
    what = options.config or options.directory
    started = (
        f"mpflow: serving {what} at http://{_name(listener)}/ on {options.backend}; Ctrl-C ends it"
    )
    anyio.run(_serve, serve, app, listener, started, backend=options.backend)
    return 0


def _inbox(options: argparse.Namespace) -> Service:
    _make_directory(options.directory)

    from mpflow.cli.inbox import Inbox

    return Inbox(options.directory, max_bytes=options.max_bytes)


def _routed(path: str) -> Service | None:
    """The service of a file of routes; None where that is at fault, which was said."""
    router = load_router("serve", path)
    return None if router is None else Routed(router)


# -- options --------------------------------------------------------------------------------------


def _address(text: str) -> tuple[str, int]:
    match = _BIND.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise argparse.ArgumentTypeError(
            f"expected HOST:PORT or [IPV6]:PORT, the port at most 65535, got {text!r}"
        )
    return match[1] or match[2], int(match[3])


def _size(text: str) -> int | None:
    try:
        return Limits.stream(max_total_bytes=text).max_total_bytes
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- what can go wrong before it serves -----------------------------------------------------------


def _load_server(backend: str) -> _Serve:
    """hypercorn's `serve` for the backend."""
    import_module(backend)
    serve: _Serve = import_module(f"hypercorn.{backend}").serve
    return serve


def _make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), str(path))


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; an `OSError` names the address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _located(error, host, port) from error
    try:
        if os.name == "posix":  # elsewhere it would let two services share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _located(error, host, port) from error
    return listener


def _located(error: OSError, host: str, port: int) -> OSError:
    return OSError(error.errno, error.strerror, f"{host}:{port}")


def _name(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _fail(line: str, *, code: int = 1) -> int:
    print(f"mpflow serve: {line}", file=sys.stderr)
    return code


# -- serving --------------------------------------------------------------------------------------


async def _serve(serve: _Serve, app: _Application, listener: socket.socket, started: str) -> None:
    stop = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def run_server() -> None:
                # In a task of its own: on asyncio hypercorn leaves its task marked as cancelled.
                await serve(app, _config(listener), shutdown_trigger=stop.wait)
                tasks.cancel_scope.cancel()

            print(started, flush=True)
            tasks.start_soon(run_server)
            async for _ in signals:
                if stop.is_set():  # the second one
                    tasks.cancel_scope.cancel()
                # asyncio's streams log each connection that is cut, as if that were an error.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
                app.stop()
                stop.set()
                # hypercorn waits for its connections, as long as they please, on some Pythons.
                tasks.cancel_scope.deadline = anyio.current_time() + 2 * GRACE


def _config(listener: socket.socket) -> Any:
    config = import_module("hypercorn.config").Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = GRACE
    config.include_server_header = False
    config.loglevel = "WARNING"  # it says itself where it listens, by the address alone
    return config
