"""`Json`: a part that holds a JSON text (RFC 8259).

Knows: which decoder to call. Must not know: how a part is gathered, or its charset.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

from mpflow import Part

__all__ = ["Json"]


@attrs.frozen
class Json:
    """Gives what the part's JSON stands for, whatever its content type is.

    `decoder` takes bytes, by default `json.loads`. The part is gathered, within
    `Limits.max_memory`. Raises `InvalidContent` where the decoder raises `ValueError`,
    `UnsupportedCoding` and `LimitExceeded`.
    """

    decoder: Callable[[bytes], Any] = attrs.field(default=json.loads, kw_only=True)

    async def __call__(self, part: Part) -> Any:
        return await part.json(decoder=self.decoder)
