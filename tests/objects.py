"""S3 for tests: a server over real sockets, and a way to it that can be made to fail.

Knows: moto, obstore, the S3 API as far as it tells what is left. Must not know: mpflow.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Literal, TypeAlias

from obstore.store import S3Store

__all__ = ["Bucket", "Fault", "moto"]

# `moto[server]` would install everything that AWS has; S3 needs only this much of it.
_SERVER = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""
_NUMBERS = count()
_ONE_AT_A_TIME = threading.Lock()

Fault: TypeAlias = int | Literal["drop", "lose"] | None
"""What happens to a request: a status in place of an answer; "drop": the connection is closed;
"lose": it is done, and then the connection is closed."""


@contextmanager
def moto() -> Iterator[int]:
    """The port of an S3 server, a process of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


class Bucket:
    """A bucket of its own, behind a proxy that asks `fault` of each request: method and path."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.name = f"bucket-{next(_NUMBERS)}"
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.requests: list[str] = []
        self._proxy = _Proxy(self)
        _ask(port, "PUT", f"/{self.name}")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._proxy.server_port}"

    def store(self) -> S3Store:
        """The bucket for obstore, which tries everything once."""
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            access_key_id="test",
            secret_access_key="test",
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    def keys(self) -> list[str]:
        """The objects in the bucket."""
        _, data = _ask(self._port, "GET", f"/{self.name}?list-type=2")
        return sorted(re.findall(r"<Key>(.*?)</Key>", data.decode()))

    def uploads(self) -> list[str]:
        """The keys of the multipart uploads that were neither completed nor aborted."""
        _, data = _ask(self._port, "GET", f"/{self.name}?uploads")
        return sorted(re.findall(r"<Key>(.*?)</Key>", data.decode()))

    def left(self) -> tuple[list[str], list[str]]:
        """Objects, and uploads under way."""
        return self.keys(), self.uploads()

    def forward(self, method: str, path: str, body: bytes, headers: Any) -> tuple[Any, bytes]:
        """What the server answers. One request at a time: moto fails an abort during another."""
        with _ONE_AT_A_TIME:
            return _ask(self._port, method, path, body, **dict(headers))

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.bucket = bucket
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what the tests are about."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        server: Any = self.server
        bucket: Bucket = server.bucket
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket.requests.append(f"{self.command} {self.path}")
        fault = bucket.fault(self.command, self.path)
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "drop":
            self.close_connection = True
            return
        answer, data = bucket.forward(self.command, self.path, body, self.headers)
        if fault == "lose":
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            # The Content-Length of an answer to HEAD is that of the object.
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at `requests`."""
