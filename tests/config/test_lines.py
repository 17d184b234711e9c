"""The lines of a TOML text: every place that tomllib finds, on the line where it was written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow.config.lines import Steps, find_lines

TRICKY = '''\
# a comment = [not, a, value]
"quoted key" = 1
dotted . "k.e\\u0079" = 2   # two keys on a line
text = """
[[route]] # neither a table
key = "value" \\""" still
"""""
literal = \'\'\'
] } , \'\' = \'\'\'\'\'
many = [ # a comment ]
  "]", \'[\',

  {a = 1, b = [
    2, 3 ]}, # another
  [ [], 1979-05-27 07:32:00, -inf ],
]
[route]
x = 0x1F
[[route.inner]]
a = true
[route.inner.deep]
b = 1_000
[[route.inner]]
[[route.inner.more]]
c = 07:32:00
  [ "a" . b ]
d.e = {}
'''


def places(value: Any, steps: Steps = ()) -> set[Steps]:
    """All keys and indexes of a document."""
    found: set[Steps] = {steps} if steps else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= places(item, (*steps, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found |= places(item, (*steps, index))
    return found


def test_every_place_of_a_tricky_text() -> None:
    lines = find_lines(TRICKY)
    assert lines.keys() == places(tomllib.loads(TRICKY))
    assert lines["quoted key",] == 2
    assert lines["dotted",] == lines["dotted", "k.ey"] == 3
    assert lines["text",] == 4
    assert lines["literal",] == 8
    assert [lines["many", index] for index in range(4)] == [11, 11, 13, 15]
    assert lines["many", 2, "b"] == 13
    assert lines["many", 2, "b", 1] == 14
    assert lines["route", "inner", 0] == lines["route", "inner"] == 19
    assert lines["route", "inner", 0, "deep", "b"] == 22
    assert lines["route", "inner", 1] == 23
    assert lines["route", "inner", 1, "more", 0, "c"] == 25
    assert lines["a", "b", "d", "e"] == 27


def test_lines_end_alike(tmp_path: Path) -> None:
    assert find_lines(TRICKY.replace("\n", "\r\n")) == find_lines(TRICKY)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "# nothing\n"])
def test_there_may_be_nothing(text: str) -> None:
    assert find_lines(text) == {}


# -- any document, written in any way ---------------------------------------------------------

KEYS = st.text("ab._ #\"'\\]=\né", max_size=4)
SCALARS = st.one_of(st.booleans(), st.integers(0, 99), st.text("ab'\"\\\n]}#=,[ é", max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


class Writer:
    """Writes a document as TOML, in ways that are drawn, and keeps where each place begins."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.text = ""
        self.lines: dict[Steps, int] = {}

    def choose(self, *choices: str) -> str:
        return self.data.draw(st.sampled_from(choices))

    def note(self, steps: Steps) -> None:
        self.lines.setdefault(steps, self.text.count("\n") + 1)

    def key(self, key: str) -> str:
        escaped = self.basic(key)
        styles = [escaped]
        if "'" not in key and "\n" not in key:
            styles.append(f"'{key}'")
        if key and set(key) <= set("ab_"):
            styles.append(key)
        return self.choose(*styles) + self.choose("", " ", "\t")

    def basic(self, text: str) -> str:
        for char, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
            text = text.replace(char, escape)
        return f'"{text}"'

    def string(self, text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"""', '""\\"')
        styles = [self.basic(text)]
        if not escaped.endswith('"""'):
            styles.append(f'"""\n{escaped}"""')
        if "'" not in text and "\n" not in text:
            styles.append(f"'{text}'")
        if "'''" not in text:
            styles.append(f"'''\n{text}'''")
        return self.choose(*styles)

    def gap(self) -> None:
        self.text += self.choose("", " ", "\n", " # ]}=\n", "\n\n\t")

    def value(self, steps: Steps, value: Any) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for index, (key, item) in enumerate(value.items()):
                self.text += ", " if index else ""
                self.note((*steps, key))
                self.text += f"{self.key(key)}= "
                self.value((*steps, key), item)
            self.text += "}"
        elif isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self.gap()
                self.note((*steps, index))
                self.value((*steps, index), item)
                self.gap()
                self.text += ","
            self.gap()
            self.text += "]"
        elif isinstance(value, str):
            self.text += self.string(value)
        else:
            self.text += str(value).lower()

    def table(self, steps: Steps, table: dict[str, Any]) -> None:
        """Simple keys first, then those that become tables of their own."""
        later: list[str] = []
        for key, value in table.items():
            is_tables = bool(value) and isinstance(value, list)
            is_tables = is_tables and all(isinstance(item, dict) for item in value)
            if (isinstance(value, dict) or is_tables) and self.choose("table", "inline") == "table":
                later.append(key)
                continue
            self.note((*steps, key))
            self.text += f"{self.key(key)}= "
            self.value((*steps, key), value)
            self.text += self.choose("\n", " # [a] = 1\n", "\n\n")
        for key in later:
            inside = (*steps, key)
            value = table[key]
            heads = [(inside, value)] if isinstance(value, dict) else []
            if not heads:
                heads = [((*inside, index), item) for index, item in enumerate(value)]
            for place, item in heads:
                self.note(inside)
                self.note(place)
                name = ".".join(self.key(step) for step in place if isinstance(step, str))
                self.text += f"[{name}]\n" if isinstance(value, dict) else f"[[{name}]]\n"
                self.table(place, item)


@given(DOCUMENTS, st.data())
def test_any_document_however_it_is_written(document: dict[str, Any], data: st.DataObject) -> None:
    writer = Writer(data)
    writer.table((), document)
    assert tomllib.loads(writer.text) == document  # the writer is right
    assert find_lines(writer.text) == writer.lines
