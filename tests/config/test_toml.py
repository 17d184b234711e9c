"""Routers from TOML files: each fault with its file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpflow import ConfigError, MultipartReader, Router
from mpflow.testing import PartSpec, body, content_type_of, nested

pytestmark = pytest.mark.anyio

GOOD = """\
max_handlers = 4

[limits]
max_total_bytes = "1 MiB"
idle_timeout = "none"

[[route]]
match.name = "meta"
handler = "json"
required = true

[[route]]
match = { any = [{ content_type = "image/*" }, { filename = "*.png" }] }
key = "photos"

[route.handler]
use = "save"
directory = "DIR"
name = { format = "{safe_filename}" }
exists = "suffix"

[[route]]
match.content_type = "multipart/*"
key = "inner"
handler = { use = "nested", router = "inner", needs = "meta" }
needs = "meta"

[router.inner]
given = ["meta"]

[[router.inner.route]]
handler = "text"
"""

BAD = '''\
limts = {}

[limits]
max_parts = "x"

[[route]]           # a comment that says [[route]]
match = { name = "a" }
handler = """
jsn"""

[[route]]
match.nmae = "b"
handler = {use = "tee", handlers = [
    {use = "save", directory = "."},
    # {use = "nothing"}
    {use = "digest", expected = """
[[route]]
""", algorithms = [
        "sha256",
        { format = "x{y}" },
    ]},
]}

[route.needs]
a = 1

[[route]]
handler = "save"
'''


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "routes.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Router.from_toml(path)
    assert all(line.startswith(f"{path}:") for line in caught.value.problems)
    return [line.removeprefix(f"{path}:") for line in caught.value.problems]


async def test_a_file_becomes_a_router(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("DIR", str(tmp_path)))
    router = Router.from_toml(os.fspath(path))
    assert router.max_handlers == 4
    assert router.limits is not None
    assert (router.limits.max_total_bytes, router.limits.idle_timeout) == (1024 * 1024, None)
    data = body(
        [
            ("meta", '{"a": 1}'),
            PartSpec(b"1", filename="a.png", content_type="text/plain"),
            PartSpec(b"2", filename="a.png", content_type="image/png"),
            nested([("note", "inside")]),
        ]
    )
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert [saved.path.name for saved in results.all("photos")] == ["a.png", "a-1.png"]
    assert results["inner"]["note"] == "inside"


def test_each_fault_has_its_line(tmp_path: Path) -> None:
    told = faults(write(tmp_path, BAD))
    assert [line.split(": ")[:2] for line in told] == [
        ["1", "limts"],
        ["4", "limits.max_parts"],
        ["8", "route[0].handler"],
        ["12", "route[1].match.nmae"],
        ["20", "route[1].handler.handlers[1].algorithms[1].format"],
        ["24", "route[1].needs"],
        ["28", "route[2].handler"],
    ]


def test_lines_of_windows_are_counted_alike(tmp_path: Path) -> None:
    assert faults(write(tmp_path, BAD.replace("\n", "\r\n"))) == faults(write(tmp_path, BAD))


def test_faults_of_the_whole_stand_at_the_first_line(tmp_path: Path) -> None:
    assert faults(write(tmp_path, "\n\nmax_handlers = 3\n")) == [
        "1: expected at least one [[route]]"
    ]
    assert faults(write(tmp_path, "")) == ["1: expected at least one [[route]]"]


def test_a_route_that_can_never_match(tmp_path: Path) -> None:
    (told,) = faults(
        write(tmp_path, '[[route]]\nhandler = "text"\n\n[[route]]\nhandler = "discard"\n')
    )
    assert told.startswith("4: route[1]: the route to Discard() can never match")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n[[route]\n", "2: expected TOML: "),
        ('a = 1\nb = """\n', "2: expected TOML: "),
        (b"a = 1\nb = '\xff'\n", "2: expected UTF-8, got the byte 0xff"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str | bytes, said: str) -> None:
    (told,) = faults(write(tmp_path, text))
    assert told.startswith(said)


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "{a=" * 5000 + "1" + "}" * 5000])
def test_what_is_nested_too_deep(tmp_path: Path, value: str) -> None:
    (told,) = faults(write(tmp_path, f"x = {value}\n"))
    assert told == "1: expected arrays and tables in fewer others, got too many levels"


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Router.from_toml(tmp_path / "none.toml")
