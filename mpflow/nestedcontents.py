"""A writer as the body of a part: its content type, its boundary, and that none holds itself.

Knows: which headers a reader of the inner multipart needs, and how writers stand in writers.
Must not know: how a writer is made, delimiters, where the bytes go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from mpflow.contents import Content, Reading
from mpflow.encoding import codings_named
from mpflow.errors import WriteError, excerpt
from mpflow.wire.headers import Head

if TYPE_CHECKING:
    from mpflow.writer import MultipartWriter

__all__ = ["Nested", "Place", "inside_out"]


class Nested(Content):
    """Another writer as the body of a part.

    Writing asks it about its own level only: what is inside is looked at from outside, by
    `inside_out`, and written when its turn comes. So no depth is too much for Python's stack. What
    it costs: each level looks for its own delimiter in all that is inside it, the delimiters and
    headers of the levels there among it. So bytes that stand deep are searched once a level.
    """

    content_type: str | None = None
    measured = False
    is_field = False

    def __init__(self, writer: MultipartWriter) -> None:
        self.writer = writer
        writer.held = True

    @property
    def replayable(self) -> bool:
        return self.writer.replayable

    def size(self, charset: str) -> int | None:
        return self.writer.size

    def check(self) -> None:
        self.writer.check_unused()

    def check_head(self, head: Head) -> None:
        boundary = self.writer.boundary
        if not head.is_multipart or head.content_type_params.get("boundary") != boundary:
            raise WriteError(
                "expected a nested multipart under its own content type and boundary, "
                f"{excerpt(self.writer.content_type)}, "
                f"got {excerpt(head.headers.get('Content-Type', ''))}"
            )
        if codings := [c.name for c in codings_named(head.headers) if not c.is_plain]:
            raise WriteError(
                "expected a nested multipart without a coding (RFC 2045, 6.4), "
                f"got {excerpt(codings[0])}"
            )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        return self.writer.start(path=path)


@attrs.frozen(eq=False)
class Place:
    """Where a writer stands: as the part with the number `index` of the writer at `around`."""

    writer: MultipartWriter
    around: Place | None = None
    index: int = 0

    @property
    def path(self) -> tuple[int, ...]:
        """The place in the outermost writer."""
        found: list[int] = []
        place = self
        while place.around is not None:
            found.append(place.index)
            place = place.around
        return tuple(reversed(found))


def inside_out(writer: MultipartWriter) -> list[Place]:
    """A writer and all that stand in it, each once, and each after those that it holds.

    `WriteError` where one stands in itself, at whatever depth.
    """
    found: list[Place] = []
    begun, around = {id(writer)}, {id(writer)}
    levels = [(Place(writer), _inside(writer))]
    while levels:
        place, inside = levels[-1]
        index, inner = next(inside, (0, None))
        if inner is None:
            found.append(place)
            around.discard(id(place.writer))
            levels.pop()
        elif id(inner) in around:
            raise WriteError("expected a writer that does not hold itself, got one that does")
        elif id(inner) not in begun:
            begun.add(id(inner))
            around.add(id(inner))
            levels.append((Place(inner, place, index), _inside(inner)))
    return found


def _inside(writer: MultipartWriter) -> Iterator[tuple[int, MultipartWriter]]:
    for index, payload in enumerate(writer.parts):
        if isinstance(payload.content, Nested):
            yield index, payload.content.writer
