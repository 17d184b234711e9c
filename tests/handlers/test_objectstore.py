"""`ObjectStore`: what it stores, under which keys, and that nothing else is ever left.

Knows: a real S3 API, obstore's folders and memory, as their users see them.
Must not know: which calls make an object.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from mpflow import (
    CommitFailed,
    MultipartReader,
    Part,
    PartInfo,
    RolledBack,
    RouteError,
    Router,
    ServiceFailed,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import ObjectStore, Stored, Text, objectstore
from mpflow_handlers.uploads import Upload
from tests.handlers.support import Pieces, open_files, part_of, stage
from tests.objects import Bucket, Fault

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
PART = 5 * MIB
LARGE = bytes(range(256)) * (12 * MIB // 256 + 100)  # three parts
HOLDS = pytest.mark.parametrize("hold", [True, False], ids=["held", "closed"])
SIZES = pytest.mark.parametrize("size", [100, len(LARGE)], ids=["small", "large"])


def cut(data: bytes, size: int = 65536) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def handler(bucket: Bucket, key: Any = "a", **options: Any) -> ObjectStore:
    return ObjectStore(bucket.store(), key, **{"part_size": PART, **options})


def content(store: Any, key: str) -> bytes:
    return bytes(obstore.get(store, key).bytes())


def when(method: str, *words: str, then: Fault) -> Callable[[str, str], Fault]:
    """A fault of the requests with that method, whose path holds all the words."""

    def fault(got: str, path: str) -> Fault:
        return then if got == method and all(word in path for word in words) else None

    return fault


CREATE = ("POST", "uploads")
SECOND_PART = ("PUT", "partNumber=2")
LAST_PART = ("PUT", "partNumber=3")
COMPLETE = ("POST", "uploadId=")


# -- what is stored ---------------------------------------------------------------------------


@HOLDS
@pytest.mark.parametrize("size", [0, 1, 100_000, PART, 2 * PART, len(LARGE)])
async def test_the_object_is_the_body(bucket: Bucket, size: int, hold: bool) -> None:
    data = LARGE[:size]
    before = open_files()
    store = handler(bucket, "photos/a.bin", digests=("sha256", "md5"))
    async with store(part_of(cut(data), hold=hold)) as stored:
        assert bucket.keys() == []
        assert (stored.key, stored.size) == ("photos/a.bin", size)
        assert "not committed" in repr(stored)
        with pytest.raises(RouteError, match="committed"):
            stored.etag  # noqa: B018
        with pytest.raises(RouteError, match="committed"):
            stored.version  # noqa: B018
    assert bucket.left() == (["photos/a.bin"], [])
    assert content(bucket.store(), "photos/a.bin") == data
    digests = {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "md5")}
    etag = obstore.head(bucket.store(), "photos/a.bin")["e_tag"]
    assert stored == Stored("photos/a.bin", size, digests, etag=etag, version=stored.version)
    assert "not committed" not in repr(stored)
    assert open_files() == before


@pytest.mark.parametrize("kind", ["folder", "memory"])
@pytest.mark.parametrize("failing", [False, True], ids=["committed", "rolled-back"])
@SIZES
async def test_other_stores(tmp_path: Path, kind: str, failing: bool, size: int) -> None:
    store = LocalStore(tmp_path) if kind == "folder" else MemoryStore()
    save = ObjectStore(store, "a", part_size=PART)
    if failing:
        with pytest.raises(ZeroDivisionError):
            await stage(save, part_of(cut(LARGE[:size])), lambda: 1 // 0)
        assert list(obstore.list(store)) == []
        assert os.listdir(tmp_path) == []
        return
    stored = await stage(save, part_of(cut(LARGE[:size])))
    assert content(store, "a") == LARGE[:size]
    assert stored.etag == obstore.head(store, "a")["e_tag"]
    with pytest.raises(FileExistsError):
        await stage(save, part_of(b"x"))


async def test_a_url_names_a_store(tmp_path: Path) -> None:
    save = ObjectStore(tmp_path.as_uri(), "a")
    await stage(save, part_of(b"data"))
    assert (tmp_path / "a").read_bytes() == b"data"


async def test_it_is_sent_as_it_comes(bucket: Bucket) -> None:
    sent = threading.Event()

    def note(method: str, path: str) -> None:
        if "partNumber=1" in path:
            sent.set()

    def look() -> None:
        if pieces.received == 2 * PART // 65536 + 10:
            assert sent.wait(30)  # the first part is sent while the third one is received

    bucket.fault = note
    pieces = Pieces(cut(LARGE), on_receive=look)
    async with handler(bucket)(part_of(pieces)):
        assert bucket.uploads() == ["a"]
    assert sent.is_set()


async def test_the_end_of_many_parts_waits_outside_of_memory(bucket: Bucket) -> None:
    before = open_files()
    async with handler(bucket)(part_of(cut(LARGE[: PART - 1]), hold=False)):
        assert open_files() == before
        assert bucket.requests == [f"HEAD /{bucket.name}/a"]
    assert content(bucket.store(), "a") == LARGE[: PART - 1]


async def test_attributes_and_keys_of_the_part_and_its_needs(bucket: Bucket) -> None:
    router = Router()
    router.add(Text(), name="owner")
    route = router.add(
        handler(
            bucket,
            lambda info, owner: f"{owner}/{info.safe_filename}",
            attributes=lambda info: {"Content-Type": info.content_type, "Cache-Control": "private"},
        ),
        filename="?*",
        needs="owner",
    )
    message = body(
        [("owner", "ada"), PartSpec(b"x", name="f", filename="../s.png", content_type="image/png")]
    )
    results = await router.dispatch(MultipartReader(message, content_type_of()))
    assert results[route].key == "ada/s.png"
    attributes = obstore.get(bucket.store(), "ada/s.png").attributes
    assert attributes["Content-Type"] == "image/png"
    assert attributes["Cache-Control"] == "private"


async def test_a_clients_filename_in_an_attribute(bucket: Bucket) -> None:
    def attributes(info: PartInfo) -> dict[str, str]:
        return {"Content-Disposition": f'attachment; filename="{info.filename}"'}

    router = Router()
    router.add(handler(bucket, attributes=attributes), key="f")
    for escaped in ("a%0Ab", "a%0D%0Ab"):  # as browsers escape what ends a line
        parts = body([PartSpec(b"x", name="f", filename=escaped)])
        with pytest.raises(RouteError, match="control characters"):
            await router.dispatch(MultipartReader(parts, content_type_of()))
    assert bucket.requests == []
    parts = body([PartSpec(b"x", name="f", filename="Gr\u00fc\u00dfe.txt")])
    await router.dispatch(MultipartReader(parts, content_type_of()))
    assert bucket.keys() == ["a"]


@pytest.mark.parametrize(
    "attributes",
    [5, {"Foo": 1}, {1: "a"}, {"": "a"}, {"a b": "c"}, {"a": "\0"}, {"a": "\ud800"}],
    ids=repr,
)
async def test_attributes_that_cannot_be(attributes: Any) -> None:
    with pytest.raises(RouteError, match="attribute"):
        ObjectStore(MemoryStore(), attributes=attributes)
    with pytest.raises(RouteError, match="attribute"):
        await stage(ObjectStore(MemoryStore(), attributes=lambda info: attributes), part_of(b""))


@SIZES
def test_a_panic_of_obstore_is_a_failure_of_its_part(bucket: Bucket, size: int) -> None:
    upload = Upload(
        bucket.store(),
        "a",
        part_size=PART,
        attributes={"Content-Disposition": "a\nb"},  # nobody has checked them
        create=True,
        own=False,
        hashes={},
    )
    upload.open()

    def send() -> None:
        upload.write(cut(LARGE[:size]))
        upload.finish([], hold=False)
        upload.complete()

    with pytest.raises(ServiceFailed, match="expected the store to take 'a'") as caught:
        send()
    assert not isinstance(caught.value.__cause__, Exception)
    with suppress(ServiceFailed):
        upload.abort()
    assert bucket.left() == ([], [])


@SIZES
async def test_without_attributes_the_client_says_nothing(bucket: Bucket, size: int) -> None:
    await stage(handler(bucket), part_of(cut(LARGE[:size]), content_type="text/html"))
    attributes = obstore.get(bucket.store(), "a").attributes
    assert "html" not in attributes.get("Content-Type", "")


async def test_a_random_key(bucket: Bucket) -> None:
    first = await stage(handler(bucket, None), part_of(b"one", filename="../x"))
    second = await stage(handler(bucket, None), part_of(b"two", filename="../x"))
    stored = bucket.keys()
    assert stored == sorted([first.key, second.key])
    assert all(len(key) == 32 and key.isalnum() for key in stored)
    assert not any(request.startswith("HEAD") for request in bucket.requests)


async def test_what_cannot_be_undone_is_never_sent(bucket: Bucket) -> None:
    part = part_of(b"eA==", headers={"Content-Transfer-Encoding": "x-unknown"})
    with pytest.raises(UnsupportedCoding):
        await stage(handler(bucket), part)
    assert bucket.requests == []


# -- what is not stored -----------------------------------------------------------------------


@SIZES
@HOLDS
async def test_a_rollback_leaves_nothing(bucket: Bucket, size: int, hold: bool) -> None:
    before = open_files()
    reason = RolledBack()
    with pytest.raises(RolledBack) as caught:
        async with handler(bucket)(part_of(cut(LARGE[:size]), hold=hold)):
            raise reason
    assert caught.value is reason
    assert bucket.left() == ([], [])
    assert not hasattr(reason, "__notes__")
    assert open_files() == before


@pytest.mark.parametrize("size", [100, PART + 1, len(LARGE)])
async def test_a_body_that_is_cut_leaves_nothing(bucket: Bucket, size: int) -> None:
    pieces = Pieces(cut(LARGE[:size]), error=TruncatedBody("cut"))
    with pytest.raises(TruncatedBody):
        await stage(handler(bucket), part_of(pieces))
    assert bucket.left() == ([], [])


@pytest.mark.parametrize("after", [0, 1, PART // 65536 + 10, len(LARGE) // 65536])
async def test_a_cancellation_leaves_nothing(bucket: Bucket, after: int) -> None:
    with anyio.CancelScope() as scope:

        def count() -> None:
            if pieces.received == after:
                scope.cancel()

        pieces = Pieces(cut(LARGE), on_receive=count)
        await stage(handler(bucket), part_of(pieces))
    assert scope.cancelled_caught
    assert bucket.left() == ([], [])


async def test_cancelled_while_the_store_is_slow(bucket: Bucket) -> None:
    """The handler waits for the store, not for its part; it can be cancelled all the same."""
    arrived, go_on = threading.Event(), threading.Event()

    def stop(method: str, path: str) -> None:
        if "partNumber" in path:
            arrived.set()
            go_on.wait(30)

    bucket.fault = stop
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await anyio.to_thread.run_sync(arrived.wait, 30)
                scope.cancel()
                go_on.set()

            group.start_soon(cancel)
            await stage(handler(bucket), part_of(cut(LARGE * 4)))
    assert scope.cancelled_caught
    assert bucket.left() == ([], [])


@pytest.mark.parametrize("fault", [CREATE, SECOND_PART, LAST_PART, COMPLETE], ids=lambda f: f[1])
@pytest.mark.parametrize("then", [400, 503, "drop"])
async def test_a_store_that_fails_in_the_middle(
    bucket: Bucket, fault: tuple[str, str], then: Fault
) -> None:
    bucket.fault = when(*fault, then=then)
    with pytest.raises(ServiceFailed, match="expected the store to take 'a', got") as caught:
        await stage(handler(bucket), part_of(cut(LARGE * 2)))
    assert caught.value.status == 502
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)
    bucket.fault = lambda method, path: None
    assert bucket.left() == ([], [])


@pytest.mark.parametrize("number", [1, 2])
async def test_a_part_that_fails_shows_before_the_commit(bucket: Bucket, number: int) -> None:
    bucket.fault = when("PUT", f"partNumber={number}", then=403)
    with pytest.raises(ServiceFailed):
        async with handler(bucket)(part_of(cut(LARGE))):
            pytest.fail("it took the part")
    assert bucket.left() == ([], [])


@pytest.mark.parametrize("then", [400, "drop"])
async def test_a_store_that_fails_a_small_object(bucket: Bucket, then: Fault) -> None:
    bucket.fault = when("PUT", "/a", then=then)
    with pytest.raises(ServiceFailed):
        await stage(handler(bucket), part_of(b"small"))
    assert bucket.left() == ([], [])


@SIZES
async def test_a_completion_whose_answer_is_lost(bucket: Bucket, size: int) -> None:
    """The object is there and the store did not say so: under a random key it is removed."""
    bucket.fault = when(*(COMPLETE if size > PART else ("PUT",)), then="lose")
    with pytest.raises(ServiceFailed):
        await stage(handler(bucket, None), part_of(cut(LARGE[:size])))
    assert bucket.left() == ([], [])


async def test_what_cannot_be_aborted_is_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.fault = when("DELETE", then=503)
    with pytest.raises(ZeroDivisionError) as caught:
        await stage(handler(bucket), part_of(cut(LARGE)), lambda: 1 // 0)
    assert any("unfinished upload of 'a' may be left" in n for n in caught.value.__notes__)
    assert bucket.left() == ([], ["a"])


async def test_who_waits_too_long_for_an_abort_is_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(objectstore, "_CLEANUP", 0.0)
    bucket.fault = lambda method, path: go_on.wait(30) and None if method == "DELETE" else None
    try:
        with pytest.raises(ZeroDivisionError) as caught:
            await stage(handler(bucket), part_of(cut(LARGE)), lambda: 1 // 0)
    finally:
        go_on.set()
    assert any("unfinished upload of 'a' may be left" in n for n in caught.value.__notes__)
    for thread in threading.enumerate():
        if thread.name == "mpflow-upload":
            thread.join(30)
    assert bucket.left() == ([], [])  # it went on by itself


@SIZES
async def test_a_commit_that_has_begun_is_finished(bucket: Bucket, size: int) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def stop(method: str, path: str) -> None:
        if (method == "POST" and "uploadId" in path) or (method == "PUT" and "?" not in path):
            arrived.set()
            go_on.wait(30)

    bucket.fault = stop
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await anyio.to_thread.run_sync(arrived.wait, 30)
                scope.cancel()
                go_on.set()

            group.start_soon(cancel)
            async with handler(bucket)(part_of(cut(LARGE[:size]))) as stored:
                pass
    assert scope.cancel_called
    assert stored.etag is not None
    assert bucket.left() == (["a"], [])


# -- keys that are taken ----------------------------------------------------------------------


@SIZES
async def test_nothing_is_overwritten(bucket: Bucket, size: int) -> None:
    obstore.put(bucket.store(), "a", b"first")
    pieces = Pieces(cut(LARGE[:size]))
    with pytest.raises(FileExistsError) as caught:
        await stage(handler(bucket), part_of(pieces))
    assert caught.value.filename == "a"
    assert pieces.received == 0
    assert bucket.left() == (["a"], [])
    assert content(bucket.store(), "a") == b"first"


@SIZES
async def test_a_key_that_is_taken_meanwhile(bucket: Bucket, size: int) -> None:
    def take() -> None:
        obstore.put(bucket.store(), "a", b"first")

    with pytest.raises(FileExistsError):
        await stage(handler(bucket), part_of(cut(LARGE[:size])), take)
    assert bucket.left() == (["a"], [])
    assert content(bucket.store(), "a") == b"first"


@SIZES
async def test_overwrite(bucket: Bucket, size: int) -> None:
    obstore.put(bucket.store(), "a", b"first")
    await stage(handler(bucket, exists="overwrite"), part_of(cut(LARGE[:size])))
    assert content(bucket.store(), "a") == LARGE[:size]


async def test_two_parts_under_one_key(bucket: Bucket) -> None:
    save = handler(bucket)
    async with save(part_of(b"one")):
        with pytest.raises(FileExistsError):
            await stage(save, part_of(b"two"))
    assert content(bucket.store(), "a") == b"one"
    obstore.delete(bucket.store(), "a")
    await stage(save, part_of(b"three"))  # it is free again


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b", "a\\b", "a\0", "a\n"),
        *("\ud800", "a" * 1025, 7),
    ],
)
async def test_keys_that_no_object_can_have(key: Any) -> None:
    with pytest.raises(RouteError):
        ObjectStore(MemoryStore(), key)
    with pytest.raises(RouteError):
        await stage(ObjectStore(MemoryStore(), lambda info: key), part_of(b""))


# -- how it is made ---------------------------------------------------------------------------


def test_options_that_cannot_be() -> None:
    store: Any = MemoryStore()
    for options in ({"exists": "suffix"}, {"part_size": "1 MiB"}, {"part_size": None}):
        with pytest.raises(RouteError):
            ObjectStore(store, **options)
    for nothing in (7, "no-url", "ftp://host/"):
        with pytest.raises(RouteError, match="store"):
            ObjectStore(nothing)  # type: ignore[arg-type]
    assert ObjectStore(store, part_size="5 MiB") == ObjectStore(store, part_size=PART)
    assert hash(ObjectStore(store, "a")) == hash(ObjectStore(store, "a"))


def test_obstore_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(RouteError, match=r"install multipart-flow\[objectstore\]"):
        ObjectStore("memory:///")


def test_a_key_needs_what_the_route_needs(bucket: Bucket) -> None:
    with pytest.raises(RouteError, match="owner"):
        Router().add(ObjectStore(MemoryStore(), lambda info, owner: owner))


# -- in a flow --------------------------------------------------------------------------------


def message(parts: Iterable[bytes]) -> MultipartReader:
    specs = [PartSpec(data, name="f", filename=f"{i}.bin") for i, data in enumerate(parts)]
    return MultipartReader(body(specs), content_type_of())


def by_filename(info: Any) -> str:
    return str(info.safe_filename)


async def test_many_parts_all_or_nothing(bucket: Bucket) -> None:
    parts = [LARGE[: PART + 1000 * i] if i % 3 else LARGE[:i] for i in range(8)]
    router = Router()
    route = router.add(handler(bucket, by_filename), key="f")
    results = await router.dispatch(message(parts))
    assert [stored.size for stored in results.all(route)] == list(map(len, parts))
    assert bucket.left() == (sorted(f"{i}.bin" for i in range(8)), [])


async def test_one_key_is_that_of_the_first_part() -> None:
    for _ in range(10):  # on trio tasks begin in any order
        store = MemoryStore()
        router = Router()
        router.add(ObjectStore(store, "a"), key="f", on_error="collect")
        results = await router.dispatch(message([b"1", b"2", b"3"]))
        assert [type(one.error) for one in results] == [type(None), *[FileExistsError] * 2]
        assert content(store, "a") == b"1"


async def test_one_that_fails_leaves_nothing_of_any(bucket: Bucket) -> None:
    async def fail(part: Part) -> None:
        await part.drain()
        raise ZeroDivisionError

    router = Router()
    router.add(fail, filename="11.bin")
    router.add(handler(bucket, by_filename))
    with pytest.raises(ZeroDivisionError):
        await router.dispatch(message([LARGE[: PART + 1], LARGE[:9]] * 6))
    assert bucket.left() == ([], [])


async def test_a_commit_that_fails_rolls_the_rest_back(bucket: Bucket) -> None:
    router = Router()
    router.add(handler(bucket, by_filename))
    bucket.fault = when("POST", "1.bin", "uploadId", then=400)
    with pytest.raises(CommitFailed) as caught:
        await router.dispatch(message([LARGE] * 3))
    assert isinstance(caught.value.__cause__, ServiceFailed)
    assert [handled.value.key for handled in caught.value.committed] == ["0.bin"]
    assert bucket.left() == (["0.bin"], [])


# -- what it costs ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_memory(bucket: Bucket, backend: str) -> None:
    """200 MiB go through a process that grows by less than 40 MiB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.handlers.storing", backend, bucket.endpoint, bucket.name],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(f"{backend}: {told['grown'] / MIB:.1f} MiB")
    assert told["size"] == 200 * MIB == obstore.head(bucket.store(), "a")["size"]
    assert told["grown"] < 40 * MIB
