"""Answers that reach clients which are still sending, within bounds."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from mpflow.integrations.exchange import (
    HURRIED_SECONDS,
    IDLE_SECONDS,
    WANTED,
    Answer,
    Exchange,
    Linger,
)
from tests.cli.asgi import Client
from tests.clock import virtual_time

pytestmark = pytest.mark.anyio

CHUNK = bytes(65536)
LINGER = Linger()


def exchange(client: Client) -> Exchange:
    return Exchange(client.scope, client.receive, client.send)


async def test_an_answer_to_a_whole_request_is_two_messages() -> None:
    client = Client(chunks=[b"abc"])
    request = exchange(client)
    while client.messages:
        await request.receive()
    await request.answer(Answer(200, b"done"))
    assert [message["type"] for message in client.sent] == [
        "http.response.start",
        "http.response.body",
    ]
    assert client.body == b"done"


async def test_an_early_answer_begins_before_the_body_is_read() -> None:
    client = Client(chunks=[CHUNK] * 3)
    seen: list[tuple[str, int, bool]] = []

    async def send(message: dict[str, Any]) -> None:
        seen.append((message["type"], client.received, message.get("more_body", False)))
        await client.send(message)

    await Exchange(client.scope, client.receive, send).answer(Answer(413, b"no"))
    assert seen[0] == ("http.response.start", 0, False)
    assert seen[1][2] is True
    assert seen[2] == ("http.response.body", 3 * len(CHUNK), False)
    assert client.messages == []
    assert client.body == b"no"


async def test_what_is_read_on_is_bounded_in_bytes() -> None:
    client = Client(chunks=[CHUNK] * 1000)
    await exchange(client).answer(Answer(413))
    assert client.finished
    assert LINGER.size <= client.received < 2 * LINGER.size


async def test_an_answer_survives_megabytes_of_unknown_length() -> None:
    """A client that writes 15 MiB in chunks before it reads has all of them taken from it."""
    count = 15 * 16
    client = Client(chunks=[CHUNK] * count)
    await exchange(client).answer(Answer(413))
    assert client.messages == []
    assert client.received == count * len(CHUNK)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("http://x/", "/"),
        ("http://x", "/"),
        ("HTTPS://user@x:80/a//b", "/a//b"),
        ("//x/", "//x/"),
        ("/http://x/", "/http://x/"),
        ("ftp://x/", "ftp://x/"),
        ("*", "*"),
    ],
)
def test_the_path_of_a_request_target(path: str, expected: str) -> None:
    """RFC 9112, 3.2: origin-form and absolute-form name the same resource."""
    assert exchange(Client(path=path)).path == expected


async def test_a_known_rest_is_read_to_its_end() -> None:
    count = LINGER.known_size // len(CHUNK)
    length = {"Content-Length": str(count * len(CHUNK))}
    client = Client(chunks=[CHUNK] * count, headers=length)
    await exchange(client).answer(Answer(413))
    assert client.messages == []


async def test_a_rest_known_to_be_too_long_is_not() -> None:
    client = Client(chunks=[CHUNK] * 1000, headers={"Content-Length": str(LINGER.known_size + 1)})
    await exchange(client).answer(Answer(413))
    assert client.received < 2 * LINGER.size


@virtual_time
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, LINGER.seconds),
        ({"Content-Length": "100"}, LINGER.known_seconds),
        # It has stopped waiting to be asked.
        ({"Content-Length": "100", "Expect": "100-continue"}, LINGER.known_seconds),
    ],
)
async def test_a_silent_client_is_waited_for_within_bounds(
    headers: dict[str, str], seconds: float
) -> None:
    client = Client(chunks=[b"abc"], headers=headers, ends="silent")
    start = anyio.current_time()
    await exchange(client).answer(Answer(400))
    assert client.finished
    assert anyio.current_time() - start == pytest.approx(seconds, abs=0.1)


@virtual_time
async def test_who_waits_to_be_asked_is_not_waited_for() -> None:
    headers = {"Content-Length": "100", "Expect": "100-continue"}
    client = Client(headers=headers, ends="silent")
    client.scope["extensions"] = {WANTED: anyio.Event()}
    start = anyio.current_time()
    await exchange(client).answer(Answer(413))
    assert client.finished
    assert anyio.current_time() - start == pytest.approx(IDLE_SECONDS, abs=0.1)


@virtual_time
@pytest.mark.parametrize("is_lazy", [True, False])
async def test_who_was_told_to_go_on_is_waited_for(is_lazy: bool) -> None:
    """By the server, before it called anybody, or because the application has asked for more."""
    headers = {"Content-Length": "100", "Expect": "100-continue"}
    client = Client(headers=headers, ends="silent")
    client.scope["extensions"] = {WANTED: anyio.Event()} if is_lazy else {}
    request = exchange(client)
    if is_lazy:
        with anyio.move_on_after(1):
            await request.receive()
    start = anyio.current_time()
    await request.answer(Answer(413))
    assert client.finished
    assert anyio.current_time() - start == pytest.approx(LINGER.known_seconds, abs=0.1)


@virtual_time
async def test_who_was_refused_for_silence_is_not_waited_for() -> None:
    client = Client(headers={"Content-Length": "100"}, ends="silent")
    start = anyio.current_time()
    await exchange(client).answer(Answer(408))
    assert anyio.current_time() - start == pytest.approx(HURRIED_SECONDS, abs=0.1)


@virtual_time
@pytest.mark.parametrize("before", [True, False])
async def test_a_service_that_stops_is_in_a_hurry(before: bool) -> None:
    client = Client(headers={"Content-Length": "100"}, ends="silent")
    request = exchange(client)
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        if before:
            request.hurry()
        tasks.start_soon(request.answer, Answer(503))
        await anyio.wait_all_tasks_blocked()
        if not before:
            request.hurry()
    assert client.finished
    assert anyio.current_time() - start == pytest.approx(HURRIED_SECONDS, abs=0.1)


async def test_a_server_that_waits_for_room_is_read_to_the_end_of_the_answer() -> None:
    """hypercorn puts the disconnect into a queue that must not be full by then."""
    taken = anyio.Event()

    async def receive() -> dict[str, Any]:
        if finishing:
            taken.set()
        await anyio.lowlevel.checkpoint()
        return {"type": "http.request", "body": CHUNK, "more_body": True}

    finishing = False

    async def send(message: dict[str, Any]) -> None:
        nonlocal finishing
        if message["type"] == "http.response.body" and not message["more_body"]:
            finishing = True
            with anyio.fail_after(10):
                await taken.wait()

    await Exchange(Client().scope, receive, send).answer(Answer(413))
    assert finishing


async def test_nothing_is_sent_to_who_is_gone() -> None:
    client = Client(ends="gone")
    request = exchange(client)
    await request.receive()
    assert request.gone
    await request.answer(Answer(400))
    assert client.sent == []


async def test_who_goes_during_the_answer_is_no_error() -> None:
    """ASGI: `send` may raise an OSError once the client is gone; `receive` is called no more."""
    client = Client(ends="gone")

    async def send(message: dict[str, Any]) -> None:
        raise ConnectionResetError

    await Exchange(client.scope, client.receive, send).answer(Answer(400))


@pytest.mark.parametrize("at", [1, 2])
async def test_who_goes_while_it_is_waited_for_is_no_error(at: int) -> None:
    """An error of `send` comes out as it is, in no group of a task group."""
    client = Client(chunks=[CHUNK] * 3)
    sent = 0

    async def send(message: dict[str, Any]) -> None:
        nonlocal sent
        sent += 1
        if sent > at:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await _early(Exchange(client.scope, client.receive, send))
    sent = 0
    client = Client(chunks=[CHUNK] * 3)
    await Exchange(client.scope, client.receive, send).answer(Answer(400))


async def _early(request: Exchange) -> None:
    await request.send(Answer(413).start())
    await request.send(Answer(413).end())


async def test_a_server_that_fails_to_receive_does_not_lose_the_answer() -> None:
    client = Client()

    async def receive() -> dict[str, Any]:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        await _early(Exchange(client.scope, receive, client.send))
    assert client.finished


async def test_the_disconnect_is_told_again() -> None:
    client = Client(ends="gone")
    request = exchange(client)
    for _ in range(3):
        assert (await request.receive())["type"] == "http.disconnect"


async def test_one_inside_another_does_not_linger() -> None:
    """A body of unknown length would be read twice as far as its bounds say."""
    client = Client(chunks=[CHUNK] * 1000)
    outer = exchange(client)
    await Exchange(outer.scope, outer.receive, outer.send).answer(Answer(413))
    assert client.finished
    assert LINGER.size <= client.received < 1.5 * LINGER.size


class Granian(Client):
    """A client as granian has it: it closes once all bytes of the answer are out."""

    __module__ = "granian._granian"
    at_end = 0

    async def send(self, message: dict[str, Any]) -> None:
        await super().send(message)
        length = int(self.headers["content-length"])
        sent = sum(len(message.get("body", b"")) for message in self.sent)
        if sent == length and self.messages:
            self.messages = [{"type": "http.disconnect"}]
        self.at_end = self.received


async def test_the_last_byte_waits_where_the_server_closes_on_it() -> None:
    client = Granian(chunks=[CHUNK] * 3)
    await exchange(client).answer(Answer(413, b"no"))
    assert client.body == b"no"
    assert client.at_end == 3 * len(CHUNK)


async def test_the_last_byte_of_an_answer_in_pieces() -> None:
    client = Granian(chunks=[CHUNK] * 3)
    request = exchange(client)
    await request.send({**Answer(413, b"abcd").start()})
    for piece in (b"ab", b"", b"cd"):
        await request.send({"type": "http.response.body", "body": piece, "more_body": True})
    await request.send({"type": "http.response.body"})
    assert client.body == b"abcd"
    assert client.at_end == 3 * len(CHUNK)


async def test_the_last_byte_does_not_wait_for_a_body_that_was_not_asked_for() -> None:
    client = Granian(chunks=[CHUNK], headers={"Expect": "100-continue"})
    await exchange(client).answer(Answer(413, b"no"))
    assert client.sent[1]["body"] == b"no"


async def test_the_last_byte_does_not_wait_over_http_2() -> None:
    client = Granian(chunks=[CHUNK])
    client.scope["http_version"] = "2"
    await exchange(client).answer(Answer(413, b"no"))
    assert client.sent[1]["body"] == b"no"


@virtual_time
async def test_the_last_byte_waits_no_longer_than_a_pause() -> None:
    """curl stops sending once it reads of a refusal, and waits for the rest of the answer."""
    client = Granian(chunks=[CHUNK], headers={"Content-Length": "1000000"}, ends="silent")
    start = anyio.current_time()
    await exchange(client).answer(Answer(413, b"no"))
    assert client.body == b"no"
    assert anyio.current_time() - start <= 2 * IDLE_SECONDS + 0.1


class Uvicorn(Client):
    """A request as uvicorn holds it."""

    more_body = False

    def __init__(self, body: bytes, length: str) -> None:
        super().__init__(headers={"Content-Length": length, "Upgrade": "h2c"})
        self.body_so_far = body

    @property
    def body(self) -> bytes:
        return self.body_so_far


@pytest.mark.parametrize(
    ("body", "more", "length", "expected"),
    [
        (b"", False, "5", True),
        (b"12345", False, "5", False),
        (b"", True, "5", False),
        (b"", False, "0", False),
        (b"", False, "many", False),
    ],
)
async def test_a_body_that_the_server_dropped(
    body: bytes, more: bool, length: str, expected: bool
) -> None:
    client = Uvicorn(body, length)
    client.more_body = more
    assert exchange(client).is_lost is expected
    assert exchange(Client(headers={"Content-Length": "5"})).is_lost is False


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_content(status: int) -> None:
    client = Client()
    await exchange(client).answer(Answer(status, b"text"))
    assert (client.status, client.body) == (status, b"")
    assert "content-length" not in client.headers


async def test_headers_of_an_answer() -> None:
    start = Answer(200, b"abc", {"Content-Type": "text/plain"}).start()
    assert start["headers"] == [
        (b"content-type", b"text/plain"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"3"),
    ]


async def test_headers_of_an_answer_that_would_break_it() -> None:
    headers = {"X-Name": "a\r\nb", "Content-Length": "7", "X Y": "1", "X-Content-Type-Options": ""}
    answer = Answer(200, b"abc", headers)
    assert answer.start()["headers"] == [
        (b"x-name", b"a  b"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"3"),
    ]
