"""`Save` in a flow: many parts of one message, all of them or none.

Knows: whole messages and what is in the directory after them. Must not know: how files are made.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mpflow import (
    CommitFailed,
    HandlerTimeout,
    LimitExceeded,
    MultipartReader,
    NoRoute,
    Router,
    TruncatedBody,
)
from mpflow.testing import Chunked, PartSpec, Stuck, body, content_type_of
from mpflow_handlers import Save
from tests.clock import virtual_time
from tests.handlers.support import descriptors, names, opened_since

pytestmark = pytest.mark.anyio


def message(*files: tuple[str, bytes], end: int | None = None, name: str = "f") -> MultipartReader:
    parts = [PartSpec(data, name=name, filename=filename) for filename, data in files]
    return MultipartReader(Chunked(body(parts)[:end], 65536), content_type_of())


def router_of(save: Save, **options: object) -> Router:
    router = Router()
    router.add(save, name="f", **options)  # type: ignore[arg-type]
    return router


def by_filename(directory: Path, exists: str = "error") -> Save:
    return Save(directory, lambda info: info.safe_filename, exists)  # type: ignore[arg-type]


FILES = [("a.bin", b"a" * 200_000), ("b.bin", b"b"), ("c.bin", b"")]


async def test_all_files_of_a_message(tmp_path: Path) -> None:
    results = await router_of(by_filename(tmp_path)).dispatch(message(*FILES))
    assert [(one.path, one.size) for one in results.all("f")] == [
        (tmp_path / name, len(data)) for name, data in FILES
    ]
    assert [(tmp_path / name).read_bytes() for name, _ in FILES] == [data for _, data in FILES]


async def test_nothing_shows_before_the_commit(tmp_path: Path) -> None:
    async with router_of(by_filename(tmp_path)).flow(message(*FILES)) as flow:
        planned = [one.name for one in flow.results.all("f")]
        assert planned == [name for name, _ in FILES]
        assert not set(names(tmp_path)) & set(planned)
        await flow.commit()
        assert names(tmp_path) == planned


async def test_an_abort_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    async with router_of(by_filename(tmp_path)).flow(message(*FILES)) as flow:
        await flow.abort()
    assert names(tmp_path) == []
    assert opened_since(before) == []


@pytest.mark.parametrize("cut", range(3, 200_400, 9_000))
async def test_a_message_that_is_cut_leaves_nothing(tmp_path: Path, cut: int) -> None:
    before = descriptors()
    with pytest.raises(TruncatedBody):
        await router_of(by_filename(tmp_path)).dispatch(message(*FILES, end=-cut))
    assert names(tmp_path) == []
    assert opened_since(before) == []


async def test_a_part_that_no_route_takes_leaves_nothing(tmp_path: Path) -> None:
    parts = [PartSpec(data, name="f", filename=name) for name, data in FILES] + [("x", "")]
    reader = MultipartReader(body(parts), content_type_of())
    with pytest.raises(NoRoute):
        await router_of(by_filename(tmp_path)).dispatch(reader)
    assert names(tmp_path) == []


async def test_a_part_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    router = router_of(by_filename(tmp_path), max_bytes=199_999)
    with pytest.raises(LimitExceeded):
        await router.dispatch(message(*FILES))
    assert names(tmp_path) == []


async def test_only_the_part_that_is_too_large_is_missing(tmp_path: Path) -> None:
    router = router_of(by_filename(tmp_path), max_bytes=199_999, on_error="collect")
    results = await router.dispatch(message(*FILES))
    assert [type(error) for error in results.errors] == [LimitExceeded]
    assert names(tmp_path) == ["b.bin", "c.bin"]


@virtual_time
async def test_a_timeout_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    whole = body([PartSpec(b"x" * 100_000, name="f", filename="a")])
    router = router_of(by_filename(tmp_path), timeout=20)
    with pytest.raises(HandlerTimeout):
        await router.dispatch(MultipartReader(Stuck(whole, 90_000), content_type_of()))
    assert names(tmp_path) == []
    assert opened_since(before) == []


async def test_one_name_twice_with_suffixes(tmp_path: Path) -> None:
    router = router_of(by_filename(tmp_path, "suffix"))
    results = await router.dispatch(message(("a.txt", b"1"), ("a.txt", b"2"), ("a.txt", b"3")))
    saved = [(one.path.name, one.path.read_bytes()) for one in results.all("f")]
    assert saved == [("a.txt", b"1"), ("a-1.txt", b"2"), ("a-2.txt", b"3")]


async def test_one_name_twice_is_refused_before_anything_is_committed(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileExistsError, match="another part") as caught:
        await router_of(by_filename(tmp_path)).dispatch(
            message(("a", b"1"), ("a", b"2"), ("b", b"3"))
        )
    assert caught.value.filename == str(tmp_path / "a")
    assert "part 1 'f' (file 'a')" in caught.value.__notes__[0]
    assert names(tmp_path) == []
    assert opened_since(before) == []


@pytest.mark.parametrize("size", [10, 300_000])
async def test_one_name_twice_where_failures_are_collected(tmp_path: Path, size: int) -> None:
    # More than once: on trio tasks begin in any order.
    for number in range(10):
        (folder := tmp_path / str(number)).mkdir()
        router = router_of(by_filename(folder), on_error="collect")
        results = await router.dispatch(
            message(("a", b"1" * size), ("a", b"2" * size), ("b", b"3"), ("a", b"4"))
        )
        assert [type(error) for error in results.errors] == [FileExistsError] * 2
        assert names(folder) == ["a", "b"]
        assert [one.part.index for one in results if not one.error] == [0, 2]
        assert (folder / "a").read_bytes() == b"1" * size


async def test_a_missing_directory_is_no_matter_of_names(tmp_path: Path) -> None:
    router = router_of(by_filename(tmp_path / "none"), on_error="collect")
    results = await router.dispatch(message(("a", b"1"), ("a", b"2")))
    assert [type(error) for error in results.errors] == [FileNotFoundError] * 2


async def test_one_name_in_two_messages_at_once(tmp_path: Path) -> None:
    """The name is the first one's until its commit, and free again after its rollback."""
    router = router_of(by_filename(tmp_path))
    async with router.flow(message(("a", b"1"))) as flow:
        with pytest.raises(FileExistsError, match="another part"):
            await router.dispatch(message(("b", b"2"), ("a", b"2")))
        assert "b" not in names(tmp_path)
        await flow.abort()
    await router.dispatch(message(("a", b"3")))
    assert (tmp_path / "a").read_bytes() == b"3"


async def test_a_name_that_is_taken_at_half_the_commit(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(CommitFailed) as caught:
        async with router_of(by_filename(tmp_path)).flow(
            message(("a", b"1"), ("b", b"2"), ("c", b"3"))
        ):
            (tmp_path / "b").write_bytes(b"theirs")
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert [one.value.path for one in caught.value.committed] == [tmp_path / "a"]
    assert [one.part.filename for one in caught.value.rolled_back] == ["c"]
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"theirs"
    assert opened_since(before) == []


async def test_a_taken_name_is_refused_with_its_part(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_text("theirs")
    with pytest.raises(FileExistsError) as caught:
        await router_of(by_filename(tmp_path)).dispatch(message(*FILES))
    assert "part 1 'f' (file 'b.bin')" in caught.value.__notes__[0]
    assert names(tmp_path) == ["b.bin"]


async def test_hundreds_of_files_hold_few_descriptors(tmp_path: Path) -> None:
    before = descriptors()
    files = [(f"{number}", b"x") for number in range(300)]
    async with router_of(by_filename(tmp_path)).flow(message(*files)) as flow:
        assert len(opened_since(before)) <= 64 + 1
        assert len(flow.results) == 300
        assert all(name.startswith(".mpflow-") for name in names(tmp_path))
    assert len(names(tmp_path)) == 300
    assert not any(name.startswith(".") for name in names(tmp_path))
    assert opened_since(before) == []
