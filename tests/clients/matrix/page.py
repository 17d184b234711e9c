"""The page of the matrix, docs/reference/compatibility.md: what a run has shown.

Knows: how the outcome is written down. Must not know: how it came about, or any version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.clients.matrix.hard import ENTRIES, NAMES
from tests.clients.matrix.known import CLIENTS, FRAMEWORKS, NAMES_OF_SERVERS, SERVICES, Outcomes
from tests.clients.matrix.rules import HINDERED, LEFT_OUT, sendable

__all__ = ["outcome_tables", "page"]

_HEAD: Final = """\
# Who was tried with whom

<!--- Made by `python -m tests.clients.matrix > docs/reference/compatibility.md`: do not edit. -->

Each client uploaded the same set to each service: fields and files with hard names, an empty file,
one of all 256 bytes, one full of what looks like boundaries, one of 5 MiB, two files of one name,
and 200 fields. The service tells name, filename, size and SHA-256 of each part. "yes" says that
every one of them is what that client sends, and in its order. Two clients are there twice, as what
they are told changes what they send.

"""
_HINDERED: Final = """\
## What does not work

"""
_NAMES: Final = """\
## What becomes of names

What came out of what a client has sent, written as in JSON; it is the same on every server. "same"
is the name as it was given, "none" a part without that parameter, "-" what the client cannot send.

Browsers write `%22`, `%0D` and `%0A` for a quotation mark, CR and LF, and leave a percent sign as
it is; most libraries do the same. mpflow undoes these three in a form. So a name that has `%22` in
it arrives with a quotation mark: nothing tells the two apart. aiohttp writes most characters of a
filename by their numbers and puts a backslash before each blank in the name of a field, unless it
is given `quote_fields=False`.

"""
_VERSIONS: Final = """\
## Versions

"""


def page(outcomes: Outcomes, versions: Mapping[str, str]) -> str:
    """All of it; `versions` by program."""
    rows = ([name, version] for name, version in versions.items())
    tables = _table(["program", "version"], rows)
    return (_HEAD + outcome_tables(outcomes) + _VERSIONS + tables).rstrip("\n") + "\n"


def outcome_tables(outcomes: Outcomes) -> str:
    """What a run shows: who works with whom, what does not, and what becomes of names."""
    notes = _notes()
    clients = [_marked(client, LEFT_OUT.get(client, (None,))[-1], notes) for client in CLIENTS]
    text = ""
    for server, frameworks in SERVICES.items():
        text += f"## On {NAMES_OF_SERVERS[server]}\n\n"
        rows = (
            [
                FRAMEWORKS[framework],
                *(_cell(outcomes, client, server, framework, notes) for client in CLIENTS),
            ]
            for framework in frameworks
        )
        text += _table(["framework", *clients], rows)
    text += _HINDERED
    text += "".join(f"{number}. {reason}\n" for reason, number in notes.items()) + "\n"
    return text + _NAMES + "".join(_names(outcomes))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _notes() -> dict[str, int]:
    """The reasons, numbered."""
    reasons = [*(reason for *_, reason in LEFT_OUT.values()), *HINDERED.values()]
    return {reason: number for number, reason in enumerate(reasons, 1)}


def _marked(text: str, reason: object, notes: Mapping[str, int]) -> str:
    return f"{text} ({notes[reason]})" if isinstance(reason, str) else text


def _cell(
    outcomes: Outcomes, client: str, server: str, framework: str, notes: Mapping[str, int]
) -> str:
    if not outcomes[client][server, framework].is_right:
        return "**no**"
    reason = HINDERED.get((client, server))
    return _marked("yes" if reason is None else "400", reason, notes)


def _names(outcomes: Outcomes) -> Iterator[str]:
    """A table of field names, and one of filenames: names down, clients across."""
    for what, place in (("field name", 0), ("filename", 1)):
        columns = [_arrived(outcomes, client, place) for client in CLIENTS]
        rows = (
            [label, f"`{_json(name)}`", *(column.get(name, "-") for column in columns)]
            for label, name in NAMES.items()
        )
        yield _table([f"{what} with", "given", *CLIENTS], rows)


def _arrived(outcomes: Outcomes, client: str, place: int) -> dict[str, str]:
    """By name that was given to a client: what came, from the first service that took all."""
    parts = next((it.parts for it in outcomes[client].values() if it.is_right and it.parts), ())
    arrived: dict[str, str] = {}
    for entry, came in zip(sendable(client, ENTRIES), parts, strict=False):
        given = entry.name if place == 0 else entry.filename
        if given is not None and (entry.filename is None) == (place == 0):
            told = came[place]
            other = "none" if told is None else f"`{_json(told)}`"
            arrived.setdefault(given, "same" if told == given else other)
    return arrived


def _json(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
