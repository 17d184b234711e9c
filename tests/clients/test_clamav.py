"""The example package mpflow-clamav, installed by pip beside the project's wheel, and a real clamd.

Knows: Debian's clamav-daemon, whose only signature is that of the EICAR test file.
Must not know: how the handler speaks with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpflow.testing import PartSpec, body, content_type_of

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds that anything may take on a busy machine."""

# In two pieces, so that no scanner takes this file for what it tests with.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
STREAM_MAX = 1024 * 1024

CLAMD = f"""\
Foreground yes
LocalSocket {{folder}}/clamd.sock
DatabaseDirectory {{folder}}/signatures
TemporaryDirectory {{folder}}
StreamMaxLength {STREAM_MAX // 1024}K
AlertExceedsMax yes
MaxFileSize 512K
MaxThreads 4
"""
ROUTES = """\
[[route]]
match.filename = true
key = "files"
handler = {{ use = "tee", handlers = [
    {{ use = "save", directory = "inbox", name = {{ format = "{{safe_filename}}" }} }},
    {{ use = "clamav", socket = "{socket}", timeout = 60 }},
] }}

[[route]]
match.name = "note"
handler = "text"
"""
SCRIPT = """\
import json, sys
from pathlib import Path
import anyio
from mpflow import MultipartError, MultipartReader, Router

async def main():
    router = Router.from_toml("routes.toml")
    reader = MultipartReader(Path("body").read_bytes(), sys.argv[2])
    try:
        results = await router.dispatch(reader)
    except MultipartError as error:
        signature = getattr(error, "signature", None)
        return {"error": type(error).__name__, "status": error.status, "signature": signature}
    return {"sizes": [scanned.size for _, scanned in results.all("files")]}

print(json.dumps(anyio.run(main, backend=sys.argv[1])))
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE_", "PYTHON"))}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a clamd that runs."""
    program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin")
    assert program is not None, "expected clamd: Debian has it in clamav-daemon"
    folder = tmp_path_factory.mktemp("clamd")
    (folder / "signatures").mkdir()
    (folder / "signatures" / "own.ndb").write_text(f"Own.Eicar:0:*:{EICAR.hex()}\n")
    (folder / "clamd.conf").write_text(CLAMD.format(folder=folder))
    with subprocess.Popen(
        [program, "-c", str(folder / "clamd.conf")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:  # the last thing it says when it is ready
                said.append(line)
                if line.startswith("Self checking"):
                    break
            assert (folder / "clamd.sock").exists(), "".join(said)
            yield folder / "clamd.sock"
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment: the project's wheel, and the package, both by pip."""
    folder = tmp_path_factory.mktemp("fresh")
    done = run(sys.executable, "-m", "venv", "venv", cwd=folder)
    assert done.returncode == 0, done.stderr
    python = folder / "venv" / "bin" / "python"
    wheel = os.environ.get("MPFLOW_WHEEL")
    if wheel is None:
        done = run(python, "-m", "pip", "wheel", "--no-deps", "-w", "dist", ROOT, cwd=folder)
        assert done.returncode == 0, done.stderr
        (built,) = (folder / "dist").glob("*.whl")
        wheel = str(built)
    # A copy: a build may leave files in its folder.
    package = folder / "mpflow-clamav"
    shutil.copytree(ROOT / "docs" / "examples" / "mpflow-clamav", package)
    done = run(python, "-m", "pip", "install", f"{wheel}[trio]", package, cwd=folder)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture
def folder(tmp_path: Path, clamd: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "routes.toml").write_text(ROUTES.format(socket=clamd))
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def write(folder: Path, *files: bytes) -> None:
    parts: list[Any] = [("note", "hello")]
    parts += [PartSpec(data, name="f", filename=f"{i}.bin") for i, data in enumerate(files)]
    (folder / "body").write_bytes(body(parts))


def dispatched(python: Path, folder: Path, backend: str) -> dict[str, Any]:
    done = run(python, "script.py", backend, content_type_of(), cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stored(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "inbox"))


def test_it_is_found(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "mpflow", "handlers", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = [one for one in json.loads(done.stdout)["handlers"] if one["name"] == "clamav"]
    assert (found["distribution"], found["object"]) == ("mpflow-clamav", "mpflow_clamav:ClamAV")
    names = [option["name"] for option in found["options"]]
    assert names == ["socket", "host", "port", "max_bytes", "timeout"]


def test_nothing_comes_from_the_source(python: Path, tmp_path: Path) -> None:
    code = "import mpflow, mpflow_clamav as c; print(mpflow.__file__, c.__file__)"
    done = run(python, "-c", code, cwd=tmp_path)
    assert all("site-packages" in path for path in done.stdout.split()), done.stdout + done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_clean_parts_are_stored(python: Path, folder: Path, backend: str) -> None:
    clean = [b"clean", b"", os.urandom(300_000)]
    write(folder, *clean)
    assert dispatched(python, folder, backend) == {"sizes": [5, 0, 300_000]}
    assert [(folder / "inbox" / name).read_bytes() for name in stored(folder)] == clean


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_virus_in_one_part_leaves_nothing_of_any(
    python: Path, folder: Path, backend: str, place: int
) -> None:
    files = [b"clean", b"clean, too"]
    files.insert(place, EICAR)
    write(folder, *files)
    told = dispatched(python, folder, backend)
    assert (told["error"], told["status"]) == ("VirusFound", 422)
    assert told["signature"].startswith("Own.Eicar")
    assert stored(folder) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("size", [STREAM_MAX + 1, 20 * STREAM_MAX, STREAM_MAX // 4 * 3])
def test_a_part_that_clamd_does_not_take_is_an_error(
    python: Path, folder: Path, backend: str, size: int
) -> None:
    # Past StreamMaxLength by one byte, by far; and within it, past MaxFileSize.
    write(folder, b"clean", bytes(size))
    told = dispatched(python, folder, backend)
    assert (told["error"], told["status"]) == ("NotScanned", 413)
    assert stored(folder) == []


def test_by_the_command(python: Path, folder: Path) -> None:
    write(folder, b"clean", EICAR)
    done = run(python, "-m", "mpflow", "dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mpflow dispatch: expected no virus, and clamd has found 'Own.Ei")
    assert "part 2 'f' (file '1.bin')" in done.stderr
    assert stored(folder) == []
    write(folder, b"clean")
    done = run(python, "-m", "mpflow", "dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, stored(folder)) == (0, ["0.bin"]), done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_clamd_that_is_not_there(python: Path, folder: Path, backend: str) -> None:
    (folder / "routes.toml").write_text(ROUTES.format(socket=folder / "none"))
    write(folder, b"clean")
    told = dispatched(python, folder, backend)
    assert (told["error"], told["status"]) == ("NotScanned", 503)
    assert stored(folder) == []
