"""`{ format = "{index}-{safe_filename}" }`: a name that is made for each part.

Knows: what of a part may be in a name, alone or in a table. Must not know: what it is for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from string import Formatter
from typing import Any, Final
from urllib.parse import quote

import attrs

from mpflow.info import PartInfo

__all__ = ["FIELDS", "Template", "TemplateTable", "template_fault"]

FIELDS: Final[dict[str, Callable[[PartInfo], str]]] = {
    "safe_filename": lambda info: info.safe_filename,
    "url_filename": lambda info: quote(info.safe_filename, safe=""),
    "index": lambda info: str(info.index),
    "path": lambda info: ".".join(map(str, info.path)),
    "random": lambda info: secrets.token_hex(16),
}
"""What stands between braces. Of what clients choose, only what can do no harm."""

_BY_CLIENT: Final = frozenset({"safe_filename", "url_filename"})


def template_fault(text: str) -> str | None:
    """What is wrong with the text, or None."""
    fields = ", ".join(f"{{{name}}}" for name in FIELDS)
    try:
        for _, field, spec, conversion in Formatter().parse(text):
            if field is not None and (field not in FIELDS or spec or conversion):
                return f"expected one of {fields}, got {{{field}}}"
    except ValueError as error:
        return f"expected text with {fields}: {error}"
    return None


@attrs.frozen
class Template:
    """Makes the name: a callable of a `PartInfo`, as `Save(name=...)` and its like take it."""

    text: str

    @property
    def is_by_client(self) -> bool:
        """Whether something is in it that the client chooses."""
        return any(field in _BY_CLIENT for _, field, _, _ in Formatter().parse(self.text))

    def fields_alone(self, info: PartInfo) -> str:
        """What is made of the part, without the text around it."""
        fields = [field for _, field, _, _ in Formatter().parse(self.text) if field is not None]
        return "".join(FIELDS[field](info) for field in fields)

    def __call__(self, info: PartInfo) -> str:
        pieces: list[str] = []
        for literal, field, _, _ in Formatter().parse(self.text):
            pieces.append(literal)
            if field is not None:
                pieces.append(FIELDS[field](info))
        return "".join(pieces)


class TemplateTable(dict[str, Any]):
    """A table with a template in it, such as headers: called with a `PartInfo` it is made whole.

    For a handler that looks into it, it is a mapping, whose templates are callables.
    """

    def __call__(self, info: PartInfo) -> dict[str, Any]:
        return {
            key: value(info) if isinstance(value, Template) else value
            for key, value in self.items()
        }

    def without_clients(self, info: PartInfo) -> dict[str, Any]:
        """The same, but for what the client chooses something of."""
        made = self(info)
        return {
            key: made[key]
            for key, value in self.items()
            if not (isinstance(value, Template) and value.is_by_client)
        }
