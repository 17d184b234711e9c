"""Routers from mappings: what they route, and all of their faults at once, each at its place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from math import nan
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from mpflow import (
    ConfigError,
    Limits,
    MultipartReader,
    NoRoute,
    Part,
    PartInfo,
    Results,
    RouteError,
    Router,
)
from mpflow.predicates import name
from mpflow.testing import PartSpec, body, content_type_of, nested
from mpflow_handlers import ObjectStore

pytestmark = pytest.mark.anyio


def reader(*parts: Any) -> MultipartReader:
    return MultipartReader(body(parts), content_type_of())


def route(**table: Any) -> dict[str, Any]:
    return {"route": [{"handler": "discard", **table}]}


def faults(config: Mapping[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Router.from_config(config)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


# -- what is routed -------------------------------------------------------------------------------


async def test_a_whole_configuration(tmp_path: Path) -> None:
    router = Router.from_config(
        {
            "max_handlers": 3,
            "limits": {"max_parts": 9, "max_total_bytes": "1 GiB", "max_memory": "none"},
            "route": [
                {"match": {"name": "meta"}, "handler": "json", "required": True},
                {
                    "match": {"filename": "*.png"},
                    "key": "photos",
                    "max_bytes": "1 KiB",
                    "handler": {
                        "use": "tee",
                        "handlers": [
                            {
                                "use": "save",
                                "directory": str(tmp_path),
                                "name": {"format": "{index}-{safe_filename}"},
                            },
                            {"use": "digest", "algorithms": ["sha256", "md5"]},
                        ],
                    },
                },
                {"handler": {"use": "json"}, "on_error": "collect"},
            ],
        }
    )
    assert router.max_handlers == 3
    assert router.limits == Limits(max_parts=9, max_total_bytes="1 GiB", max_memory=None)
    results = await router.dispatch(
        reader(
            ("other", "no json"),
            PartSpec(b"abc", filename="../a.png", content_type="image/png"),
            ("meta", '{"a": 1}'),
        )
    )
    assert results["meta"] == {"a": 1}
    saved, digests = results["photos"]
    assert saved.path == tmp_path / "1-a.png"
    assert saved.path.read_bytes() == b"abc"
    assert list(digests) == ["sha256", "md5"]
    with pytest.raises(ExceptionGroup):
        results.raise_for_errors()


def info(**options: Any) -> PartInfo:
    return PartInfo.of(**options)


MATCHES = [
    ({"name": "a"}, {"name": "a"}, {"name": "b"}),
    ({"filename": True}, {"filename": ""}, {"name": "a"}),
    ({"filename": False}, {"name": "a"}, {"filename": "a"}),
    ({"filename": "*.png"}, {"filename": "A.PNG"}, {"filename": "a.gif"}),
    ({"content_type": "image/*"}, {"content_type": "image/png"}, {"content_type": "text/html"}),
    ({"header": "x-a"}, {"headers": {"X-A": "1"}}, {"headers": {"X-B": "1"}}),
    ({"header": {"x-a": "1*"}}, {"headers": {"X-A": "12"}}, {"headers": {"X-A": "2"}}),
    ({"disposition": "inline"}, {"headers": {"Content-Disposition": "inline"}}, {"name": "a"}),
    ({"index": 1}, {"index": 1}, {"index": 2}),
    ({"depth": 1}, {"path": (1, 0)}, {"path": (1,)}),
    ({"path": [1, "*"]}, {"path": (1, 5)}, {"path": (2, 5)}),
    ({"any": [{"name": "a"}, {"name": "b"}]}, {"name": "b"}, {"name": "c"}),
    (
        {"all": [{"name": "a"}, {"filename": True}]},
        {"name": "a", "filename": "b"},
        {"name": "a"},
    ),
    ({"not": {"name": "a"}}, {"name": "b"}, {"name": "a"}),
    (
        {"filename": True, "not": {"any": [{"name": "a"}, {"not": {"filename": "*.png"}}]}},
        {"name": "b", "filename": "b.png"},
        {"name": "b", "filename": "b.gif"},
    ),
]


@pytest.mark.parametrize(("match", "fits", "misses"), MATCHES)
def test_what_a_match_table_takes(
    match: dict[str, Any], fits: dict[str, Any], misses: dict[str, Any]
) -> None:
    router = Router.from_config(route(match=match))
    assert router.match(info(**fits)) is router.routes[0]
    assert router.match(info(**misses)) is None


def test_policies_reach_the_route() -> None:
    policies: dict[str, Any] = {
        "key": "k",
        "required": True,
        "max_count": 2,
        "max_bytes": "1 KiB",
        "timeout": 1.5,
        "on_error": "collect",
        "decode": "all",
        "order": "spool",
    }
    (made,) = Router.from_config(route(**policies)).routes
    assert {key: getattr(made, key) for key in policies} == {**policies, "max_bytes": 1024}


async def test_python_values_are_taken_as_they_are() -> None:
    async def shout(part: Part) -> str:
        return (await part.text()).upper()

    inner = Router()
    inner.add(shout)
    config = {
        "limits": Limits(max_parts=5),
        "route": [
            {"match": name("a"), "handler": shout},
            {"match": lambda info: info.is_multipart, "key": "in",
             "handler": {"use": "nested", "router": inner}},
        ],
    }  # fmt: skip
    results = await Router.from_config(config).dispatch(
        reader(("a", "loud"), nested([("b", "inside")]))
    )
    assert results["a"] == "LOUD"
    assert results["in"]["b"] == "INSIDE"


def test_a_subclass_makes_its_own_kind() -> None:
    class Mine(Router):
        pass

    config = {
        "route": [{"handler": {"use": "nested", "router": "deep"}}],
        "router": {"deep": route()},
    }
    made = Mine.from_config(config)
    assert type(made) is Mine
    assert type(made.routes[0].handler.router) is Mine  # type: ignore[attr-defined] # Nested


async def test_routers_may_name_each_other_and_themselves() -> None:
    into = {"match": {"content_type": "multipart/*"}, "key": "in"}
    config = {
        "route": [
            {**into, "handler": {"use": "nested", "router": "odd"}},
            {"handler": "text"},
        ],
        "router": {
            "odd": {
                "max_handlers": 1,
                "route": [
                    {**into, "handler": {"use": "nested", "router": "main"}},
                    {"handler": "collect"},
                ],
            }
        },
    }
    router = Router.from_config(config)
    message = nested([("b", "1"), nested([("c", "2")], boundary="x")], boundary="y")
    results = await router.dispatch(reader(("a", "0"), message))
    inner: Results = results["in"]
    assert (results["a"], inner["b"], inner["in"]["c"]) == ("0", b"1", "2")


async def test_needs_of_routes_and_of_nested_routers() -> None:
    async def greet(part: Part, who: str) -> str:
        return f"{await part.text()} {who}"

    config: dict[str, Any] = {
        "route": [
            {"match": {"name": "who"}, "handler": "text"},
            {
                "match": {"content_type": "multipart/*"},
                "key": "in",
                "handler": {"use": "nested", "router": "inner", "needs": ["who"]},
            },
            {"match": {"name": "hi"}, "handler": greet, "needs": {"who": "who"}},
        ],
        "router": {
            "inner": {"given": ["who"], "route": [{"handler": greet, "needs": "who", "key": "x"}]}
        },
    }
    results = await Router.from_config(config).dispatch(
        reader(("who", "Eva"), nested([("b", "hello")]), ("hi", "hi"))
    )
    assert (results["in"]["x"], results["hi"]) == ("hello Eva", "hi Eva")
    del config["router"]["inner"]["given"]
    (fault,) = faults(config)
    assert fault.startswith("router.inner.route[0].needs: route[0] to ")
    assert fault.endswith("greet ('x') needs 'who', which no route declares and nobody gives")


async def test_a_child_of_a_tee_may_fail_alone() -> None:
    children = [{"use": "text"}, {"use": "json", "on_error": "collect"}]
    config = route(handler={"use": "tee", "handlers": children}, key="k")
    results = await Router.from_config(config).dispatch(reader(("a", "no json")))
    text, error = results["k"]
    assert text == "no json"
    assert isinstance(error, Exception)


async def test_what_no_route_takes_is_refused() -> None:
    router = Router.from_config(route(match={"name": "a"}))
    with pytest.raises(NoRoute):
        await router.dispatch(reader(("b", "")))


# -- templates ------------------------------------------------------------------------------------


async def test_names_by_a_format(tmp_path: Path) -> None:
    def saving(text: str) -> Router:
        made = {"use": "save", "directory": str(tmp_path), "name": {"format": text}}
        return Router.from_config(route(key="f", handler=made))

    async def saved(text: str) -> str:
        results = await saving(text).dispatch(reader(PartSpec(b"1", filename="../bü c.txt")))
        return str(results["f"].path.name)

    assert await saved("{{{path}-{index}}}-{safe_filename}") == "{0-0}-bü c.txt"
    assert await saved("{url_filename}") == "b%C3%BC%20c.txt"
    assert len(await saved("{random}.bin")) == 36
    for text in ("{filename}", "{safe_filename.upper}", "{index:3}", "{index!r}", "{", "{}"):
        (fault,) = faults(
            route(handler={"use": "save", "directory": ".", "name": {"format": text}})
        )
        assert fault.startswith("route[0].handler.name.format: expected "), fault
        assert "{safe_filename}, {url_filename}, {index}" in fault


@pytest.mark.parametrize(
    "handler",
    [
        {"use": "save", "directory": ".", "name": {"format": "x" * 254 + "{safe_filename}"}},
        {"use": "save", "directory": ".", "name": {"format": "{random}"}},
        {"use": "forward", "url": {"format": "http://{url_filename}.example.org:80{index}/"}},
        {"use": "forward", "url": {"format": "{safe_filename}"}},
        {"use": "objectstore", "store": "memory:///", "key": {"format": "{path}/{url_filename}"}},
        # Of this option a str is the name of a header, and what a callable makes is a digest.
        {"use": "digest", "algorithms": ["md5"], "expected": {"format": "{safe_filename}"}},
        {"use": "digest", "algorithms": ["md5"], "expected": {"format": "0" * 32}},
        {"use": "digest", "algorithms": ["md5"], "expected": {"md5": {"format": "{random}"}}},
    ],
)
def test_a_format_that_may_be_right_is_taken(handler: dict[str, Any]) -> None:
    assert len(Router.from_config(route(handler=handler)).routes) == 1


async def test_a_format_in_a_table() -> None:
    attributes = {
        "Content-Disposition": {"format": 'attachment; filename="{safe_filename}"'},
        "Content-Type": "image/png",
    }
    handler = {"use": "objectstore", "store": "memory:///", "attributes": attributes}
    router = Router.from_config(route(key="f", handler=handler))
    made: ObjectStore = cast("Any", router.routes[0].handler)
    results = await router.dispatch(reader(PartSpec(b"1", filename="../a.png")))
    (fault,) = faults(route(handler={**handler, "attributes": {"A": {"format": "{filename}"}}}))
    assert fault.startswith("route[0].handler.attributes.A.format: expected one of {safe_filenam")
    store = cast("Any", made.store)
    assert store.get(results["f"].key).attributes == {
        "Content-Disposition": 'attachment; filename="a.png"',
        "Content-Type": "image/png",
    }


async def test_a_format_in_headers() -> None:
    asked: list[bytes] = []

    async def answer(stream: SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            while not asked[-1].endswith(b"0\r\n\r\n"):
                asked[-1] += await stream.receive()
            await stream.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
    headers = {"X-Name": {"format": "{index}-{url_filename}"}, "X-Kind": "photo"}
    router = Router.from_config(route(handler={"use": "forward", "url": url, "headers": headers}))
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        await router.dispatch(reader(PartSpec(b"1", filename="ü.png")))
        group.cancel_scope.cancel()
    head = asked[0].lower()
    assert b"x-name: 0-%c3%bc.png\r\n" in head
    assert b"x-kind: photo\r\n" in head


# -- faults ---------------------------------------------------------------------------------------

FORWARD = {"use": "forward", "url": "http://example.org/"}
OBJECTS = {"use": "objectstore", "store": "memory:///"}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "expected at least one [[route]]"),
    ({"route": 1}, "route: expected tables [[route]], got 1"),
    ({"route": [1]}, "route[0]: expected a table [[route]], got 1"),
    ({"route": [{}]}, 'route[0]: expected handler = "..." or a table, got none'),
    ({**route(), "limit": {}}, "limit: unknown key 'limit' of the configuration, did you mean"),
    ({**route(), "limits": 3}, "limits: expected a table of limits, got 3"),
    ({**route(), "limits": {"max_prats": 3}}, "limits.max_prats: unknown key 'max_prats' of "
     "limits, did you mean 'max_parts'? (expected: max_parts, max_headers,"),
    ({**route(), "limits": {"max_parts": "3 x"}}, "limits.max_parts: expected a size such as"),
    ({**route(), "limits": {"max_parts": True}}, "limits.max_parts: expected a size as int"),
    ({**route(), "limits": {"idle_timeout": "1"}}, "limits.idle_timeout: expected seconds as a"),
    ({**route(), "limits": {"max_decoded_ratio": "1"}}, "limits.max_decoded_ratio: expected a r"),
    ({**route(), "limits": {"max_part_bytes": 9, "max_total_bytes": 8}}, "limits: max_part_bytes"),
    ({**route(), "max_handlers": 0}, "max_handlers: expected max_handlers as an int of at least"),
    ({**route(), "given": "a"}, "given: expected an array of keys, got 'a'"),
    ({**route(), "given": [1]}, "given[0]: expected a key as a str, got 1"),
    ({**route(), "router": 1}, "router: expected tables [router.NAME], got 1"),
    ({**route(), "router": {"a": route()}}, "router.a: no handler uses the router 'a'"),
    ({**route(), "router": {"main": route()}}, "router.main: expected another name: 'main' is"),
    ({**route(), "router": {"a": 1}}, "router.a: expected a table with its own [[route]], got 1"),
    ({**route(), "router": {"a": {**route(), "limits": {}}}}, "router.a.limits: unknown key 'limi"),
    (route(mtach={}), "route[0].mtach: unknown key 'mtach' of a route, did you mean 'match'?"),
    (route(match=1), "route[0].match: expected a table of what the part has to have, got 1"),
    (route(match={}), "route[0].match: expected at least one key; leave `match` out to take"),
    (route(match={1: 2}), "route[0].match: expected keys as str, got 1"),
    (route(match={"nmae": "a"}), "route[0].match.nmae: unknown key 'nmae' of match, did you mean"),
    (route(match={"name": 1}), "route[0].match.name: expected name as a str, got"),
    (route(match={"name": None}), "route[0].match.name: expected a value of name, got None"),
    (route(match={"filename": 1}), "route[0].match.filename: expected filename as True, False or"),
    (route(match={"content_type": "png"}), "route[0].match.content_type: expected a content type"),
    (route(match={"header": {"a b": "c"}}), "route[0].match.header.'a b': expected the name of a "),
    (route(match={"index": -1}), "route[0].match.index: expected index as an int of at least 0"),
    (route(match={"path": "1.2"}), "route[0].match.path: expected path as a tuple of indexes"),
    (route(match={"path": [0, "x"]}), "route[0].match.path: expected path as an int of at least"),
    (route(match={"any": {}}), "route[0].match.any: expected an array of match tables, got {}"),
    (route(match={"all": []}), "route[0].match.all: expected at least one match table, got an em"),
    (route(match={"any": [{"name": "a"}, 1]}), "route[0].match.any[1]: expected a table of what "),
    (route(match={"not": 1}), "route[0].match.not: expected a table of what the part has to have"),
    (route(required="yes"), "route[0].required: expected required as a bool, got"),
    (route(max_count=0), "route[0].max_count: expected max_count as an int of at least 1, got"),
    (route(max_bytes="x"), "route[0].max_bytes: max_bytes of a route: expected a size such as"),
    (route(timeout=0), "route[0].timeout: expected timeout as seconds above 0, got"),
    (route(on_error="x"), "route[0].on_error: expected on_error='abort' or 'collect', got"),
    (route(decode=True), "route[0].decode: expected decode='transfer', 'all' or 'none', got"),
    (route(order=1), "route[0].order: expected order='reject' or 'spool', got"),
    (route(key=1), "route[0].key: expected key as a str, got"),
    (route(needs=1), "route[0].needs: expected needs as keys, got"),
    (route(needs="a"), "route[0]: unknown parameter 'a': a need names it, and"),
    (route(handler=1), "route[0].handler: expected the name of a handler or a table, got 1"),
    (route(handler={}), 'route[0].handler: expected use = "...", the name of a handler, got noth'),
    (route(handler={"use": 1}), 'route[0].handler.use: expected use = "...", the name of a handle'),
    (route(handler="jsn"), "route[0].handler: expected the name of an installed handler, got"),
    (route(handler={"use": "collect", "limits": 1}), "route[0].handler.limits: unknown option "
     "'limits' of collect, did you mean 'limit'? (expected: limit)"),
    (route(handler={"use": "discard", "a": 1}), "route[0].handler.a: unknown option 'a' of disca"),
    (route(handler="save"), "route[0].handler: save needs the option 'directory', str | os.PathL"),
    (route(handler={"use": "collect", "limit": "x"}), "route[0].handler: collect cannot be made: "
     "limit of Collect: expected a size"),
    (route(handler={"use": "text", "encoding": 8}), "route[0].handler.encoding: expected str, g"),
    (route(handler={"use": "digest", "required": 1}), "route[0].handler.required: expected bool"),
    (route(handler={"use": "collect", "limit": True}), "route[0].handler.limit: expected int or"),
    (route(handler={"use": "tee"}), "route[0].handler: tee cannot be made: expected at least one"),
    (route(handler={"use": "tee", "handlers": {}}), "route[0].handler.handlers: expected an array"),
    (route(handler={"use": "tee", "handlers": [{"use": "jsn"}]}),
     "route[0].handler.handlers[0]: expected the name of an installed handler, got 'jsn'"),
    (route(handler={"use": "tee", "handlers": [{"use": "text", "on_error": "x"}]}),
     "route[0].handler.handlers[0].on_error: expected 'abort' or 'collect', got 'x'"),
    (route(handler={"use": "digest", "expected": {"use": "text", "on_error": "collect"}}),
     "route[0].handler.expected.on_error: expected 'abort', or none, got 'collect'"),
    (route(handler={"use": "nested", "router": "x"}), "route[0].handler.router: unknown router"),
    (route(handler={"use": "save", "directory": ".", "name": {"format": 1}}),
     "route[0].handler.name.format: expected text, got 1"),
    (route(handler={"use": "json", "into": "int"}), "route[0].handler: json cannot be made: expe"
     "cted into as a type, a callable or None, got 'int'"),
    (route(handler={"use": "json", "decoder": date(2026, 1, 1)}), "route[0].handler: json cannot "
     "be made: expected decoder as a callable, got datetime.date(2026"),
    (route(handler={**FORWARD, "headers": {"Foo": 1}}), "route[0].handler: forward cannot be made"
     ": expected the header 'Foo' as text without control characters, got 1"),
    (route(handler={**FORWARD, "headers": {"Foo": "1\r\nA: 2"}}), "route[0].handler: forward cann"
     "ot be made: expected the header 'Foo' as text without control characters, got '1\\r\\nA"),
    (route(handler={**FORWARD, "headers": {"A b": "1"}}), "route[0].handler: forward cannot be ma"
     "de: expected a header's name as a token, got 'A b'"),
    (route(handler={**FORWARD, "headers": "Foo"}), "route[0].handler: forward cannot be made: exp"
     "ected headers as a mapping, got 'Foo'"),
    (route(handler={**FORWARD, "headers": {"Host": "a", "X-A": {"format": "{index}"}}}),
     "route[0].handler.headers: forward cannot be made: expected headers of the message, got 'Ho"),
    (route(handler={**FORWARD, "headers": {"A b": "a", "X-A": {"format": "{url_filename}"}}}),
     "route[0].handler.headers: forward cannot be made: expected a header's name as a token, go"),
    (route(handler={**OBJECTS, "attributes": {"a": 5, "b": {"format": "{index}"}}}),
     "route[0].handler.attributes: objectstore cannot be made: expected the attribute a as a st"),
    (route(handler={"use": "forward", "url": {"format": "ftp:// {index}"}}),
     "route[0].handler.url.format: forward cannot be made: expected a URL of http or https with"),
    (route(handler={"use": "save", "directory": ".", "name": {"format": "a/{index}"}}),
     "route[0].handler.name.format: save cannot be made: expected a file's name without a "
     "directory, got 'a/1'"),
    (route(handler={"use": "save", "directory": ".", "name": {"format": "a/{safe_filename}"}}),
     "route[0].handler.name.format: save cannot be made: expected a file's name without a "
     "directory, got 'a/a'"),
    (route(handler={"use": "save", "directory": ".", "name": {"format": ""}}),
     "route[0].handler.name.format: save cannot be made: expected a file's name without a "
     "directory, got ''"),
    (route(handler={**OBJECTS, "key": {"format": "/{index}"}}),
     "route[0].handler.key.format: objectstore cannot be made: expected a key of segments with"),
    (route(handler={"use": "tee", "handlers": [{**OBJECTS, "key": {"format": "a//{random}"}}]}),
     "route[0].handler.handlers[0].key.format: objectstore cannot be made: expected a key of se"),
    (route(handler={**FORWARD, "timeout": -1}), "route[0].handler: forward cannot be made: expect"
     "ed timeout in seconds above 0, or None, got -1"),
    (route(handler={**FORWARD, "timeout": nan}), "route[0].handler: forward cannot be made: expec"
     "ted timeout in seconds above 0, or None, got nan"),
    (route(handler={**FORWARD, "method": ""}), "route[0].handler: forward cannot be made: expecte"
     "d an HTTP method such as 'PUT', got ''"),
    (route(handler={**OBJECTS, "attributes": {"Foo": 1}}), "route[0].handler: objectstore cannot "
     "be made: expected the attribute Foo as a str, got 1"),
    (route(handler={**OBJECTS, "attributes": 5}), "route[0].handler: objectstore cannot be made: "
     "expected attributes as a mapping, got 5"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "said"), FAULTS, ids=[said[:140] for _, said in FAULTS])
def test_a_fault_is_told_at_its_place(config: dict[str, Any], said: str) -> None:
    (fault,) = faults(config)
    assert fault.startswith(said)


def test_what_is_no_mapping_is_refused() -> None:
    (fault,) = faults([])  # type: ignore[arg-type] # what is tested
    assert fault.startswith("expected a mapping of the configuration's keys, got []")


def test_all_faults_are_told_together() -> None:
    told = faults(
        {
            "limits": {"a": 1, "max_parts": "x"},
            "route": [
                {"match": {"b": 1, "index": "x"}, "handler": "c", "max_count": 0, "d": 1},
                {"handler": {"use": "tee", "handlers": [{"use": "e"}, {"use": "save", "f": 1}]}},
                {"handler": "discard"},
            ],
        }
    )
    places = [line.partition(": ")[0] for line in told]
    assert sorted(places) == [
        "limits.a",
        "limits.max_parts",
        "route[0].d",
        "route[0].handler",
        "route[0].match.b",
        "route[0].match.index",
        "route[0].max_count",
        "route[1].handler.handlers[0]",
        "route[1].handler.handlers[1]",
        "route[1].handler.handlers[1].f",
        "route[2]",
    ]
    assert "can never match" in told[-1]


def test_needs_that_nobody_can_meet_are_found_at_once() -> None:
    async def needy(part: Part, **needs: Any) -> None: ...

    circle = [
        {"match": {"name": "a"}, "handler": needy, "needs": "b"},
        {"match": {"name": "b"}, "handler": needy, "needs": "a"},
    ]
    (fault,) = faults({"route": circle})
    assert "these needs can never be met: " in fault
    (fault,) = faults({"route": circle[:1]})
    assert "'b'" in fault
    assert Router.from_config({"route": circle[:1], "given": ["b"]}).routes


def test_a_config_error_is_a_route_error() -> None:
    with pytest.raises(RouteError) as caught:
        Router.from_config({})
    assert caught.value.status == 500


def test_a_route_with_a_broken_handler_is_named_by_what_it_is() -> None:
    told = faults({"route": [{"handler": "jsn"}, {"handler": "jsn"}]})
    assert [line.partition(": ")[0] for line in told] == ["route[0].handler", "route[1].handler",
                                                          "route[1]"]  # fmt: skip
    assert "the route to a handler with faults can never match" in told[-1]


def test_a_mapping_that_holds_itself_is_refused() -> None:
    handler: dict[str, Any] = {"use": "json"}
    handler["into"] = [handler]
    assert faults(route(handler=handler)) == [
        "expected arrays and tables in fewer others, got too many levels"
    ]
