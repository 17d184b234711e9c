"""The decoder agrees with a slow parser that was written from the RFC, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpflow.errors import MalformedBody, TruncatedBody
from mpflow.wire import Decoder
from tests.wire.bodies import BODIES, Body
from tests.wire.observe import bytewise, observe
from tests.wire.reference import Refused, parse

BOUNDARIES = ["b", "-", "--", "bb", "b-b", "b--"]
ODD = {"bare-lf", "dashed-boundary", "missing-first-delimiter"}
"""What the reference knows nothing of."""
TOKENS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"-", b"--", b" ", b"\t", b"b", b"x", b"A: 1", b"\r\n\r\n"]
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """Bytes in which delimiters, and what looks like one, are thick on the ground."""
    boundary = draw(st.sampled_from(BOUNDARIES))
    dashed = b"--" + boundary.encode()
    tokens = TOKENS | st.sampled_from([dashed, b"\r\n" + dashed, b"\r\n" + dashed + b"\r\n"])
    begin = draw(st.sampled_from([b"", dashed, dashed + b"\r\n", dashed + b"\r\n\r\n"]))
    end = draw(st.sampled_from([b"", b"\r\n" + dashed + b"--"]))
    return boundary, begin + b"".join(draw(st.lists(tokens, max_size=25))) + end


@given(bodies())
@example(("b", b"--b\r\n--b\r\n\r\n--b--"))
@example(("b", b"--b \t\r\n--b--"))
@example(("b--", b"--b--\r\n\r\n--b--\r\n--b----"))
def test_decoder_agrees_with_the_reference(case: tuple[str, bytes]) -> None:
    boundary, data = case
    for chunks in ([data], bytewise(data)):
        outcome = observe(Decoder(boundary), chunks)
        if outcome.error is not None and outcome.error[0] is MalformedBody:
            continue  # a header that the reference does not look at
        try:
            expected = parse(data, boundary.encode())
        except Refused:
            assert outcome.error is not None
            assert issubclass(outcome.error[0], TruncatedBody)
        else:
            assert outcome.error is None
            assert outcome.pairs == expected


@pytest.mark.parametrize(
    "body",
    [body for body in BODIES if body.error is None and ODD.isdisjoint(body.codes)],
    ids=lambda body: body.id,
)
def test_reference_agrees_with_the_corpus(body: Body) -> None:
    assert parse(body.data, body.boundary.encode()) == observe(body.decoder(), [body.data]).pairs
