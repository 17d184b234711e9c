"""`wsgi.flow` and `wsgi.dispatch` in threads without a loop: what is read, decided, and left."""

from __future__ import annotations

import io
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
import pytest
from anyio.from_thread import BlockingPortalProvider

from mpflow import (
    ClientDisconnected,
    CommitFailed,
    EmptyBody,
    LimitExceeded,
    Limits,
    MalformedBody,
    NotMultipart,
    Part,
    Rejected,
    RouteError,
    Router,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.integrations import pieces, wsgi, wsgi_linger
from mpflow.integrations.exchange import Linger
from mpflow.testing import PartSpec, body, content_type_of

BODY = body([PartSpec(b"one", name="a"), PartSpec(b"two", name="b")])


def environ(data: bytes = BODY, **others: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type_of(),
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
    } | others


class Phases:
    """A router of handlers in two phases, and what became of each part."""

    def __init__(self, *, limits: Limits | None = None, fails: bool = False) -> None:
        self.told: list[str] = []
        self.router = Router(limits=limits)

        @asynccontextmanager
        async def handler(part: Part) -> AsyncIterator[str]:
            try:
                yield await part.text()
                if fails:
                    raise OSError("no room")
                self.told.append("committed")
            except BaseException:
                self.told.append("rolled back")
                raise

        self.router.add(handler)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread


class Twice(io.RawIOBase):
    """The body of a client that sends the second half once the first has failed."""

    def __init__(self, first: bytes, second: bytes) -> None:
        self._pieces = [first, second]
        self.failed = threading.Event()

    def read(self, size: int = -1) -> bytes:
        if len(self._pieces) == 1:
            assert self.failed.wait(30)
        return self._pieces.pop(0) if self._pieces else b""


def test_what_a_flow_has_left_is_no_body(backend: str) -> None:
    """The rest begins where a part does, so that it alone would be committed."""
    first = body([("first", "x")]).removesuffix(b"--boundary--\r\n")
    source = Twice(first, BODY)
    asked = environ(first + BODY, **{"wsgi.input": source})
    failing, phases = Router(), Phases()

    @failing.route()
    async def fail(part: Part) -> None:
        source.failed.set()
        raise ConnectionError("the database blinked")

    with pytest.raises(ConnectionError):
        wsgi.dispatch(failing, asked, backend=backend)
    with pytest.raises(RouteError, match="was read already"):
        wsgi.dispatch(phases.router, asked, backend=backend)
    assert phases.told == []


def fail_with(asked: Any, backend: str) -> None:
    """A try of which the flow fails, when it has read what there is."""
    with (
        pytest.raises(ConnectionError),
        wsgi.flow(Phases().router, asked, backend=backend),
    ):
        raise ConnectionError("the database blinked")


@pytest.mark.parametrize("how", ["replaced", "rewound"])
def test_a_body_that_somebody_kept_is_whole(how: str, backend: str) -> None:
    """So does pyramid_retry, with `make_body_seekable`."""
    kept, phases = io.BytesIO(BODY), Phases()
    asked = environ(**{"wsgi.input": kept})
    for _ in range(2):
        fail_with(asked, backend)
        kept.seek(0)
        asked["wsgi.input"] = kept if how == "rewound" else io.BytesIO(BODY)
    wsgi.dispatch(phases.router, asked, backend=backend)
    assert phases.told == ["committed", "committed"]


@pytest.mark.parametrize("lingers", [False, True])
def test_a_file_that_was_not_rewound(lingers: bool, backend: str) -> None:
    kept, phases = io.BytesIO(BODY + BODY), Phases()
    asked = environ(**{"wsgi.input": kept})

    def first(environ: Any, start_response: Any) -> list[bytes]:
        fail_with(environ, backend)
        return []

    def second(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(RouteError, match="was read already"):
            wsgi.dispatch(phases.router, environ, backend=backend)
        return []

    for app in (first, second):
        list((wsgi.Lingering(app) if lingers else app)(asked, None))
    assert kept.tell() == len(BODY)
    assert phases.told == []


# -- the block --------------------------------------------------------------------------------


def test_results_and_commit(backend: str) -> None:
    phases = Phases()
    with wsgi.flow(phases.router, environ(), backend=backend) as flow:
        assert [handled.value for handled in flow.results] == ["one", "two"]
        assert phases.told == []
    assert phases.told == ["committed"] * 2


def test_into_and_given(backend: str) -> None:
    router = Router()

    @router.route(name="a", key="a", needs="owner")
    async def handler(part: Part, owner: str) -> str:
        return f"{owner}: {await part.text()}"

    @router.route(name="b")
    async def other(part: Part) -> None: ...

    @attrs.frozen
    class Upload:
        a: str

    made = wsgi.dispatch(router, environ(), into=Upload, given={"owner": "me"}, backend=backend)
    assert made == Upload("me: one")


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_what_leaves_the_block_rolls_back(backend: str, error: BaseException) -> None:
    phases = Phases()
    with (
        pytest.raises(type(error)) as caught,
        wsgi.flow(phases.router, environ(), backend=backend),
    ):
        raise error
    assert caught.value is error
    assert phases.told == ["rolled back"] * 2


def test_commit_in_the_block(backend: str) -> None:
    phases = Phases()
    flow = wsgi.flow(phases.router, environ(), backend=backend)

    def block() -> None:
        flow.commit()
        assert phases.told == ["committed"] * 2
        with pytest.raises(RouteError, match="committed"):
            flow.commit()
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"), flow:
        block()
    assert phases.told == ["committed"] * 2
    with pytest.raises(RouteError, match="left"):
        flow.commit()


def test_abort(backend: str) -> None:
    phases = Phases()
    with wsgi.flow(phases.router, environ(), backend=backend) as flow:
        flow.abort()
    assert phases.told == ["rolled back"] * 2


def test_a_commit_that_fails(backend: str) -> None:
    phases = Phases(fails=True)
    with pytest.raises(CommitFailed), wsgi.flow(phases.router, environ(), backend=backend):
        pass
    assert phases.told == ["rolled back"] * 2


def test_a_handler_that_fails_comes_out_bare(backend: str) -> None:
    router = Router()

    @router.route()
    async def handler(part: Part) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        wsgi.dispatch(router, environ(), backend=backend)


def test_a_flow_is_entered_once() -> None:
    flow = wsgi.flow(Phases().router, environ())
    with pytest.raises(RouteError, match="entered"):
        _ = flow.results
    with flow, pytest.raises(RouteError, match="not entered before"):
        flow.__enter__()


def test_a_provider_of_the_caller_is_used() -> None:
    provider = BlockingPortalProvider("trio")
    with provider as portal:
        found: list[int] = []
        router = Router()

        @router.route()
        async def handler(part: Part) -> None:
            found.append(threading.get_ident())

        wsgi.dispatch(router, environ(), backend=provider)
        assert set(found) == {portal.call(threading.get_ident)}


def test_threads_share_a_loop(backend: str) -> None:
    """Each has its own flow; one that fails ends no other."""
    both = threading.Barrier(2)
    found: list[object] = []

    def upload(fails: bool) -> None:
        phases = Phases()
        try:
            with wsgi.flow(phases.router, environ(), backend=backend):
                both.wait(30)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            both.wait(30)
        else:
            both.wait(30)
        found.append((fails, phases.told))

    threads = [threading.Thread(target=upload, args=(fails,)) for fails in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found, key=str) == [(False, ["committed"] * 2), (True, ["rolled back"] * 2)]


# -- interruptions ----------------------------------------------------------------------------


class Stuck(io.RawIOBase):
    """A connection that gives `data`, and then nothing until `let_go`."""

    def __init__(self, data: bytes, at_end: Any = None) -> None:
        self.data = data
        self.at_end = at_end
        self.gone = threading.Event()

    def read(self, size: int = -1) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        if not data:
            if self.at_end is not None:
                self.at_end()
            assert self.gone.wait(60)
        return data


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PATIENCE", 0.01)


@pytest.mark.usefixtures("impatient")
def test_ctrl_c_while_the_body_comes(backend: str) -> None:
    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    phases = Phases()
    stuck = Stuck(BODY[:-20], interrupt)
    with pytest.raises(KeyboardInterrupt):
        wsgi.dispatch(phases.router, environ(**{"wsgi.input": stuck}), backend=backend)
    assert phases.told == ["rolled back"]
    stuck.gone.set()


def test_ctrl_c_does_not_cut_a_commit(backend: str) -> None:
    """It comes out once the commit, which has begun, is over: all of it stands."""
    told: list[str] = []
    router = Router()

    @router.route()
    @asynccontextmanager
    async def handler(part: Part) -> AsyncIterator[None]:
        yield
        if not told:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await anyio.wait_all_tasks_blocked()
        told.append("committed")

    with pytest.raises(KeyboardInterrupt):
        wsgi.dispatch(router, environ(), backend=backend)
    assert told == ["committed"] * 2


@pytest.mark.usefixtures("impatient")
def test_a_client_that_says_nothing_is_not_waited_for(backend: str) -> None:
    phases = Phases(limits=Limits(idle_timeout=0.05))
    stuck = Stuck(BODY[:-20])
    with pytest.raises(LimitExceeded) as caught:
        wsgi.dispatch(phases.router, environ(**{"wsgi.input": stuck}), backend=backend)
    assert (caught.value.limit, caught.value.status) == ("idle_timeout", 408)
    assert phases.told == ["rolled back"]
    stuck.gone.set()


def test_a_read_that_took_too_long_is_not_waited_for_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only one that has begun a moment ago is."""
    passed = [0.0]
    clock = SimpleNamespace(monotonic=lambda: passed[0])
    monkeypatch.setattr(pieces, "time", clock)
    monkeypatch.setattr(pieces, "PATIENCE", 50.0)
    stuck = Stuck(BODY[:-20], lambda: passed.append(passed.pop() + 50.0))
    begun = time.monotonic()
    with pytest.raises(LimitExceeded):
        wsgi.dispatch(
            Phases(limits=Limits(idle_timeout=0.05)).router, environ(**{"wsgi.input": stuck})
        )
    assert time.monotonic() - begun < 25
    stuck.gone.set()


# -- the body ---------------------------------------------------------------------------------


class Counted(io.BytesIO):
    """A connection on which the next request stands behind the body."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        self.most = max(self.most, size)
        return super().read(size)


def test_no_more_is_read_than_the_length_says() -> None:
    data = body([PartSpec(bytes(3_000_000), name="a")])
    stream = Counted(data + b"GET / HTTP/1.1")
    router = Router()

    @router.route()
    async def handler(part: Part) -> None:
        await part.drain()

    wsgi.dispatch(router, environ(data, **{"wsgi.input": stream}))
    assert stream.read(100) == b"GET / HTTP/1.1"
    assert stream.most == pieces.MOST


@pytest.mark.parametrize(
    ("others", "error"),
    [
        ({"CONTENT_TYPE": "text/plain"}, NotMultipart),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, UnsupportedCoding),
        ({"CONTENT_LENGTH": "-1"}, MalformedBody),
        ({"CONTENT_LENGTH": "1e3"}, MalformedBody),
        ({"CONTENT_LENGTH": str(2**40)}, LimitExceeded),
        ({"CONTENT_LENGTH": ""}, EmptyBody),
        ({"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "Chunked"}, Rejected),
        ({"CONTENT_LENGTH": str(len(BODY) + 1)}, ClientDisconnected),
        ({"CONTENT_LENGTH": str(len(BODY) - 5)}, TruncatedBody),
        ({"wsgi.input": io.BytesIO()}, ClientDisconnected),
        ({"HTTP_CONTENT_LENGTH": "3", "HTTP_CONTENT_TYPE": "a/b"}, None),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, None),
        (
            {
                "CONTENT_LENGTH": "3",
                "HTTP_TRANSFER_ENCODING": "chunked",
                "wsgi.input_terminated": True,
            },
            None,
        ),
    ],
)
def test_how_long_a_body_is(others: dict[str, Any], error: type[Exception] | None) -> None:
    phases = Phases()
    if error is None:
        wsgi.dispatch(phases.router, environ(**others))
        assert phases.told == ["committed"] * 2
        return
    with pytest.raises(error) as caught:
        wsgi.dispatch(phases.router, environ(**others))
    assert "committed" not in phases.told
    if error is Rejected:
        assert caught.value.status == 411  # type: ignore[attr-defined]


def test_a_connection_that_breaks_is_a_client_that_went_away() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ClientDisconnected) as caught:
        wsgi.dispatch(Phases().router, environ(**{"wsgi.input": Broken()}))
    assert isinstance(caught.value.__cause__, ConnectionResetError)


class BadChunk(Exception):
    """What a server raises of a chunked body, with what stood where a chunk should have ended."""

    def __init__(self, term: object) -> None:
        super().__init__("secret")
        self.term = term


class Raising(io.RawIOBase):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int = -1) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (BadChunk(b"zz"), MalformedBody),
        (BadChunk(None), MalformedBody),
        (ValueError("secret"), MalformedBody),
        (BadChunk(b""), ClientDisconnected),
        (BadChunk(b"\r"), ClientDisconnected),
        (EOFError(), ClientDisconnected),
    ],
)
def test_what_a_server_raises_of_a_body_is_the_clients(
    error: Exception, meant: type[Exception]
) -> None:
    with pytest.raises(meant) as caught:
        wsgi.dispatch(Phases().router, environ(**{"wsgi.input": Raising(error)}))
    assert type(caught.value) is meant
    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), TypeError(), UnicodeError(), Rejected(402, "no")]
)
def test_what_else_is_raised_comes_out_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        wsgi.dispatch(Phases().router, environ(**{"wsgi.input": Raising(error)}))
    assert caught.value is error


# -- answers ----------------------------------------------------------------------------------


def test_an_answer_to_a_server(caplog: pytest.LogCaptureFixture) -> None:
    started: list[Any] = []
    data = wsgi.respond(
        Rejected(429, "later", {"Retry-After": "3"}), lambda *args: started.append(args)
    )
    ((status, headers),) = started
    assert status == "429 Too Many Requests"
    assert dict(headers) == {
        "Retry-After": "3",
        "content-type": "application/problem+json",
        "x-content-type-options": "nosniff",
        "Content-Length": str(len(b"".join(data))),
    }
    assert not caplog.records
    wsgi.respond(Rejected(599, "odd"), lambda *args: started.append(args))
    assert started[-1][0] == "599 Error"
    assert wsgi.answer_for(ZeroDivisionError("secret")).status == 500
    assert caplog.records[-1].name == "mpflow.integrations"


def lingering(stream: Any, *, length: str = "300", chunked: bool = False) -> dict[str, Any]:
    """The environ after an application that reads 100 bytes has been served."""
    given = environ(CONTENT_LENGTH=length, **{"wsgi.input": stream})
    if chunked:
        given |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}

    class Answer(list[bytes]):
        def close(self) -> None:
            given["closed"] = True

    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read(100)
        return Answer([b"no"])

    linger = Linger(size=200_000, seconds=0.05, known_size=1000, known_seconds=0.05)
    answer: Any = wsgi.Lingering(app, linger)(given, None)
    assert b"".join(answer) == b"no"
    answer.close()
    assert given["closed"]
    return given


@pytest.mark.parametrize(
    ("length", "chunked", "read"),
    [("300", False, 300), ("100", False, 100), ("0", False, 0), ("", True, 200_100)],
)
def test_what_nobody_wants_is_read_within_bounds(length: str, chunked: bool, read: int) -> None:
    stream = io.BytesIO(bytes(1_000_000))
    lingering(stream, length=length, chunked=chunked)
    assert stream.tell() == read


def test_a_client_that_says_nothing_is_not_lingered_for() -> None:
    stuck = Stuck(bytes(200))
    lingering(stuck)
    stuck.gone.set()


def test_a_client_that_timed_out_is_not_lingered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi_linger, "HURRIED_SECONDS", 0.01)
    stuck = Stuck(b"")
    started: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        return wsgi.respond(LimitExceeded("idle_timeout", 2, status=408), start_response)

    lingering = wsgi.Lingering(app, Linger(known_seconds=50))
    begun = time.monotonic()
    given = environ(**{"wsgi.input": stuck})
    answer = lingering(given, lambda status, headers: started.append(status))
    assert b"idle_timeout" in b"".join(answer)
    assert started == ["408 Request Timeout"]
    assert time.monotonic() - begun < 25
    stuck.gone.set()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection, the server's first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), timeout=30)
        return listener.accept()[0], theirs


def test_a_connection_that_can_not_be_made_deaf_ends_both_ways() -> None:
    class Own(socket.socket):
        """It has a `__dict__`, as SSLSocket does."""

    ours, theirs = tcp_pair()
    with Own(fileno=ours.detach()) as own, theirs:
        wsgi_linger.stop_reading({"SERVER_PROTOCOL": "HTTP/1.1", "gunicorn.socket": own})
        assert theirs.recv(1) == b""
        assert own.recv(1) == b""


@pytest.mark.parametrize("linger", [True, False])
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2.0"])
@pytest.mark.usefixtures("impatient")
def test_only_a_connection_of_ones_own_is_ended(
    protocol: str, linger: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi_linger, "HURRIED_SECONDS", 0.01)
    router = Phases(limits=Limits(idle_timeout=0.05)).router
    closed: list[bool] = []

    class Answering:
        def force_close(self) -> None:
            closed.append(True)

        def start(self, status: str, headers: Any) -> None: ...

    def app(environ: Any, start_response: Any) -> Any:
        with pytest.raises(LimitExceeded) as caught:
            wsgi.dispatch(router, environ)
        return wsgi.respond(caught.value, start_response)

    ours, theirs = tcp_pair()
    with ours, theirs, ours.makefile("rb") as stream:
        theirs.sendall(BODY[:-20])
        given = environ(
            **{"wsgi.input": stream, "SERVER_PROTOCOL": protocol, "gunicorn.socket": ours}
        )
        answer: Any = (wsgi.Lingering(app) if linger else app)(given, Answering().start)
        assert b"idle_timeout" in b"".join(answer)
        if linger:
            answer.close()
        is_one = protocol == "HTTP/1.1"
        assert bool(closed) == (is_one and linger)
        if is_one:
            # Linux delivers it, in spite of SHUT_RD.
            theirs.sendall(b"GET /smuggled HTTP/1.1\r\n\r\n")
            assert ours.recv(1) == b""
            assert ours.recv_into(bytearray(1)) == 0
            ours.sendall(b"told")
            assert theirs.recv(4) == b"told"
        else:
            theirs.sendall(BODY[-20:])  # the thread still reads
            theirs.shutdown(socket.SHUT_WR)
            joined = [t for t in threading.enumerate() if t.name.startswith("mpflow-")]
            for thread in joined:
                thread.join(30)


def test_lines_of_a_watched_body() -> None:
    given = environ(b"a\nbc\nd" + b"next", CONTENT_LENGTH="6")
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        seen.extend([stream.readline(), stream.readlines(), stream.read(), stream.read(5)])
        return []

    assert wsgi.Lingering(app)(given, None) == []
    assert seen == [b"a\n", [b"bc\n", b"d"], b"", b""]
