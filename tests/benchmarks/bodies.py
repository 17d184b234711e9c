"""The bodies that are read: each a list of chunks, made before anything is timed.

Knows: what each scenario is fed. Must not know: who reads it.

A large part is one block of 32 MiB that is fed several times: its memory is that of the block, and
it is as warm in the processor's cache as what comes from a socket.
"""

from __future__ import annotations

import base64
import gzip
import random
from collections.abc import Sequence

import attrs

from tests.benchmarks.scenario import KIB, MIB

__all__ = [
    "BOUNDARY", "Body", "coded", "files", "hostile", "large", "nested", "repeated", "tiny_fields",
]  # fmt: skip

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW1"[:36]
"""With its CRLF and two hyphens, a delimiter of 40 bytes."""
CHUNK = 64 * KIB
BLOCK = 32 * MIB


@attrs.frozen
class Body:
    """A body as it is fed: `chunks` in turn. `parts` and `size` are what it holds, decoded."""

    chunks: Sequence[bytes] = attrs.field(repr=False)
    parts: int
    size: int
    boundary: str = BOUNDARY
    subtype: str = "form-data"
    small: bool = False
    """Whether its parts are read whole."""
    names: Sequence[str] = attrs.field(default=("f",), repr=False)

    @property
    def content_type(self) -> str:
        """The header, with the boundary."""
        return f'multipart/{self.subtype}; boundary="{self.boundary}"'

    @property
    def wire(self) -> int:
        """Bytes that are fed."""
        return sum(map(len, self.chunks))


def cut(data: bytes, size: int) -> list[bytes]:
    """The data in chunks of `size`."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def head(name: str = "f", more: str = '; filename="f"', boundary: str = BOUNDARY) -> bytes:
    """A delimiter line and a header block: those of a file."""
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def tail(boundary: str = BOUNDARY) -> bytes:
    """The close delimiter."""
    return f"\r\n--{boundary}--\r\n".encode()


def large(size: int, chunk: int = CHUNK) -> Body:
    """S1, S2, S7: one file of random bytes."""
    return repeated(random.Random(1).randbytes(min(size, BLOCK)), size, chunk)


def repeated(block: bytes, size: int, chunk: int = CHUNK, boundary: str = BOUNDARY) -> Body:
    """One file: `block`, as often as it takes to make `size` bytes."""
    times = max(1, size // len(block))
    chunks = [head(boundary=boundary), *cut(block, chunk) * times, tail(boundary)]
    if chunk == 1:
        chunks = cut(b"".join(chunks), 1)
    return Body(chunks, 1, len(block) * times, boundary)


def tiny_fields(count: int, chunk: int = CHUNK, names: int | None = None) -> Body:
    """S3, R: fields with a few bytes each; `names` of them in turn (default: each has its own)."""
    called = [f"field{i}" for i in range(names or count)]
    values = [f"value{i}" for i in range(count)]
    data = "".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
        f'name="{called[i % len(called)]}"\r\n\r\n{value}\r\n'
        for i, value in enumerate(values)
    )
    data += f"--{BOUNDARY}--\r\n"
    size = sum(map(len, values))
    return Body(cut(data.encode(), chunk), count, size, small=True, names=called)


def files(count: int, each: int = 16 * KIB) -> Body:
    """S4: small files of random bytes."""
    rng = random.Random(2)
    names = [f"file{i}" for i in range(count)]
    parts = [head(name) + rng.randbytes(each) for name in names]
    data = b"\r\n".join(parts) + tail()
    return Body(cut(data, CHUNK), count, count * each, small=True, names=names)


def hostile(kind: str, size: int) -> Body:
    """S5: a file of what the search for delimiters stumbles over: `crlf`, `cr` or `near`."""
    seed = {"crlf": b"\r\n", "cr": b"\r", "near": b"\r\n--" + BOUNDARY[:-1].encode()}[kind]
    block = seed * (min(size, MIB) // len(seed))
    return repeated(block, size)


def nested(levels: int, each: int, leaf: int, fan: int = 1) -> Body:
    """S6: multiparts in multiparts, `levels` of them around `each` leaves; `fan` a level above."""
    data = random.Random(3).randbytes(leaf)
    boundaries = [f"{level:02d}-{BOUNDARY[3:]}" for level in range(levels)]
    inner = boundaries[-1]
    text = b"\r\n".join(head("leaf", boundary=inner) + data for _ in range(each)) + tail(inner)
    count = each
    for level in reversed(range(levels - 1)):
        opening = (
            f'--{boundaries[level]}\r\nContent-Disposition: form-data; name="level"\r\n'
            f'Content-Type: multipart/mixed; boundary="{boundaries[level + 1]}"\r\n\r\n'
        ).encode()
        text = b"\r\n".join([opening + text] * fan) + tail(boundaries[level])
        count *= fan
    return Body(cut(text, CHUNK), count, count * leaf, boundaries[0], "mixed")


def coded(coding: str, size: int) -> Body:
    """S8: one file in base64, 76 characters a line (RFC 2045, 6.8), or in gzip."""
    if coding == "base64":
        data = random.Random(4).randbytes(size // 57 * 57)
        wire, header = base64.encodebytes(data).replace(b"\n", b"\r\n"), "Content-Transfer-Encoding"
    else:
        data = random.Random(4).randbytes(size // 2).hex().encode()
        wire, header = gzip.compress(data, 1), "Content-Encoding"
    opening = head().removesuffix(b"\r\n") + f"{header}: {coding}\r\n\r\n".encode()
    return Body([opening, *cut(wire, CHUNK), tail()], 1, len(data), subtype="mixed")
