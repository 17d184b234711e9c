"""Content codings and transfer encodings, incremental in both directions, without I/O.

Knows: the names of this package that others use. Must not know: anything else.
"""

from mpflow.wire.codings.base import PIECE, CodingDecoder, CodingEncoder
from mpflow.wire.codings.registry import CODINGS, Coding, Kind, find_coding, register_coding
from mpflow.wire.codings.stack import RATIO_FROM, Decoding, Encoding, codings_of

__all__ = [
    "CODINGS",
    "PIECE",
    "RATIO_FROM",
    "Coding",
    "CodingDecoder",
    "CodingEncoder",
    "Decoding",
    "Encoding",
    "Kind",
    "codings_of",
    "find_coding",
    "register_coding",
]
