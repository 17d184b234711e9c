"""Other people's readers of forms, each behind the same function.

Knows: how each is called. Must not know: mpflow.
"""

from __future__ import annotations

import io
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, TypeAlias

__all__ = ["READERS", "Field"]

Field: TypeAlias = "tuple[str | None, str | None, bytes]"


def python_multipart(body: bytes, content_type: str) -> list[Field]:
    from python_multipart import create_form_parser

    found: list[Field] = []

    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode()

    def on_field(field: Any) -> None:
        found.append((text(field.field_name), None, field.value or b""))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        found.append((text(file.field_name), text(file.file_name), file.file_object.read()))
        file.close()

    headers = {"Content-Type": content_type.encode()}
    parser = create_form_parser(headers, on_field, on_file)
    parser.write(body)
    parser.finalize()
    return found


def multipart(body: bytes, content_type: str) -> list[Field]:
    from multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(content_type)
    parts = MultipartParser(io.BytesIO(body), options["boundary"], len(body), strict=True)
    found: list[Field] = []
    for part in parts:
        found.append((part.name, part.filename, part.raw))
        part.close()
    return found


def werkzeug(body: bytes, content_type: str) -> list[Field]:
    from werkzeug.formparser import parse_form_data

    environ: dict[str, Any] = {
        "wsgi.input": io.BytesIO(body), "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)),
    }  # fmt: skip
    _, form, files = parse_form_data(environ)
    found: list[Field] = [(name, None, value.encode()) for name, value in form.items(multi=True)]
    for name, file in files.items(multi=True):
        found.append((name, file.filename, file.read()))
        file.close()
    return found


def django(body: bytes, content_type: str) -> list[Field]:
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    from django.core.files.uploadhandler import MemoryFileUploadHandler
    from django.http.multipartparser import MultiPartParser

    meta = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body))}
    handlers = [MemoryFileUploadHandler()]
    form, files = MultiPartParser(meta, io.BytesIO(body), handlers, "utf-8").parse()
    found: list[Field] = []
    for name, values in form.lists():
        found += [(name, None, value.encode()) for value in values]
    for name, uploads in files.lists():
        for file in uploads:
            found.append((name, file.name, file.read()))
            file.close()
    return found


def email(body: bytes, content_type: str) -> list[Field]:
    """The standard library's, which takes line ends as it likes: for text bodies."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]  # type: ignore[return-value]


READERS = [python_multipart, multipart, werkzeug, django, email]
