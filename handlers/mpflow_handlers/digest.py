"""`Digest`: what a part's bytes hash to, and the hashes that other handlers use.

Knows: hash algorithms by name, and when hashing is worth a worker thread.
Must not know: where the bytes go otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import attrs
from anyio import to_thread

from mpflow import Part, RouteError
from mpflow_handlers.batches import gather

__all__ = ["Digest", "Hash", "algorithm_names", "hexdigests", "new_hashes", "update"]

_INLINE: Final = 64 * 1024
"""Bytes that are hashed at once on the event loop: about what a hop to a thread costs."""


class Hash(Protocol):
    """What this needs of a hash object of `hashlib`."""

    @property
    def digest_size(self) -> int: ...

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def algorithm_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple, each one of a hash of fixed length; else `RouteError`."""
    if isinstance(names, str):
        raise RouteError(f"expected several names of hash algorithms, got the str {names!r:.60}")
    checked = tuple(names)
    for name in checked:
        try:
            size = _new(name).digest_size
        except (TypeError, ValueError):
            size = 0
        if not size:  # SHAKE has none: its digests are as long as one asks for
            raise RouteError(
                f"expected a hash algorithm of fixed length that hashlib has, got {name!r:.60}"
            )
    return checked


def new_hashes(names: Iterable[str]) -> dict[str, Hash]:
    """A fresh hash object for each name."""
    return {name: _new(name) for name in names}


def update(hashes: Mapping[str, Hash], pieces: Iterable[bytes]) -> None:
    """Hash the pieces, in order, with each of the hashes."""
    for piece in pieces:
        for one in hashes.values():
            one.update(piece)


def hexdigests(hashes: Mapping[str, Hash]) -> Mapping[str, str]:
    """The digests so far in lower-case hexadecimal, by algorithm; nobody can change them."""
    return MappingProxyType({name: one.hexdigest() for name, one in hashes.items()})


def _new(name: str) -> Hash:
    # They tell files apart and show damage; a system that forbids MD5 for security allows that.
    return hashlib.new(name, usedforsecurity=False)


@attrs.frozen(init=False)
class Digest:
    """Gives the part's digests: a read-only mapping of algorithm to lower-case hexadecimal.

    The algorithms are names that `hashlib` knows, by default `"sha256"`; others raise
    `RouteError` when the handler is made. The body is hashed without its transfer encoding and
    with its content coding, as `Save` and `Collect` store it, unless the route's `decode` says
    otherwise; `UnsupportedCoding` is raised for a coding that cannot be undone. Nothing is kept
    in memory.
    """

    algorithms: tuple[str, ...]

    def __init__(self, *algorithms: str) -> None:
        object.__setattr__(self, "algorithms", algorithm_names(algorithms or ("sha256",)))

    async def __call__(self, part: Part) -> Mapping[str, str]:
        stream = part.stored()
        hashes = new_hashes(self.algorithms)
        ended = False
        while not ended:
            pieces, ended = await gather(stream)
            if sum(map(len, pieces)) * len(hashes) <= _INLINE:
                update(hashes, pieces)
            else:
                await to_thread.run_sync(update, hashes, pieces)
        return hexdigests(hashes)
