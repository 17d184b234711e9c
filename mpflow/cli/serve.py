"""`mpflow serve DIR`: an upload service that stores what it gets; `-c`: one with routes of its own.

Knows: the options, the listening socket, and what can go wrong before it serves.
Must not know: what an answer says (`app.py`), the server and what ends it (`serving.py`).
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from mpflow import Limits
from mpflow.cli.access import Access
from mpflow.cli.routed import Routed, add_config_argument, load_router

if TYPE_CHECKING:
    from mpflow.cli.app import Service

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "store what is uploaded by browsers, curl and their like in a directory or a bucket"

TOKEN: Final = "MPFLOW_TOKEN"
"""The variable of the environment that has the token where no file is named."""

_BIND: Final = re.compile(r"(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "where",
        metavar="DIR|URL",
        nargs="?",
        help="a directory, made if it is missing, or a store such as s3://bucket/prefix",
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
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"holds the token that uploads need (default: that in ${TOKEN}; none without)",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=_seconds,
        default=20.0,
        help="how long uploads may go on after the signal that ends it (default: %(default)g)",
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="where the store's API is, if not where its URL says"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; the exit code."""
    from mpflow.cli.serving import load_server, serve

    try:
        server = load_server(options.backend)
    except ImportError as error:
        # What is missing may be a part of the server, too.
        return _fail(f"{error}; install it with: pip install 'multipart-flow[serve]'", code=2)
    fault = _fault(options)
    if fault is not None:
        return _fail(fault, code=2)
    try:
        access = _access(options.token_file)
        service = _inbox(options) if options.config is None else _routed(options.config)
        if service is None:
            return 2
        listener = _listen(*options.bind)
    except OSError as error:
        return _fail(_reason(error))
    except ValueError as error:
        return _fail(str(error), code=2)
    except ImportError as error:
        return _fail(f"{error}; install it with: pip install 'multipart-flow[objectstore]'", code=2)

    # Only now: they are the larger part of what there is to import.
    from mpflow.cli.app import App
    from mpflow.cli.log import set_up_log

    set_up_log()
    if access is None and not _is_loopback(listener):
        _fail(f"anybody who can reach {_name(listener)} can upload; --token-file asks for a token")
    what = options.config or options.where
    started = (
        f"mpflow: serving {what} at http://{_name(listener)}/ on {options.backend}; Ctrl-C ends it"
    )

    async def main() -> None:
        await serve(server, App(service, access), listener, started, grace=options.grace)

    anyio.run(main, backend=options.backend)
    return 0


def _fault(options: argparse.Namespace) -> str | None:
    """What options say that cannot be; None if they are in order."""
    if (options.where is None) == (options.config is None):
        return "expected a DIR or a URL, or -c FILE with the routes"
    if options.where == "":  # as a script's variable that is not set leaves it
        return "expected a DIR or a URL, got ''; the current directory is '.'"
    if options.config is not None and options.max_bytes is not None:
        return "expected max_total_bytes in [limits] of FILE, got --max-bytes"
    if options.endpoint is not None and "://" not in (options.where or ""):
        return "expected the URL of a store with --endpoint, such as s3://bucket/prefix"
    return None


def _access(path: str | None) -> Access | None:
    """By the token of the file, else by that of the environment; None where nobody needs one."""
    if path is not None:
        where, token = path, Path(path).read_bytes().decode("ascii", "replace")
    elif TOKEN in os.environ:
        where, token = TOKEN, os.environ[TOKEN]
    else:
        return None
    try:
        return Access.of(token)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _inbox(options: argparse.Namespace) -> Service:
    from mpflow.cli.inbox import Inbox
    from mpflow.cli.sinks import open_sink

    return Inbox(open_sink(options.where, options.endpoint), max_bytes=options.max_bytes)


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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds


# -- what can go wrong before it serves -----------------------------------------------------------


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


def _is_loopback(listener: socket.socket) -> bool:
    try:
        return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _fail(line: str, *, code: int = 1) -> int:
    print(f"mpflow serve: {line}", file=sys.stderr)
    return code
