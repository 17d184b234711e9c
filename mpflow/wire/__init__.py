"""The wire: bytes to events and events to bytes, for people who bring their own I/O.

Knows: RFC 2046, 7578, 2231 and 8187, and the limits. Must not know: async, I/O, logging, clocks.
"""

from mpflow.wire.boundary import new_boundary
from mpflow.wire.codings import (
    Coding,
    CodingDecoder,
    CodingEncoder,
    Decoding,
    Encoding,
    codings_of,
    find_coding,
    register_coding,
)
from mpflow.wire.decoder import Decoder
from mpflow.wire.encoder import Encoder
from mpflow.wire.events import (
    NEED_DATA,
    BodyEnd,
    Event,
    NeedData,
    PartBegin,
    PartData,
    PartEnd,
    WholePart,
)
from mpflow.wire.headers import (
    DEVIATIONS,
    TOLERANCES,
    ContentType,
    Deviation,
    Disposition,
    Head,
    parse_content_type,
    parse_disposition,
    parse_head,
)
from mpflow.wire.limits import Budget, Limits

__all__ = [
    "DEVIATIONS",
    "NEED_DATA",
    "TOLERANCES",
    "BodyEnd",
    "Budget",
    "Coding",
    "CodingDecoder",
    "CodingEncoder",
    "ContentType",
    "Decoder",
    "Decoding",
    "Deviation",
    "Disposition",
    "Encoder",
    "Encoding",
    "Event",
    "Head",
    "Limits",
    "NeedData",
    "PartBegin",
    "PartData",
    "PartEnd",
    "WholePart",
    "codings_of",
    "find_coding",
    "new_boundary",
    "parse_content_type",
    "parse_disposition",
    "parse_head",
    "register_coding",
]
