"""`pairs()`: documents with their attachments, or alone."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from mpflow import MalformedBody, MultipartReader
from mpflow.testing import Bytewise, Chunked, PartSpec, body, content_type_of, nested, splits
from tests.support import TYPE, crlf

pytestmark = pytest.mark.anyio

# A store of documents answers so, with boundaries that hold the dashes of their delimiters.
DOCUMENTS = crlf(
    "--:\n"
    "CONTENT-TYPE: application/json\n\n"
    '{"_id": "foo"}\n'
    "--:\n"
    "CONTENT-TYPE: multipart/related; boundary=----:\n\n"
    "----:\n"
    "CONTENT-TYPE: application/json\n\n"
    '{"_id": "bar"}\n'
    "----:\n"
    "CONTENT-TYPE: text/plain\n"
    "CONTENT-DISPOSITION: attachment; filename=bar.txt\n\n"
    "bar! bar! bar!\n"
    "----:--\n"
    "--:\n"
    "CONTENT-TYPE: application/json\n\n"
    '{"_id": "boo"}\n'
    "--:--"
)
FOUND = [("foo", []), ("bar", [("bar.txt", b"bar! bar! bar!")]), ("boo", [])]


async def documents(source: Any) -> list[tuple[str, list[tuple[str | None, bytes]]]]:
    reader = MultipartReader(source, "multipart/mixed; boundary=--:", tolerate={"dashed-boundary"})
    return [
        ((await document.json())["_id"], [(it.filename, await it.read()) async for it in files])
        async for document, files in reader.pairs()
    ]


async def test_documents_and_attachments() -> None:
    assert await documents(DOCUMENTS) == FOUND
    assert await documents(Bytewise(DOCUMENTS)) == FOUND
    for first, _ in splits(DOCUMENTS):
        assert await documents(Chunked(DOCUMENTS, [len(first)] if first else [])) == FOUND


SENT = body(
    [
        ("a", "alone"),
        nested([("b", "with"), ("c", "x" * 300_000), ("d", "last")], boundary="inner"),
        ("e", "end"),
    ]
)


@pytest.mark.parametrize("size", [1000, 65536, 1 << 20])
async def test_what_is_passed_over_is_drained(size: int) -> None:
    reader = MultipartReader(Chunked(SENT, size), content_type_of())
    found = []
    async for document, attachments in reader.pairs():
        found.append(await document.text())
        async for it in attachments:
            assert await it.peek(1) == b"x"
            break
    assert found == ["alone", "with", "end"]


async def test_the_document_is_gone_once_its_attachments_are_read() -> None:
    pairs = MultipartReader(SENT, content_type_of()).pairs()
    document, attachments = await anext(pairs)
    assert [it async for it in attachments] == []
    assert await document.text() == "alone"  # nothing came after it
    document, attachments = await anext(pairs)
    assert (await anext(attachments)).name == "c"
    with pytest.raises(anyio.ClosedResourceError):
        await document.text()
    await anext(pairs)
    with pytest.raises(anyio.ClosedResourceError):
        await anext(attachments)
    with pytest.raises(StopAsyncIteration):
        await anext(pairs)


async def test_a_multipart_without_a_document() -> None:
    sent = body([PartSpec(b"--inner--", content_type=content_type_of("inner", "related"))])
    pairs = aiter(MultipartReader(sent, TYPE).pairs())
    with pytest.raises(MalformedBody, match="expected a document as the first part") as caught:
        await anext(pairs)
    assert caught.value.part is not None
    assert caught.value.part.path == (0,)
