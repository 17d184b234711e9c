"""`Digest`: what a part's bytes hash to, and the hashes that other handlers use.

Knows: hash algorithms by name, and when hashing is worth a worker thread.
Must not know: where the bytes go otherwise, or who says what they should hash to (`expected.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Any, Final, Protocol

import attrs
from anyio import to_thread
from anyio.abc import ByteReceiveStream

from mpflow import InvalidContent, Part, RouteError, signature_over
from mpflow_handlers.batches import gather
from mpflow_handlers.digestfields import FIELDS
from mpflow_handlers.expected import Expected, Teller, expected_of, nothing_told, tell

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

    With `expected` the part has to have those digests, or `InvalidContent` (status 422) names the
    algorithm, the digest that was expected and the one that came. In a `Tee` that leaves nothing
    of what its other children stored. `expected` is one of:

    - `"Content-MD5"` (RFC 1864), `"Content-Digest"` or `"Repr-Digest"` (RFC 9530): that header of
      the part. The algorithms are then by default `md5`, or `sha256` and `sha512`. One that the
      header does not tell is not checked; it has to tell one of them. Such a digest is that of the
      body without its transfer encoding and with its content coding, whatever `decode` says. A
      field that cannot be parsed is refused with status 400.
    - a mapping of algorithm to digest, as `bytes` or hexadecimal.
    - a callable that is given the `PartInfo` and, by the names of its other parameters, what the
      route `needs`. It gives such a mapping, in which other algorithms are passed over, or the
      digest itself where there is one algorithm, or None where it knows none. It may be what a
      client says: anything else is `InvalidContent`.

    Where nothing is told to check the part by, `InvalidContent` (422) is raised before the body
    is read; with `required=False` the part passes.
    """

    algorithms: tuple[str, ...]
    expected: Expected
    required: bool

    def __init__(
        self,
        *algorithms: str,
        expected: Teller | str | Mapping[str, str | bytes] | None = None,
        required: bool = True,
    ) -> None:
        default = FIELDS.get(expected.lower(), ()) if isinstance(expected, str) else ()
        names = algorithm_names(algorithms or default or ("sha256",))
        object.__setattr__(self, "algorithms", names)
        object.__setattr__(self, "expected", expected_of(expected, names))
        object.__setattr__(self, "required", required)

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        if callable(self.expected):
            return signature_over(self.expected)
        return Signature([Parameter("part", Parameter.POSITIONAL_ONLY)])

    async def __call__(self, part: Part, /, **needs: Any) -> Mapping[str, str]:
        expected = tell(self.expected, self.algorithms, part.info, needs)
        if not expected and self.expected is not None and self.required:
            raise nothing_told(self.expected, self.algorithms, part.info)
        # RFC 9530, 2 and RFC 1864, 2: of the content with its coding, before the transfer encoding.
        by_field = isinstance(self.expected, str)
        stream = part.decoded(content=False) if by_field else part.stored()
        digests = await self._digests(stream)
        for name, digest in expected.items():
            if digests[name] != digest:
                text = f"expected a body whose {name} is {digest}, got {digests[name]}"
                raise InvalidContent(text, part=part.info.ref)
        return digests

    async def _digests(self, stream: ByteReceiveStream) -> Mapping[str, str]:
        hashes = new_hashes(self.algorithms)
        ended = False
        while not ended:
            pieces, ended = await gather(stream)
            if sum(map(len, pieces)) * len(hashes) <= _INLINE:
                update(hashes, pieces)
            else:
                await to_thread.run_sync(update, hashes, pieces)
        return hexdigests(hashes)
