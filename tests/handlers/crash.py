"""A process of its own for `Save`: killed at each call, or short of what the system gives it.

Knows: how to get into trouble. Must not know: what should be left; it prints what is, as JSON.

Run as `python -m tests.handlers.crash killed|file-size|descriptors DIRECTORY [nameless] [hold]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from mpflow_handlers import Save, syscalls
from tests.handlers.support import Seam, descriptors, names, opened_since, part_of

DATA = bytes(range(256)) * 5120  # 1.25 MiB: three batches
PIECES = [DATA[start : start + 65536] for start in range(0, len(DATA), 65536)]


async def save(directory: Path, *, hold: bool = True) -> None:
    async with Save(directory, "a", digests=("md5",))(part_of(PIECES, hold=hold)):
        pass


def contents(directory: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in names(directory)
    }


def killed(directory: Path, *flags: str) -> list[Any]:
    """For each call to the system: what is left where SIGKILL comes right before it."""
    left: list[Any] = []
    for number in range(1, 1000):
        place = directory / str(number)
        place.mkdir()
        child = os.fork()
        if child == 0:
            _die_at(number, place, *flags)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return [*left, contents(place)]
        assert os.WTERMSIG(status) == signal.SIGKILL
        left.append(contents(place))
    raise AssertionError("it never came to an end")


def _die_at(number: int, place: Path, *flags: str) -> None:
    def kill(call: int, name: str) -> None:
        if call == number:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        syscalls.system = Seam(kill, nameless="nameless" in flags)
        anyio.run(lambda: save(place, hold="hold" in flags))
        os._exit(0)
    finally:
        os._exit(1)


def file_size(directory: Path) -> list[Any]:
    """RLIMIT_FSIZE: a short write, then EFBIG, as on a disk that runs full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) - 100_000, resource.RLIM_INFINITY))

    async def main() -> list[Any]:
        before = descriptors()
        try:
            await save(directory)
        except OSError as error:
            return [type(error).__name__, error.errno, str(error), len(opened_since(before))]
        return ["saved"]

    return anyio.run(main)


def few_descriptors(directory: Path) -> list[Any]:
    """What comes of it where 0, 1, 2, ... descriptors are free."""

    async def main() -> list[Any]:
        await save(directory)  # so that nothing of the event loop is opened later
        (directory / "a").unlink()
        outcomes: list[Any] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken: list[int] = []
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        for _ in range(4):
            try:
                await save(directory)
                outcomes.append("saved")
            except OSError as error:
                outcomes.append(error.errno)
            os.close(taken.pop())
            outcomes[-1] = [outcomes[-1], names(directory)]
        return outcomes

    return anyio.run(main)


TROUBLES = {"killed": killed, "file-size": file_size, "descriptors": few_descriptors}

if __name__ == "__main__":
    print(json.dumps(TROUBLES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
