"""`mpflow pack -F name=content`: write a multipart body.

Knows: which part a field becomes, and where the body goes.
Must not know: curl's syntax (`fields.py`), how a body is written.
"""

from __future__ import annotations

import argparse
import errno
import mimetypes
import os
import re
import stat
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from anyio import to_thread

from mpflow import FormData, MultipartWriter, Payload, WriteError
from mpflow.cli.fields import Field, parse_field, parse_string
from mpflow.cli.opened import Input, LateInput, descriptor, fail, run_command, say_beside
from mpflow.cli.output import open_output
from mpflow.cli.progress import progress

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "write a multipart body of texts and files"

_Body = str | bytes | Path | Input | LateInput

# RFC 5322, 3.2.3 and 3.6.4, with the letters of RFC 6532: what stands between < and >.
_CONTENT_ID: Final = re.compile(r"[\w!#$%&'*+/=?^`{|}~.@-]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-F",
        "--form",
        metavar="NAME=CONTENT",
        dest="fields",
        action="append",
        type=parse_field,
        default=[],
        help="a part as curl's -F has it: name=text, name=@file or name=<file, then perhaps "
        ";type=TYPE, ;filename=NAME, ;encoder=base64; the file - is standard input",
    )
    parser.add_argument(
        "--form-string",
        metavar="NAME=TEXT",
        dest="fields",
        action="append",
        type=parse_string,
        help="a part of this text, whatever stands in it",
    )
    parser.add_argument(
        "--type",
        metavar="SUBTYPE",
        default="form-data",
        help="form-data, mixed, related or another subtype (default: %(default)s)",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="where it goes (default: -, stdout)"
    )
    parser.add_argument("--boundary", metavar="BOUNDARY", help="the boundary (default: random)")
    parser.add_argument(
        "--headers",
        action="store_true",
        help="begin with a header block, as a mail does, in place of the content type on stderr",
    )


def run(options: argparse.Namespace) -> int:
    """Write the body; the exit code."""
    if not options.fields:
        return fail("pack", "expected a part or more: -F NAME=CONTENT", code=2)
    if sum(field.kind != "" and field.content == "-" for field in options.fields) > 1:
        return fail("pack", "expected standard input in one part, got it in several", code=2)
    if not options.output:
        return fail("pack", "expected a path after -o, or - for standard output", code=2)
    return run_command("pack", partial(_pack, options))


async def _pack(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        try:
            writer = _writer(options, stack)
        except WriteError as error:
            return fail("pack", str(error), code=2)
        headers = "MIME-Version: 1.0\r\n"
        headers += "".join(f"{name}: {value}\r\n" for name, value in writer.headers.items())
        write = stack.enter_context(open_output(options.output))
        advance = stack.enter_context(progress("pack", writer.size))

        async def send(data: bytes) -> None:
            await to_thread.run_sync(write, data)
            advance(len(data))

        if options.headers:
            await send(headers.encode() + b"\r\n")
        else:
            say_beside(f"Content-Type: {writer.content_type}")
        await writer.write(send)
    return 0


# -- the parts --------------------------------------------------------------------------------


def _writer(options: argparse.Namespace, stack: ExitStack) -> MultipartWriter:
    if options.type == "form-data":
        form = FormData(boundary=options.boundary)
        for field in options.fields:
            form.add(
                _text(field.name, "name"),
                _body(field, stack),
                filename=_filename(field),
                content_type=_type(field),
                headers=_encoding(field),
            )
        return form
    related = options.type.lower() == "related"
    if related:
        _check_ids([field.name for field in options.fields])
    payloads = [_payload(field, stack, related=related) for field in options.fields]
    # RFC 2387, 3.1: "The type parameter must be specified".
    params = {"type": _essence(payloads[0])} if related else None
    writer = MultipartWriter(options.type, boundary=options.boundary, params=params)
    for payload in payloads:
        writer.append(payload)
    return writer


def _payload(field: Field, stack: ExitStack, *, related: bool) -> Payload:
    """A part of anything but a form: a related one is called by its Content-ID."""
    headers = _encoding(field)
    content_type = _type(field)
    if content_type is not None:
        headers["Content-Type"] = content_type
    name = _text(field.name, "name")
    if related and name:
        headers["Content-ID"] = f"<{name}>"
    payload = Payload.of(_body(field, stack), headers)
    filename = _filename(field)
    if filename is None and field.kind == "@":
        filename = payload.content.filename
    label = None if related else name or None
    if filename is not None or label is not None:
        kind = "inline" if filename is None or related else "attachment"
        payload.set_content_disposition(kind, name=label, filename=filename)
    return payload


def _essence(payload: Payload) -> str:
    return payload.headers["Content-Type"].partition(";")[0].strip()


def _body(field: Field, stack: ExitStack) -> _Body:
    if field.kind == "":
        try:
            field.content.encode()
        except UnicodeEncodeError:
            return os.fsencode(field.content)  # what the shell gave, byte for byte
        return field.content
    if field.content == "-":
        return Input(descriptor(sys.stdin, "standard input"), "standard input")
    if field.kind == "@" and not _is_late(field):
        return Path(field.content)
    _check_file(field.content)
    late = LateInput(field.content)
    stack.callback(late.close)
    return late


def _filename(field: Field) -> str | None:
    """What the field says. A file has its own; curl calls standard input `-`, and so do we."""
    if field.filename is not None:
        return _text(field.filename, "filename")
    if field.kind == "@" and field.content == "-":
        return "-"
    return _text(os.path.basename(field.content), "filename") if _is_late(field) else None


def _type(field: Field) -> str | None:
    """What the field says; a file that the writer opens has its own."""
    if field.type is not None or not _is_late(field):
        return field.type
    return mimetypes.guess_type(field.content)[0]


def _is_late(field: Field) -> bool:
    """Whether it is sent as a file and is a pipe or a device: opening it may take long."""
    if field.kind != "@" or field.content == "-":
        return False
    try:
        mode = os.stat(field.content).st_mode
    except OSError:
        return False  # who opens it says what is wrong
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _check_file(path: str) -> None:
    """Say at once that a file is missing, and not half way through the body."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _check_ids(names: list[str]) -> None:
    """Raise `WriteError` unless each name can be a Content-ID, and only one part's."""
    seen = set[str]()
    for name in filter(None, names):
        if not _CONTENT_ID.fullmatch(_text(name, "name")):
            raise WriteError(
                "expected names that can be a Content-ID, of letters, digits and "
                f"!#$%&'*+/=?^_`{{|}}~.@- alone, got {name!a}"
            )
        if name in seen:
            raise WriteError(f"expected each Content-ID in one part, got {name!a} in several")
        seen.add(name)


def _encoding(field: Field) -> dict[str, str]:
    return {} if field.encoder is None else {"Content-Transfer-Encoding": field.encoder}


def _text(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WriteError(f"expected a {what} in UTF-8, got {text!a}") from None
    return text
