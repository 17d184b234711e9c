"""Whether an answer is the one that it must be.

Knows: what was sent. Must not know: who answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from tests.clients.matrix.hard import Entry
from tests.clients.matrix.known import Answer, Outcome
from tests.clients.matrix.rules import arriving

__all__ = ["refused", "whole"]


def whole(client: str, sent: Sequence[Entry], answer: Answer) -> Outcome:
    """Every part came, with the bytes and names that this client sends, and in its order."""
    if answer.status // 100 != 2:
        return Outcome(False, f"{answer.status}: {answer.text[:500]}")
    came: list[dict[str, Any]] = answer.document["parts"]
    parts = tuple((part["name"], part["filename"]) for part in came)
    if len(came) != len(sent):
        return Outcome(False, f"expected {len(sent)} parts, got {len(came)}", parts)
    for entry, part, names in zip(sent, came, parts, strict=True):
        expected = arriving(client, entry)
        if names != expected:
            return Outcome(False, f"expected {expected!r}, got {names!r}", parts)
        digest = hashlib.sha256(entry.data).hexdigest()
        if (part["size"], part["sha256"]) != (len(entry.data), digest):
            return Outcome(False, f"the bytes of {names!r} are others", parts)
    return Outcome(True, "", parts)


def refused(answer: Answer) -> Outcome:
    """The body that the server has dropped is told as such."""
    if answer.status != 400 or '"EmptyBody"' not in answer.text:
        return Outcome(False, f"expected a 400, got {answer.status}: {answer.text[:500]}")
    return Outcome(True, "")
