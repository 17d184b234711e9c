"""`Forward`: what another service gets, and what it never takes for a whole part.

Knows: real services on real sockets, and the bytes they see. Must not know: how httpx is used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from mpflow import (
    CommitFailed,
    HandlerTimeout,
    MultipartReader,
    Part,
    RouteError,
    Router,
    ServiceFailed,
    TruncatedBody,
)
from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import Forward, Forwarded, Tee, Text
from tests.handlers.support import Pieces, part_of, stage
from tests.http import serving

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
DATA = bytes(range(256)) * 5000


class Service:
    """An ASGI service that keeps what it got, or notes that a request was cut."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.cut = 0
        self.status = 201
        self.headers: list[tuple[bytes, bytes]] = [(b"x-id", b"7")]
        self.answer = b"stored"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        data, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cut += 1
                return
            data += message["body"]
            more = message["more_body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["path"] + ("?" + scope["query_string"].decode()).rstrip("?")
        self.got.append((scope["method"], path, headers, data))
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.answer})


@asynccontextmanager
async def wires(
    serve: Callable[[SocketStream, bytearray], Awaitable[None]],
) -> AsyncGenerator[tuple[str, bytearray]]:
    """The address of a server that `serve` is, and the bytes it has got so far."""
    got = bytearray()

    async def handle(stream: SocketStream) -> None:
        async with stream:
            await serve(stream, got)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield f"http://127.0.0.1:{port}/", got
        group.cancel_scope.cancel()


def cut(data: bytes, size: int = 65536) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# -- what the service gets --------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True], ids=["own-client", "given-client"])
@pytest.mark.parametrize("size", [0, 1, len(DATA)])
async def test_the_body_is_that_of_the_part(size: int, given: bool) -> None:
    service = Service()
    data = DATA[:size]
    async with serving(service) as port, httpx.AsyncClient() as client:
        forward = Forward(f"http://127.0.0.1:{port}/in", client=client if given else None)
        forwarded = await stage(forward, part_of(cut(data), content_type="image/png; a=b"))
    assert (forwarded.status, forwarded.headers["X-Id"]) == (201, "7")
    assert (forwarded.body, forwarded.is_whole) == (b"stored", True)
    ((method, path, headers, body),) = service.got
    assert (method, path, body) == ("POST", "/in", data)
    assert headers["content-type"] == "image/png; a=b"


async def test_nothing_else_of_the_client_goes_on() -> None:
    service = Service()
    hostile = {
        "Cookie": "session=1",
        "Authorization": "Basic eA==",
        "Host": "elsewhere",
        "Connection": "x-other",
        "Transfer-Encoding": "gzip",
        "Content-Length": "3",
        "X-Other": "y",
    }
    async with serving(service) as port:
        await stage(Forward(f"http://127.0.0.1:{port}/"), part_of(cut(DATA), headers=hostile))
    ((_, _, headers, body),) = service.got
    assert body == DATA
    assert headers.keys() == {
        *("host", "accept", "accept-encoding", "connection", "user-agent", "transfer-encoding")
    }
    assert headers["host"] == f"127.0.0.1:{port}"
    assert headers["transfer-encoding"] == "chunked"


async def test_method_headers_and_address_of_the_part_and_its_needs() -> None:
    service = Service()
    async with serving(service) as port:
        router = Router()
        router.add(Text(), name="owner")
        route = router.add(
            Forward(
                lambda info, owner: f"http://127.0.0.1:{port}/{owner}?n={info.safe_filename}",
                method="PUT",
                headers=lambda info, owner: {"X-Owner": owner, "Content-Type": "text/x-own"},
            ),
            filename="?*",
            needs="owner",
        )
        message = body(
            [("owner", "ada"), PartSpec(b"x", name="f", filename="s.txt", content_type="a/b")]
        )
        results = await router.dispatch(MultipartReader(message, content_type_of()))
    assert isinstance(results[route], Forwarded)
    ((method, path, headers, data),) = service.got
    assert (method, path, data) == ("PUT", "/ada?n=s.txt", b"x")
    assert (headers["x-owner"], headers["content-type"]) == ("ada", "text/x-own")


@pytest.mark.parametrize("name", [True, "upload"])
async def test_as_a_form(name: bool | str) -> None:
    service = Service()
    async with serving(service) as port:
        forward = Forward(f"http://127.0.0.1:{port}/", as_form=name)
        part = part_of(
            cut(DATA),
            name="photo",
            filename="größe.png",
            content_type="image/png",
            headers={"X-Other": "y"},
        )
        await stage(forward, part)
    ((_, _, headers, data),) = service.got
    reader = MultipartReader(data, headers["content-type"])
    async for got in reader:
        assert (got.name, got.filename) == ("photo" if name is True else name, "größe.png")
        assert got.content_type == "image/png"
        assert "X-Other" not in got.headers
        assert await got.read(limit=None) == DATA


PLAIN = random.Random(7).randbytes(100_000)
CODED = gzip.compress(PLAIN)


@pytest.mark.parametrize("decode", ["transfer", "all"])
async def test_a_content_coding_that_is_kept_is_told(decode: Any) -> None:
    service = Service()
    async with serving(service) as port:
        router = Router()
        router.add(Forward(f"http://127.0.0.1:{port}/"), decode=decode)
        message = body([PartSpec(CODED, headers={"Content-Encoding": "gzip"})])
        await router.dispatch(MultipartReader(message, content_type_of(subtype="mixed")))
    ((_, _, headers, data),) = service.got
    assert headers.get("content-encoding") == ("gzip" if decode == "transfer" else None)
    assert data == (CODED if decode == "transfer" else PLAIN)


async def test_a_content_coding_that_nobody_knows_is_kept() -> None:
    service = Service()
    async with serving(service) as port:
        router = Router()
        router.add(Forward(f"http://127.0.0.1:{port}/"))
        message = body([PartSpec(b"x", headers={"Content-Encoding": "x-own"})])
        await router.dispatch(MultipartReader(message, content_type_of(subtype="mixed")))
    assert service.got[0][2]["content-encoding"] == "x-own"


async def test_beside_others() -> None:
    service = Service()

    async def hashed(part: Part) -> str:
        found = hashlib.sha256()
        async for chunk in part:
            found.update(chunk)
        return found.hexdigest()

    async with serving(service) as port:
        tee = Tee(Forward(f"http://127.0.0.1:{port}/"), hashed)
        forwarded, digest = await stage(tee, part_of(cut(DATA)))
    assert forwarded.status == 201
    assert digest == hashlib.sha256(service.got[0][3]).hexdigest()


# -- as it arrives ----------------------------------------------------------------------------


async def test_a_service_that_reads_slowly_slows_the_part_down() -> None:
    go_on = anyio.Event()
    size = 64 * MIB

    async def serve(stream: SocketStream, got: bytearray) -> None:
        got += await stream.receive(1000)
        await go_on.wait()
        while not got.endswith(b"0\r\n\r\n"):
            got += await stream.receive(MIB)
            del got[:-10]
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with wires(serve) as (url, _):
        pieces = Pieces([bytes(65536)] * (size // 65536))
        async with anyio.create_task_group() as group:
            group.start_soon(stage, Forward(url), part_of(pieces))
            while not pieces.received:
                await anyio.wait_all_tasks_blocked()
            seen = -1
            while pieces.received != seen:  # until nothing moves any more
                seen = pieces.received
                for _ in range(100):
                    await anyio.wait_all_tasks_blocked()
            assert 0 < seen * 65536 < size // 2  # what the sockets of the system hold
            go_on.set()
    assert pieces.received * 65536 == size


async def test_it_is_sent_before_it_is_whole() -> None:
    heard = anyio.Event()

    async def serve(stream: SocketStream, got: bytearray) -> None:
        while not got.endswith(b"0\r\n\r\n"):
            got += await stream.receive()
            if b"first" in got:
                heard.set()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    class Dripping(Pieces):
        async def receive(self) -> bytes:
            if self.received == 1:
                with anyio.fail_after(30):
                    await heard.wait()
            return await super().receive()

    async with wires(serve) as (url, got):
        await stage(Forward(url), part_of(Dripping([b"first", b"second"])))
    assert b"second" in got


# -- what is cut ------------------------------------------------------------------------------


async def until_closed(stream: SocketStream, got: bytearray) -> None:
    try:
        while True:
            got += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        got += b"<closed>"


@pytest.mark.parametrize("as_form", [False, True])
async def test_a_part_that_is_cut_never_looks_whole(as_form: bool) -> None:
    async with wires(until_closed) as (url, got):
        pieces = Pieces(cut(DATA), error=TruncatedBody("cut"))
        with pytest.raises(TruncatedBody):
            await stage(Forward(url, as_form=as_form), part_of(pieces))
        with anyio.fail_after(30):
            while not got.endswith(b"<closed>"):
                await anyio.wait_all_tasks_blocked()
    assert len(got) > len(DATA) // 2
    assert b"0\r\n\r\n" not in got[-30:]
    assert b"--\r\n" not in got[-30:]


@pytest.mark.parametrize("as_form", [False, True])
async def test_a_service_hears_that_a_part_was_cut(as_form: bool) -> None:
    service = Service()
    async with serving(service) as port:
        pieces = Pieces(cut(DATA), error=TruncatedBody("cut"))
        with pytest.raises(TruncatedBody):
            await stage(Forward(f"http://127.0.0.1:{port}/", as_form=as_form), part_of(pieces))
        with anyio.fail_after(30):
            while not service.cut:
                await anyio.wait_all_tasks_blocked()
    assert service.got == []


async def test_a_client_of_a_flow_that_is_cut() -> None:
    service = Service()
    message = body([PartSpec(DATA, name="f", filename="f")])
    async with serving(service) as port, httpx.AsyncClient() as client:
        router = Router()
        router.add(Forward(f"http://127.0.0.1:{port}/", client=client))
        with pytest.raises(TruncatedBody):
            await router.dispatch(MultipartReader(message[:-1000], content_type_of()))
        with anyio.fail_after(30):
            while not service.cut:
                await anyio.wait_all_tasks_blocked()
        # The client is fit for the next part.
        await router.dispatch(MultipartReader(message, content_type_of()))
    assert [data for *_, data in service.got] == [DATA]


@pytest.mark.parametrize("after", [0, 1, 10])
async def test_a_cancellation_ends_the_request(after: int) -> None:
    async with wires(until_closed) as (url, got):
        with anyio.CancelScope() as scope:

            def count() -> None:
                if pieces.received == after:
                    scope.cancel()

            pieces = Pieces(cut(DATA), on_receive=count)
            await stage(Forward(url), part_of(pieces))
        assert scope.cancelled_caught
    assert b"0\r\n\r\n" not in got[-30:]


# -- answers that are none --------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 307, 404, 413, 500])
async def test_a_refusal(status: int) -> None:
    service = Service()
    service.status, service.answer = status, b"no <\n>" + bytes(100_000)
    service.headers = [(b"location", b"/elsewhere")]
    # Whatever the client would do otherwise: the body is sent once.
    async with serving(service) as port, httpx.AsyncClient(follow_redirects=True) as client:
        url = f"http://127.0.0.1:{port}/in?token=secret"
        with pytest.raises(ServiceFailed) as caught:
            await stage(Forward(url, client=client), part_of(b"x"))
    assert len(service.got) == 1
    text = str(caught.value)
    assert caught.value.status == 502
    assert f"got {status}: 'no <\\n>" in text
    assert "/in" in text
    assert "secret" not in text
    assert len(text) < 1200


async def test_a_client_that_would_send_the_part_again() -> None:
    service = Service()
    service.status = 401
    service.headers = [(b"www-authenticate", b'Digest realm="a", nonce="b", qop="auth"')]
    async with serving(service) as port, httpx.AsyncClient(auth=httpx.DigestAuth("a", "b")) as own:
        with pytest.raises(ServiceFailed, match="sends it again"):
            await stage(Forward(f"http://127.0.0.1:{port}/", client=own), part_of(cut(DATA)))
    assert len(service.got) == 1


async def test_nobody_listens() -> None:
    async with wires(until_closed) as (url, _):
        pass
    with pytest.raises(ServiceFailed, match="ConnectError") as caught:
        await stage(Forward(url), part_of(b"x"))
    assert caught.value.status == 502
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


async def test_a_service_that_hangs_up() -> None:
    async def serve(stream: SocketStream, got: bytearray) -> None:
        got += await stream.receive()

    async with wires(serve) as (url, _):
        with pytest.raises(ServiceFailed):
            await stage(Forward(url), part_of(cut(DATA * 10)))


@pytest.mark.parametrize("given", [False, True], ids=["own-client", "given-client"])
async def test_success_before_the_part_is_sent_is_none(given: bool) -> None:
    async def serve(stream: SocketStream, got: bytearray) -> None:
        while len(got) < 200_000:
            got += await stream.receive()
        await stream.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with wires(serve) as (url, _), httpx.AsyncClient() as client:
        with pytest.raises(ServiceFailed, match="whole part was sent") as caught:
            await stage(Forward(url, client=client if given else None), part_of(cut(DATA * 3)))
    assert caught.value.status == 502


async def test_a_client_that_takes_nothing_and_calls_it_success() -> None:
    """By a transport of its own, so that no answer is lost with a connection."""

    class Hasty(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            async for _ in request.stream:  # type: ignore[union-attr]
                break
            return httpx.Response(201, stream=httpx.ByteStream(b""))

    undone: list[Forwarded] = []
    async with httpx.AsyncClient(transport=Hasty()) as client:
        forward = Forward("http://host/", client=client, undo=keeping(undone))
        with pytest.raises(ServiceFailed, match="once the whole part was sent, got 201 before"):
            await stage(forward, part_of(cut(DATA)))
    assert [it.status for it in undone] == [201]


async def test_a_service_that_never_answers() -> None:
    async with wires(until_closed) as (url, _):
        with pytest.raises(ServiceFailed, match="ReadTimeout") as caught:
            await stage(Forward(url, timeout=0.01), part_of(b"x"))
    assert caught.value.status == 504


async def test_a_routes_timeout_bounds_it_all() -> None:
    async with wires(until_closed) as (url, got), httpx.AsyncClient() as client:
        router = Router()
        router.add(Forward(url, client=client), timeout=0.3)
        with pytest.raises(HandlerTimeout):
            await router.dispatch(MultipartReader(body([("f", b"x")]), content_type_of()))
        with anyio.fail_after(30):
            while not got.endswith(b"<closed>"):
                await anyio.wait_all_tasks_blocked()


async def test_an_endless_answer_is_cut() -> None:
    service = Service()
    service.answer = bytes(10 * MIB)
    async with serving(service) as port:
        forwarded = await stage(Forward(f"http://127.0.0.1:{port}/"), part_of(b"x"))
    assert (len(forwarded.body), forwarded.is_whole) == (65536, False)


async def test_an_answer_is_not_inflated() -> None:
    service = Service()
    service.answer, service.headers = CODED[:1000], [(b"content-encoding", b"gzip")]
    async with serving(service) as port:
        forwarded = await stage(Forward(f"http://127.0.0.1:{port}/"), part_of(b"x"))
    assert forwarded.body == CODED[:1000]


async def test_an_answer_that_a_hook_has_read() -> None:
    async def read(answer: httpx.Response) -> None:
        await answer.aread()

    async with (
        serving(Service()) as port,
        httpx.AsyncClient(event_hooks={"response": [read]}) as client,
    ):
        forwarded = await stage(Forward(f"http://127.0.0.1:{port}/", client=client), part_of(b"x"))
    assert (forwarded.body, forwarded.is_whole) == (b"stored", True)


# -- undoing ----------------------------------------------------------------------------------


async def delete(forwarded: Forwarded, client: httpx.AsyncClient) -> None:
    answer = await client.delete(json.loads(forwarded.body)["url"])
    answer.raise_for_status()


@pytest.mark.parametrize("given", [False, True], ids=["own-client", "given-client"])
async def test_a_rollback_undoes_it(given: bool) -> None:
    service = Service()
    async with serving(service) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/in"
        service.answer = json.dumps({"url": url + "/7"}).encode()
        router = Router()
        router.add(Forward(url, undo=delete, client=client if given else None))
        message = body([("f", DATA)])
        with pytest.raises(ZeroDivisionError):
            async with router.flow(MultipartReader(message, content_type_of())):
                raise ZeroDivisionError
        calls = [(method, path) for method, path, *_ in service.got]
        assert calls == [("POST", "/in"), ("DELETE", "/in/7")]
        await router.dispatch(MultipartReader(message, content_type_of()))
    assert [method for method, *_ in service.got] == ["POST", "DELETE", "POST"]


async def test_a_cancellation_undoes_it_too() -> None:
    service = Service()
    async with serving(service) as port:
        url = f"http://127.0.0.1:{port}/in"
        service.answer = json.dumps({"url": url}).encode()
        with anyio.CancelScope() as scope:
            async with Forward(url, undo=delete)(part_of(b"x")):
                scope.cancel()
                await anyio.sleep_forever()
    assert [method for method, *_ in service.got] == ["POST", "DELETE"]


CREATED = b"HTTP/1.1 201 Created\r\nLocation: /7\r\nContent-Length: 100\r\n\r\nshort"


async def read_request(stream: SocketStream) -> None:
    got = b""
    while not got.endswith(b"\r\n0\r\n\r\n"):
        got += await stream.receive()


def keeping(undone: list[Forwarded]) -> Callable[..., Awaitable[None]]:
    async def undo(forwarded: Forwarded, client: httpx.AsyncClient) -> None:
        await anyio.lowlevel.checkpoint()
        undone.append(forwarded)

    return undo


@pytest.mark.parametrize("hangs", [False, True], ids=["cut", "timeout"])
async def test_an_answer_that_is_cut_is_undone(hangs: bool) -> None:
    async def serve(stream: SocketStream, got: bytearray) -> None:
        await read_request(stream)
        await stream.send(CREATED)
        if hangs:
            await anyio.sleep_forever()

    undone: list[Forwarded] = []
    router = Router()
    async with wires(serve) as (url, _):
        router.add(Forward(url, undo=keeping(undone), timeout=0.2 if hangs else None))
        with pytest.raises(ServiceFailed) as caught:
            await router.dispatch(MultipartReader(body([("f", b"x")]), content_type_of()))
    assert caught.value.status == (504 if hangs else 502)
    (forwarded,) = undone
    assert (forwarded.status, forwarded.headers["Location"]) == (201, "/7")
    assert (forwarded.body, forwarded.is_whole) == (b"short", False)


async def test_a_cancellation_within_the_answer_is_undone() -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            yield b"short"
            scope.cancel()
            await anyio.sleep_forever()

    class Created(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            assert b"".join([data async for data in request.stream]) == b"x"
            return httpx.Response(201, stream=Endless())

    undone: list[Forwarded] = []
    router = Router()
    async with httpx.AsyncClient(transport=Created()) as client:
        router.add(Forward("http://host/", client=client, undo=keeping(undone)))
        with anyio.CancelScope() as scope:
            await router.dispatch(MultipartReader(body([("f", b"x")]), content_type_of()))
    assert scope.cancelled_caught
    assert [(it.status, it.body, it.is_whole) for it in undone] == [(201, b"short", False)]


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_refusal_is_not_undone(status: int) -> None:
    async def undo(forwarded: Forwarded, client: httpx.AsyncClient) -> None:
        pytest.fail("the service has kept nothing")

    service = Service()
    service.status = status
    async with serving(service) as port:
        with pytest.raises(ServiceFailed):
            await stage(Forward(f"http://127.0.0.1:{port}/", undo=undo), part_of(b"x"))


async def test_an_undoing_that_fails_hides_no_failure() -> None:
    async def undo(forwarded: Forwarded, client: httpx.AsyncClient) -> None:
        raise LookupError("gone")

    async def serve(stream: SocketStream, got: bytearray) -> None:
        await read_request(stream)
        await stream.send(CREATED)

    async with wires(serve) as (url, _):
        with pytest.raises(ServiceFailed) as caught:
            await stage(Forward(url, undo=undo), part_of(b"x"))
    assert any("LookupError: gone" in note for note in caught.value.__notes__)


async def test_an_undoing_that_fails_is_told() -> None:
    async def undo(forwarded: Forwarded, client: httpx.AsyncClient) -> None:
        raise LookupError("gone")

    @asynccontextmanager
    async def fail(part: Part) -> AsyncGenerator[None]:
        yield
        raise ZeroDivisionError

    async with serving(Service()) as port:
        router = Router()
        router.add(fail, name="first")
        router.add(Forward(f"http://127.0.0.1:{port}/", undo=undo))
        with pytest.raises(CommitFailed) as caught:
            await router.dispatch(
                MultipartReader(body([("first", b""), ("f", b"x")]), content_type_of())
            )
    notes = [*getattr(caught.value, "__notes__", ())]
    notes += getattr(caught.value.__cause__, "__notes__", ())
    assert any("gone" in note for note in notes)


# -- how it is made ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "/path", "example.com", "ftp://host/", "http://", "http://a\0b/", 7]
)
async def test_urls_that_are_none(url: Any) -> None:
    with pytest.raises(RouteError):
        Forward(url)
    with pytest.raises(RouteError):
        await stage(Forward(lambda info: url), part_of(b""))


@pytest.mark.parametrize("raw", [b"a/b; c=\xc3\xa9", b"a/b; c=\xff"])
@pytest.mark.parametrize("as_form", [False, True])
async def test_a_content_type_that_is_no_ascii(raw: bytes, as_form: bool) -> None:
    got: list[bytes] = []

    async def serve(stream: SocketStream, data: bytearray) -> None:
        while not data.endswith(b"0\r\n\r\n"):
            data += await stream.receive()
        got.append(bytes(data))
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    message = b'--b\r\nContent-Disposition: form-data; name="f"\r\nContent-Type: ' + raw
    async with wires(serve) as (url, _):
        router = Router()
        router.add(Forward(url, as_form=as_form))
        reader = MultipartReader(
            message + b"\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"
        )
        await router.dispatch(reader)
    assert b": " + raw + b"\r\n" in got[0]


@pytest.mark.parametrize("name", ["Connection", "transfer-encoding", "Host", "TE"])
async def test_headers_of_the_connection(name: str) -> None:
    with pytest.raises(RouteError, match="headers of the message"):
        Forward("http://localhost/", headers={name: "x"})
    with pytest.raises(RouteError, match="headers of the message"):
        await stage(Forward("http://localhost/", headers=lambda info: {name: "x"}), part_of(b""))


def test_no_secret_is_shown() -> None:
    shown = repr(Forward("http://me:secret@host/in?key=secret", headers={"X-Key": "secret"}))
    assert "http://host/in" in shown
    assert "secret" not in shown


def test_needs_are_checked_when_it_is_registered() -> None:
    with pytest.raises(RouteError, match="owner"):
        Router().add(Forward(lambda info, owner: owner))


def test_httpx_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for url in ("http://localhost/", lambda info: "http://localhost/"):
        with pytest.raises(RouteError, match=r"install multipart-flow\[forward\]"):
            Forward(url)
