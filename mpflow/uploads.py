"""Files that a web framework was sent, told by their shape.

Knows: where Starlette, Litestar, Werkzeug, Django and others have the file, its name and its type.
Must not know: how a file is read, or what is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, cast

import attrs

from mpflow.wire.headers import format_parameter

__all__ = ["Upload", "Uploaded", "upload_of"]

_MISSING = object()


class UploadedFile(Protocol):
    """An `UploadFile` of Starlette, FastAPI and Litestar, a `FileField` of aiohttp."""

    @property
    def file(self) -> object: ...
    @property
    def filename(self) -> str | None: ...
    @property
    def content_type(self) -> str | None: ...


class UploadedStream(Protocol):
    """A `FileStorage` of Werkzeug, as Flask has it."""

    @property
    def stream(self) -> object: ...
    @property
    def filename(self) -> str | None: ...
    @property
    def content_type(self) -> str | None: ...


class UploadedContent(Protocol):
    """An `UploadedFile` of Django. Its name is its filename."""

    @property
    def file(self) -> object: ...
    @property
    def name(self) -> str | None: ...
    @property
    def content_type(self) -> str | None: ...


Uploaded: TypeAlias = UploadedFile | UploadedStream | UploadedContent


@attrs.frozen(eq=False)
class Upload:
    """The file itself, and what its client said of it."""

    file: object
    filename: str | None
    content_type: str | None


def upload_of(obj: object) -> Upload | None:
    """What a framework was sent; None for anything else."""
    given: Any = obj
    file: Any = getattr(given, "file", getattr(given, "stream", None))
    if not callable(getattr(file, "read", None)):
        return None
    filename: object = getattr(given, "filename", _MISSING)
    content_type: object = getattr(given, "content_type", _MISSING)
    if filename is _MISSING and callable(getattr(given, "chunks", None)):
        filename = getattr(given, "name", None)  # of Django; elsewhere it is that of the field
        if content_type and isinstance(content_type, str) and ";" not in content_type:
            content_type += _parameters_of(given)
    if not (isinstance(filename, str | None) and isinstance(content_type, str | None)):
        return None
    return Upload(file, filename, content_type or None)


def _parameters_of(given: Any) -> str:
    """The parameters of the content type, which Django keeps apart; empty where there are none.

    Its parser gives their values as bytes. What cannot stand in a header is left out: it was the
    client's, and is no reason to fail here.
    """
    found: object = getattr(given, "content_type_extra", None)
    extra = cast("Mapping[object, object]", found if isinstance(found, Mapping) else {})
    params = {str(name): value for name, value in extra.items()}
    if "charset" not in map(str.lower, params):
        params["charset"] = getattr(given, "charset", None)
    text = ""
    for name, value in params.items():
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        if isinstance(value, str):
            with suppress(ValueError):
                text += f"; {format_parameter(name, value)}"
    return text
