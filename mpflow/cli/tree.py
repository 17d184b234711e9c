"""The tree of a message in a file: how it is found, and how all of it is visited.

Knows: where the content type of a file's body stands, and how far one broken part reaches.
Must not know: what is done with a part.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from mpflow import EmptyBody, Limits, MultipartError, MultipartReader, NotMultipart, Part
from mpflow.cli.opened import Input
from mpflow.wire import TOLERANCES

__all__ = [
    "Visitor",
    "add_reading_arguments",
    "blamed",
    "explain",
    "multipart_type",
    "open_reader",
    "shown",
    "visit",
]

LIMITS: Final = Limits(
    max_parts=100_000,
    max_headers=1000,
    max_header_line="64 KiB",
    max_header_bytes="256 KiB",
    max_total_header_bytes="64 MiB",
    max_preamble="1 MiB",
    max_epilogue=None,
    max_part_bytes=None,
    max_total_bytes=None,
    max_depth=32,
    max_decoded_bytes=None,
    idle_timeout=None,
)
"""What a file may be: as large as it is, and as odd as old mails are."""

# What a mailbox has before each mail (RFC 4155, Appendix A), and what becomes of it in transport.
_ENVELOPE: Final = re.compile(rb">?From [^\r\n]*\r?\n(?=[!-9;-~]+[ \t]*:)")
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_DELIMITER: Final = re.compile(rb"(?:\r?\n)*--([^\r\n]+?)[ \t]*\r?\n")
_BLANK: Final = re.compile(rb"\n\r?\n")
# RFC 9110, 5.6.2: what a subtype may be made of; 5.6.6: how its parameters begin.
_MULTIPART: Final = re.compile(
    r"multipart/[!#$%&'*+\-.^`|~\w]+[ \t]*(;|\Z)", re.IGNORECASE | re.ASCII
)
_FORM: Final = re.compile(rb"^content-disposition:[ \t]*form-data\b", re.IGNORECASE | re.MULTILINE)

_Reader = TypeVar("_Reader", bound=MultipartReader)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say what is read, and how."""
    parser.add_argument("file", metavar="FILE", help="the file to read; - is standard input")
    parser.add_argument(
        "--boundary",
        metavar="BOUNDARY",
        type=_boundary,
        help="the boundary of a body without a header block (default: that of its first line)",
    )
    parser.add_argument(
        "--type",
        metavar="TYPE",
        type=multipart_type,
        help="the content type of a body without a header block, such as related, "
        "multipart/mixed or a whole header value (default: form-data or mixed, by the first part)",
    )
    parser.add_argument(
        "--tolerate",
        metavar="NAME",
        action="append",
        default=[],
        choices=sorted(TOLERANCES),
        help="accept an ambiguity of this name, again for each; bare-lf always is",
    )


def multipart_type(text: str) -> str:
    """A whole content type, of what may be a subtype. Raises `argparse.ArgumentTypeError`."""
    whole = text if "/" in text.partition(";")[0] else f"multipart/{text}"
    if not _MULTIPART.match(whole):
        raise argparse.ArgumentTypeError(
            "expected a subtype such as related, or multipart/..., perhaps with parameters, "
            f"got {text!a}"
        )
    return whole


def _boundary(text: str) -> str:
    # What RFC 2046 does not allow beyond that is read, and recorded as a deviation.
    if not text or not text.isascii() or not text.isprintable() or text.endswith(" "):
        raise argparse.ArgumentTypeError(
            "expected one character or more of printable ASCII, the last of which is no space, "
            f"got {text!a}"
        )
    return text


async def open_reader(
    source: Input,
    options: argparse.Namespace,
    reader_class: type[_Reader],
    *,
    limits: Limits = LIMITS,
) -> _Reader:
    """A reader of a file: of a mail, which begins with a header block, or of a bare body."""
    tolerate = {"bare-lf", *options.tolerate}
    begin = await source.begin()
    if envelope := _ENVELOPE.match(begin):
        source.skip(envelope.end())
        begin = begin[envelope.end() :]
    if options.boundary is None and options.type is None and _FIELD.match(begin):
        source.measure_header()
        reader = await reader_class.from_mail(source, limits=limits, tolerate=tolerate)
        source.body_start += source.header_size
        return reader
    content_type = _content_type(begin, options.type, options.boundary)
    return reader_class(source, content_type, limits=limits, tolerate=tolerate)


def _content_type(begin: bytes, kind: str | None, boundary: str | None) -> str:
    if kind is None:
        block = _BLANK.split(begin, maxsplit=1)[0]
        kind = "multipart/form-data" if _FORM.search(block) else "multipart/mixed"
    if boundary is None:
        if re.search(r";[ \t]*boundary\*?[ \t]*=", kind, re.IGNORECASE):
            return kind
        first = _DELIMITER.match(begin)
        if first is None:
            raise NotMultipart(
                "expected a header block with a content type, or a delimiter in the first line; "
                "--boundary names the boundary of any other body"
            )
        boundary = str(first[1], "ascii", "backslashreplace")
    escaped = boundary.replace("\\", "\\\\").replace('"', '\\"')
    return f'{kind}; boundary="{escaped}"'


class Visitor(Protocol):
    """What is done with the parts of a tree."""

    def enter(self, part: Part) -> None:
        """A multipart begins."""
        ...

    async def leaf(self, part: Part) -> None:
        """Any other part: read it. What it raises is wrong with it, or with what is around it."""
        ...

    def problem(self, part: Part, error: MultipartError) -> None:
        """The part, or one inside it, is at fault; those after it are read all the same."""
        ...

    def leave(self, part: Part) -> None:
        """The multipart has ended."""
        ...


async def visit(reader: MultipartReader, visitor: Visitor) -> None:
    """Visit each part, depth first. Raises what is wrong with this level, or those around it."""
    while (part := await reader.next_part()) is not None:
        inner: MultipartReader | None = None
        if part.is_multipart:
            try:
                inner = part.multipart()
            except MultipartError as error:  # it has no boundary, say: then it is a leaf
                visitor.problem(part, error)
        try:
            if inner is None:
                await visitor.leaf(part)
            else:
                visitor.enter(part)
                await visit(inner, visitor)
        except MultipartError as error:
            # Where it is the level around that is broken, this raises what the part has raised.
            await part.drain()
            visitor.problem(part, error)
        else:
            await part.drain()
        if inner is not None:
            visitor.leave(part)


def blamed(part: Part, error: MultipartError) -> str:
    """What is wrong with a part, and which one it is."""
    if error.part is not None:
        return str(error)
    return f"{error} (in part {'.'.join(map(str, part.path))})"


def explain(error: MultipartError, source: Input) -> str:
    """The line that says what is wrong. Offsets count from the body, which may begin later."""
    if isinstance(error, EmptyBody) and error.offset is None:
        error.offset = 0  # where there is nothing
    if error.offset is None or not source.body_start:
        return str(error)
    return f"{error}; the body begins at byte {source.body_start} of the file"


def shown(text: str) -> str:
    """What a client sent, in quotes, without anything that could move a terminal's cursor."""
    return '"' + "".join(_printable(text)) + '"'


def _printable(text: str) -> Iterable[str]:
    for char in text:
        if char in '"\\':
            yield "\\" + char
        else:
            yield char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
