"""`Form`: a part that holds a urlencoded form.

Knows: the encoding that its owner asks for. Must not know: how a form is parsed.
"""

from __future__ import annotations

import attrs

from mpflow import Part
from mpflow_handlers.text import check_encoding

__all__ = ["Form"]


@attrs.frozen
class Form:
    """Gives the pairs of an `application/x-www-form-urlencoded` part, in order.

    Empty values are kept. The encoding is found, the part is gathered and it is refused as
    `Text` does it.
    """

    encoding: str | None = attrs.field(default=None, validator=check_encoding)

    @property
    def content_inside(self) -> tuple[str, object]:
        """What it takes a part for, and what that becomes: for documents."""
        return "application/x-www-form-urlencoded", list[tuple[str, str]]

    async def __call__(self, part: Part) -> list[tuple[str, str]]:
        return await part.form(self.encoding)
