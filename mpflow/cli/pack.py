"""`mpflow pack -F name=content`: write a multipart body.

Knows: which part a field becomes, and where the body goes.
Must not know: curl's syntax (`fields.py`), how a body is written.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from anyio import to_thread

from mpflow import FormData, MultipartWriter, Payload, WriteError
from mpflow.cli.fields import Field, parse_field, parse_string
from mpflow.cli.opened import Input, fail, open_input, run_command
from mpflow.cli.progress import progress

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "write a multipart body of texts and files"

_Body = str | bytes | Path | Input


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
    return run_command("pack", partial(_pack, options))


async def _pack(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        try:
            writer = _writer(options, stack)
        except WriteError as error:
            return fail("pack", str(error), code=2)
        headers = "MIME-Version: 1.0\r\n"
        headers += "".join(f"{name}: {value}\r\n" for name, value in writer.headers.items())
        write = stack.enter_context(_output(options.output))
        advance = stack.enter_context(progress("pack", writer.size))

        async def send(data: bytes) -> None:
            await to_thread.run_sync(write, data)
            advance(len(data))

        if options.headers:
            await send(headers.encode() + b"\r\n")
        else:
            print(f"Content-Type: {writer.content_type}", file=sys.stderr)
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
                content_type=field.type,
                headers=_encoding(field),
            )
        return form
    related = options.type.lower() == "related"
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
    if field.type is not None:
        headers["Content-Type"] = field.type
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
    if field.kind == "@" and field.content != "-":
        return Path(field.content)
    return stack.enter_context(open_input(field.content))


def _filename(field: Field) -> str | None:
    """What the field says. A file has its own; curl calls standard input `-`, and so do we."""
    if field.filename is not None:
        return _text(field.filename, "filename")
    return "-" if (field.kind, field.content) == ("@", "-") else None


def _encoding(field: Field) -> dict[str, str]:
    return {} if field.encoder is None else {"Content-Transfer-Encoding": field.encoder}


def _text(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WriteError(f"expected a {what} in UTF-8, got {text!a}") from None
    return text


# -- where it goes ----------------------------------------------------------------------------


@contextmanager
def _output(path: str) -> Generator[Callable[[bytes], None], None, None]:
    """A function that writes all it is given to a file, or standard output for `-`.

    A file is replaced once all of it is there; until then it has a temporary name beside it.
    """
    if path == "-":
        with _interrupted_at_once():
            yield partial(_write_all, sys.stdout.fileno())
        return
    if _is_special(path):
        with open(path, "wb", buffering=0) as file:
            yield partial(_write_all, file.fileno())
        return
    temporary = Path(path).with_name(f".mpflow-{secrets.token_hex(16)}.part")
    try:
        file = temporary.open("xb", buffering=0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    try:
        with file:
            yield partial(_write_all, file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_special(path: str) -> bool:
    """Whether it is there, and is a device or a pipe: what cannot be replaced."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _interrupted_at_once() -> Generator[None, None, None]:
    """Ctrl-C ends the process: a thread that waits for a slow reader would not end."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
