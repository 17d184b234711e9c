"""`Digest`: the digests of a body, however it comes.

Knows: what `hashlib` says. Must not know: where hashing is done, but that it is off the loop.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import RouteError, TruncatedBody, UnsupportedCoding
from mpflow_handlers import Digest, digest
from tests.handlers.support import Pieces, part_of

pytestmark = pytest.mark.anyio


@given(pieces=st.lists(st.binary(min_size=1)))
async def test_however_it_is_cut(pieces: list[bytes]) -> None:
    names = ("sha256", "md5", "blake2b", "sha3_256")
    digests = await Digest(*names)(part_of(pieces))
    data = b"".join(pieces)
    assert digests == {name: hashlib.new(name, data).hexdigest() for name in names}
    assert list(digests) == list(names)


async def test_sha256_by_default() -> None:
    assert await Digest()(part_of(b"x")) == {"sha256": hashlib.sha256(b"x").hexdigest()}


@pytest.mark.parametrize(
    ("size", "algorithms", "inline"),
    [
        (65536, ("sha256",), True),
        (65537, ("sha256",), False),
        (65536, ("sha256", "md5"), False),
        (2_000_000, ("sha256",), False),
    ],
)
async def test_only_large_bodies_go_to_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, algorithms: tuple[str, ...], inline: bool
) -> None:
    threads: list[int] = []
    update = digest.update

    def watched(*args: Any) -> None:
        threads.append(threading.get_ident())
        update(*args)

    monkeypatch.setattr(digest, "update", watched)
    data = bytes(size)
    pieces = [data[start : start + 65536] for start in range(0, size, 65536)]
    digests = await Digest(*algorithms)(part_of(pieces))
    assert digests["sha256"] == hashlib.sha256(data).hexdigest()
    assert (threading.get_ident() in threads[:1]) is inline


async def test_nobody_changes_it() -> None:
    digests: Any = await Digest()(part_of(b"x"))
    with pytest.raises(TypeError):
        digests["sha256"] = "other"


@pytest.mark.parametrize("name", ["none-such", "shake_128", "", 5, None], ids=str)
def test_an_algorithm_that_is_none(name: Any) -> None:
    with pytest.raises(RouteError, match="expected a hash algorithm"):
        Digest("sha256", name)


def test_it_is_a_value() -> None:
    assert Digest() == Digest("sha256")
    assert Digest("md5").algorithms == ("md5",)


async def test_a_cut_body_has_no_digest() -> None:
    with pytest.raises(TruncatedBody):
        await Digest()(part_of(Pieces([b"x"], error=TruncatedBody("cut"))))


async def test_what_cannot_be_undone_has_no_digest() -> None:
    with pytest.raises(UnsupportedCoding):
        await Digest()(part_of(b"eA==", headers={"Content-Transfer-Encoding": "x-unknown"}))
