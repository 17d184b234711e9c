"""Any chunking, same result: events, bytes, deviations and errors, over the whole corpus."""

from __future__ import annotations

import pytest

from mpflow.errors import EmptyBody, LimitExceeded, MultipartError, TruncatedBody
from tests.wire.bodies import BODIES, Body
from tests.wire.observe import bytewise, chunkings, observe

VALID = [body for body in BODIES if body.error is None]


def ids(body: Body) -> str:
    return body.id


@pytest.mark.parametrize("body", BODIES, ids=ids)
def test_whole_body_gives_what_the_corpus_says(body: Body) -> None:
    outcome = observe(body.decoder(), [body.data])

    if body.error is None:
        assert outcome.error is None
        assert outcome.ended
        assert all(part.whole for part in outcome.parts)
    else:
        assert outcome.error is not None
        assert outcome.error[0] is body.error
        assert body.limit is None or outcome.error[1][0] == body.limit
    if body.parts is not None:
        assert [part.data for part in outcome.parts] == body.parts
    assert [deviation.code for deviation in outcome.deviations] == body.codes


@pytest.mark.parametrize("body", BODIES, ids=ids)
def test_every_chunking_gives_the_same(body: Body) -> None:
    whole = observe(body.decoder(), [body.data])

    for chunks in chunkings(body.data):
        assert observe(body.decoder(), chunks) == whole, chunks


@pytest.mark.parametrize("body", VALID, ids=ids)
def test_offset_of_a_part_is_where_its_body_begins(body: Body) -> None:
    for part in observe(body.decoder(), [body.data]).parts:
        assert body.data[part.offset :].startswith(part.data)
        if part.data:
            blank = (b"\n\n", b"\r\n\r\n") if "bare-lf" in body.codes else b"\r\n\r\n"
            assert body.data[: part.offset].endswith(blank)


@pytest.mark.parametrize("body", VALID, ids=ids)
def test_every_prefix_is_an_error(body: Body) -> None:
    whole = observe(body.decoder(), [body.data])

    for end in range(body.end):
        cut = body.data[:end]
        outcome = observe(body.decoder(), [cut])
        assert outcome.error is not None, cut
        assert outcome.error[0] is (TruncatedBody if cut else EmptyBody), cut
        assert outcome.error[2] == (end or None)
        assert not outcome.ended
        assert sum(part.whole for part in outcome.parts) <= len(whole.parts)
        assert observe(body.decoder(), bytewise(cut)) == outcome, cut


@pytest.mark.parametrize("body", VALID, ids=ids)
def test_reading_ends_at_the_close_delimiter(body: Body) -> None:
    decoder = body.decoder()

    outcome = observe(decoder, [body.data[: body.end]], eof=False)

    assert outcome.ended
    assert decoder.ended
    assert outcome.epilogue == 0
    assert [part.data for part in outcome.parts] == body.parts


@pytest.mark.parametrize("body", VALID, ids=ids)
def test_no_body_grows_or_shrinks_by_a_later_chunk(body: Body) -> None:
    # The commonest fault of parsers: a CR or half a delimiter at a chunk's end becomes data.
    whole = observe(body.decoder(), [body.data])

    for end in range(body.end):
        outcome = observe(body.decoder(), [body.data[:end]], eof=False)
        assert outcome.error is None
        for part, final in zip(outcome.parts, whole.parts, strict=False):
            assert final.data.startswith(part.data)
            assert part.whole <= (part.data == final.data)


@pytest.mark.parametrize("size", range(65_500, 65_540))
def test_file_that_ends_near_the_end_of_a_read(size: int) -> None:
    head = b"--bound\r\nA: 1\r\n\r\n"
    file = b"x" * (size - len(head))
    data = head + file + b"\r\n--bound--\r\n"
    body = Body("", data, "bound")

    outcome = observe(body.decoder(), [data[:65_536], data[65_536:]])

    assert [part.data == file for part in outcome.parts] == [True]


@pytest.mark.parametrize("body", [body for body in BODIES if body.error], ids=ids)
def test_refusals_say_what_was_expected_and_where(body: Body) -> None:
    outcome = observe(body.decoder(), [body.data])

    assert outcome.error is not None
    kind, limit, offset, part, status, message = outcome.error
    assert issubclass(kind, MultipartError)
    assert "expected" in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 400
    assert status == (413 if kind is LimitExceeded else 400)
    assert (kind is EmptyBody) == (offset is None)
    assert offset is None or 0 <= offset <= len(body.data)
    assert part is None or part.path[0] <= len(outcome.parts)
    assert limit is None or limit == (body.limit, getattr(body.options["limits"], body.limit or ""))
