"""`CodedReading`: the body of a part that is sent, with the codings that its headers name.

Knows: which codings those are, and what of them belongs into a worker thread.
Must not know: any coding, parts, where the bytes go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from anyio import to_thread
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.contents import Reading, Received
from mpflow.errors import UnsupportedCoding, WriteError, excerpt
from mpflow.wire.codings import CODINGS, Coding, Encoding, Kind, codings_of
from mpflow.wire.codings.plain import PlainEncoder

__all__ = [
    "CODE_INLINE",
    "CodedReading",
    "codings_named",
    "codings_to_apply",
    "codings_to_relay",
    "encoding_of",
]

CODE_INLINE: Final = 16 * 1024
"""Bytes that are coded on the event loop at once, at most, by a coding that is heavy."""

_Headers: TypeAlias = CIMultiDict[str] | CIMultiDictProxy[str]


def codings_named(headers: _Headers) -> tuple[Coding, ...]:
    """The codings that the headers name, in their order.

    `WriteError` for one that is not known: a client is not to blame for what is sent.
    """
    try:
        return codings_of(headers)
    except UnsupportedCoding as error:
        raise WriteError(error.message) from error


def encoding_of(codings: tuple[Coding, ...]) -> Encoding:
    """What does these codings to one body. `WriteError` where a library for one is missing."""
    try:
        return Encoding(codings)
    except UnsupportedCoding as error:
        raise WriteError(error.message) from error


def codings_to_apply(headers: _Headers) -> tuple[Coding, ...]:
    """The codings that the headers name, in their order; those that change nothing aside."""
    if "Content-Encoding" not in headers and "Content-Transfer-Encoding" not in headers:
        return ()  # most of many small parts
    return tuple(c for c in codings_named(headers) if c.encoder is not PlainEncoder)


def codings_to_relay(headers: _Headers, received: Received) -> tuple[Coding, ...]:
    """The same for a part that was received, whose body has the codings that it came with.

    None where they are left alone; those of `headers` where it came without any. Anything else
    raises `WriteError`: a body would not be what its headers say.
    """
    came, named = _names(received.part.headers), _names(headers)
    if came == named:
        return ()
    if received.in_form:
        # RFC 7578, 4.8: of a form they "MUST be ignored", and so they were when it was read.
        came = [key for key in came if key[0] == "transfer"]
    if not all(key in CODINGS and CODINGS[key].is_plain for key in came):
        raise WriteError(
            f"expected the codings that the part came with, {_listed(came)}, got {_listed(named)}: "
            "to send it with others, append its `decoded()`"
        )
    return codings_to_apply(headers)


def _names(headers: _Headers) -> list[tuple[Kind, str]]:
    """What the headers name, known or not, by its usual name; what says nothing is left out."""
    return [key for key in _listed_in(headers) if key[1] not in ("", "identity", "binary")]


def _listed_in(headers: _Headers) -> Iterator[tuple[Kind, str]]:
    for value in headers.getall("Content-Encoding", ()):
        for name in value.split(","):
            yield _usual("content", name)
    if (encoding := headers.get("Content-Transfer-Encoding")) is not None:
        yield _usual("transfer", encoding)


def _usual(kind: Kind, name: str) -> tuple[Kind, str]:
    key = kind, name.strip().lower()
    return (kind, CODINGS[key].name) if key in CODINGS else key


def _listed(names: list[tuple[Kind, str]]) -> str:
    return excerpt(", ".join(name for _, name in names)) if names else "none"


class CodedReading:
    """A reading with codings applied to it; heavy ones in worker threads."""

    def __init__(self, reading: Reading, codings: tuple[Coding, ...]) -> None:
        self._reading = reading
        self._encoding = encoding_of(codings)
        self._heavy = any(coding.heavy for coding in codings)
        self._ended = False

    async def next(self) -> bytes:
        while not self._ended:
            data = await self._reading.next()
            if not data:
                self._ended = True
                return self._encoding.finish()
            if self._heavy and len(data) > CODE_INLINE:
                coded = await to_thread.run_sync(self._encoding.encode, data)
            else:
                coded = self._encoding.encode(data)
            if coded:
                return coded
        return b""

    async def aclose(self) -> None:
        await self._reading.aclose()
