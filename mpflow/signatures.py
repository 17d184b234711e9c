"""Handlers, looked at when they are registered: do they take a part, and how do they answer?

Knows: what Python tells of a callable without calling it.
Must not know: routes, flows, what a handler does.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from mpflow.errors import RouteError, excerpt

__all__ = ["accepted_needs", "check_handler", "handler_name", "signature_over"]

_NO_ANSWERS = (bool, bytes, dict, float, int, list, set, str, tuple, type(None))
"""Results that no caller can await: a sync function that says it returns one is no handler."""


def handler_name(handler: object) -> str:
    """The handler's name for messages: its qualified name, its class's, or a bounded repr."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    qualified = getattr(handler, "__qualname__", None)
    if isinstance(qualified, str):
        return qualified
    shown = repr(handler)
    if " at 0x" in shown:  # an address tells nobody anything
        return type(handler).__qualname__
    return _short(shown)


def accepted_needs(function: Callable[..., object], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the values of needs those that the function takes by keyword, beside its first argument.

    For handlers that call others, or callables of theirs, with what they were called with.
    """
    rest = _keywords(function)
    if rest is None or any(p.kind is p.VAR_KEYWORD for p in rest):
        return dict(values)
    names = {p.name for p in rest}
    return {name: value for name, value in values.items() if name in names}


def signature_over(*functions: Callable[..., object]) -> inspect.Signature:
    """`(part, *, ..., **needs)`, with all that the functions take by keyword beside their first.

    As the attribute `call_signature` of a handler that calls them it has unfilled parameters found
    when the handler is registered.
    """
    found: dict[str, inspect.Parameter] = {}
    for function in functions:
        for p in _keywords(function) or ():
            if p.kind is p.VAR_KEYWORD or (p.name in found and p.default is not p.empty):
                continue
            found[p.name] = p.replace(kind=p.KEYWORD_ONLY)
    part = inspect.Parameter(_free("part", found), inspect.Parameter.POSITIONAL_ONLY)
    needs = inspect.Parameter(_free("needs", found), inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([part, *found.values(), needs])


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:  # a need may be called anything
        name += "_"
    return name


def _keywords(function: Any) -> list[inspect.Parameter] | None:
    """What a function takes by keyword beside its first argument; None where nothing is known."""
    parameters = _parameters(function)
    if parameters is None:
        return None
    kinds = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    )
    return [p for p in parameters[1:] if p.kind in kinds]


def _parameters(function: Any) -> list[inspect.Parameter] | None:
    signature = getattr(function, "call_signature", None)
    try:
        if not isinstance(signature, inspect.Signature):
            signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None
    return list(signature.parameters.values())


def check_handler(handler: object, needs: Collection[str] = ()) -> bool | None:
    """Whether the handler has two phases; None where only its answer can tell.

    `needs` are the parameters that it is called with beside the part.

    False: calling it gives an awaitable. True: calling it gives an async context manager.
    `RouteError` where it cannot be a handler: it is not callable, it does not take exactly one
    part and its needs, or it is a generator.
    """
    name = handler_name(handler)
    if not callable(handler):
        raise RouteError(f"expected a handler, async (part) -> result, got {name}")
    phases = (
        _class_phases(handler, name)
        if isinstance(handler, type)
        else _function_phases(_function(handler), name)
    )
    _check_parameters(handler, name, needs)
    return phases


def _function(handler: Any) -> Any:
    """The function that is run in the end: under partials, methods and `__call__`."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if isinstance(handler, types.MethodType):
        return handler.__func__
    if isinstance(handler, types.FunctionType | types.BuiltinFunctionType):
        return handler
    kind = cast("Any", type(handler))
    return kind.__call__  # looked up on the type, as a call does


def _class_phases(handler: type, name: str) -> bool:
    # Calling a class makes an object; that is an answer only if it can be entered or awaited.
    phases = _type_phases(handler)
    if phases is not None:
        return phases
    raise RouteError(f"expected a handler, got the class {name}: is {name}(...) meant?")


def _function_phases(function: Any, name: str) -> bool | None:
    if inspect.iscoroutinefunction(function):
        return False
    if inspect.isasyncgenfunction(function):
        raise RouteError(
            f"expected a handler, and {name} is a bare async generator: "
            f"decorate it with contextlib.asynccontextmanager"
        )
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(inner):
        raise RouteError(
            f"expected a handler, and {name} is a sync generator: "
            f"make it async, and decorate it with contextlib.asynccontextmanager"
        )
    if inspect.isasyncgenfunction(inner):
        return True
    return _annotated_phases(function, name)


def _annotated_phases(function: Any, name: str) -> bool | None:
    if hasattr(function, "__wrapped__"):
        return None  # the annotation is the inner function's; the wrapper may do otherwise
    try:
        returned = typing.get_type_hints(function).get("return", Any)
    except Exception:  # an annotation may name, and run, anything at all
        return None
    returned = typing.get_origin(returned) or returned
    if not isinstance(returned, type):
        return None
    if returned in _NO_ANSWERS:
        raise RouteError(
            f"expected a handler, and {name} is a sync function that returns "
            f"{returned.__name__}: make it `async def`"
        )
    return _type_phases(returned)


def _type_phases(answer: type) -> bool | None:
    if hasattr(answer, "__aenter__") and hasattr(answer, "__aexit__"):
        return True
    return False if hasattr(answer, "__await__") else None


def _check_parameters(handler: Any, name: str, needs: Collection[str]) -> None:
    parameters = _parameters(handler)
    if parameters is None:
        return
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    if not parameters or parameters[0].kind not in positional:
        raise RouteError(f"expected a handler that takes the part first, and {name} does not")
    rest = parameters[0 if parameters[0].kind is parameters[0].VAR_POSITIONAL else 1 :]
    by_keyword = {p.name for p in rest if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in rest)
    for need in needs:
        if need not in by_keyword and (not takes_all or need == parameters[0].name):
            raise RouteError(
                f"unknown parameter {need!r}: a need names it, and {name} does not take it"
            )
    for parameter in rest:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        filled = variadic or (parameter.name in by_keyword and parameter.name in needs)
        if parameter.default is parameter.empty and not filled:
            raise RouteError(
                f"unknown or unfilled parameter {parameter.name!r} of {name}: "
                f"a handler is called with the part and with what its route needs"
            )


def _short(text: str) -> str:
    return text if len(text) <= 60 else excerpt(text, limit=60)
