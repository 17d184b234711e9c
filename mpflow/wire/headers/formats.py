"""Headers written: dispositions, parameters, whole blocks. Nothing gets in that ends a line.

Knows: what the parser of headers reads back, and how browsers escape a form's names.
Must not know: parts, boundaries, or where the bytes go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mpflow.errors import excerpt
from mpflow.wire.headers.fields import FIELD_NAME
from mpflow.wire.headers.params import CONTROL, TOKEN

__all__ = ["format_disposition", "format_head", "format_parameter", "quote"]

_BROWSER = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\\": "\\\\"})
# RFC 8187, 3.2.1: what is not attr-char is percent-encoded.
_NO_ATTR_CHAR = re.compile(rb"[^!#$&+\-.0-9A-Z^_`a-z|~]")


def quote(value: str) -> str:
    """A quoted string (RFC 2045, 5.1). A control character raises `ValueError`."""
    _refuse_controls(value, "a quoted string")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def format_parameter(name: str, value: str) -> str:
    """`name=value`, in quotes where the value is no token.

    A name that is no token and a control character raise `ValueError`.
    """
    _refuse_no_token(name, "a parameter name")
    return f"{name}={value if TOKEN.fullmatch(value) else quote(value)}"


def format_disposition(type: str, *, name: str | None = None, filename: str | None = None) -> str:
    """The value of a Content-Disposition header.

    In `form-data`, name and filename are escaped as browsers do (WHATWG HTML): `"` is %22, CR is
    %0D, LF is %0A, and what is not ASCII stands as it is. A backslash is doubled, which browsers
    do not: alone, some readers take it for an escape. Elsewhere they are quoted strings, or
    extended values (RFC 8187) where they are not ASCII.

    A type that is no token raises `ValueError`, and so does a control character: in form-data any
    but CR, LF and the tab, elsewhere any but the tab.
    """
    _refuse_no_token(type, "a disposition type")
    form = type.lower() == "form-data"
    text = type
    for key, value in (("name", name), ("filename", filename)):
        if value is not None:
            text += f"; {_form_parameter(key, value) if form else _mime_parameter(key, value)}"
    return text


def _form_parameter(key: str, value: str) -> str:
    _refuse_controls(value.replace("\r", "").replace("\n", ""), f"a {key}")
    return f'{key}="{value.translate(_BROWSER)}"'


def _mime_parameter(key: str, value: str) -> str:
    _refuse_controls(value, f"a {key}")
    try:
        data = value.encode()
    except UnicodeEncodeError:
        return f"{key}={quote(value)}"  # bytes that came undecoded go out as they were
    if value.isascii():
        return f"{key}={quote(value)}"
    encoded = _NO_ATTR_CHAR.sub(lambda match: b"%%%02X" % match[0][0], data).decode()
    return f"{key}*=UTF-8''{encoded}"


def format_head(headers: Iterable[tuple[str, str]]) -> bytes:
    """`name: value` and CRLF for each header; UTF-8, surrogates of surrogateescape as their bytes.

    A name that is no token, a control character other than the tab, and a surrogate that stands
    for no byte raise `ValueError`.
    """
    lines: list[bytes] = []
    for name, value in headers:
        raw = name.encode("utf-8", "replace")
        if FIELD_NAME.fullmatch(raw) is None:
            raise ValueError(f"expected a token as a header's name, got {excerpt(name)}")
        if CONTROL.search(value) is not None:
            _refuse_controls(value, f"the header {excerpt(name)}")
        try:
            lines.append(b"%b: %b\r\n" % (raw, value.encode("utf-8", "surrogateescape")))
        except UnicodeEncodeError:
            raise ValueError(
                f"expected text that UTF-8 can hold in the header {excerpt(name)}, "
                f"got {excerpt(value)}"
            ) from None
    return b"".join(lines)


def _refuse_no_token(text: str, what: str) -> None:
    if TOKEN.fullmatch(text) is None:
        raise ValueError(f"expected a token as {what}, got {excerpt(text)}")


def _refuse_controls(text: str, what: str) -> None:
    match = CONTROL.search(text)
    if match is not None:
        raise ValueError(
            f"expected no control character in {what}, got {match[0]!a} in {excerpt(text)}"
        )
