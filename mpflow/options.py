"""What a handler is made with: the options of the class, or the function, that makes it.

Knows: what a signature tells, and its types as far as they can be looked up.
Must not know: where options come from, or what they do.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

__all__ = ["Option", "Options", "options_of"]

_ADDRESS: Final = re.compile(r"<(?:\w+ )?(?:function )?([\w.]+)(?: object)? at 0x[0-9a-f]+>")


@attrs.frozen
class Option:
    """One option: its name, its type and its default, as they are written.

    `type` is empty where there is none. `default` is None for an option that must be given. An
    option with `is_many` takes any number of values, as an array. `hint` is the type itself, `Any`
    where it cannot be looked up.
    """

    name: str
    type: str
    default: str | None
    is_many: bool
    hint: Any = attrs.field(repr=False, eq=False)

    @property
    def is_required(self) -> bool:
        """Whether nothing can be made without it."""
        return self.default is None and not self.is_many


@attrs.frozen
class Options:
    """All options, in order; `takes_others` says whether there may be more than these."""

    known: tuple[Option, ...]
    takes_others: bool
    _signature: inspect.Signature = attrs.field(repr=False, eq=False)

    def get(self, name: str) -> Option | None:
        """The option of that name, or None."""
        return next((option for option in self.known if option.name == name), None)

    def call(self, factory: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """What the factory makes of the values, by name; those of `is_many` are sequences."""
        bound = self._signature.bind_partial()
        others: dict[str, Any] = {}
        for name, value in values.items():
            option = self.get(name)
            if option is None:
                others[name] = value
            else:
                bound.arguments[name] = tuple(value) if option.is_many else value
        kinds = {p.kind: name for name, p in self._signature.parameters.items()}
        if kinds.keys() & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY}:
            bound.apply_defaults()  # what stands before a value that has no name must be there
        if others:
            bound.arguments[kinds[inspect.Parameter.VAR_KEYWORD]] = others
        return factory(*bound.args, **bound.kwargs)


def options_of(factory: Callable[..., Any]) -> Options | None:
    """What the factory takes; None where Python cannot tell."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return None
    found: list[Option] = []
    takes_others = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_others = True
            continue
        annotation = parameter.annotation
        has_default = parameter.default is not parameter.empty
        found.append(
            Option(
                parameter.name,
                "" if annotation is parameter.empty else _text(annotation),
                _default(parameter.default) if has_default else None,
                parameter.kind is parameter.VAR_POSITIONAL,
                Any if annotation is parameter.empty else _resolved(annotation, factory),
            )
        )
    return Options(tuple(found), takes_others, signature)


def _text(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(value: object) -> str:
    """A default in one line; a function by its name, for its address tells nobody anything."""
    if value is attrs.NOTHING:  # attrs makes it anew each time
        return "..."
    text = _ADDRESS.sub(r"\1", repr(value))
    return text if len(text) <= 60 and text.isprintable() else text[:57].split("\n")[0] + "..."


def _resolved(annotation: object, factory: Any) -> Any:
    """The type that the annotation names; `Any` where it names what only type checkers see."""
    if not isinstance(annotation, str):
        return annotation
    owners: tuple[Any, ...] = factory.__mro__ if isinstance(factory, type) else (factory,)
    for owner in owners:
        module = sys.modules.get(getattr(owner, "__module__", None) or "")
        if module is None:
            continue
        try:
            return eval(annotation, vars(module))  # as `typing.get_type_hints` does, one by one
        except Exception:  # it may name anything at all
            continue
    return Any
