"""The corpus: multipart bodies of every kind, and what a decoder has to make of each.

Knows: bodies, how to decode them, and whether they are whole. Must not know: how a decoder works.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from mpflow.errors import (
    EmptyBody,
    LimitExceeded,
    MalformedBody,
    MultipartError,
    TruncatedBody,
)
from mpflow.wire import Decoder, Limits

__all__ = ["BODIES", "Body", "crlf"]


def crlf(text: str) -> bytes:
    """Text as it stands on the wire: UTF-8, with CRLF for each LF."""
    return text.replace("\n", "\r\n").encode()


def _options(value: Any) -> dict[str, Any]:
    return dict(value)


@attrs.frozen
class Body:
    """A body, its boundary, the options of its decoder, and what comes of it.

    `parts` are the bodies of the parts that it gives, `error` the class of its refusal and
    `limit` the limit that is named there, `codes` the deviations. `end` is where the close
    delimiter ends, None where there is none.
    """

    id: str
    data: bytes = attrs.field(repr=False)
    boundary: str = "b"
    parts: list[bytes] | None = None
    error: type[MultipartError] | None = None
    limit: str | None = None
    codes: list[str] = attrs.field(factory=list[str])
    options: dict[str, Any] = attrs.field(factory=dict[str, Any], converter=_options)

    @property
    def end(self) -> int:
        """How many bytes must be there: up to the end of the close delimiter."""
        close = f"--{self.boundary}--".encode()
        if "dashed-boundary" in self.options.get("tolerate", ()):
            close = close[2:]
        return self.data.rindex(close) + len(close)

    def decoder(self) -> Decoder:
        """A fresh decoder of the body."""
        return Decoder(self.boundary, **self.options)


def _form(boundary: str, *fields: tuple[str, str | bytes]) -> bytes:
    pieces: list[bytes] = []
    for head, value in fields:
        data = value if isinstance(value, bytes) else value.encode()
        pieces.append(
            b"--" + boundary.encode() + b"\r\n" + crlf(head) + b"\r\n\r\n" + data + b"\r\n"
        )
    return b"".join(pieces) + b"--" + boundary.encode() + b"--\r\n"


_RFC2046 = crlf("""\
This is the preamble.  It is to be ignored, though it
is a handy place for composition agents to include an
explanatory note to non-MIME conformant readers.

--simple boundary

This is implicitly typed plain US-ASCII text.
It does NOT end with a linebreak.
--simple boundary
Content-type: text/plain; charset=us-ascii

This is explicitly typed plain US-ASCII text.
It DOES end with a linebreak.

--simple boundary--

This is the epilogue.  It is also to be ignored.
""")

_INNER = crlf("--in\nContent-Type: text/plain\n\ndeep\n--in--\n")
_NESTED = (
    crlf("--out\nContent-Type: multipart/mixed; boundary=in\n\n")
    + _INNER
    + crlf("--out\n\nafter\n--out--\n")
)

_NAME = 'Content-Disposition: form-data; name="a"'
_WEBKIT = "----WebKitFormBoundary7MA4YWxkTrZu0gW1"
_CURL = "------------------------d74496d66958873e"
_UNDICI = "----formdata-undici-012345678901"
_HEX60 = "0123456789abcdef" * 3 + "0123456789ab"
_HEX32 = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))

_CLIENTS = [
    Body(
        "client-webkit",
        _form(
            _WEBKIT,
            (_NAME, "value"),
            (
                'Content-Disposition: form-data; name="f"; '
                'filename="na%22\u00efve \u65e5\u672c.txt"\nContent-Type: text/plain',
                "text\r\n",
            ),
            (
                'Content-Disposition: form-data; name="e"; filename=""\n'
                "Content-Type: application/octet-stream",
                "",
            ),
        ),
        _WEBKIT,
        [b"value", b"text\r\n", b""],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-windows-1252",
        _form(_WEBKIT, ("Content-Type: text/plain", b""))[:-1].replace(
            b"Content-Type",
            b'Content-Disposition: form-data; name="f"; filename="na\xefve &#26085;.txt"\r\n'
            b"Content-Type",
        ),
        _WEBKIT,
        [b""],
        codes=["non-utf8-header"],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-curl",
        _form(
            _CURL,
            (_NAME, "1"),
            (
                'Content-Disposition: form-data; name="f"; filename="x.png"\n'
                "Content-Type: image/png",
                _PNG,
            ),
        ),
        _CURL,
        [b"1", _PNG],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-undici",
        _form(_UNDICI, (_NAME, "1")),
        _UNDICI,
        [b"1"],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-go",
        _form(
            _HEX60,
            (
                'Content-Disposition: form-data; name="f"; filename="na\\"\u00efve.txt"\n'
                "Content-Type: application/octet-stream",
                _PNG,
            ),
        ),
        _HEX60,
        [_PNG],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-aiohttp-form",
        _form(
            _HEX32,
            ("Content-Type: text/plain; charset=utf-8\n" + _NAME, "1"),
            (
                "Content-Type: text/plain\nContent-Disposition: form-data; "
                'name="f"; filename="na%22%C3%AFve%20.txt"',
                "x",
            ),
        ),
        _HEX32,
        [b"1", b"x"],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-aiohttp-mixed",
        _form(
            _HEX32,
            ("Content-Type: text/plain; charset=utf-8\nContent-Length: 4", "text"),
            (
                "Content-Type: application/json\nContent-Length: 2\n"
                'Content-Disposition: attachment; filename="a.json"',
                "{}",
            ),
        ),
        _HEX32,
        [b"text", b"{}"],
    ),
    Body(
        "client-httpx",
        _form(
            _HEX32,
            (_NAME, "1"),
            (
                'Content-Disposition: form-data; name="f"; filename="na%22\u00efve.txt"\n'
                "Content-Type: text/plain",
                "x",
            ),
        ),
        _HEX32,
        [b"1", b"x"],
        options={"subtype": "form-data"},
    ),
    Body(
        "client-mjpeg",
        b"".join(
            b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\n\xff\xd8" + frame
            for frame in (b"\r\n", b"\xff\xd9", b"--")
        )
        + b"\r\n--frame--",
        "frame",
        [b"\xff\xd8\r\n", b"\xff\xd8\xff\xd9", b"\xff\xd8--"],
        options={"limits": Limits.stream()},
    ),
    Body(
        "client-graphql",
        b'\r\n---\r\nContent-Type: application/json\r\n\r\n{"data":{}}\r\n---\r\n'
        b"Content-Type: application/json\r\n\r\n{}\r\n-----\r\n",
        "-",
        [b'{"data":{}}', b"{}"],
    ),
]

_RFC = [
    Body(
        "rfc2046-5.1.1",
        _RFC2046,
        "simple boundary",
        [
            b"This is implicitly typed plain US-ASCII text.\r\nIt does NOT end with a linebreak.",
            b"This is explicitly typed plain US-ASCII text.\r\nIt DOES end with a linebreak.\r\n",
        ],
    ),
    Body(
        "rfc2046-digest",
        crlf("--b\n\nFrom: a@b\n\nbody\n--b--"),
        parts=[b"From: a@b\r\n\r\nbody"],
        options={"subtype": "digest"},
    ),
    Body("nested", _NESTED, "out", [_INNER[:-2], b"after"]),
    Body(
        "nested-prefix-boundary",
        crlf("--b\n\n--bb\n\nx\n--bb--\n--b--"),
        parts=[crlf("--bb\n\nx\n--bb--")],
    ),
    Body("preamble", crlf("hello\n--b\n\nx\n--b--"), parts=[b"x"]),
    Body("preamble-empty-line", crlf("\n--b\n\nx\n--b--"), parts=[b"x"]),
    Body("preamble-begins-like-delimiter", crlf("--bx\n--b \n\nx\n--b--"), parts=[b"x"]),
    Body("preamble-glued", b"x--b\r\n--b\r\n\r\nx\r\n--b--", parts=[b"x"]),
    Body("epilogue", crlf("--b\n\nx\n--b--\nbye\n--b\n\nnot a part"), parts=[b"x"]),
    Body("epilogue-glued", crlf("--b\n\nx\n--b--bye"), parts=[b"x"]),
    Body("epilogue-padding", crlf("--b\n\nx\n--b-- \t \n"), parts=[b"x"]),
    Body(
        "padding",
        crlf("--b \t \n\nx\n--b  \n\ny\n--b\t--\nz\n--b--"),
        parts=[b"x", b"y\r\n--b\t--\r\nz"],
    ),
    Body(
        "padding-then-delimiter",
        crlf("--b  \n--b\t\n--b--"),
        parts=[b"", b""],
        codes=["no-blank-line"] * 2,
    ),
    Body("folded", crlf("--b\nA: 1\n 2\n\t3\nB: 4\n\nx\n--b--"), parts=[b"x"]),
    Body("no-headers", crlf("--b\n\nx\n--b--"), parts=[b"x"]),
    Body("zero-parts", b"--b--", parts=[]),
    Body("zero-parts-preamble", crlf("nothing\n--b--\n"), parts=[]),
    Body("empty-with-headers", crlf("--b\nA: 1\n\n\n--b--"), parts=[b""]),
    Body("empty-without-headers", crlf("--b\n\n\n--b--"), parts=[b""]),
    Body(
        "empty-headers-end-by-delimiter", crlf("--b\nA: 1\n\n--b\nB: 2\n\n--b--"), parts=[b"", b""]
    ),
    Body("empty-blank-line-is-delimiter", crlf("--b\n\n--b\n\n--b--"), parts=[b"", b""]),
    Body(
        "empty-nothing-between",
        crlf("--b\n--b\n--b--"),
        parts=[b"", b""],
        codes=["no-blank-line"] * 2,
    ),
    Body(
        "empty-mixed",
        crlf("--b\n--b\n\n--b\nA: 1\n\n--b\n\n\n--b--"),
        parts=[b""] * 4,
        codes=["no-blank-line"],
    ),
    Body(
        "no-blank-line",
        crlf("--b\nA: 1\n--b\n\nx\n--b--"),
        parts=[b"", b"x"],
        codes=["no-blank-line"],
    ),
    Body("blank-lines-in-body", crlf("--b\n\n\n\n\n\n--b--"), parts=[crlf("\n\n\n")]),
]

_LIKE = [
    Body(
        "line-begins-with-delimiter",
        crlf("--b\n\n--bx\n--b\n\n--b-x\n--b -\n--b--"),
        parts=[b"--bx", b"--b-x\r\n--b -"],
    ),
    Body(
        "delimiter-with-bare-lf",
        b"--b\r\n\r\nx\n--b\ny\r\n--b\nz\r\n--b--",
        parts=[b"x\n--b\ny\r\n--b\nz"],
    ),
    Body(
        "delimiter-with-bare-cr",
        b"--b\r\n\r\nx\r--b\ry\r\n--b\rz\r\n--b--",
        parts=[b"x\r--b\ry\r\n--b\rz"],
    ),
    Body("padding-then-cr", b"--b\r\n\r\nx\r\n--b \t\ry\r\n--b--", parts=[b"x\r\n--b \t\ry"]),
    Body("padding-then-text", crlf("--b\n\nx\n--b \t y\n--b--"), parts=[b"x\r\n--b \t y"]),
    Body("like-delimiter-in-headers", crlf("--b\nA: 1\n--bx: 2\n\ny\n--b--"), parts=[b"y"]),
    Body(
        "crs",
        b"--b\r\n\r\n\r\r\r\n\r\r\n\r\n-\r\n--\r\r\n--b--",
        parts=[b"\r\r\r\n\r\r\n\r\n-\r\n--\r"],
    ),
    Body("ends-in-cr", b"--b\r\n\r\nx\r\r\n--b--", parts=[b"x\r"]),
    Body("ends-in-crlf", b"--b\r\n\r\nx\r\n\r\n--b--", parts=[b"x\r\n"]),
    Body("ends-in-half-delimiter", b"--b\r\n\r\nx\r\n--\r\n--b--", parts=[b"x\r\n--"]),
    Body(
        "boundary-repeats",
        crlf("--aab\n\n--a\n--aa\n--aaab\n--aab--"),
        "aab",
        [crlf("--a\n--aa\n--aaab")],
    ),
    Body(
        "boundary-70",
        _form("x" * 70, ("A: 1", "\r\n--" + "x" * 69 + "\r\n--" + "x" * 71)),
        "x" * 70,
        [b"\r\n--" + b"x" * 69 + b"\r\n--" + b"x" * 71],
    ),
    Body(
        "boundary-of-dashes",
        crlf("-----\n\nx\n----\n------\n-------\n"),
        "---",
        [b"x\r\n----\r\n------"],
    ),
    Body(
        "boundary-ends-in-dashes",
        crlf("--b--\n\nx\n--b--y\n--b---\n--b\n--b----"),
        "b--",
        [b"x\r\n--b--y\r\n--b---\r\n--b"],
    ),
    Body(
        "boundary-with-space",
        crlf("--b b\n\nx\n--b\n--b  b\n--b b--"),
        "b b",
        [b"x\r\n--b\r\n--b  b"],
    ),
    Body(
        "boundary-all-characters",
        _form("09azAZ'()+_,-./:=?", ("A: 1", "x")),
        "09azAZ'()+_,-./:=?",
        [b"x"],
    ),
    Body(
        "boundary-characters",
        _form("{b}", ("A: 1", "x")),
        "{b}",
        [b"x"],
        codes=["boundary-characters"],
    ),
    Body(
        "dashed-boundary",
        crlf("--:\nA: 1\n\nx\n--:\n\ny\n--:--\n"),
        "--:",
        [b"x", b"y"],
        codes=["dashed-boundary"],
        options={"tolerate": {"dashed-boundary"}},
    ),
    Body(
        "dashed-boundary-preamble",
        crlf("pre\n--:\n\ny\n--:--\nepi"),
        "--:",
        [b"y"],
        codes=["dashed-boundary"],
        options={"tolerate": {"dashed-boundary"}},
    ),
    Body(
        "dashed-boundary-zero",
        b"--:--",
        "--:",
        [],
        codes=["dashed-boundary"],
        options={"tolerate": {"dashed-boundary"}},
    ),
    Body(
        "dashed-boundary-of-dashes",
        crlf("----\n\nx\n------\n"),
        "----",
        [b"x"],
        codes=["dashed-boundary"],
        options={"tolerate": {"dashed-boundary"}},
    ),
    Body(
        "dashed-boundary-tolerated-and-usual",
        crlf("------\n\nx\n----\n--------\n"),
        "----",
        [b"x\r\n----"],
        options={"tolerate": {"dashed-boundary"}},
    ),
    Body(
        "bare-lf",
        b"--b\nA: 1\r\nB: 2\n\nx\r\ny\n--b  \r\n\nz\n--bc\n--b -\n--b--\nepi",
        parts=[b"x\r\ny", b"z\n--bc\n--b -"],
        codes=["bare-lf"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "bare-lf-preamble",
        b"pre\r\n--b \n--b\n\n\n--b\nA: 1\n--b--",
        parts=[b"", b"", b""],
        codes=["bare-lf", "no-blank-line", "no-blank-line"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "bare-lf-preamble-of-lines",
        b"--\r\n--bc\n--b \r\npre\r\rpre\n--b--",
        parts=[],
        codes=["bare-lf"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "bare-lf-dashed",
        b"--:\nA: 1\n\nx\n--:--\n",
        "--:",
        [b"x"],
        codes=["bare-lf", "dashed-boundary"],
        options={"tolerate": {"bare-lf", "dashed-boundary"}},
    ),
    Body(
        "bare-lf-tolerated-and-usual",
        crlf("pre\n--b \n\nx\n--b--") + b"\nepi",
        parts=[b"x"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "bare-lf-tolerated-and-data",
        b"--b\r\n\r\nx\n--b\n\ny\r\n--b--",
        parts=[b"x\n--b\n\ny"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "bare-lf-padding",
        b"--b\n\nx\n--b" + b" " * 5000 + b"\n\ny\n--b--",
        error=LimitExceeded,
        limit="max_header_line",
        codes=["bare-lf"],
        options={"tolerate": {"bare-lf"}, "limits": Limits()},
    ),
    Body(
        "bare-lf-long-header",
        b"--b\nA: " + b"x" * 5000 + b"\n\ny\n--b--",
        error=LimitExceeded,
        limit="max_header_line",
        codes=["bare-lf"],
        options={"tolerate": {"bare-lf"}, "limits": Limits()},
    ),
    Body(
        "bare-lf-mixed",
        b"--b\nA: 1\r\n--b\r\n\r\nx\r\n--b--",
        parts=[b"", b"x\r"],
        codes=["bare-lf", "no-blank-line"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "bare-lf-cut",
        b"--b\nA: 1\n\nx\n--b",
        error=TruncatedBody,
        codes=["bare-lf"],
        options={"tolerate": {"bare-lf"}},
    ),
    Body(
        "missing-first-delimiter",
        crlf("A: 1\n\nx\n--b\n\ny\n--b--"),
        parts=[b"x", b"y"],
        codes=["missing-first-delimiter"],
        options={"tolerate": {"missing-first-delimiter"}},
    ),
    Body(
        "missing-first-delimiter-bare-lf",
        b"A: 1\n\nx\n--b\n\ny\n--b--",
        parts=[b"x", b"y"],
        codes=["bare-lf", "missing-first-delimiter"],
        options={"tolerate": {"missing-first-delimiter", "bare-lf"}},
    ),
    Body(
        "missing-first-delimiter-tolerated-bare-lf",
        crlf("A: 1\n\nx\n--b\n\ny\n--b--"),
        parts=[b"x", b"y"],
        codes=["missing-first-delimiter"],
        options={"tolerate": {"missing-first-delimiter", "bare-lf"}},
    ),
    Body(
        "missing-first-delimiter-dashed",
        crlf("A: 1\n\nx\n--:\n\ny\n--:--"),
        "--:",
        parts=[b"x", b"y"],
        codes=["dashed-boundary", "missing-first-delimiter"],
        options={"tolerate": {"missing-first-delimiter", "dashed-boundary"}},
    ),
    Body(
        "missing-first-delimiter-tolerated-and-usual",
        crlf("--b\n\nx\n--b--"),
        parts=[b"x"],
        options={"tolerate": {"missing-first-delimiter"}},
    ),
    Body(
        "missing-first-delimiter-tolerated-and-preamble",
        crlf("a preamble: this\n--b\n\nx\n--b--"),
        parts=[b"x"],
        options={"tolerate": {"missing-first-delimiter"}},
    ),
    Body(
        "missing-first-delimiter-no-name",
        b"x" * 300 + crlf(": 1\n\nx\n--b\n\ny\n--b--"),
        parts=[b"y"],
        options={"tolerate": {"missing-first-delimiter"}},
    ),
    Body("dashed-boundary-usual", crlf("----:\n\nx\n--:\n----:--\n"), "--:", [b"x\r\n--:"]),
    Body(
        "werkzeug-3285",
        b"--bound\r\nA: 1\r\n\r\n" + b"x" * 300 + b"\r\n--bound--\r\n",
        "bound",
        [b"x" * 300],
    ),
    Body(
        "binary",
        b"--b\r\n\r\n" + bytes(range(256)) * 2 + b"\r\n--b--",
        parts=[bytes(range(256)) * 2],
    ),
]


def _refused(
    id: str,
    data: bytes,
    error: type[MultipartError],
    *,
    parts: Iterable[bytes] | None = (),
    limit: str | None = None,
    boundary: str = "b",
    codes: Iterable[str] = (),
    **options: Any,
) -> Body:
    given = None if parts is None else list(parts)
    return Body(id, data, boundary, given, error, limit, list(codes), options)


_CUT = [
    _refused("empty", b"", EmptyBody),
    _refused("no-delimiter", b"hello", TruncatedBody),
    _refused("wrong-boundary", crlf("--c\n\nx\n--c--\n"), TruncatedBody),
    _refused("lf-only", b"--b\nA: 1\n\nx\n--b--\n", TruncatedBody),
    _refused(
        "lf-only-long-boundary", b"p\n--" + b"x" * 70 + b"\n\nx\n", TruncatedBody, boundary="x" * 70
    ),
    _refused("cr-only", b"--b\rA: 1\r\rx\r--b--\r", TruncatedBody),
    _refused("cut-delimiter", b"--", TruncatedBody),
    _refused("cut-headers", crlf("--b\nA: 1\nB"), TruncatedBody),
    _refused("cut-body", crlf("--b\n\nx\n--b\n\nhello"), TruncatedBody, parts=[b"x", b"hello"]),
    _refused("cut-close", crlf("--b\n\nx\n--b-"), TruncatedBody, parts=[b"x"]),
    _refused("cut-padding", crlf("--b\n\nx\n--b  "), TruncatedBody, parts=[b"x"]),
    _refused("no-close", crlf("--b\n\nx\n--b\n"), TruncatedBody, parts=[b"x"]),
    _refused(
        "dashed-boundary-not-tolerated", crlf("--:\n\nx\n--:--\n"), TruncatedBody, boundary="--:"
    ),
    _refused(
        "dashed-boundary-cut",
        crlf("--:\n\nx\n--:"),
        TruncatedBody,
        boundary="--:",
        parts=[b"x"],
        codes=["dashed-boundary"],
        tolerate={"dashed-boundary"},
    ),
    _refused(
        "dashed-boundary-none",
        crlf("hello\n--"),
        TruncatedBody,
        boundary="--:",
        tolerate={"dashed-boundary"},
    ),
]

_MALFORMED = [
    _refused("no-colon", crlf("--b\n\nx\n--b\nA: 1\nB\n\ny\n--b--"), MalformedBody, parts=[b"x"]),
    _refused("nul-in-header", crlf("--b\nA: \0\n\ny\n--b--"), MalformedBody),
    _refused("bare-lf-in-header", b"--b\r\nA: 1\nB: 2\r\n\r\ny\r\n--b--", MalformedBody),
    _refused("space-before-colon", crlf("--b\nA : 1\n\ny\n--b--"), MalformedBody),
    _refused("two-dispositions", crlf(f"--b\n{_NAME}\n{_NAME}\n\ny\n--b--"), MalformedBody),
    _refused("strict-no-blank-line", crlf("--b\nA: 1\n--b--"), MalformedBody, strict=True),
    _refused(
        "strict-form-without-name",
        crlf("--b\nContent-Disposition: form-data\n\nx\n--b--"),
        MalformedBody,
        strict=True,
        subtype="form-data",
    ),
]


def _over(id: str, text: str | bytes, axis: str, value: int, **rest: Any) -> Body:
    data = text if isinstance(text, bytes) else crlf(text)
    limits = Limits(**{axis: value})
    return _refused(f"over-{id}", data, LimitExceeded, limit=axis, limits=limits, **rest)


_OVER = [
    _over("parts", "--b\n\nx\n--b\n\ny\n--b\nA: 1\n\nz\n--b--", "max_parts", 2, parts=[b"x", b"y"]),
    _over("headers", "--b\nA: 1\nB: 2\n c\nC: 3\n\nx\n--b--", "max_headers", 2),
    _over("header-line", "--b\nA: 1\nB: 234567\n\nx\n--b--", "max_header_line", 8),
    _over("header-line-unended", "--b\nA: 1\nB: 234567", "max_header_line", 8),
    _over("header-bytes", "--b\nA: 1\nB: 2\n\nx\n--b--", "max_header_bytes", 9),
    _over("header-bytes-unended", "--b\nA: 1\nB: 2\nC: 3", "max_header_bytes", 9),
    _over(
        "total-header-bytes",
        "--b\nA: 1\n\nx\n--b\nB: 23\n\ny\n--b--",
        "max_total_header_bytes",
        8,
        parts=[b"x"],
    ),
    _over("preamble", "hello, world\n--b\n\nx\n--b--", "max_preamble", 11),
    _over(
        "preamble-dashed",
        "hello, world\n--b\n\nx\n--b--",
        "max_preamble",
        11,
        boundary="--b",
        codes=[],
        tolerate={"dashed-boundary"},
    ),
    _over(
        "preamble-dashed-long",
        "x" * 100 + "\n--b\n\nx\n--b--",
        "max_preamble",
        11,
        boundary="--b",
        tolerate={"dashed-boundary"},
    ),
    _over("headers-malformed", "--b\nA\nB\nC\n\nx\n--b--", "max_headers", 2),
    _over("preamble-lf", b"--b\nA: 1\n\nx\n--b--\n", "max_preamble", 10),
    _over("preamble-unended", "\n" * 40, "max_preamble", 8),
    _over(
        "padding", "--b\n\nx\n--b" + " " * 9 + "\n\ny\n--b--", "max_header_line", 8, parts=[b"x"]
    ),
    _over("padding-unended", "--b\n\nx\n--b" + " " * 9, "max_header_line", 8, parts=[b"x"]),
    *(
        _over(
            f"padding-{where}-{i}",
            before + "--b" + " \t" * 4 + after,
            "max_header_line",
            7,
            parts=parts,
        )
        for where, before, parts in [
            ("preamble", "hello\n", []),
            ("headers", "--b\nA: 1\n", []),
            ("no-headers", "--b\n", []),
            ("blank-line", "--b\nA: 1\n\n", [b""]),
            ("body", "--b\n\nx\n", [b"x"]),
            ("delimiter", "--b\n\nx\n--b\n", [b"x"]),
        ]
        for i, after in enumerate(["x\n\ny\n--b--", "\r\r\n\ny\n--b--", "-\n--b--", "--b\n\n"])
    ),
    _over("epilogue", "--b\n\nx\n--b--\nhello", "max_epilogue", 5, parts=[b"x"]),
    _over(
        "part", "--b\n\nx\n--b\n\nhello\r\n\r\n--b--", "max_part_bytes", 6, parts=[b"x", b"hello\r"]
    ),
    _over(
        "part-at-like-delimiter", "--b\n\nab\n--bc\n--b--", "max_part_bytes", 4, parts=[b"ab\r\n"]
    ),
    _over("part-first-byte", "--b\n\nx\n--b--", "max_part_bytes", 0, parts=[b""]),
    *(
        _over(
            f"total-{n}",
            "p\n--b \nA: 1\n\nhello\n--b\nB: 2\n\n\n--b--\nepi",
            "max_total_bytes",
            n,
            parts=None,
        )
        for n in (0, 1, 3, 5, 8, 10, 12, 15, 18, 20, 23, 26, 30, 34, 38, 39)
    ),
]

BODIES = [*_RFC, *_CLIENTS, *_LIKE, *_CUT, *_MALFORMED, *_OVER]
"""All of them."""
