"""Django and Flask under gunicorn, and curl: memory is flat, however large an upload is."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.wsgi_servers import Server, serving

pytestmark = pytest.mark.clients

SIZE = 200 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("gunicorn", tmp_path_factory.mktemp("gunicorn")) as server:
        yield server


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def curl(server: Server, path: str, *options: str) -> str:
    url = f"http://127.0.0.1:{server.port}{path}"
    done = subprocess.run(
        ["curl", "--silent", "--show-error", *options, url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("framework", ["django", "flask"])
def test_a_slow_handler_slows_the_client_down_and_not_the_memory_up(
    server: Server, large: Path, framework: str, backend: str, framing: str
) -> None:
    token = curl(server, "/django/token")
    auth = ["-H", f"Cookie: csrftoken={token}", "-H", f"X-CSRFToken: {token}"]
    if framing == "chunked":
        auth += ["-H", "Transfer-Encoding: chunked"]
    path = f"/{framework}/upload?backend={backend}"
    small = ["-F", "title=sea", "-F", "slow=x", "-F", "f=x;filename=f"]
    assert '"sea"' in curl(server, path, *auth, *small)
    (worker,) = server.workers()
    Path(f"/proc/{worker}/clear_refs").write_text("5")
    before = peak(worker)
    told = curl(server, path, *auth, "-F", "title=sea", "-F", f"slow=<{large}")
    assert '"files":[]' in told.replace(" ", "")
    assert peak(worker) - before < 16 * 1024 * 1024
    told = curl(server, path, *auth, "-F", "title=sea", "-F", f"file=@{large}")
    assert f'"size":{SIZE}' in told.replace(" ", "")
    assert peak(worker) - before < 16 * 1024 * 1024
