"""Peers that are programs of their own: Go's mime/multipart, and busboy on Node.

Knows: how each is started and asked. Must not know: mpflow. One that is missing is an error.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["build_go", "go_post", "serving_program"]

TIMEOUT = 60


def build_go(directory: Path) -> Path:
    """The program of peer.go; Go's standard library is all that it needs."""
    program = directory / "peer"
    source = Path(__file__).with_name("peer.go")
    done = subprocess.run(
        ["go", "build", "-o", program, source], capture_output=True, text=True, cwd=directory
    )
    assert done.returncode == 0, done.stderr
    return program


@contextmanager
def serving_program(command: Sequence[str | Path]) -> Iterator[str]:
    """The address at which a program serves; it prints its port on the first line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port.isdigit(), f"{command[0]} does not serve"
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.kill()


def go_post(program: Path, url: str, order: dict[str, Any]) -> Any:
    """What a server answers to the body that Go writes of an order (see peer.go)."""
    done = subprocess.run(
        [program, "post", url],
        input=json.dumps(order, default=lambda data: b64encode(data).decode()),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
