"""Parts of a gibibyte in a few bytes: stopped at a limit, and next to nothing is held."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import brotli
import pytest

from mpflow.wire.codings import Encoding, find_coding

MIB = 1024 * 1024
SIZE = 1024
"""Mebibytes of zeros that each bomb becomes."""


def gzip_bomb(size: int = SIZE) -> bytes:
    """One member: a block that is flushed, again and again, is as good as one that goes on."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(size):
        crc = zlib.crc32(bytes(MIB), crc)
    end = crc.to_bytes(4, "little") + (size * MIB).to_bytes(4, "little")
    return gzip.compress(b"", mtime=0)[:10] + block * size + packer.flush() + end


def zstd_bomb() -> bytes:
    encoding = Encoding([find_coding("content", "zstd")])
    return b"".join([encoding.encode(bytes(MIB)) for _ in range(SIZE)]) + encoding.finish()


def brotli_bomb() -> bytes:
    packer = brotli.Compressor(quality=1)
    return b"".join([packer.process(bytes(MIB)) for _ in range(SIZE)]) + packer.finish()


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Bodies of one part each, as files that are called like their codings."""
    directory, made = tmp_path_factory.mktemp("bombs"), gzip_bomb()
    paths: list[Path] = []
    for codings, data in {
        "gzip": made,
        "gzip, gzip": gzip.compress(made),
        "br": brotli_bomb(),
        "zstd": zstd_bomb(),
    }.items():
        head = f"--b\r\nContent-Type: application/json\r\nContent-Encoding: {codings}\r\n\r\n"
        paths.append(directory / codings)
        paths[-1].write_bytes(head.encode() + data + b"\r\n--b--")
    return paths


def test_what_is_made_by_hand_is_gzip() -> None:
    assert gzip.decompress(gzip_bomb(3)) == bytes(3 * MIB)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_gibibyte_in_one_part(backend: str, bombs: list[Path]) -> None:
    # Measured where nothing else is: neither pytest nor what measures the suite.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    script = Path(__file__).with_name("bombs.py")
    # Without its folder on the path: tests/http.py is not the `http` that others import.
    command = [sys.executable, "-P", script, backend, *bombs]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, last = map(json.loads, done.stdout.splitlines())
    found = {(line["body"], line["work"]): line["limit"] for line in lines}
    limits = {"decoded": "max_decoded_ratio", "size": "max_decoded_bytes"}
    assert found == {
        (path.name, work): limits.get(work, "max_memory")
        for path in bombs
        for work in ("decoded", "size", "read", "json", "text")
    }
    assert max(line["held"] for line in lines) < MIB
    # With the windows of the libraries, of which tracemalloc knows nothing, and with Python.
    assert last["peak"] < 128 * MIB
