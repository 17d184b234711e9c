"""The protocol, against a server that speaks it over real sockets, and all that can go wrong."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mpflow_clamav import ClamAV, NotScanned, Scanned, VirusFound

from mpflow import MultipartReader, Rejected, RouteError, Router, UnsupportedCoding
from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import Save, Tee

pytestmark = pytest.mark.anyio

VIRUS = b"a virus, so to speak"
LARGE = bytes(range(256)) * 4096  # 1 MiB


@attrs.define(eq=False)
class Clamd:
    """A server that finds `VIRUS`, takes at most `most` bytes, and may misbehave."""

    most: int = 10**9
    answer: bytes | None = None
    mood: str = "well"
    chunks: list[int] = attrs.field(factory=list[int])
    parts: list[bytes] = attrs.field(factory=list[bytes])
    ended: anyio.Event = attrs.field(factory=anyio.Event)

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            try:
                await self._serve(stream)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                pass  # the client has gone
            finally:
                self.ended.set()

    async def _serve(self, stream: SocketStream) -> None:
        received = BufferedByteReceiveStream(stream)
        assert await received.receive_until(b"\0", 100) == b"zINSTREAM"
        data = b""
        while self.mood != "deaf":
            if self.mood == "gone" and len(data) > 100_000:
                return
            size = int.from_bytes(await received.receive_exactly(4), "big")
            if size == 0:
                break
            self.chunks.append(size)
            data += await received.receive_exactly(size)
            if len(data) > self.most:
                await stream.send(b"INSTREAM size limit exceeded. ERROR\0")
                return
        if self.mood in ("deaf", "silent"):
            await anyio.sleep_forever()
        self.parts.append(data)
        found = b"stream: Own.Virus FOUND\0" if VIRUS in data else b"stream: OK\0"
        await stream.send(found if self.answer is None else self.answer)


@asynccontextmanager
async def listening(clamd: Clamd, path: Path | None = None) -> AsyncIterator[Callable[..., ClamAV]]:
    """A `ClamAV` for the server: by the socket at `path`, else by TCP."""
    if path is None:
        listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        make = partial(ClamAV, host="127.0.0.1", port=port)
    else:
        listener = await anyio.create_unix_listener(path)
        make = partial(ClamAV, socket=str(path))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, clamd.serve)
        yield make
        tasks.cancel_scope.cancel()


async def scan(handler: Any, *parts: Any) -> Any:
    router = Router()
    router.add(handler, key="file")
    with anyio.fail_after(30):
        results = await router.dispatch(MultipartReader(body(parts), content_type_of()))
    return results["file"] if len(parts) == 1 else results.all("file")


def file(data: bytes) -> PartSpec:
    return PartSpec(data, name="file", filename="a.bin")


@pytest.mark.parametrize("by", ["unix", "tcp"])
async def test_a_clean_part(tmp_path: Path, by: str) -> None:
    clamd = Clamd()
    async with listening(clamd, tmp_path / "clamd" if by == "unix" else None) as make:
        assert await scan(make(), file(LARGE)) == Scanned(len(LARGE))
        assert await scan(make(), file(b"")) == Scanned(0)
    assert clamd.parts == [LARGE, b""]
    assert max(clamd.chunks) <= 65536
    assert 0 not in clamd.chunks


async def test_a_virus_is_named(tmp_path: Path) -> None:
    async with listening(Clamd(), tmp_path / "clamd") as make:
        with pytest.raises(VirusFound) as caught:
            await scan(make(), file(b"x" * 100_000 + VIRUS))
    assert isinstance(caught.value, Rejected)
    assert (caught.value.signature, caught.value.status) == ("Own.Virus", 422)
    assert "Own.Virus" in str(caught.value)
    assert "(file 'a.bin')" in str(caught.value)


async def test_a_virus_in_one_part_leaves_nothing_of_any(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    async with listening(Clamd(), tmp_path / "clamd") as make:
        tee = Tee(Save(tmp_path / "inbox"), make())
        with pytest.raises(VirusFound):
            await scan(tee, file(LARGE), file(VIRUS), file(b"clean"))
        assert os.listdir(tmp_path / "inbox") == []
        results = await scan(tee, file(LARGE), file(b"clean"))
    assert sorted(saved.path.stat().st_size for saved, _ in results) == [5, len(LARGE)]
    assert len(os.listdir(tmp_path / "inbox")) == 2


async def test_what_is_scanned_has_no_codings(tmp_path: Path) -> None:
    kind = content_type_of().replace("form-data", "mixed")
    coded = PartSpec(gzip.compress(b"-" + VIRUS), headers={"Content-Encoding": "gzip"})
    router = Router()
    clamd = Clamd()
    async with listening(clamd, tmp_path / "clamd") as make:
        router.add(make(), decode="none")
        with pytest.raises(VirusFound):
            await router.dispatch(MultipartReader(body([coded]), kind))
        odd = PartSpec(b"x", headers={"Content-Encoding": "odd"})
        with pytest.raises(UnsupportedCoding):
            await router.dispatch(MultipartReader(body([odd]), kind))
    assert clamd.parts == [b"-" + VIRUS]


async def test_a_part_past_the_limit_of_clamd_is_not_clean(tmp_path: Path) -> None:
    clamd = Clamd(most=100_000)
    async with listening(clamd, tmp_path / "clamd") as make:
        for size in (1, 4, 16):
            with pytest.raises(NotScanned, match="size limit exceeded") as caught:
                await scan(make(), file(LARGE * size))
            assert caught.value.status == 413
        with pytest.raises(NotScanned, match="size limit exceeded") as caught:
            await scan(make(), file(bytes(100_001)))
    assert caught.value.status == 413
    assert clamd.parts == []


@pytest.mark.parametrize("by", ["unix", "tcp"])
async def test_what_clamd_says_between_two_chunks_is_heard(tmp_path: Path, by: str) -> None:
    """It closes with bytes unread, so that the next chunk breaks the connection."""
    clamd = Clamd(most=100_000)
    whole = body([file(LARGE)])

    async def source() -> AsyncIterator[bytes]:
        yield whole[:400_000]
        await clamd.ended.wait()
        yield whole[400_000:]

    async with listening(clamd, tmp_path / "clamd" if by == "unix" else None) as make:
        router = Router()
        router.add(make())
        with pytest.raises(NotScanned, match="size limit exceeded") as caught:
            await router.dispatch(MultipartReader(source(), content_type_of()))
    assert caught.value.status == 413


async def test_a_part_past_a_limit_of_its_own(tmp_path: Path) -> None:
    clamd = Clamd()
    async with listening(clamd, tmp_path / "clamd") as make:
        assert await scan(make(max_bytes="64 KiB"), file(bytes(65536))) == Scanned(65536)
        with pytest.raises(NotScanned, match="at most 65536 bytes") as caught:
            await scan(make(max_bytes="64 KiB"), file(bytes(65537)))
        await clamd.ended.wait()
    assert caught.value.status == 413
    assert len(clamd.parts) == 1


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"stream: lstat() failed: No such file. ERROR\0", 503, "answers 'stream: lstat"),
        (b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0", 413, "too large"),
        (b"UNKNOWN COMMAND\0", 503, "answers 'UNKNOWN COMMAND'"),
        (b"stream: OK", 503, "closed the connection"),  # cut: no answer
        (b"stream: OK but\0", 503, "answers 'stream: OK but'"),
        (b"OK\0", 503, "answers 'OK'"),
        (b"", 503, "closed the connection after 5 bytes"),
        (b"x" * 5000, 503, "answers 'xxx"),
    ],
    ids=["error", "limits", "unknown", "cut", "more", "short", "nothing", "long"],
)
async def test_no_clear_answer_is_not_clean(
    tmp_path: Path, answer: bytes, status: int, said: str
) -> None:
    async with listening(Clamd(answer=answer), tmp_path / "clamd") as make:
        with pytest.raises(NotScanned) as caught:
            await scan(make(), file(b"clean"))
    assert caught.value.status == status
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("deaf", "takes nothing more (TimeoutError)"),
        ("silent", "does not answer (TimeoutError)"),
        ("gone", "closed the connection after"),
    ],
)
async def test_clamd_that_misbehaves_never_hangs_a_flow(
    tmp_path: Path, mood: str, said: str
) -> None:
    # Real sockets and a real, short timeout: what is waited for never comes.
    async with listening(Clamd(mood=mood), tmp_path / "clamd") as make:
        with pytest.raises(NotScanned) as caught:
            await scan(make(timeout=0.5 if mood != "gone" else 30), file(LARGE * 4))
    assert caught.value.status == 503
    assert said in str(caught.value)


async def test_clamd_that_is_not_there(tmp_path: Path) -> None:
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    await listener.aclose()
    for handler in (
        ClamAV(socket=str(tmp_path / "none")),
        ClamAV(host="127.0.0.1", port=port),
    ):
        with pytest.raises(NotScanned, match="cannot be reached") as caught:
            await scan(handler, file(b"clean"))
        assert caught.value.status == 503
        assert isinstance(caught.value.__cause__, OSError)


async def test_the_part_is_read_as_fast_as_clamd_takes_it(tmp_path: Path) -> None:
    """While clamd takes nothing, no more is read than the buffers between them hold."""
    given = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        whole = body([file(LARGE * 64)])
        for start in range(0, len(whole), 65536):
            given += 65536
            yield whole[start : start + 65536]

    router = Router()
    async with listening(Clamd(mood="deaf"), tmp_path / "clamd") as make:
        router.add(make(timeout=0.5))
        with pytest.raises(NotScanned):
            await router.dispatch(MultipartReader(source(), content_type_of()))
    assert given < 8 * len(LARGE)


async def test_a_client_that_goes_away_ends_the_connection(tmp_path: Path) -> None:
    clamd = Clamd()
    async with listening(clamd, tmp_path / "clamd") as make:
        router = Router()
        router.add(make())
        with pytest.raises(Exception, match="ended"):
            await router.dispatch(MultipartReader(body([file(LARGE)])[:500_000], content_type_of()))
        with anyio.fail_after(30):
            await clamd.ended.wait()
    assert clamd.parts == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"socket": "a", "host": "b"},
        {"host": "a", "port": 0},
        {"socket": "a", "max_bytes": "x"},
        {"socket": "a", "timeout": 0},
    ],
    ids=["neither", "both", "port", "size", "timeout"],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(RouteError, match="expected"):
        ClamAV(**options)


def test_it_is_a_handler() -> None:
    router = Router()
    route = router.add(ClamAV(socket="a"))
    assert route.two_phase is False
