"""Predicates: what a route asks of a part, by its headers and its place.

    name("photo") & (content_type("image/jpeg") | content_type("image/png"))
    filename(True) & ~filename("*.exe")

Knows: the public names. Must not know: anything else; there is no logic here.
"""

from __future__ import annotations

from mpflow.predicates.kinds import Predicate, PredicateLike, as_predicate
from mpflow.predicates.make import (
    MatchOptions,
    any_part,
    content_type,
    depth,
    disposition,
    filename,
    header,
    index,
    keywords,
    name,
    path,
)
from mpflow.predicates.sniffing import NeedBytes, sniff

__all__ = [
    "MatchOptions",
    "NeedBytes",
    "Predicate",
    "PredicateLike",
    "any_part",
    "as_predicate",
    "content_type",
    "depth",
    "disposition",
    "filename",
    "header",
    "index",
    "keywords",
    "name",
    "path",
    "sniff",
]
