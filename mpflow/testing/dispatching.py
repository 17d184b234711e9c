"""A whole router in a test, without a server.

Knows: what a message may be given as, and readers. Must not know: which handlers the router has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast, overload

from mpflow.flow import Router
from mpflow.reader import MultipartReader
from mpflow.results import Results
from mpflow.sources import ByteSource
from mpflow.testing.bodies import Message, PartLike, body, content_type_of
from mpflow.testing.sources import Chunked
from mpflow.wire import Limits

__all__ = ["dispatch"]

T = TypeVar("T")


@overload
async def dispatch(
    router: Router,
    message: Message | Iterable[PartLike] | ByteSource,
    *,
    content_type: str | None = None,
    chunks: int | Iterable[int] | None = None,
    into: None = None,
    given: Mapping[str, object] | None = None,
    limits: Limits | None = None,
) -> Results: ...


@overload
async def dispatch(
    router: Router,
    message: Message | Iterable[PartLike] | ByteSource,
    *,
    content_type: str | None = None,
    chunks: int | Iterable[int] | None = None,
    into: type[T],
    given: Mapping[str, object] | None = None,
    limits: Limits | None = None,
) -> T: ...


async def dispatch(
    router: Router,
    message: Message | Iterable[PartLike] | ByteSource,
    *,
    content_type: str | None = None,
    chunks: int | Iterable[int] | None = None,
    into: type[Any] | None = None,
    given: Mapping[str, object] | None = None,
    limits: Limits | None = None,
) -> Any:
    """Dispatch a message to a router, and give what `Router.dispatch` gives, or raises.

    `message` is a list or tuple of parts, as `body` takes them; a `Message`; a whole body as
    `bytes`; or a source of one, anything that `MultipartReader` reads, such as `Cut(data, 100)`.
    `content_type` is by default that of `body` (`content_type_of()`), or of the `Message`.
    `chunks` are the sizes of the chunks in which parts and bytes come, as `Chunked` has them; by
    default a body comes in one piece. `limits` are those of the reader.
    """
    source, default = _source(message)
    if chunks is not None:
        if not isinstance(source, bytes):
            raise TypeError("expected chunks for parts or bytes, got them beside a source")
        source = Chunked(source, chunks)
    reader = MultipartReader(source, content_type or default, limits=limits)
    return await router.dispatch(reader, into=into, given=given)


def _source(message: Any) -> tuple[Any, str]:
    if isinstance(message, Message):
        return message.source() if message.sizes else message.data, message.content_type
    if isinstance(message, list | tuple):
        return body(cast("Iterable[PartLike]", message)), content_type_of()
    return message, content_type_of()
