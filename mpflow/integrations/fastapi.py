"""FastAPI: a dependency that is what a request uploads, and its request body in the document.

Knows: FastAPI's dependencies, their scope, and where its OpenAPI document is made.
Must not know: how a flow is made of a request (`starlette.py`), how a body is documented
(`openapi.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

from fastapi import Depends, FastAPI, Request, params, routing

from mpflow import Flow, Results, RouteError, Router
from mpflow.integrations import starlette
from mpflow.integrations.exchange import Linger
from mpflow.integrations.openapi import request_body
from mpflow.integrations.starlette import dispatch, flow

__all__ = ["Multipart", "dispatch", "flow", "install"]

T = TypeVar("T")

Given: TypeAlias = Mapping[str, object] | Callable[..., Any]

_GIVEN: Final = "given_"
_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


@overload
def Multipart(
    router: Router,
    *,
    into: type[T],
    given: Given | None = None,
    parts: Mapping[str, object] | None = None,
) -> T: ...


@overload
def Multipart(
    router: Router,
    *,
    into: None = None,
    given: Given | None = None,
    parts: Mapping[str, object] | None = None,
) -> Flow: ...


def Multipart(
    router: Router,
    *,
    into: type[Any] | None = None,
    given: Given | None = None,
    parts: Mapping[str, object] | None = None,
) -> Any:
    """A dependency that is what the request uploads, as `Annotated[Album, Multipart(router, ...)]`.

    It is the `Flow`; with `into=Results` its results, with another class an instance of that. The
    endpoint runs when the body is whole and every handler of a part has answered, and nothing is
    committed yet. Once it has returned, everything is, before the response goes out; if the commit
    fails, or the endpoint, all is rolled back, and the failure is the answer.

    `given` are values that handlers of parts may need: a mapping, in which `Depends(...)` stands
    for what that gives, or a dependency that gives the whole mapping. They are there before a byte
    of the body is read, as is all that stands before this dependency among the parameters of the
    endpoint, or in the `dependencies=` of its route. `parts` goes to `request_body`, for the
    document. No other parameter of the endpoint may be of the body: `RouteError`.
    """
    return Depends(_Uploaded(router, into, given, parts), scope="function")


class _Uploaded:
    """The dependency: a generator for each request, and the signature that FastAPI looks at."""

    def __init__(
        self,
        router: Router,
        into: type[Any] | None,
        given: Given | None,
        parts: Mapping[str, object] | None,
    ) -> None:
        self._router = router
        self._into = into
        self._parts = parts
        self._plain: dict[str, object] = {}
        self._keys: dict[str, str | None] = {}  # by parameter; None: a mapping of them
        depends: list[Any] = []
        for key, value in _needed(given):
            if isinstance(value, params.Depends):
                self._keys[f"{_GIVEN}{len(depends)}"] = key
                depends.append(value)
            else:
                self._plain[cast("str", key)] = value
        only = Parameter.KEYWORD_ONLY
        self.__signature__ = Signature([
            Parameter("request", only, annotation=Request),
            *(Parameter(name, only, annotation=Any, default=value)
              for name, value in zip(self._keys, depends, strict=True)),
        ])  # fmt: skip

    # An async generator because FastAPI knows no other dependency with an end; it enters and
    # leaves it in one task, by `asynccontextmanager`.
    async def __call__(self, request: Request, **given: Any) -> AsyncGenerator[Any, None]:
        if getattr(request.scope.get("route"), "body_field", None) is not None:
            raise RouteError(
                "expected an endpoint whose only body is the multipart, got one with other body "
                "parameters (Body, Form, File, a model), for which FastAPI has read all of it"
            )
        values = dict(self._plain)
        for name, value in given.items():
            key = self._keys[name]
            values |= value if key is None else {key: value}
        into = None if self._into in (None, Flow, Results) else self._into
        async with flow(request, self._router, into=into, given=values) as entered:
            if self._into in (None, Flow):
                yield entered
            else:
                yield entered.results if into is None else entered.results.into(into)

    def request_body(self, schemas: dict[str, Any]) -> dict[str, Any]:
        """What the document says of it; classes go into `schemas`."""
        into = None if self._into in (None, Flow, Results) else self._into
        return request_body(self._router, into=into, parts=self._parts, schemas=schemas)


def _needed(given: Given | None) -> Iterator[tuple[str | None, object]]:
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from given.items()
    elif callable(given):
        yield None, Depends(given)
    else:
        raise RouteError(f"expected given as a mapping or a dependency, got {given!r:.60}")


def install(app: FastAPI, *, linger: Linger | None = None) -> None:
    """Have an application answer every `MultipartError` with problem details.

    As `mpflow.integrations.starlette.install` does; and its OpenAPI document then has the request
    body of each operation with a `Multipart`, unless its `openapi_extra` says another. Call it
    before the application serves.
    """
    starlette.install(app, linger=linger)
    make, documented = app.openapi, list[dict[str, Any]]()

    def openapi() -> dict[str, Any]:
        document = make()
        if not any(it is document for it in documented):  # it is kept until there are new routes
            _document(app, document)
            documented[:] = [document]
        return document

    setattr(app, "openapi", openapi)  # noqa: B010 - a method, for mypy


def _document(app: FastAPI, document: dict[str, Any]) -> None:
    """Put the request bodies into the document of an application."""
    schemas: dict[str, Any] = dict(document.get("components", {}).get("schemas", {}))
    for route in _routes(app):
        uploaded = _uploaded_in(getattr(route, "dependant", None))
        path = document["paths"].get(getattr(route, "path_format", None))
        if uploaded is None or path is None:
            continue
        for method in _METHODS & set(route.methods):
            operation: dict[str, Any] = path.get(method.lower(), {})
            if operation and "requestBody" not in operation:
                operation["requestBody"] = uploaded.request_body(schemas)
    if schemas:
        document.setdefault("components", {})["schemas"] = schemas


def _routes(app: FastAPI) -> Sequence[Any]:
    # FastAPI keeps the routers that were included from some version on, and before it their routes.
    contexts: Any = getattr(routing, "iter_route_contexts", None)
    return app.routes if contexts is None else list(contexts(app.routes))


def _uploaded_in(dependant: Any) -> _Uploaded | None:
    """The `Multipart` that an endpoint depends on, itself or through what it depends on."""
    if dependant is None:
        return None
    if isinstance(dependant.call, _Uploaded):
        return dependant.call
    found = map(_uploaded_in, dependant.dependencies)
    return next((uploaded for uploaded in found if uploaded is not None), None)
