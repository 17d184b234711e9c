"""How fast the decoder is: microseconds a tiny part, GiB/s of a large one, against `bytes.find`.

Knows: two bodies and a clock. Must not know: what is fast enough; nothing fails here.

Run it: `python tests/benchmarks/wire.py [seconds]`. Only the ratios can be compared between
machines: each measurement is the best of many rounds in which the two loops take turns.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from mpflow.wire import NEED_DATA, BodyEnd, Decoder, Limits

CHUNK = 64 * 1024
MIB = 1024 * 1024
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW1"
LIMITS = Limits(max_parts=None, max_total_header_bytes=None)


def tiny_fields(count: int) -> bytes:
    """S3: a form of fields with a few bytes each."""
    fields = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="field{i}"\r\n\r\nvalue{i}\r\n'
        for i in range(count)
    )
    return ("".join(fields) + f"--{BOUNDARY}--\r\n").encode()


def large_part(size: int) -> bytes:
    """S1: one file of random bytes."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    data = random.Random(1).randbytes(MIB) * (size // MIB)
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def chunked(data: bytes) -> list[bytes]:
    """The data as it comes from a socket."""
    return [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]


def decode(chunks: list[bytes]) -> None:
    """Every event of a body, and nothing done with it."""
    decoder = Decoder(BOUNDARY, limits=LIMITS, subtype="form-data")
    receive, next_event = decoder.receive_data, decoder.next_event
    for chunk in chunks:
        receive(chunk)
        event = next_event()
        while event is not NEED_DATA and type(event) is not BodyEnd:
            event = next_event()


def find(chunks: list[bytes]) -> None:
    """The floor: every delimiter of a body, found."""
    delimiter = b"\r\n--" + BOUNDARY.encode()
    for chunk in chunks:
        at = chunk.find(delimiter)
        while at >= 0:
            at = chunk.find(delimiter, at + 1)


def compare(chunks: list[bytes], seconds: float) -> tuple[float, float]:
    """The best time of `decode` and of `find`, in seconds."""
    best = {decode: float("inf"), find: float("inf")}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for run in best:
            best[run] = min(best[run], _time(run, chunks))
    return best[decode], best[find]


def _time(run: Callable[[list[bytes]], None], chunks: list[bytes]) -> float:
    start = time.process_time()
    run(chunks)
    return time.process_time() - start


def main(seconds: float = 2.0) -> None:
    """Measure, and print two lines."""
    count, size = 10_000, 256 * MIB
    took, floor = compare(chunked(tiny_fields(count)), seconds)
    print(
        f"S3  {count} tiny fields   {took / count * 1e6:6.2f} us a part   "
        f"{took / floor:5.1f} times a bare find"
    )
    took, floor = compare(chunked(large_part(size)), seconds)
    print(
        f"S1  one part of 256 MiB  {size / took / 2**30:6.2f} GiB/s       "
        f"{took / floor:5.2f} times a bare find"
    )


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
