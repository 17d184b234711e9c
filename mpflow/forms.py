"""`FormData`: a `multipart/form-data` body as browsers send it.

Knows: names, filenames and content types of a form's fields (RFC 7578; the WHATWG's HTML).
Must not know: how a body is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from multidict import CIMultiDict

from mpflow.contents import Sendable
from mpflow.errors import WriteError, excerpt
from mpflow.payloads import Payload
from mpflow.sendheaders import HeadersLike
from mpflow.writer import MultipartWriter

__all__ = ["FormData"]


class FormData(MultipartWriter):
    """A form that is written: a `MultipartWriter` of the subtype `form-data`::

        form = FormData({"user": "ada"})
        form.add("photo", Path("photo.gif"))
        await client.post(url, content=form, headers=form.headers)

    `fields` are pairs of a name and a value, or a mapping; of one with several values a name (of
    Starlette, Werkzeug, Django, multidict) all of them are taken. In names and filenames, `"` is
    written as %22, CR as %0D and LF as %0A. Fields have no Content-Length, and text fields no
    Content-Type: they are UTF-8. Line ends in values are left as they are, where a browser would
    make each a CRLF: what is sent is what was given.
    """

    def __init__(
        self,
        fields: Mapping[str, Sendable] | Iterable[tuple[str, Sendable]] = (),
        *,
        boundary: str | None = None,
        headers: HeadersLike | None = None,
    ) -> None:
        super().__init__("form-data", boundary=boundary, headers=headers)
        for name, value in _pairs_of(fields):
            self.add(name, value)

    def add(
        self,
        name: str,
        value: Sendable,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        headers: HeadersLike | None = None,
    ) -> Payload:
        """Add a field: its payload.

        A file, a path and a received file part bring their `filename` along; what has one is a
        file, with a content type: that of its name, else `application/octet-stream`. What a
        framework was sent (`UploadFile`, `FileStorage`) brings both along. `headers` are further
        headers. Numbers raise `TypeError`: what they look like is not for us to say.
        `WriteError` is raised for a control character in a name, for a Content-Disposition among
        the headers, and for a Content-Type there beside `content_type`.
        """
        if not isinstance(name, str):
            raise TypeError(f"expected text as the name of a field, got {type(name).__name__}")
        given = None if headers is None else CIMultiDict(headers)
        try:
            if given is not None:
                _check_given(given, content_type)
            payload = self._field(name, value, filename, content_type, given)
        except WriteError as error:
            self._name(error, name)
            raise
        self.parts.append(payload)
        return payload

    def _field(
        self,
        name: str,
        value: Sendable,
        filename: str | None,
        content_type: str | None,
        headers: CIMultiDict[str] | None,
    ) -> Payload:
        payload = self._payload(value, headers)
        content = payload.content
        if filename is None:
            filename = content.filename
        payload.set_content_disposition("form-data", name=name, filename=filename)
        if content_type is not None:
            payload.headers["Content-Type"] = content_type
        elif (
            filename is None
            and content.is_field
            and (headers is None or "Content-Type" not in headers)
        ):
            payload.headers.popall("Content-Type", None)
        payload.head(form=True)
        return payload


def _pairs_of(
    fields: Mapping[str, Sendable] | Iterable[tuple[str, Sendable]],
) -> Iterable[tuple[str, Sendable]]:
    given: object = fields
    pairs: Any = getattr(given, "multi_items", None)  # of Starlette
    if callable(pairs):
        return cast("Iterable[tuple[str, Sendable]]", pairs())
    pairs = getattr(given, "lists", None)  # of Werkzeug and Django, whose `items` gives one each
    if callable(pairs):
        lists = cast("Iterable[tuple[str, Iterable[Sendable]]]", pairs())
        return [(name, value) for name, values in lists for value in values]
    if isinstance(fields, Mapping):
        return cast("Mapping[str, Sendable]", fields).items()
    return fields


def _check_given(headers: CIMultiDict[str], content_type: str | None) -> None:
    """Refuse what is said elsewhere: one of the two would be dropped."""
    if "Content-Disposition" in headers:
        raise WriteError(
            "expected headers of a field without a Content-Disposition, which follows from its "
            f"name and filename=, got {excerpt(headers['Content-Disposition'])}"
        )
    if content_type is not None and "Content-Type" in headers:
        raise WriteError(
            f"expected one content type, got {excerpt(content_type)} and, in the headers, "
            f"{excerpt(headers['Content-Type'])}"
        )
