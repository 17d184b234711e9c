"""`Json`: a part that holds a JSON text (RFC 8259).

Knows: which decoder to call. Must not know: how a part is gathered, or its charset.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, cast, get_origin

import attrs

from mpflow import Part, RouteError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["Json"]


def _into(handler: Any, field: Any, into: object) -> None:
    if into is not None and not callable(into) and get_origin(into) is None:
        raise RouteError(f"expected into as a type, a callable or None, got {into!r:.60}")


def _decoder(handler: Any, field: Any, decoder: object) -> None:
    if not callable(decoder):
        raise RouteError(f"expected decoder as a callable, got {decoder!r:.60}")


@attrs.frozen
class Json(Generic[T]):
    """Gives what the part's JSON stands for, whatever its content type is.

    `into` is what the decoded value becomes: a type (an attrs class, a dataclass, `list[int]`;
    made by msgspec, the extra `msgspec`; a class of pydantic's by pydantic), or any callable
    that takes it; None leaves it as it is. `decoder` takes bytes, by default `json.loads`. The
    part is gathered, within `Limits.max_memory`. Raises `InvalidContent` where either raises
    `ValueError`, or `into` a group of such errors (cattrs); `UnsupportedCoding` and
    `LimitExceeded`.
    """

    into: type[T] | Callable[[Any], T] | None = attrs.field(default=None, validator=_into)
    decoder: Callable[[bytes], Any] = attrs.field(
        default=json.loads, kw_only=True, validator=_decoder
    )

    @property
    def content_inside(self) -> tuple[str, object]:
        """What it takes a part for, and what that becomes: for documents."""
        return "application/json", Any if self.into is None else self.into

    async def __call__(self, part: Part) -> T:
        value: Any = await part.json(self.into, decoder=self.decoder)
        return cast("T", value)
