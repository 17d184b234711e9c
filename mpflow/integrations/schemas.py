"""JSON schemas of the types that JSON becomes: pydantic's, msgspec's, attrs classes, dataclasses.

Knows: which library says what a type takes, and where definitions stand in an OpenAPI document.
Must not know: parts, routes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import Any, Final, TypeAlias, cast, get_args

__all__ = ["Schema", "Schemas", "schema_of"]

Schema: TypeAlias = dict[str, Any]
Schemas: TypeAlias = MutableMapping[str, Any]

_PLACE: Final = "#/components/schemas/"
_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9._-]")


def schema_of(kind: Any, schemas: Schemas | None = None) -> Schema | None:
    """What JSON a type takes, as a schema of OpenAPI 3.1 (JSON Schema 2020-12); None: unknown.

    Made by pydantic for what holds a class of its own, else by msgspec, else by pydantic, as far
    as they are installed. Classes inside go into `schemas`, an OpenAPI document's
    `components.schemas`, and are referred to there; without it they stand where they are used,
    and one inside itself is left open there.
    """
    makers = (_by_pydantic,) if _is_pydantic(kind) else (_by_msgspec, _by_pydantic)
    for make in makers:
        try:
            schema, inner = make(kind)
        except Exception:  # each library has errors of its own
            continue  # it is not installed, or the type is not of its kind
        if schemas is not None:
            return _filed(schema, inner, schemas)
        inlined: Schema = _inlined(schema, inner, ())
        return inlined
    return None


def _is_pydantic(kind: object) -> bool:
    if isinstance(kind, type) and hasattr(kind, "__pydantic_validator__"):
        return True
    return any(map(_is_pydantic, get_args(kind)))


def _by_pydantic(kind: Any) -> tuple[Schema, Schemas]:
    pydantic: Any = import_module("pydantic")
    schema = pydantic.TypeAdapter(kind).json_schema(ref_template=_PLACE + "{model}")
    return schema, schema.pop("$defs", {})


def _by_msgspec(kind: Any) -> tuple[Schema, Schemas]:
    msgspec: Any = import_module("msgspec.json")
    (schema,), inner = msgspec.schema_components([kind], ref_template=_PLACE + "{name}")
    return schema, inner


def _inlined(schema: Any, inner: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    """The schema with what it refers to in the place of each reference."""
    if isinstance(schema, list):
        items = cast("Sequence[Any]", schema)
        return [_inlined(item, inner, within) for item in items]
    if not isinstance(schema, dict):
        return schema
    known = cast("Mapping[str, Any]", schema)
    name = str(known.get("$ref", "")).removeprefix(_PLACE)
    if name in inner:
        if name in within:
            return {}
        beside = {key: value for key, value in known.items() if key != "$ref"}
        return {**_inlined(inner[name], inner, (*within, name)), **beside}
    return {
        key: _inlined(value, inner, within)
        for key, value in known.items()
        if key != "discriminator"  # it maps to references
    }


def _filed(schema: Schema, inner: Mapping[str, Any], schemas: Schemas) -> Schema:
    """The schema, with what it refers to among `schemas`, under names of its own there."""
    names: dict[str, str] = {}
    for name, own in inner.items():
        free = plain = _NO_NAME.sub("_", name)
        number = 1
        while free in names.values() or schemas.get(free, own) != own:
            number += 1
            free = f"{plain}{number}"
        names[name] = free
    for name, free in names.items():
        schemas[free] = _renamed(inner[name], names)
    renamed: Schema = _renamed(schema, names)
    return renamed


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        items = cast("Sequence[Any]", schema)
        return [_renamed(item, names) for item in items]
    if isinstance(schema, dict):
        known = cast("Mapping[str, Any]", schema)
        return {key: _renamed(value, names) for key, value in known.items()}
    if isinstance(schema, str) and schema.startswith(_PLACE):
        name = schema.removeprefix(_PLACE)
        return _PLACE + names.get(name, name)
    return schema
