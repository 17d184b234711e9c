"""Request bodies in OpenAPI documents: what they say of routes, and that they are valid."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate
from pydantic import BaseModel

from mpflow import Part, PartInfo, Results, RouteError, Router
from mpflow.integrations.openapi import request_body
from mpflow.integrations.schemas import schema_of
from mpflow.predicates import content_type, depth, filename, header, name, sniff
from mpflow.predicates.asked import MOST, Asked, asked
from mpflow_handlers import Collect, Digest, Discard, Form, Json, Nested, Save, Saved, Tee, Text

FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
TEXT = {"type": "string"}
JSON = {"type": "string", "contentMediaType": "application/json"}


def document(body: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    operation = {"requestBody": body, "responses": {"200": {"description": "done"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "paths": {"/": {"post": operation}},
        "components": {"schemas": schemas or {}},
    }


def media(router: Router, **options: Any) -> dict[str, Any]:
    body = request_body(router, **options)
    validate(document(body, options.get("schemas")))
    assert body["required"] is True
    return body["content"][options.get("content_type", "multipart/form-data")]


def properties(router: Router, **options: Any) -> dict[str, Any]:
    return media(router, **options)["schema"]["properties"]


def single(handler: Any, predicate: Any = None, **options: Any) -> Any:
    """What is said of the one part that a router takes."""
    router = Router()
    router.add(handler, predicate, **{"name": "x", "max_count": 1, **options})
    return properties(router)["x"]


async def function(part: Part) -> str:
    """What a person calls it.

    More of it.
    """
    return await part.text()


@asynccontextmanager
async def two_phases(part: Part) -> Any:
    yield await part.text()


# -- one part ---------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [Save("."), Collect(), Digest("sha256"), Discard()])
def test_handlers_that_are_objects_take_files(handler: Any) -> None:
    assert single(handler) == FILE


def test_functions_take_texts() -> None:
    assert single(function) == {**TEXT, "description": "What a person calls it."}
    assert single(two_phases) == TEXT
    assert single(Text()) == single(Form()) == single(Collect(), filename=False) == TEXT


@pytest.mark.parametrize(
    ("match", "kind"),
    [
        ({"filename": True}, "application/octet-stream"),
        ({"filename": "*.png"}, "application/octet-stream"),
        ({"content_type": "image/png"}, "image/png"),
        ({"content_type": "image/*"}, "application/octet-stream"),
        ({"content_type": "text/csv", "filename": True}, "text/csv"),
    ],
)
def test_files_are_what_the_route_asks_for(match: Any, kind: str) -> None:
    said = single(function, **match)
    assert said == {**FILE, "contentMediaType": kind, "description": "What a person calls it."}


def test_texts_and_json_are_what_the_route_asks_for() -> None:
    assert single(Collect(), content_type="text/*") == TEXT
    assert single(Collect(), content_type="application/json") == JSON
    assert single(Collect(), content_type="application/problem+json") == JSON
    assert single(Json()) == single(Json(lambda value: value)) == JSON


def test_the_size_of_a_file() -> None:
    assert single(Save("."), max_bytes="1 KiB") == {**FILE, "maxLength": 1024}


def test_a_tee_takes_what_its_children_do() -> None:
    assert single(Tee(Digest("sha256"), Json(list[int])))["items"] == {"type": "integer"}
    assert single(Tee(Digest("sha256"), Save("."))) == FILE


class Model(BaseModel):
    size: int


class Tree(BaseModel):
    inner: list[Tree] = []


class Struct(msgspec.Struct):
    size: int
    model: dict[str, int] = {}


@attrs.define
class Attrs:
    size: int
    struct: Struct | None = None


@dataclass
class Data:
    size: int


@pytest.mark.parametrize("kind", [Model, Struct, Attrs, Data])
def test_classes_say_what_they_take(kind: Any) -> None:
    said = single(Json(kind))
    assert said["type"] == "object"
    assert said["properties"]["size"]["type"] == "integer"
    assert said["required"] == ["size"]
    assert "$ref" not in str(said)
    schemas: dict[str, Any] = {}
    router = Router()
    router.add(Json(list[kind]), name="x", max_count=1)
    said = properties(router, schemas=schemas)["x"]
    assert said["items"] == {"$ref": f"#/components/schemas/{kind.__name__}"}
    assert schemas[kind.__name__]["required"] == ["size"]


def test_a_class_inside_itself() -> None:
    said = single(Json(Tree))
    assert said["properties"]["inner"]["items"] == {}
    schemas: dict[str, Any] = {}
    assert schema_of(Tree, schemas) == {"$ref": "#/components/schemas/Tree"}
    assert schemas["Tree"]["properties"]["inner"]["items"] == {"$ref": "#/components/schemas/Tree"}


def test_classes_of_one_name() -> None:
    schemas: dict[str, Any] = {"Model": {"type": "null"}, "Model2": {"type": "null"}}
    first = schema_of(list[Model], schemas)
    assert first == schema_of(list[Model], schemas)
    assert first is not None
    assert first["items"] == {"$ref": "#/components/schemas/Model3"}
    assert set(schemas) == {"Model", "Model2", "Model3"}


def test_a_type_of_which_nobody_knows() -> None:
    class Unknown:
        pass

    assert schema_of(Unknown) is None
    assert single(Json(Unknown)) == JSON


# -- a form -----------------------------------------------------------------------------------


def test_names_and_how_many_of_each() -> None:
    router = Router()
    router.add(Text(), name="one", required=True, max_count=1)
    router.add(Text(), name="few", max_count=3)
    router.add(Text(), name="many", required=True)
    router.add(Save("."), name("a") | name("b"))
    said = media(router)
    assert said == {
        "schema": {
            "type": "object",
            "properties": {
                "one": TEXT,
                "few": {"type": "array", "items": TEXT, "maxItems": 3},
                "many": {"type": "array", "items": TEXT, "minItems": 1},
                "a": {"type": "array", "items": FILE},
                "b": {"type": "array", "items": FILE},
            },
            "additionalProperties": False,
            "required": ["one", "many"],
        }
    }


def test_several_routes_of_one_name() -> None:
    router = Router()
    router.add(Save("."), name="x", content_type="image/png", max_count=1)
    router.add(Json(int), name="x", content_type="application/json", max_count=2)
    said = media(router)
    assert said["schema"]["properties"]["x"] == {
        "type": "array",
        "items": {"anyOf": [{**FILE, "contentMediaType": "image/png"}, {"type": "integer"}]},
        "maxItems": 3,
    }
    assert said["encoding"] == {"x": {"contentType": "image/png, application/json"}}


def test_a_content_type_is_said_only_if_it_is_known_of_all() -> None:
    router = Router()
    router.add(Json(int), name="x", content_type="application/json")
    router.add(Save("."), name="x")
    assert "encoding" not in media(router)


def test_what_results_are_put_into() -> None:
    @attrs.frozen
    class Album:
        title: str
        cover: Saved
        note: str | None
        photos: list[Saved]

    router = Router()
    router.add(Text(), name="title")
    router.add(Text(), name="note")
    router.add(Save("."), name="cover")
    router.add(Save("."), filename=True, key="photos")
    said = media(router, into=Album)["schema"]
    assert said["required"] == ["title", "cover"]
    assert said["properties"] == {
        "title": TEXT,
        "note": TEXT,
        "cover": FILE,
        "photos": {"type": "array", "items": FILE},
    }
    assert said["additionalProperties"] == FILE
    with pytest.raises(RouteError):
        request_body(Router(), into=Album)


def test_a_key_of_several_names_requires_none_of_them() -> None:
    @attrs.frozen
    class One:
        photo: Saved

    router = Router()
    router.add(Save("."), name="a", key="photo")
    router.add(Save("."), name="b", key="photo")
    assert "required" not in media(router, into=One)["schema"]


def test_other_names() -> None:
    router = Router()
    assert media(router)["schema"]["additionalProperties"] is False
    router.add(Save("."), content_type="image/*", key="image")
    assert media(router)["schema"]["additionalProperties"] == FILE
    router.add(Text(), filename=False, key="text")
    assert media(router)["schema"]["additionalProperties"] == {"anyOf": [FILE, TEXT]}
    assert list(properties(router)) == ["image", "text"]
    router.add(Discard())
    assert media(router)["schema"]["additionalProperties"] is True


def test_a_key_that_no_part_of_its_name_would_reach() -> None:
    router = Router()
    router.add(Text(), name="photos", key="text")
    router.add(Save("."), depth(0), key="photos")
    router.add(Save("."), header("X-Kind", "photo"), key="kind")

    @router.route(lambda info: 1 / 0 > 1, key="fails")
    async def fails(part: Part) -> None: ...

    router.add(Save("."), sniff(10, lambda begin: True), key="sniffed")
    assert list(properties(router)) == ["photos"]
    assert properties(router)["photos"]["items"] == TEXT


def test_nested_routers() -> None:
    inner = Router()
    inner.add(Text(), name="note", required=True)
    outer = Router()
    outer.add(Nested(inner), name="x", max_count=1)
    inner.add(Nested(outer), name="again")
    said = media(outer)
    assert said["encoding"] == {"x": {"contentType": "multipart/mixed"}}
    assert said["schema"]["properties"]["x"] == {
        "type": "object",
        "properties": {
            "note": {"type": "array", "items": TEXT, "minItems": 1},
            "again": {"type": "array", "items": {"type": "object"}},
        },
        "additionalProperties": False,
        "required": ["note"],
    }


def test_what_is_said_by_hand() -> None:
    router = Router()
    for key in ("a", "b", "c"):
        router.add(function, name=key, max_count=1)
    said = media(router, parts={"a": Data, "b": {"type": "string", "enum": ["x"]}})
    doc = {"description": "What a person calls it."}
    assert said["schema"]["properties"]["a"]["properties"]["size"] == {"type": "integer"}
    assert said["schema"]["properties"]["b"] == {"type": "string", "enum": ["x"], **doc}
    assert said["schema"]["properties"]["c"] == {**TEXT, **doc}
    assert said["encoding"] == {"a": {"contentType": "application/json"}}


def test_another_kind_of_multipart() -> None:
    router = Router()
    router.add(Discard())
    assert media(router, content_type="multipart/mixed")["schema"]["properties"] == {}


# -- what a predicate asks for ----------------------------------------------------------------

SIMPLE = st.sampled_from([
    name("a"), name("b"), filename(True), filename(False), filename("*.png"),
    content_type("image/*"), content_type("image/png"), content_type("text/plain"), depth(0),
    header("X"),
])  # fmt: skip
PREDICATES = st.recursive(
    SIMPLE,
    lambda inner: (
        st.builds(lambda one, other: one & other, inner, inner)
        | st.builds(lambda one, other: one | other, inner, inner)
        | st.builds(lambda one: ~one, inner)
    ),
    max_leaves=12,
)
INFOS = st.builds(
    PartInfo.of,
    name=st.sampled_from([None, "a", "b", "c"]),
    filename=st.sampled_from([None, "x", "x.png"]),
    content_type=st.sampled_from([None, "image/png", "image/gif", "text/plain"]),
    headers=st.sampled_from([(), (("X", "1"),)]),
)


def fits(way: Asked, info: PartInfo) -> bool:
    return (
        way.name in (None, info.name)
        and way.is_file in (None, info.filename is not None)
        and (way.content_type is None or way.content_type(info))
    )


@given(PREDICATES, INFOS)
def test_what_fits_a_predicate_fits_what_is_said_of_it(predicate: Any, info: PartInfo) -> None:
    if predicate(info):
        assert any(fits(way, info) for way in asked(predicate))


def test_too_many_ways_are_none() -> None:
    either = name("0")
    for number in range(1, MOST + 1):
        either |= name(str(number))
    assert asked(either) == (Asked(),)
    both = (name("a") | filename(True) | content_type("text/plain")) & (depth(0) | header("X"))
    for _ in range(5):
        both &= name("a") | filename(True) | content_type("image/png")
    assert 0 < len(asked(both)) <= MOST


def test_results_are_of_no_shape() -> None:
    with pytest.raises(RouteError):
        request_body(Router(), into=Results)
