"""Real mails, which others collected, and their trees as the standard library sees them.

Knows: where each collection keeps its mails; the package `email`, an independent reader.
Must not know: how mpflow reads a mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

__all__ = ["COLLECTIONS", "Leaf", "Mail", "leaves", "mails_of", "top_delimiters", "tree"]

COLLECTIONS = {
    "django-mailbox": "django?mailbox-*/django_mailbox/tests/messages/*.eml",
    "lamson": "lamson-*/tests/**/*.msg",
    "mail-parser": "mail?parser-*/tests/mails/*",
    "mailman": "mailman-*/src/mailman/**/*.eml",
    "salmon": "salmon?mail-*/tests/data/*.msg",
    "talon": "talon-*/tests/fixtures/**/*.eml",
}
"""Where the mails of each collection stand in its source distribution."""


@attrs.frozen
class Leaf:
    """A part as both readers tell it. `sha256` is that of its body without its transfer encoding;
    None of a multipart, and of a message inside a mail, which `email` takes apart."""

    path: tuple[int, ...]
    content_type: str
    filename: str | None
    sha256: str | None


@attrs.frozen
class Mail:
    """A mail. `parts` is its tree, depth first; None where it is no multipart."""

    id: str
    data: bytes = attrs.field(repr=False)
    boundary: bytes | None
    parts: list[Leaf] | None


def mails_of(folder: Path) -> list[Mail]:
    """Every mail below a folder, into which the collections were unpacked, and those of Python's
    own tests where it came with them."""
    return [
        *(
            _mail(f"{name}-{path.stem}", path)
            for name, pattern in COLLECTIONS.items()
            for path in sorted(folder.glob(pattern))
        ),
        *(_mail(f"cpython-{path.stem}", path) for path in _own()),
    ]


def _own() -> list[Path]:
    """The mails of Python's own tests; not every installation has them."""
    try:
        tests = find_spec("test.test_email")
    except ModuleNotFoundError:
        return []
    if tests is None or tests.origin is None:
        return []
    return sorted(Path(tests.origin).with_name("data").glob("msg_*.txt"))


def _mail(id: str, path: Path) -> Mail:
    data = path.read_bytes()
    message = message_from_bytes(data, policy=default)
    if message.get_content_maintype() != "multipart":
        return Mail(id, data, None, None)
    boundary = message.get_boundary()
    parts = list(tree(message)) if message.is_multipart() else []
    return Mail(id, data, None if boundary is None else boundary.encode(), parts)


def tree(message: EmailMessage, path: tuple[int, ...] = ()) -> Iterator[Leaf]:
    """The parts of a message as the standard library has parsed it, depth first."""
    children: Any = message.get_payload()
    for index, part in enumerate(children):
        place = (*path, index)
        kind = part.get_content_maintype()
        digest = None
        if kind not in ("multipart", "message"):
            digest = hashlib.sha256(part.get_payload(decode=True)).hexdigest()
        yield Leaf(place, part.get_content_type(), part.get_filename(), digest)
        if kind == "multipart" and part.is_multipart():
            yield from tree(part, place)


def leaves(parts: list[dict[str, Any]]) -> Iterator[Leaf]:
    """The same of what `mpflow inspect --json` tells."""
    for part in parts:
        kind = part["content_type"]
        whole = kind.startswith(("multipart/", "message/"))
        digest = None if whole else part.get("decoded_sha256", part["sha256"])
        yield Leaf(tuple(part["path"]), kind, part.get("filename"), digest)
        yield from leaves(part.get("parts", []))


def top_delimiters(mail: Mail) -> list[int]:
    """Where each delimiter line of the outermost level ends; the last one is the close delimiter's
    beginning. Found line by line: what is slow and plain is right."""
    assert mail.boundary is not None
    found: list[int] = []
    place = 0
    for line in mail.data.splitlines(keepends=True):
        text = line.rstrip()
        if text == b"--" + mail.boundary + b"--":
            return [*found, place]
        place += len(line)
        if text == b"--" + mail.boundary:
            found.append(place)
    return found
