"""Files that frameworks were sent, as parts of forms and of other bodies."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    SimpleUploadedFile,
    UploadedFile,
)
from litestar.datastructures import UploadFile as LitestarUpload
from starlette.datastructures import Headers, UploadFile
from werkzeug.datastructures import FileStorage

from mpflow import FormData, MultipartReader, MultipartWriter

pytestmark = pytest.mark.anyio

GIF = b"GIF89a" * 500


def spooled(max_size: int) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size)  # noqa: SIM115 # whoever asks has it
    file.write(GIF)
    file.seek(0)
    return file


def starlette_upload(content_type: str | None, file: Any) -> UploadFile:
    headers = {} if content_type is None else {"content-type": content_type}
    return UploadFile(file, filename="p.gif", headers=Headers(headers))


def temporary_upload(content_type: str | None) -> Any:
    """As `TemporaryUploadedFile`, which asks for the settings of a site."""
    file = tempfile.NamedTemporaryFile(suffix=".upload.gif")  # noqa: SIM115 # whoever asks has it
    file.write(GIF)
    file.seek(0)
    return UploadedFile(file, "p.gif", content_type, len(GIF), None)


@contextmanager
def opened(kind: str, content_type: str | None = None) -> Generator[Any, None, None]:
    upload = UPLOADS[kind](content_type)
    with closing(upload.stream if kind.startswith("werkzeug") else upload.file):
        yield upload


UPLOADS: dict[str, Callable[[str | None], Any]] = {
    "starlette": lambda kind: starlette_upload(kind, io.BytesIO(GIF)),
    "starlette in memory": lambda kind: starlette_upload(kind, spooled(len(GIF))),
    "starlette on disk": lambda kind: starlette_upload(kind, spooled(10)),
    "litestar": lambda kind: LitestarUpload(kind or "", "p.gif", GIF),
    "werkzeug": lambda kind: FileStorage(io.BytesIO(GIF), "p.gif", "photo", kind),
    "werkzeug in memory": lambda kind: FileStorage(spooled(len(GIF)), "p.gif", "photo", kind),
    "werkzeug on disk": lambda kind: FileStorage(spooled(10), "p.gif", "photo", kind),
    "django": lambda kind: SimpleUploadedFile("p.gif", GIF, kind or ""),
    "django on disk": temporary_upload,
}


async def pulled(obj: Any) -> AsyncIterator[Any]:
    yield obj


@pytest.mark.parametrize("content_type", ["image/x-odd", None])
@pytest.mark.parametrize("way", ["fields", "add", "append", "parts"])
@pytest.mark.parametrize("kind", UPLOADS)
async def test_what_was_uploaded_is_a_file(kind: str, way: str, content_type: str | None) -> None:
    with opened(kind, content_type) as upload:
        root = MultipartWriter(parts=pulled(upload)) if way == "parts" else MultipartWriter()
        if way == "fields":
            root = FormData({"a": upload})
        elif way == "add":
            root = form = FormData()
            form.add("a", upload)
        elif way == "append":
            root.append(upload)
        if way != "parts":
            assert root.size == len(await root.as_bytes())
            assert root.replayable
        data = await root.as_bytes()
    [part] = [
        (p.name, p.filename, p.content_type, await p.read())
        async for p in MultipartReader(data, root.content_type)
    ]
    name = "a" if way in ("fields", "add") else None
    # On a disk Django's has a name with the same suffix.
    own = "image/gif" if kind == "django on disk" else "application/octet-stream"
    assert part == (name, "p.gif", content_type or own, GIF)


CSV = "text/csv"


@pytest.mark.parametrize(
    ("content_type", "charset", "extra", "sent"),
    [
        (CSV, b"utf-16", {"charset": b"utf-16", "x": b"y"}, "charset=utf-16; x=y"),
        (CSV, "utf-16", None, "charset=utf-16"),
        (CSV, None, {"Charset": b"utf-16", "x": b'a "b"'}, 'Charset=utf-16; x="a \\"b\\""'),
        (CSV, None, {"n": "é".encode(), "o": b"\xff"}, 'n="é"; o="\udcff"'),
        (CSV, None, {"a b": b"c", "x": b"a\r\nX-Y: z", "y": 1, "z": b"1"}, "z=1"),
        (f"{CSV}; header=absent", "utf-16", {"header": b"present"}, "header=absent"),
    ],
)  # fmt: skip
async def test_djangos_parameters_of_a_content_type(
    content_type: str, charset: Any, extra: Any, sent: str
) -> None:
    file = io.BytesIO("é".encode("utf-16"))
    upload = InMemoryUploadedFile(file, "f", "a.csv", content_type, 4, charset, extra)
    form = FormData({"f": upload})
    [payload] = form.parts
    assert payload.headers["Content-Type"] == f"{CSV}; {sent}"
    assert f"\r\nContent-Type: {CSV}; {sent}\r\n".encode("utf-8", "surrogateescape") in (
        await form.as_bytes()
    )


@pytest.mark.parametrize("content_type", ["image/x-odd", None])
async def test_the_name_of_a_field_is_no_filename(content_type: str | None) -> None:
    upload: Any = FileStorage(io.BytesIO(GIF), None, "photo", content_type)
    form = FormData({"a": upload})
    form.add("a", upload)
    for data in (await form.as_bytes(), await form.as_bytes()):
        async for p in MultipartReader(data, form.content_type):
            assert (p.filename, p.headers.get("Content-Type")) == (None, content_type)
            assert await p.read() == GIF


async def test_what_is_given_with_an_upload_comes_first() -> None:
    form = FormData()
    upload = UPLOADS["werkzeug"]("image/x-odd")
    form.add("a", upload, filename="q.png", content_type="image/png")
    root = MultipartWriter()
    payload = root.append(upload, {"Content-Type": "image/png"})
    assert form.parts[0].headers["Content-Type"] == "image/png"
    assert b'filename="q.png"' in await form.as_bytes()
    assert payload.headers["Content-Type"] == "image/png"


async def test_a_file_that_was_not_chosen() -> None:
    """As browsers send it: a filename that is empty."""
    upload: Any = FileStorage(io.BytesIO(), "", "photo", "application/octet-stream")
    assert b'name="a"; filename=""\r\n' in await FormData({"a": upload}).as_bytes()
    assert "Content-Disposition" not in MultipartWriter().append(upload).headers
