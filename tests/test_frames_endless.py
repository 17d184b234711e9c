"""Frames without end, from a writer over real HTTP to a reader, until the reader has enough."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

from mpflow import Frame, Frames, MultipartReader, MultipartWriter
from tests.http import serving

pytestmark = pytest.mark.anyio

SIZE = 4000
PATIENCE = 30
# What may be under way when the client leaves: the buffers of two sockets, and of their programs.
UNDER_WAY = 16 * 1024 * 1024


class Camera:
    """Writes frames until nobody takes them, and says how it came to an end."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.made = 0
        self.wanted = (0, anyio.Event())
        self.left: type[BaseException] | None = None
        self.ended = anyio.Event()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> tuple[bytes, dict[str, str]]:
        await checkpoint()
        self.made += 1
        if self.made == self.wanted[0]:
            self.wanted[1].set()
        return (b"%010d" % self.made).ljust(self.size, b"."), {"Content-Type": "image/jpeg"}

    async def make(self, count: int) -> None:
        """Wait until so many more frames were made."""
        self.wanted = (self.made + count, anyio.Event())
        with anyio.fail_after(PATIENCE):
            await self.wanted[1].wait()

    def writer(self) -> MultipartWriter:
        return MultipartWriter("x-mixed-replace", parts=self)

    async def write(self, sink: Any, writer: MultipartWriter) -> None:
        try:
            await writer.write(sink)
        except BaseException as error:
            self.left = type(error)
            raise
        finally:
            self.ended.set()


@asynccontextmanager
async def over_sockets(camera: Camera) -> AsyncGenerator[str]:
    """A server by hand: the writer writes to the socket itself."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            writer = camera.writer()
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {writer.content_type}"
            await stream.send(head.encode() + b"\r\n\r\n")
            with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
                await camera.write(stream, writer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{port}/"
        # Not cancelled yet: the writer has to end by itself.
        with anyio.fail_after(PATIENCE):
            await camera.ended.wait()
        group.cancel_scope.cancel()


@asynccontextmanager
async def over_asgi(camera: Camera) -> AsyncGenerator[str]:
    """An application on hypercorn: it is told that the client has left, and stops the writer."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        writer = camera.writer()
        headers = [(b"content-type", writer.content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def sink(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async with anyio.create_task_group() as group:
            group.start_soon(camera.write, sink, writer)
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

    async with serving(application) as port:
        yield f"http://127.0.0.1:{port}/"
        with anyio.fail_after(PATIENCE):
            await camera.ended.wait()


def number_of(frame: Frame) -> int:
    return int(frame.data[:10])


SERVERS = [over_sockets, over_asgi]


@asynccontextmanager
async def watching(url: str, *, latest: bool) -> AsyncGenerator[Frames]:
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", url) as response,
        MultipartReader.from_message(response) as reader,
        reader.frames(latest=latest) as frames,
    ):
        yield frames


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.__name__)
async def test_a_thousand_frames_of_an_endless_stream(server: Callable[[Camera], Any]) -> None:
    camera = Camera()
    held: list[int] = []
    tracemalloc.start()
    try:
        async with server(camera) as url, watching(url, latest=False) as frames:
            for number in range(1, 1001):
                frame = await anext(frames)
                assert number_of(frame) == number
                assert len(frame.data) == SIZE
                if number % 200 == 0:
                    del frame
                    held.append(tracemalloc.get_traced_memory()[0])
            assert (frames.dropped, frames.mismatched) == (0, 0)
    finally:
        tracemalloc.stop()
    # It ended because the client left, and made no more than what was under way.
    assert camera.left is not None
    assert camera.made <= 1000 + UNDER_WAY // SIZE
    assert max(held) - held[0] < 1024 * 1024
    gc.collect()  # a task or a generator that is left behind would warn


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.__name__)
async def test_a_slow_consumer_gets_the_newest_frame(server: Callable[[Camera], Any]) -> None:
    camera = Camera(100_000)
    async with server(camera) as url, watching(url, latest=True) as frames:
        seen = [number_of(await anext(frames))]
        for _ in range(3):
            # Slow: more go by than can be under way, so that the reader has read some of them.
            await camera.make(2 * UNDER_WAY // camera.size)
            seen.append(number_of(await anext(frames)))
            # It was the newest that had come: all before it were seen or dropped.
            assert seen[-1] == frames.dropped + len(seen)
            assert seen[-1] - seen[-2] > UNDER_WAY // camera.size
