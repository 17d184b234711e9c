"""The Hypothesis strategies themselves; imported when one is asked for.

Knows: which parts a form may have, and what is hard about them. Must not know: readers, handlers.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from mpflow.testing.bodies import BOUNDARY, Message, PartSpec, nested

__all__ = ["message"]

_TYPES: Final = [None, "text/plain", "text/plain; charset=utf-8", "application/json", "image/png"]
_MARKS: Final = '"%\\'
"""Characters that browsers, and those who read after them, do not all write the same way."""


@st.composite
def message(draw: DrawFn, *, max_parts: int, max_size: int, depth: int) -> Message:
    """What `mpflow.testing.messages` says."""
    parts = tuple(draw(_level(BOUNDARY, max_parts, max_size, depth)))
    # RFC 7578, 4.2: each part of a form has a name.
    subtype = "form-data" if all(spec.head.name for spec in parts) else "mixed"
    size = len(Message(parts).data)
    kind = draw(st.sampled_from(["whole", "even", "uneven"]))
    sizes: tuple[int, ...] = ()
    if kind == "even":
        each = draw(st.integers(1, size))
        sizes = (each,) * (size // each)
    elif kind == "uneven":
        sizes = tuple(draw(st.lists(st.integers(0, size), max_size=8)))
    return Message(parts, subtype=subtype, sizes=sizes)


def _level(
    boundary: str, max_parts: int, max_size: int, depth: int
) -> SearchStrategy[list[PartSpec]]:
    """The parts of one level."""
    part = _leaves(boundary, max_size)
    if depth:
        # Neither boundary may begin the other one.
        inner = f"{depth}{BOUNDARY}"

        def inside(parts: list[PartSpec], name: str | None) -> PartSpec:
            return nested(parts, boundary=inner, name=name)

        part |= st.builds(inside, _level(inner, max_parts, max_size, depth - 1), _names())
    return st.lists(part, max_size=max_parts)


def _names() -> SearchStrategy[str | None]:
    letters = st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters=_MARKS
    )
    return st.none() | st.text(letters, max_size=12)


def _leaves(boundary: str, max_size: int) -> SearchStrategy[PartSpec]:
    delimiter = f"\r\n--{boundary}".encode()
    hard = [b"\r", b"\n", b"\r\n", b"--", b"\r\n--", delimiter[:-1], b"x" * 40, b"", bytes(8)]
    pieces = st.lists(st.sampled_from(hard) | st.binary(max_size=9), max_size=12)

    def joined(found: list[bytes]) -> bytes:
        return b"".join(found)[:max_size]

    def can_stand(data: bytes) -> bool:
        # The body stands behind a line's end, so that a delimiter may begin it.
        return delimiter not in b"\r\n" + data

    bodies = (st.binary(max_size=max_size) | pieces.map(joined)).filter(can_stand)
    types = st.sampled_from(_TYPES)
    return st.builds(PartSpec, bodies, name=_names(), filename=_names(), content_type=types)
