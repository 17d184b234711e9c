"""`from_mail`: a header block in the stream, then the body, with CRLF or bare LFs."""

from __future__ import annotations

import io
from email.message import EmailMessage
from email.policy import SMTP

import anyio
import pytest

from mpflow import (
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartReader,
    NotMultipart,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.testing import Chunked
from tests.clock import virtual_time
from tests.support import BODY, Closable, crlf

pytestmark = pytest.mark.anyio

HEAD = 'Subject: a\n\tmail\nContent-Type: multipart/mixed;\n boundary="boundary"\n\n'
MAIL = crlf(HEAD) + BODY
STORED = MAIL.replace(b"\r\n", b"\n")
BARE = {"bare-lf"}


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_mail(size: int) -> None:
    reader = await MultipartReader.from_mail(Chunked(MAIL, size))
    assert reader.headers["subject"] == "a mail"
    assert [await part.read() async for part in reader] == [b"one", b"two"]
    assert reader.deviations == []


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_mail_as_tools_store_it(size: int) -> None:
    reader = await MultipartReader.from_mail(Chunked(STORED, size), tolerate=BARE)
    assert [await part.read() async for part in reader] == [b"one", b"two"]
    assert {found.code for found in reader.deviations} == BARE


async def test_bare_line_feeds_are_refused_by_default() -> None:
    with pytest.raises(MalformedBody, match=r"got LF.*tolerate names 'bare-lf'") as caught:
        await MultipartReader.from_mail(STORED)
    assert caught.value.offset == 10
    reader = await MultipartReader.from_mail(crlf(HEAD) + BODY.replace(b"\r\n", b"\n"))
    with pytest.raises(TruncatedBody, match="tolerate names it 'bare-lf'"):
        await reader.drain()


@pytest.mark.parametrize("stored", [False, True])
async def test_what_the_standard_library_writes(stored: bool) -> None:
    mail = EmailMessage()
    mail["Subject"] = "Grüße"
    mail.set_content("Dear all\n")
    mail.add_alternative("<p>Dear all\n", subtype="html")
    mail.add_attachment(bytes(range(256)), maintype="image", subtype="png", filename="größe.png")
    sent = mail.as_bytes() if stored else mail.as_bytes(policy=SMTP)
    reader = await MultipartReader.from_mail(io.BytesIO(sent), tolerate=BARE)
    found = [
        (part.content_type, part.filename, await part.read(decode=False))
        async for part in reader.walk()
    ]
    assert [(kind, name) for kind, name, _ in found] == [
        ("text/plain", None), ("text/html", None), ("image/png", "größe.png"),
    ]  # fmt: skip
    assert found[0][2].strip() == b"Dear all"


async def test_a_saved_page() -> None:
    page = crlf(
        'MIME-Version: 1.0\nContent-Type: multipart/related; type="text/html"; boundary=b\n\n'
        "--b\nContent-Type: text/html\nContent-Location: https://x.example/\n\n<html>\n"
        "--b\nContent-Type: text/css\nContent-Location: https://x.example/a.css\n\np {}\n--b--\n"
    )
    reader = await MultipartReader.from_mail(page)
    async with reader.related() as it:
        assert await (await it.root()).read() == b"<html>"
        assert await (await it.get("https://x.example/a.css")).read() == b"p {}"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", TruncatedBody),
        (b"Subject: cut\r\n", TruncatedBody),
        (b"\r\n" + BODY, NotMultipart),
        (b"Subject: x\r\n\r\ntext", NotMultipart),
        (b"Content-Type: text/plain\r\n\r\ntext", NotMultipart),
        (
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\ndGV4dA==",
            NotMultipart,
        ),
        (b"Content-Transfer-Encoding: base64\r\n\r\ndGV4dA==", NotMultipart),
        (b"no header\r\n\r\n", MalformedBody),
        (b"Content-Transfer-Encoding: base64\r\n" + MAIL, UnsupportedCoding),
        (b"Content-Type: a/b\r\n" + MAIL, MalformedBody),
    ],
)
async def test_what_is_no_such_mail(sent: bytes, error: type[Exception]) -> None:
    for size in (1, 1000):
        with pytest.raises(error):
            await MultipartReader.from_mail(Chunked(sent, size))


async def test_long_headers() -> None:
    long = b"Received: " + b"x" * 900 + b"\r\n"
    sent = long * 100 + MAIL  # far more than a part may have
    reader = await MultipartReader.from_mail(sent)
    assert [await part.read() async for part in reader] == [b"one", b"two"]
    for size in (1, 10_000, 1_000_000):
        limits = Limits(max_total_header_bytes=50_000)
        with pytest.raises(LimitExceeded, match="headers of a mail in at most 50000") as caught:
            await MultipartReader.from_mail(Chunked(sent, size), limits=limits)
        assert (caught.value.offset, caught.value.status) == (50_000, 413)


async def test_the_source_is_closed() -> None:
    source = Closable(MAIL)
    async with await MultipartReader.from_mail(source) as reader:
        assert await anext(reader) is not None
    assert source.closed == 1
    source = Closable(BODY)
    with pytest.raises(MalformedBody):
        await MultipartReader.from_mail(source)
    assert source.closed == 1


class Silent:
    """A receive stream that gives nothing."""

    async def receive(self) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError


@virtual_time
async def test_headers_that_do_not_come() -> None:
    with pytest.raises(LimitExceeded, match="idle_timeout") as caught:
        await MultipartReader.from_mail(Silent())
    assert caught.value.status == 408


async def test_a_mail_inside_a_mail() -> None:
    outer = crlf(
        "Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: message/rfc822\n\n"
    )
    sent = outer + MAIL + crlf("\n--outer--")
    part = await anext(await MultipartReader.from_mail(Chunked(sent, 7)))
    inner = await MultipartReader.from_mail(part)
    assert [await it.read() async for it in inner] == [b"one", b"two"]


async def test_deviations_of_the_headers_count_from_the_start_of_the_file() -> None:
    """Also where bare LFs stand before them; those of the body count from its own start."""
    head = b"Subject: x\nX: y\nContent-Type: multipart/mixed; ; boundary=b\nTo: z\n\n"
    sent = head + b"pre\n--b\nContent-Type: text/plain; ;\n\nx\n--b--\n"
    reader = await MultipartReader.from_mail(sent, tolerate=BARE)
    await reader.drain()
    found = [(it.code, it.part, it.level, it.offset) for it in reader.deviations]
    assert found == [
        ("bare-lf", None, None, head.index(b"\n")),
        ("empty-parameter", None, None, head.index(b"Content-Type")),
        ("bare-lf", None, (), sent.index(b"\n--b") - len(head)),
        ("empty-parameter", (0,), (), sent.index(b"Content-Type: text") - len(head)),
    ]
    with pytest.raises(MalformedBody, match="strict refuses") as caught:
        await MultipartReader.from_mail(sent, tolerate=BARE, strict=True)
    assert caught.value.offset == head.index(b"Content-Type")
