"""A writer as the body of a part: its content type, its boundary, and that none holds itself.

Knows: which headers a reader of the inner multipart needs, and how writers stand in writers.
Must not know: how a writer is made, delimiters, where the bytes go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mpflow.contents import Content, Reading
from mpflow.errors import WriteError, excerpt
from mpflow.wire.codings import codings_of
from mpflow.wire.headers import Head

if TYPE_CHECKING:
    from mpflow.writer import MultipartWriter

__all__ = ["Nested", "check_no_cycle", "holds"]


class Nested(Content):
    """Another writer as the body of a part."""

    content_type: str | None = None
    measured = False
    is_field = False

    def __init__(self, writer: MultipartWriter) -> None:
        self.writer = writer

    @property
    def replayable(self) -> bool:
        return self.writer.replayable

    @property
    def prompt(self) -> bool:
        return self.writer.is_prompt()

    def size(self, charset: str) -> int | None:
        return self.writer.size

    def check(self) -> None:
        self.writer.check_ready()

    def check_head(self, head: Head) -> None:
        boundary = self.writer.boundary
        if not head.is_multipart or head.content_type_params.get("boundary") != boundary:
            raise WriteError(
                "expected a nested multipart under its own content type and boundary, "
                f"{excerpt(self.writer.content_type)}, "
                f"got {excerpt(head.headers.get('Content-Type', ''))}"
            )
        if codings := [coding.name for coding in codings_of(head.headers) if not coding.is_plain]:
            raise WriteError(
                "expected a nested multipart without a coding (RFC 2045, 6.4), "
                f"got {excerpt(codings[0])}"
            )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        return self.writer.start(path=path)


def check_no_cycle(writer: MultipartWriter) -> None:
    """Raise `WriteError` where a writer stands in itself, at whatever depth."""
    around: list[MultipartWriter] = [writer]
    levels: list[Iterator[MultipartWriter]] = [_inside(writer)]
    while levels:
        inner = next(levels[-1], None)
        if inner is None:
            levels.pop()
            around.pop()
        elif any(inner is outer for outer in around):
            raise WriteError("expected a writer that does not hold itself, got one that does")
        else:
            around.append(inner)
            levels.append(_inside(inner))


def holds(writer: MultipartWriter, other: MultipartWriter) -> bool:
    """Whether a writer is another one, or has it inside."""
    seen: set[int] = set()
    left = [writer]
    while left:
        found = left.pop()
        if found is other:
            return True
        if id(found) not in seen:
            seen.add(id(found))
            left += _inside(found)
    return False


def _inside(writer: MultipartWriter) -> Iterator[MultipartWriter]:
    return iter([p.content.writer for p in writer.parts if isinstance(p.content, Nested)])
