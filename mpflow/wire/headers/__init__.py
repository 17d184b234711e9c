"""Header blocks, Content-Type and Content-Disposition: parsed and formatted.

Knows: the names of this package that others use. Must not know: anything else.
"""

from mpflow.wire.headers.formats import format_disposition, format_head, format_parameter, quote
from mpflow.wire.headers.head import PLAIN_FIELD, PLAIN_FILE, Head, parse_head, plain_head
from mpflow.wire.headers.policy import DEVIATIONS, LENIENT, TOLERANCES, Deviation, Policy, policy_of
from mpflow.wire.headers.values import (
    ContentType,
    Disposition,
    parse_content_type,
    parse_disposition,
)

__all__ = [
    "DEVIATIONS",
    "LENIENT",
    "PLAIN_FIELD",
    "PLAIN_FILE",
    "TOLERANCES",
    "ContentType",
    "Deviation",
    "Disposition",
    "Head",
    "Policy",
    "format_disposition",
    "format_head",
    "format_parameter",
    "parse_content_type",
    "parse_disposition",
    "parse_head",
    "plain_head",
    "policy_of",
    "quote",
]
