"""Open files that wrap what blocks, what has a timeout, and what does not block."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import anyio
import pytest
import urllib3

from mpflow import MultipartWriter, WriteError

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="needs descriptors that do not block"),
]


def writer(file: Any) -> MultipartWriter:
    root = MultipartWriter(boundary="b")
    root.append(file)
    return root


def body(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--b--\r\n")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


# -- what does not block ----------------------------------------------------------------------


class Raw(io.RawIOBase):
    """A raw file of one's own, without a descriptor to ask: None where nothing is there now."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            data = os.read(self._descriptor, len(buffer))
        except BlockingIOError:
            return None
        buffer[: len(data)] = data
        return len(data)


PIPES: dict[str, Callable[[int], Any]] = {
    "own": Raw,
    "buffered own": lambda fd: io.BufferedReader(Raw(fd)),
    "text of own": lambda fd: io.TextIOWrapper(io.BufferedReader(Raw(fd)), "utf-8"),
    "pair": lambda fd: io.BufferedRWPair(io.FileIO(fd, closefd=False), io.BytesIO()),
    "text of a pair": lambda fd: io.TextIOWrapper(PIPES["pair"](fd), "utf-8"),
    "packed": lambda fd: gzip.GzipFile(fileobj=io.FileIO(fd, closefd=False)),
}


@pytest.mark.parametrize("kind", PIPES)
@pytest.mark.parametrize("sent", [b"", b"first\n", b"first\nsec"])
async def test_a_pause_is_no_end(kind: str, sent: bytes, stack: ExitStack) -> None:
    ours, theirs = os.pipe()
    stack.callback(os.close, ours)
    stack.callback(os.close, theirs)
    os.set_blocking(ours, False)
    os.write(theirs, sent)
    file = stack.enter_context(PIPES[kind](ours))
    with pytest.raises(WriteError, match="expected a file that blocks"):
        await writer(file).as_bytes()


@pytest.mark.parametrize("kind", PIPES)
async def test_the_end_is_the_end(kind: str, stack: ExitStack) -> None:
    ours, theirs = os.pipe()
    stack.callback(os.close, ours)
    os.write(theirs, gzip.compress(b"first\nsec") if kind == "packed" else b"first\nsec")
    os.close(theirs)
    with PIPES[kind](ours) as file:
        assert body(await writer(file).as_bytes()) == b"first\nsec"


@pytest.mark.parametrize("mode", ["r", "rwb", "rw"])
async def test_a_socket_that_does_not_block(mode: Any, stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(it) for it in socket.socketpair())
    ours.setblocking(False)
    theirs.sendall(b"first\n")
    opened: Any = ours.makefile
    file = stack.enter_context(opened(mode))
    with pytest.raises(WriteError, match="expected a file that blocks"):
        await writer(file).as_bytes()


class Progress:
    """A wrapper of one's own, which nobody knows: `b""` where nothing is there now."""

    def __init__(self, file: Any) -> None:
        self.f = file
        self.fileno = file.fileno
        self.read = file.read1


@pytest.mark.parametrize("sent", [b"", b"first\n"])
async def test_a_wrapper_of_what_does_not_block(sent: bytes, stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(it) for it in socket.socketpair())
    ours.setblocking(False)
    theirs.sendall(sent)
    file = Progress(stack.enter_context(ours.makefile("rb")))
    with pytest.raises(WriteError, match=r"expected a file that blocks.*\(in part 0\)"):
        await writer(file).as_bytes()


@pytest.mark.parametrize("kind", [gzip, bz2, lzma])
@pytest.mark.parametrize("sent", [0, 1])
async def test_packed_on_a_socket_that_does_not_block(
    kind: Any, sent: int, stack: ExitStack
) -> None:
    ours, theirs = (stack.enter_context(it) for it in socket.socketpair())
    ours.setblocking(False)
    theirs.sendall(kind.compress(b"first")[:-4] * sent)
    file = stack.enter_context(kind.open(stack.enter_context(ours.makefile("rb"))))
    with pytest.raises(WriteError, match=r"expected a file that blocks.*\(in part 0\)"):
        await writer(file).as_bytes()


async def test_a_socket_whose_descriptor_alone_does_not_block(stack: ExitStack) -> None:
    """As one that another process has made so: the object knows nothing of it."""
    ours, theirs = (stack.enter_context(it) for it in socket.socketpair())
    os.set_blocking(ours.fileno(), False)
    theirs.sendall(b"first\n")
    file = stack.enter_context(ours.makefile("r"))
    with pytest.raises(WriteError, match="expected a file that blocks"):
        await writer(file).as_bytes()


# -- what has a timeout -----------------------------------------------------------------------


def response(sock: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(sock)
    answer.begin()
    return answer


def unpacked(module: Any, sock: socket.socket, *mode: str, **more: str) -> Any:
    return module.open(sock.makefile("rb"), *mode, **more)


def urllib3_response(sock: socket.socket) -> Any:
    """What `requests` has as `raw`, too."""
    return urllib3.HTTPResponse(response(sock), preload_content=False)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
SOCKETS: dict[str, tuple[Callable[[socket.socket], Any], Callable[[bytes], bytes]]] = {
    "rb": (lambda sock: sock.makefile("rb"), bytes),
    "r": (lambda sock: sock.makefile("r", newline=""), bytes),
    "rwb": (lambda sock: sock.makefile("rwb"), bytes),
    "rw": (lambda sock: sock.makefile("rw", newline=""), bytes),
    "packed": (lambda sock: gzip.GzipFile(fileobj=sock.makefile("rb")), gzip.compress),
    "bz2": (lambda sock: unpacked(bz2, sock), bz2.compress),
    "xz": (lambda sock: unpacked(lzma, sock), lzma.compress),
    "text of packed": (lambda sock: unpacked(gzip, sock, "rt", encoding="utf-8"), gzip.compress),
    "packed response": (
        lambda sock: gzip.GzipFile(fileobj=response(sock)),
        lambda data: b"HTTP/1.1 200 OK\r\n\r\n" + gzip.compress(data),
    ),
    "urllib3": (urllib3_response, lambda data: HEAD + data),
    "recoded": (lambda sock: codecs.EncodedFile(sock.makefile("rb"), "utf-8"), bytes),
    "response": (response, lambda data: HEAD + data),
}


@pytest.mark.parametrize("kind", SOCKETS)
async def test_what_wraps_a_socket_with_a_timeout_waits(kind: str, stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(it) for it in socket.socketpair())
    ours.settimeout(60)
    opened, packed = SOCKETS[kind]
    sent = packed(b"first\nsec")
    theirs.sendall(sent[:-4])

    def end() -> None:
        theirs.sendall(sent[-4:])
        theirs.close()

    with opened(ours) as file:
        chunks = aiter(writer(file))
        found = [await anext(chunks)]
        # Nobody waits for the rest yet, or somebody does in a thread.
        later = threading.Timer(0.05, end)
        later.start()
        with anyio.fail_after(30):
            found += [chunk async for chunk in chunks]
        later.join()
    assert body(b"".join(found)) == b"first\nsec"


# -- terminals --------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [b"\x04", b"hello\nworld\n\x04", b"hello\nworld\x04\x04"])
async def test_a_terminal_says_once_that_it_ends(typed: bytes, stack: ExitStack) -> None:
    ours, theirs = os.openpty()
    stack.callback(os.close, ours)
    os.write(ours, typed)
    # A second end, for who asks again: it must be left.
    os.write(ours, b"left\n\x04")
    with os.fdopen(theirs, "r") as file:
        found = body(await writer(file).as_bytes())
        assert found == typed.replace(b"\x04", b"")
        assert file.readline() == "left\n"
