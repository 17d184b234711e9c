"""OpenAPI 3.1: the request body that a router takes, as a document says it.

Knows: routes, what their predicates ask for and what their handlers say of themselves; OpenAPI's
request bodies. Must not know: any framework, or how a type becomes a schema (`schemas.py`).

A document says less than a router: of headers, places and callables there is no word, so what is
written here may take more than the router does, and never less.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from mpflow import PartInfo, Route, Router
from mpflow.integrations.schemas import Schema, Schemas, schema_of
from mpflow.predicates.asked import Asked, asked
from mpflow.shapes import Shape

__all__ = ["request_body"]

_JSON: Final = "application/json"
_TEXT: Final[Schema] = {"type": "string"}
_ANYTHING: Final[Schema] = {}


def request_body(
    router: Router,
    *,
    into: type[Any] | None = None,
    parts: Mapping[str, object] | None = None,
    content_type: str = "multipart/form-data",
    schemas: Schemas | None = None,
) -> dict[str, Any]:
    """The request body object (OpenAPI 3.1) of what `router` takes.

    A property for each name that a route asks for, or is known by as its key: required, an array
    where more than one part may come, a file, a text, or the JSON of a class. Other names are
    allowed as far as a route takes parts of any name. `into` is the class that the results are put
    into: what it requires is required, and what it takes one of is no array.

    A part is a file where its route asks for a filename or for a content type that is no text,
    or where its handler is an object and not a function (`Save`, say); the JSON of a type where
    the handler says so (`Json(into)`); else a text. `parts` says otherwise, by name: a type whose
    JSON the part holds, or a schema. Classes inside go into `schemas`, the
    `components.schemas` of a document, if it is given. `RouteError` where `into` does not fit.
    """
    form = _Form(router, into, parts or {}, schemas, within=())
    media: dict[str, Any] = {"schema": form.schema()}
    if encoding := form.encoding():
        media["encoding"] = encoding
    return {"content": {content_type: media}, "required": True}


@attrs.define
class _Property:
    """What the parts of one name may be."""

    contents: list[Schema] = attrs.field(factory=list[Schema])
    content_types: list[str | None] = attrs.field(factory=list[str | None])
    routes: list[Route[Any]] = attrs.field(factory=list[Route[Any]])

    def add(self, route: Route[Any], content: Schema, content_type: str | None) -> None:
        if content not in self.contents:
            self.contents.append(content)
        if content_type not in self.content_types:
            self.content_types.append(content_type)
        if route not in self.routes:
            self.routes.append(route)

    def most(self) -> int | None:
        """How many parts of the name may come; None: any number."""
        counts = [route.max_count for route in self.routes]
        return None if None in counts else sum(count or 0 for count in counts)


class _Form:
    """The properties of one level."""

    def __init__(
        self,
        router: Router,
        into: type[Any] | None,
        parts: Mapping[str, object],
        schemas: Schemas | None,
        *,
        within: tuple[Router, ...],
    ) -> None:
        self._router = router
        self._shape = None if into is None else Shape.of(into)
        if self._shape is not None:
            self._shape.check_all(router)
        self._parts = parts
        self._schemas = schemas
        self._within = (*within, router)
        self._properties: dict[str, _Property] = {}
        self._others: list[Schema] = []
        for route in router.routes:
            for way in asked(route.predicate):
                self._add(route, way)

    def _add(self, route: Route[Any], way: Asked) -> None:
        name = way.name
        if name is None:
            says = way.is_file is not None or way.content_type is not None
            other = self._content(route, way)[0] if says else _ANYTHING
            if other not in self._others:
                self._others.append(other)
            if route.key is None or not self._comes(route, way):
                return
            name = route.key
        content, content_type = self._content(route, way, name)
        self._properties.setdefault(name, _Property()).add(route, content, content_type)

    def _comes(self, route: Route[Any], way: Asked) -> bool:
        """Whether a part that is called as the route's key would come to the route."""
        kind = None if way.content_type is None else str(way.content_type).replace("*", "x")
        filename = "file" if way.is_file else None
        info = PartInfo.of(name=route.key, filename=filename, content_type=kind)
        try:
            return self._router.match(info) is route
        except Exception:  # of somebody's own predicate, or one that wants to see the bytes
            return False

    # -- one level ----------------------------------------------------------------------------

    def schema(self) -> Schema:
        """The object that the level is."""
        required = [name for name, it in self._properties.items() if self._is_required(it)]
        schema: Schema = {
            "type": "object",
            "properties": {name: self._described(it) for name, it in self._properties.items()},
            "additionalProperties": self._additional(),
        }
        return {**schema, "required": required} if required else schema

    def encoding(self) -> dict[str, Any]:
        """The content types that parts have, where that is known of all of a name."""
        said: dict[str, Any] = {}
        for name, it in self._properties.items():
            known = [kind for kind in it.content_types if kind is not None]
            if known and None not in it.content_types:
                said[name] = {"contentType": ", ".join(known)}
        return said

    def _additional(self) -> bool | Schema:
        if not self._others:
            return False
        return True if _ANYTHING in self._others else _any_of(self._others)

    def _described(self, it: _Property) -> Schema:
        schema = _any_of(it.contents)
        most = it.most()
        if most != 1 and not self._is_single(it):
            least = {"minItems": 1} if self._is_required(it) else {}
            bound = {} if most is None else {"maxItems": most}
            schema = {"type": "array", "items": schema, **least, **bound}
        docs = {doc: None for route in it.routes if (doc := _doc(route.handler))}
        return {**schema, "description": " / ".join(docs)} if docs else schema

    def _is_required(self, it: _Property) -> bool:
        if any(route.required for route in it.routes):
            return True
        keys = () if self._shape is None else self._shape.required
        # A key that several names lead to says nothing of each of them.
        return any(
            route.key in keys
            and sum(route.key in [own.key for own in of.routes] for of in self._by_name) == 1
            for route in it.routes
        )

    @property
    def _by_name(self) -> tuple[_Property, ...]:
        return tuple(self._properties.values())

    def _is_single(self, it: _Property) -> bool:
        single = frozenset[str]() if self._shape is None else self._shape.single
        return all(route.key in single for route in it.routes)

    # -- one part -----------------------------------------------------------------------------

    def _content(
        self, route: Route[Any], way: Asked, name: str | None = None
    ) -> tuple[Schema, str | None]:
        """What a part holds, and its content type where that is known."""
        kind = None if way.content_type is None else str(way.content_type)
        if name is not None and name in self._parts:
            given = self._parts[name]
            if isinstance(given, Mapping):
                return dict(cast("Mapping[str, Any]", given)), kind
            return self._json(given), kind or _JSON
        for handler in _leaves(route.handler):
            inner: object = getattr(handler, "router_inside", None)
            if isinstance(inner, Router):
                return self._nested(inner), kind or "multipart/mixed"
            says: tuple[str, Any] | None = getattr(handler, "content_inside", None)
            if says is not None:
                own, value = says
                content = self._json(value) if own == _JSON else dict(_TEXT)
                return content, kind or (None if own == "text/plain" else own)
        if way.is_file or (kind is not None and not _is_textual(kind)):
            return _file(route, kind), kind
        if kind is not None:
            return (self._json(Any) if "json" in kind else dict(_TEXT)), kind
        if inspect.isroutine(route.handler) or way.is_file is False:
            return dict(_TEXT), None
        return _file(route, None), None

    def _json(self, kind: Any) -> Schema:
        is_type = isinstance(kind, type) or hasattr(kind, "__origin__") or hasattr(kind, "__args__")
        known = schema_of(kind, self._schemas) if is_type and kind is not Any else None
        return known or {"type": "string", "contentMediaType": _JSON}

    def _nested(self, router: Router) -> Schema:
        if router in self._within:
            return {"type": "object"}
        return _Form(router, None, {}, self._schemas, within=self._within).schema()


def _leaves(handler: object) -> tuple[object, ...]:
    """The handler, or those that it hands its part to."""
    inside: object = getattr(handler, "handlers_inside", None)
    if not isinstance(inside, tuple):
        return (handler,)
    return tuple(leaf for child in cast("tuple[object, ...]", inside) for leaf in _leaves(child))


def _is_textual(kind: str) -> bool:
    essence = kind.partition(";")[0]
    return essence.startswith("text/") or essence == _JSON or essence.endswith("+json")


def _file(route: Route[Any], kind: str | None) -> Schema:
    """Bytes. Documents of OpenAPI 3.0 say it by the format, those of 3.1 by the media type."""
    essence = (kind or "").partition(";")[0]
    plain = essence if essence and "*" not in essence else "application/octet-stream"
    schema: Schema = {"type": "string", "format": "binary", "contentMediaType": plain}
    # OpenAPI 3.1: "The maxLength keyword MAY be used to set an expected upper bound on the
    # length of a streaming payload."
    return schema if route.max_bytes is None else {**schema, "maxLength": route.max_bytes}


def _any_of(schemas: list[Schema]) -> Schema:
    return dict(schemas[0]) if len(schemas) == 1 else {"anyOf": schemas}


def _doc(handler: object) -> str | None:
    """The first paragraph of what a function says of itself; of an object it tells of its class."""
    text = inspect.getdoc(handler) if inspect.isroutine(handler) else None
    return " ".join(text.partition("\n\n")[0].split()) if text else None
