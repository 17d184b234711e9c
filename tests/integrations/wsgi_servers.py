"""Servers of WSGI in processes of their own, with the services of wsgi_services.py, or others.

Knows: gunicorn, werkzeug's development server, HTTP by hand. Must not know: what is tested.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from mpflow.testing import PartSpec, body, content_type_of

__all__ = ["SERVERS", "Server", "serving"]

ROOT = Path(__file__).parents[2]
SERVERS = {
    "gunicorn": """
from gunicorn.app.wsgiapp import run
import sys
sys.argv[1:] = ["--bind", f"fd://{fd}", "--worker-class", "gthread", "--threads", "4",
                "--worker-tmp-dir", folder, *options, f"{module}:application"]
run()
""",
    "werkzeug": """
from werkzeug.serving import make_server
from importlib import import_module
application = import_module(module).application
make_server("127.0.0.1", 0, application, threaded=True, fd=fd).serve_forever()
""",
}


@attrs.frozen
class Server:
    name: str
    port: int
    folder: Path
    log: Path
    pid: int

    def workers(self) -> list[int]:
        """The processes that answer: those which the server has forked, or the server."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children] or [self.pid]

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder / "files"))

    def request(
        self,
        method: str,
        path: str,
        data: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            kind = {"Content-Type": content_type_of()}
            connection.request(method, path, data, {**kind, **(headers or {})})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, response.read()
        finally:
            connection.close()

    def post(self, path: str, *parts: PartSpec, **headers: str) -> tuple[int, Any]:
        status, _, data = self.request("POST", path, body(list(parts)), headers)
        return status, json.loads(data)


@contextmanager
def serving(
    name: str,
    folder: Path,
    module: str = "tests.integrations.wsgi_services",
    options: Sequence[str] = (),
) -> Iterator[Server]:
    """A server of `module`'s `application` that runs while the block does.

    `options` are gunicorn's own, for its command line.
    """
    log = folder / "log"
    listener = socket.create_server(("127.0.0.1", 0))
    fd, port = listener.fileno(), listener.getsockname()[1]
    given = {"fd": fd, "folder": str(folder), "module": module, "options": list(options)}
    code = f"globals().update({given!r})\n{SERVERS[name]}"
    # gunicorn keeps a socket of its own at home.
    env = {**os.environ, "WSGI_FOLDER": str(folder / "files"), "HOME": str(folder)}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    with (
        log.open("wb") as err,
        subprocess.Popen(
            [sys.executable, "-c", code], env=env, stderr=err, stdout=err, pass_fds=[fd], cwd=ROOT
        ) as process,
    ):
        try:
            listener.close()  # the server has it: what comes before it is ready waits there
            yield Server(name, port, folder, log, process.pid)
        finally:
            process.terminate()
            process.wait(60)
