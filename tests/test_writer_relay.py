"""Received parts that are sent on: with the codings they came with, and whole."""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from mpflow import FormData, MultipartReader, MultipartWriter, Part, WriteError
from mpflow.testing import Chunked, part

pytestmark = pytest.mark.anyio

DATA = b"some bytes " * 100


async def only(root: MultipartWriter) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the only part, as a reader gets them: not decoded."""
    data = await root.as_bytes()
    async for received in MultipartReader(data, root.content_type):
        return dict(received.headers), await received.read(limit=None)
    raise AssertionError("no part came")


async def received(root: MultipartWriter, chunk: int = 7) -> Part:
    reader = MultipartReader(Chunked(await root.as_bytes(), chunk), root.content_type)
    found = await reader.next_part()
    assert found is not None
    return found


async def one(level: str, data: bytes, *headers: tuple[str, str]) -> Part:
    """The only part of a multipart: its body is not what its headers say, for all we care."""
    lines = [b"--b", b'Content-Disposition: form-data; name="n"']
    lines += [f"{name}: {value}".encode() for name, value in headers]
    body = b"\r\n".join([*lines, b"", data, b"--b--\r\n"])
    found = await MultipartReader(body, f"multipart/{level}; boundary=b").next_part()
    assert found is not None
    return found


# -- codings ----------------------------------------------------------------------------------

GZIPPED = ("Content-Encoding", "gzip")
IN_BASE64 = ("Content-Transfer-Encoding", "base64")


@pytest.mark.parametrize("came", [[], [("Content-Transfer-Encoding", "8bit")],
                                  [("Content-Encoding", "identity")]])  # fmt: skip
async def test_a_coding_of_a_part_that_came_without_is_applied(came: Any) -> None:
    root = MultipartWriter()
    payload = root.append_part(part(DATA, content_type="text/x-any", headers=came))
    payload.headers["Content-Encoding"] = "gzip"
    payload.headers["Content-Transfer-Encoding"] = "base64"
    headers, data = await only(root)
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(base64.b64decode(data)) == DATA


@pytest.mark.parametrize("came", ["gzip", "X-Gzip", "GZIP ", "x-unknown"])
@pytest.mark.parametrize("form", [False, True])
async def test_a_coding_that_is_left_alone_is_not_applied_again(came: str, form: bool) -> None:
    level = "form-data" if form else "mixed"
    given = await one(level, DATA, ("Content-Encoding", came))
    root = FormData() if form else MultipartWriter()
    payload = root.append_part(given)
    if came != "x-unknown":
        payload.headers["Content-Encoding"] = "gzip"
    assert (await only(root))[1] == DATA


@pytest.mark.parametrize("came", [[GZIPPED], [IN_BASE64], [GZIPPED, IN_BASE64],
                                  [("Content-Encoding", "x-unknown")]])  # fmt: skip
@pytest.mark.parametrize("given", [{}, {"Content-Encoding": "deflate"},
                                   {"Content-Transfer-Encoding": "quoted-printable"}])  # fmt: skip
async def test_other_codings_than_a_part_came_with(came: Any, given: dict[str, str]) -> None:
    root = MultipartWriter()
    payload = root.append_part(await one("mixed", DATA, *came))
    for name, _ in came:
        del payload.headers[name]
    payload.headers.update(given)
    out = io.BytesIO()
    with pytest.raises(WriteError, match=r"append its `decoded\(\)`"):
        await root.write(out)
    assert out.getvalue() == b""


async def test_a_part_goes_on_under_another_coding() -> None:
    source = MultipartWriter()
    source.append(DATA, dict([GZIPPED, IN_BASE64]))
    root = MultipartWriter()
    root.append((await received(source)).decoded(), {"Content-Encoding": "deflate"})
    async for found in MultipartReader(await root.as_bytes(), root.content_type):
        assert found.headers["Content-Encoding"] == "deflate"
        assert await found.read(decode=True) == DATA


async def test_a_label_of_a_form_may_be_dropped() -> None:
    """RFC 7578, 4.8: in a form it says nothing of the body."""
    given = await one("form-data", b"x", GZIPPED)
    root = MultipartWriter()
    del root.append_part(given).headers["Content-Encoding"]
    assert (await only(root))[1] == b"x"


# -- whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("verb", ["receive", "read", "readline", "decoded"])
async def test_a_part_that_was_read(verb: str, length: bool) -> None:
    source = MultipartWriter()
    payload = source.append(b"one\ntwo")
    payload.headers.update({"Content-Transfer-Encoding": "base64"} if verb == "decoded" else {})
    if not length:
        payload.headers.popall("Content-Length", None)
    given = await received(source)
    late = MultipartWriter()
    late.append_part(given)
    if verb == "receive":
        await given.receive(3)
    elif verb == "decoded":
        await given.decoded().receive(1)
    else:
        await getattr(given, verb)()
    with pytest.raises(WriteError, match=r"of which \d+ bytes have been read"):
        MultipartWriter().append_part(given)
    out = io.BytesIO()
    with pytest.raises(WriteError, match="body is whole, got part 0"):
        await late.write(out)
    assert out.getvalue() == b""


async def test_a_part_that_was_looked_at() -> None:
    source = MultipartWriter()
    source.append(b"one\ntwo")
    given = await received(source)
    assert await given.peek(3) == b"one"
    root = MultipartWriter()
    root.append_part(given)
    headers, data = await only(root)
    assert data == b"one\ntwo"
    assert headers["Content-Length"] == "7"


async def test_what_is_left_of_a_part() -> None:
    source = MultipartWriter()
    source.append(b"one\ntwo")
    given = await received(source)

    async def rest() -> AsyncIterator[bytes]:
        async for data in given:
            yield data

    assert await given.readline() == b"one\n"
    root = MultipartWriter()
    root.append(rest())
    headers, data = await only(root)
    assert data == b"two"
    assert "Content-Length" not in headers


async def test_a_part_that_is_gone_is_refused_before_a_byte() -> None:
    source = MultipartWriter()
    source.append("one")
    given = await received(source)
    root = MultipartWriter()
    root.append("before")
    root.append_part(given)
    given.close()
    out = io.BytesIO()
    with pytest.raises(anyio.ClosedResourceError, match="no longer current"):
        await root.write(out)
    assert out.getvalue() == b""
