"""`from_asgi`: what the headers alone decide, before the first `receive()`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from mpflow import (
    EmptyBody,
    InvalidBoundary,
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartReader,
    NotMultipart,
    UnsupportedCoding,
)
from tests.support import BODY, TYPE

pytestmark = pytest.mark.anyio


class Server:
    """An ASGI server's `receive`, which counts its calls."""

    def __init__(self, data: bytes = BODY) -> None:
        self.data = data
        self.calls = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        self.calls += 1
        return {"type": "http.request", "body": self.data}


def scope(content_type: str | None = TYPE, *more: tuple[str, str]) -> dict[str, Any]:
    headers = [*more] if content_type is None else [("content-type", content_type), *more]
    return {
        "type": "http",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }


async def test_a_request_is_read() -> None:
    server = Server()
    reader = MultipartReader.from_asgi(scope(TYPE, ("x-own", "é")), server)
    assert reader.headers["X-Own"] == "é"
    assert [await it.read() async for it in reader] == [b"one", b"two"]
    assert server.calls == 1


async def test_options_are_passed_on() -> None:
    class Own(MultipartReader):
        pass

    odd = TYPE + ";;"
    with pytest.raises(MalformedBody, match="strict"):
        Own.from_asgi(scope(odd), Server(), strict=True)
    twice = TYPE + "; boundary=other"
    reader = Own.from_asgi(
        scope(twice), Server(), limits=Limits(max_parts=1), tolerate=["duplicate-parameter"]
    )
    assert isinstance(reader, Own)
    with pytest.raises(LimitExceeded):
        await reader.drain()


@pytest.mark.parametrize(
    ("value", "error"),
    [(None, NotMultipart), ("text/plain", NotMultipart), ("multipart/mixed", InvalidBoundary)],
)
async def test_the_content_type_is_refused_first(value: str | None, error: type[Exception]) -> None:
    server = Server()
    with pytest.raises(error):
        MultipartReader.from_asgi(scope(value), server)
    assert server.calls == 0


async def test_two_content_types() -> None:
    MultipartReader.from_asgi(scope(TYPE, ("Content-Type", TYPE)), Server())
    with pytest.raises(MalformedBody, match="expected one Content-Type, got 2 that differ"):
        MultipartReader.from_asgi(scope(TYPE, ("Content-Type", "text/plain")), Server())


@pytest.mark.parametrize("values", [["gzip"], ["identity", "br"], ["identity, GZIP"], ["x" * 999]])
async def test_content_encodings_are_refused(values: list[str]) -> None:
    more = [("content-encoding", value) for value in values]
    with pytest.raises(UnsupportedCoding, match="without content coding") as caught:
        MultipartReader.from_asgi(scope(TYPE, *more), Server())
    assert caught.value.status == 415
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["", "identity", " Identity "])
async def test_no_content_encoding(value: str) -> None:
    reader = MultipartReader.from_asgi(scope(TYPE, ("content-encoding", value)), Server())
    await reader.drain()


@pytest.mark.parametrize("value", ["1000", "001000", "9" * 19, "9" * 5000])
async def test_a_content_length_past_the_limit(value: str) -> None:
    server, sent = Server(), scope(TYPE, ("content-length", value))
    limits = Limits(max_total_bytes=900, max_epilogue=99)
    with pytest.raises(LimitExceeded, match="Content-Length says") as caught:
        MultipartReader.from_asgi(sent, server, limits=limits)
    assert (caught.value.limit, caught.value.value) == ("max_total_bytes", 900)
    assert caught.value.status == 413
    assert len(str(caught.value)) < 200
    # What a router allows comes later, and so may what refuses.
    reader = MultipartReader.from_asgi(sent, server)
    with pytest.raises(LimitExceeded):
        reader.limit(limits)
    assert server.calls == 0


async def test_a_content_length_past_the_default_is_refused_before_anything_is_read() -> None:
    server = Server()
    sent = scope(TYPE, ("content-length", str(2 * 1024**3)))
    reader = MultipartReader.from_asgi(sent, server)
    with pytest.raises(LimitExceeded):
        await reader.next_part()
    assert server.calls == 0
    free = MultipartReader.from_asgi(sent, server, limits=Limits.stream())
    await free.drain()


@pytest.mark.parametrize("value", ["-1", "+5", "1_0", "0x5", "5 5", "²", "", "999"])
async def test_a_content_length_that_decides_nothing(value: str) -> None:
    limits = Limits(max_total_bytes=900, max_epilogue=99)
    sent = scope(TYPE, ("content-length", value))
    reader = MultipartReader.from_asgi(sent, Server(), limits=limits)
    assert [await it.read() async for it in reader] == [b"one", b"two"]


@pytest.mark.parametrize("length", ["0", None])
async def test_an_empty_body(length: str | None) -> None:
    more = [] if length is None else [("content-length", length)]
    reader = MultipartReader.from_asgi(scope(TYPE, *more), Server(b""))
    with pytest.raises(EmptyBody, match="the body is empty") as caught:
        await reader.next_part()
    assert "Upgrade" not in str(caught.value)


async def test_a_body_that_the_server_dropped() -> None:
    reader = MultipartReader.from_asgi(scope(TYPE, ("content-length", "81")), Server(b""))
    for _ in range(2):
        with pytest.raises(EmptyBody, match=r"said 81: .*'Upgrade: h2c'") as caught:
            await reader.next_part()
        assert caught.value.status == 400
