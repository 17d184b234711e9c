"""The ASGI servers, and aiohttp's, each as a process of its own that serves an application.

Knows: how each is started and ended. Must not know: the application.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.cli.service import PATIENCE

__all__ = ["SERVERS", "Server", "serving"]

ROOT: Final = Path(__file__).parents[2]

# With one that listens already there is nothing to wait for: clients wait in its queue.
_ON_A_SOCKET: Final = {
    "uvicorn-h11": ["uvicorn", "--http", "h11", "--fd", "{fd}"],
    "uvicorn-httptools": ["uvicorn", "--http", "httptools", "--fd", "{fd}"],
    "hypercorn-asyncio": ["hypercorn", "-w", "0", "-k", "asyncio", "-b", "fd://{fd}"],
    "hypercorn-trio": ["hypercorn", "-w", "0", "-k", "trio", "-b", "fd://{fd}"],
}
SERVERS: Final = [*_ON_A_SOCKET, "granian"]
"""The ASGI servers."""

_ON_A_SOCKET["aiohttp"] = ["tests.clients.aiohttp_server", "{fd}"]


@attrs.frozen
class Server:
    """A server that runs."""

    kind: str
    port: int
    process: subprocess.Popen[str]
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        """All that it has printed."""
        return self.output.read_text("utf-8", "replace")


@contextmanager
def serving(
    kind: str, app: str, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server of `app` (`module:name`) that runs while the block does, and must end when told.

    For aiohttp the name is that of the function which makes the application.

    Its output goes into `folder`, where it runs. Of what goes wrong in it, nothing may be left to
    a traceback.
    """
    output = folder / f"{kind}.log"
    with socket.socket() as listener, output.open("w") as log:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Linux hands it on to each connection; uvicorn sets it on none of a socket it is given.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        fds: tuple[int, ...] = ()
        if kind in _ON_A_SOCKET:
            listener.listen(1000)
            fds = (listener.fileno(),)
            command = [word.format(fd=fds[0]) for word in _ON_A_SOCKET[kind]]
        else:
            listener.close()  # its own; nobody else takes the port in between, or the test fails
            command = [kind, "--interface", "asgi", "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, app],
            pass_fds=fds,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": _path(), **(env or {})},
        )
    server = Server(kind, port, process, output)
    with process:
        try:
            if not fds:
                _wait(server)
            yield server
            # Alone in its process trio takes SIGINT for a Ctrl-C, which comes out anywhere.
            process.send_signal(signal.SIGTERM if kind == "hypercorn-trio" else signal.SIGINT)
            process.wait(PATIENCE)
        finally:
            process.kill()
    assert "Traceback" not in server.log(), server.log()


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _wait(server: Server) -> None:
    """Until it says that it listens."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-F", "--pid", str(server.process.pid), server.output],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        for line in tail.stdout:
            if "Started worker" in line:
                tail.terminate()
                return
    raise AssertionError(server.log())
