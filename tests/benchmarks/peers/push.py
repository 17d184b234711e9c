"""Peers that are fed chunk by chunk and give events or call back.

Knows: how each is fed. Must not know: clocks, mpflow.

Each looks at every part's name in its own way, and hands every chunk of a payload to `take`.
"""

# They have no types, or none that fit one another.
# mypy: disable-error-code="import-untyped, import-not-found, misc, attr-defined"
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportUntypedBaseClass=false
# pyright: reportAttributeAccessIssue=false, reportUnknownLambdaType=false
from __future__ import annotations

from typing import Any

from tests.benchmarks.bodies import Body
from tests.benchmarks.scenario import Take

__all__ = [
    "fast_multipart", "kirimi", "multipart", "multipart_by_hand", "python_multipart",
    "rust_multipart", "streaming_form_data", "werkzeug",
]  # fmt: skip


def multipart(body: Body, take: Take) -> tuple[int, int]:
    from multipart import PushMultipartParser

    return _segments(PushMultipartParser(body.boundary), body, take)


def kirimi(body: Body, take: Take) -> tuple[int, int]:
    from kirimi import PushMultipartParser

    return _segments(PushMultipartParser(body.boundary), body, take)


def _segments(parser: Any, body: Body, take: Take) -> tuple[int, int]:
    """The parser of multipart, and others of its shape: a segment, its chunks, None."""
    parts = size = 0
    parse = parser.parse
    for chunk in body.chunks:
        for event in parse(chunk):
            kind = type(event)
            if kind is bytes or kind is bytearray:
                size += take(event)
            elif event is not None:
                assert event.name
                parts += 1
    parser.close()
    return parts, size


def multipart_by_hand(body: Body, take: Take) -> tuple[int, int]:
    """A nested body by parsers in parsers."""
    from multipart import PushMultipartParser, parse_options_header

    parts = size = 0
    levels: list[Any] = [PushMultipartParser(body.boundary)]

    def feed(depth: int, data: Any) -> None:
        nonlocal parts, size
        for event in levels[depth].parse(data):
            if event is None:
                continue
            if isinstance(event, bytes | bytearray):
                if depth + 1 < len(levels):
                    feed(depth + 1, event)
                else:
                    size += take(event)
                continue
            assert event.name
            del levels[depth + 1 :]
            if event.content_type.startswith("multipart/"):
                # `content_type` has lost its parameters.
                _, options = parse_options_header(event.header("Content-Type"))
                levels.append(PushMultipartParser(options["boundary"]))
            else:
                parts += 1

    for chunk in body.chunks:
        feed(0, chunk)
    return parts, size


def python_multipart(body: Body, take: Take) -> tuple[int, int]:
    from python_multipart.multipart import MultipartParser, parse_options_header

    parts = size = 0
    field, value = bytearray(), bytearray()
    headers: dict[bytes, bytes] = {}

    def on_part_begin() -> None:
        headers.clear()

    def on_header_field(data: bytes, start: int, end: int) -> None:
        field.extend(data[start:end])

    def on_header_value(data: bytes, start: int, end: int) -> None:
        value.extend(data[start:end])

    def on_header_end() -> None:
        headers[bytes(field).lower()] = bytes(value)
        field.clear()
        value.clear()

    def on_headers_finished() -> None:
        nonlocal parts
        _, options = parse_options_header(headers[b"content-disposition"])
        assert options[b"name"]
        parts += 1

    def on_part_data(data: bytes, start: int, end: int) -> None:
        nonlocal size
        size += take(data[start:end])

    parser = MultipartParser(
        body.boundary,
        {
            "on_part_begin": on_part_begin,
            "on_header_field": on_header_field,
            "on_header_value": on_header_value,
            "on_header_end": on_header_end,
            "on_headers_finished": on_headers_finished,
            "on_part_data": on_part_data,
        },
    )
    for chunk in body.chunks:
        parser.write(chunk)
    parser.finalize()
    return parts, size


def werkzeug(body: Body, take: Take) -> tuple[int, int]:
    from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Field, File, MultipartDecoder

    parts = size = 0
    machine = MultipartDecoder(body.boundary.encode())
    for chunk in (*body.chunks, None):
        machine.receive_data(chunk)
        while (event := machine.next_event()) is not NEED_DATA:
            kind = type(event)
            if kind is Data:
                if event.data:
                    size += take(event.data)
            elif kind is Field or kind is File:
                assert event.name
                parts += 1
            elif kind is Epilogue:
                break
    return parts, size


def streaming_form_data(body: Body, take: Take) -> tuple[int, int]:
    from streaming_form_data import StreamingFormDataParser
    from streaming_form_data.targets import BaseTarget

    parts = size = 0

    class Counts(BaseTarget):
        def on_start(self) -> None:
            nonlocal parts
            parts += 1

        def data_received(self, chunk: bytes) -> None:
            nonlocal size
            size += take(chunk)

    parser = StreamingFormDataParser({"Content-Type": body.content_type})
    # A part that no target wants is left out; a target for each name is searched one by one.
    parser.register("any", Counts(), lambda name, wanted: True)
    for chunk in body.chunks:
        parser.data_received(chunk)
    return parts, size


def fast_multipart(body: Body, take: Take) -> tuple[int, int]:
    from fast_multipart import MultipartParser

    parts = size = 0

    def on_field(field: Any) -> None:
        nonlocal parts
        assert field.name
        parts += 1

    def on_data(data: bytes) -> None:
        nonlocal size
        size += take(data)

    parser = MultipartParser(body.boundary, on_field, on_data, lambda: None)
    for chunk in body.chunks:
        parser.feed(chunk)
    parser.close()
    return parts, size


def rust_multipart(body: Body, take: Take) -> tuple[int, int]:
    from rust_multipart import MultipartParser, PartBegin, PartData, parse_options_header

    parts = size = 0
    parser = MultipartParser(body.boundary.encode())
    for chunk in body.chunks:
        for event in parser.feed(chunk):
            kind = type(event)
            if kind is PartData:
                size += take(event.data)
            elif kind is PartBegin:
                for key, value in event.headers:
                    if key.lower() == b"content-disposition":
                        _, options = parse_options_header(value.decode())
                        assert options["name"]
                parts += 1
    parser.finish()
    return parts, size
