"""`handler = {use = "save", ...}`: handlers by the names under which they are installed.

Knows: how options are checked before a handler is made, and which of them are handlers, routers
or templates themselves. Must not know: what a handler does; routes.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import attrs

from mpflow.config.places import Place, did_you_mean, shown
from mpflow.config.templates import Template, TemplateTable, template_fault
from mpflow.config.trials import refused_formats
from mpflow.errors import MultipartError, RouteError, excerpt
from mpflow.fitting import arms, fits
from mpflow.options import Option, Options, options_of
from mpflow.plugins import load_handler
from mpflow.router import RouteTable

__all__ = ["HandlerMaker"]

_SCALARS: Final = (str, int, float, bool, types.NoneType, None)


class _Unusable(Exception):
    """A value with a fault, which has been told."""


@attrs.frozen(eq=False)
class HandlerMaker:
    """Makes the handlers of one configuration. `routers` are all that can be named in options."""

    routers: Mapping[str, RouteTable]
    used: set[str] = attrs.field(factory=set[str], init=False)
    """The routers that options have named."""

    def make(self, place: Place, value: object) -> Callable[..., Any] | None:
        """The handler; None where it has faults, which are told."""
        try:
            return self._make(place, value)
        except _Unusable:
            return None

    def _make(self, place: Place, value: object) -> Callable[..., Any]:
        if isinstance(value, str):
            return self._made(place, value, {})
        if callable(value):
            return cast("Callable[..., Any]", value)
        table = place.table(value, "the name of a handler or a table")
        if table is None:
            raise _Unusable
        options = dict(table)
        name = options.pop("use", None)
        if not isinstance(name, str):
            got = "nothing" if name is None else shown(name)
            where = place if name is None else place.at("use")
            raise _fault(where, f'expected use = "...", the name of a handler, got {got}')
        return self._made(place, name, options)

    def _made(self, place: Place, name: str, options: Mapping[str, object]) -> Callable[..., Any]:
        factory = _factory(place, name)
        known = options_of(factory)
        before = len(place.problems.found)
        if known is not None:
            _check_names(place, name, options, known)
        values: dict[str, Any] = {}
        for key, value in options.items():
            option = None if known is None else known.get(key)
            if option is None and known is not None and not known.takes_others:
                continue  # which was told
            with suppress(_Unusable):
                values[key] = self._option(place.at(key), value, option, factory)
        if len(place.problems.found) > before:
            raise _Unusable
        try:
            made: Callable[..., Any] = (
                factory(**values) if known is None else known.call(factory, values)
            )
        except Exception as error:  # whatever an option of somebody's handler may come to
            raise _fault(place, f"{name} cannot be made: {_said(error)}") from error
        if known is not None:
            for key, refusal in refused_formats(partial(known.call, factory), values, known):
                at = place.at(key, "format") if isinstance(values[key], Template) else place.at(key)
                at.problem(f"{name} cannot be made: {_said(refusal)}")
        if len(place.problems.found) > before:
            raise _Unusable
        return made

    def _option(
        self, place: Place, value: object, option: Option | None, factory: Callable[..., Any]
    ) -> Any:
        if option is not None and option.is_many:
            items = list(place.array(value, "an array"))
            if not isinstance(value, list | tuple):
                raise _Unusable
            return self._each(items, _hint(option), factory)
        return self._value(place, value, Any if option is None else _hint(option), factory)

    def _value(self, place: Place, value: object, hint: Any, factory: Callable[..., Any]) -> Any:
        """The value as the handler gets it: handlers, routers and templates are made."""
        if isinstance(value, str) and _is_router(hint):
            return self._router(place, value)
        if isinstance(value, list):
            items = [(place.at(i), item) for i, item in enumerate(cast("list[object]", value))]
            return self._each(items, Any, factory)
        if isinstance(value, dict):
            table = cast("dict[str, object]", value)
            if "use" in table:
                return self._inner(place, table, factory)
            if table.keys() == {"format"}:
                return _template(place.at("format"), table["format"])
            made = self._each([(place.at(k), v) for k, v in table.items()], Any, factory)
            named = dict(zip(table, made, strict=True))
            has_template = any(isinstance(item, Template) for item in made)
            return TemplateTable(named) if has_template else named
        _check_scalar(place, value, hint)
        return value

    def _each(
        self, items: Iterable[tuple[Place, object]], hint: Any, factory: Callable[..., Any]
    ) -> list[Any]:
        """All values, or none of them: each that has a fault has told it by then."""
        made: list[Any] = []
        faults: list[_Unusable] = []
        for place, value in items:
            try:
                made.append(self._value(place, value, hint, factory))
            except _Unusable as fault:  # the others are looked at as well
                faults.append(fault)
        if faults:
            raise faults[0]
        return made

    def _inner(self, place: Place, table: dict[str, object], factory: Any) -> Any:
        """A handler that another one calls; `on_error` says whether it may fail by itself."""
        rest = {key: value for key, value in table.items() if key != "on_error"}
        on_error = table.get("on_error", "abort")
        collect = getattr(factory, "collect", None)
        before = len(place.problems.found)
        if on_error != "abort" and not (on_error == "collect" and callable(collect)):
            there = "'abort' or 'collect'" if callable(collect) else "'abort', or none"
            place.at("on_error").problem(f"expected {there}, got {shown(on_error)}")
        made = self._make(place, rest)
        if len(place.problems.found) > before:
            raise _Unusable
        return collect(made) if on_error == "collect" and callable(collect) else made

    def _router(self, place: Place, name: str) -> RouteTable:
        router = self.routers.get(name)
        if router is None:
            meant = did_you_mean(name, list(self.routers))
            raise _fault(place, f"unknown router {excerpt(name)}{meant}")
        self.used.add(name)
        return router


def _factory(place: Place, name: str) -> Callable[..., Any]:
    try:
        return load_handler(name)
    except RouteError as error:
        raise _fault(place, error.message) from error


def _check_names(place: Place, name: str, options: Mapping[str, object], known: Options) -> None:
    """Options that are unknown, and those that must be given and are not."""
    names = [option.name for option in known.known]
    if not known.takes_others:
        for key in options:
            if key not in names:
                meant = did_you_mean(key, names)
                place.at(key).problem(f"unknown option {excerpt(key)} of {name}{meant}")
    for option in known.known:
        if option.is_required and option.name not in options:
            said = f", {option.type}" if option.type else ""
            place.problem(f"{name} needs the option {option.name!r}{said}")


def _check_scalar(place: Place, value: object, hint: Any) -> None:
    """Refuse a scalar of another type where the option takes scalars alone.

    What else it may take is the handler's to judge.
    """
    kinds = arms(hint)
    if not all(kind in _SCALARS for kind in kinds) or not isinstance(value, _KNOWN):
        return
    misfits = bool not in kinds if isinstance(value, bool) else not fits(value, hint)
    if misfits:
        names = " or ".join(kind.__name__ for kind in kinds if isinstance(kind, type)
                            and kind is not types.NoneType)  # fmt: skip
        raise _fault(place, f"expected {names}, got {shown(value)}")


_KNOWN: Final = (str, int, float, bool)


def _template(place: Place, text: object) -> Template:
    if not isinstance(text, str):
        raise _fault(place, f"expected text, got {shown(text)}")
    fault = template_fault(text)
    if fault is not None:
        raise _fault(place, fault)
    return Template(text)


def _hint(option: Option) -> Any:
    """The option's type; where it cannot be looked up, whether it is written as a router's."""
    is_router = option.hint is Any and _ROUTER.search(option.type)
    return RouteTable if is_router else option.hint


_ROUTER: Final = re.compile(r"\bRouter\b")


def _is_router(hint: Any) -> bool:
    return any(isinstance(arm, type) and issubclass(arm, RouteTable) for arm in arms(hint))


def _fault(place: Place, text: str) -> _Unusable:
    place.problem(text)
    return _Unusable()


def _said(error: Exception) -> str:
    if isinstance(error, MultipartError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
