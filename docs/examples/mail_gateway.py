"""A mail gateway: a mail becomes a ticket, with its text and its attachments at any depth.

    python mail_gateway.py --tickets tickets < mail.eml        (or a pipe of Postfix or Exim)

Each ticket is a folder: `ticket.json` with sender, subject and text, and `files` with a file an
attachment. The JSON is written last: a folder without it is no ticket. What the mail server is told
follows sysexits(3): 65 bounces a mail that cannot be read, 75 has it sent again.

Knows: what a mail holds, and what a ticket is.
Must not know: how a multipart is read, or how a file is stored.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile, mkdtemp
from typing import BinaryIO

import anyio

from mpflow import (
    Handled,
    Limits,
    MultipartError,
    MultipartReader,
    NotMultipart,
    Part,
    PartInfo,
    Results,
    Router,
    UnsupportedCoding,
    safe_filename,
)
from mpflow.predicates import content_type, disposition, filename
from mpflow_handlers import Discard, Nested, Save, Saved

LIMITS = Limits(
    max_parts=200,
    max_depth=8,
    max_part_bytes="25 MiB",
    max_total_bytes="50 MiB",
    # The header block of a mail is far longer than that of a form's part.
    max_headers=500,
    max_header_line="16 KiB",
    max_header_bytes="256 KiB",
)
MAIL = {"bare-lf"}
"""What is tolerated: mail servers hand mails to programs with bare LFs."""


def make_router(folder: Path) -> Router:
    """The router of one mail: the same for each of its levels."""
    attached = disposition("attachment") | filename(True) | content_type("message/*")
    router = Router(limits=LIMITS)
    router.add(Nested(router), content_type="multipart/*")
    router.add(Save(folder, name_of, "suffix"), attached | content_type("image/*"), key="files")
    router.add(text_of, content_type="text/plain", key="text")
    router.add(Discard())  # the same text as HTML, signatures
    return router


async def text_of(part: Part) -> str:
    """The text of a part. Bytes that are none by its charset cost no mail: they are replaced."""
    return (await part.read(decode=True)).decode(part.text_encoding(), "replace")


def name_of(info: PartInfo) -> str:
    """The name of an attachment, harmless. Mailers write it in more than one place."""
    given = info.filename or info.content_type_params.get("name")
    default = "forwarded.eml" if info.content_type == "message/rfc822" else "attachment"
    return safe_filename(readable(given or ""), default=default)


def readable(value: str) -> str:
    """A header's value without its encoded words (RFC 2047), if they can be undone."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


async def store(mail: BinaryIO, tickets: Path) -> Path:
    """Make a ticket of a mail: all of it, or nothing. The mail is a file that can seek."""
    folder = Path(mkdtemp(prefix="ticket-", dir=tickets))
    try:
        (files := folder / "files").mkdir()
        headers, results = await receive(mail, make_router(files))
        found = list(leaves(results))
        ticket = {
            "from": readable(headers.get("From", "")),
            "subject": readable(headers.get("Subject", "")),
            "text": "\n".join(item.value for item in found if item.key == "text"),
            "files": [it.value.path.name for it in found if isinstance(it.value, Saved)],
        }
        write(folder / "ticket.json", json.dumps(ticket, ensure_ascii=False))
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


async def receive(mail: BinaryIO, router: Router) -> tuple[Mapping[str, str], Results]:
    """The headers of a mail, and what became of its parts."""
    try:
        reader = await MultipartReader.from_mail(mail, tolerate=MAIL)
        return reader.headers, await router.dispatch(reader)
    except (NotMultipart, UnsupportedCoding):
        # One body and no more, perhaps encoded: it becomes the only part of a multipart.
        boundary = token_hex(16)
        reader = MultipartReader(
            enveloped(mail, boundary), f"multipart/mixed; boundary={boundary}", tolerate=MAIL
        )
        results = await router.dispatch(reader)
        return next(iter(results)).part.headers, results


async def enveloped(mail: BinaryIO, boundary: str) -> AsyncIterator[bytes]:
    """A mail as the only part of a multipart."""
    mail.seek(0)
    line = b"\r\n" if mail.readline().endswith(b"\r\n") else b"\n"
    mail.seek(0)
    yield b"--%s%s" % (boundary.encode(), line)
    while data := mail.read(65536):
        yield data
    yield b"%s--%s--%s" % (line, boundary.encode(), line)


def leaves(results: Results) -> Iterator[Handled]:
    """What became of each part that is no multipart, depth first."""
    for item in results:
        if isinstance(item.value, Results):
            yield from leaves(item.value)
        else:
            yield item


def write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path.with_suffix(".part")
    # Bytes of a header that are no text come as surrogates, which no file can hold.
    with temporary.open("w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def main() -> int:
    """Make a ticket of the mail on standard input; the status for the mail server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tickets", type=Path, default=Path("tickets"))
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    try:
        options.tickets.mkdir(parents=True, exist_ok=True)
        with TemporaryFile() as mail:
            shutil.copyfileobj(sys.stdin.buffer, mail)
            mail.seek(0)
            folder = anyio.run(store, mail, options.tickets, backend=options.backend)
    except MultipartError as error:
        print(error, file=sys.stderr)
        return os.EX_DATAERR if error.status < 500 else os.EX_TEMPFAIL
    except OSError as error:  # a full disk, say
        print(error, file=sys.stderr)
        return os.EX_TEMPFAIL
    print(folder)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
