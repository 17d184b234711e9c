"""Whether anything can come of a format that its handler takes.

Knows: which options take what a format makes, and parts to try it on.
Must not know: what a handler does with it; how its faults are told.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from mpflow.config.templates import Template, TemplateTable
from mpflow.fitting import arms
from mpflow.info import PartInfo
from mpflow.options import Options

__all__ = ["refused_formats"]

_SAMPLES: Final[tuple[PartInfo, ...]] = tuple(
    PartInfo.of(filename=filename, index=index, path=path)
    for index, path in ((1, (1,)), (0, (0, 0)))
    for filename in ("a", "a.png", "data.json", "archive.tar.gz")
)
"""What comes of none of these is taken to come of no part."""


def refused_formats(
    make: Callable[[Mapping[str, Any]], object], values: Mapping[str, Any], known: Options
) -> Iterator[tuple[str, Exception]]:
    """The options with formats that `make` can never take, and what it raises for them.

    A handler sees a format as a callable, and looks at nothing that is in it. So it is made once
    more for each, with what comes of it, where the option takes that as it is, too.
    """

    def attempt(key: str, value: object) -> Exception | None:
        try:
            make({**values, key: value})
        except Exception as error:  # whatever an option of somebody's handler may come to
            return error
        return None

    for key, value in values.items():
        option = known.get(key)
        if option is None or option.is_many or not _takes_made(option.hint, value):
            continue
        if isinstance(value, Template) and value.is_by_client:
            # Only clients know what is right, where not even their words alone are.
            words = (attempt(key, value.fields_alone(sample)) for sample in _SAMPLES)
            if None not in words:
                continue
        errors: list[Exception] = []
        for made in _made(value):
            error = attempt(key, made)
            if error is None:
                break
            errors.append(error)
        else:
            if attempt(key, value) is None:  # or it can be made once only
                yield key, errors[0]


def _made(value: Template | TemplateTable) -> Iterable[object]:
    """What may come of it; of a table also without what clients choose."""
    yield from map(value, _SAMPLES)
    if isinstance(value, TemplateTable):
        yield value.without_clients(_SAMPLES[0])


def _takes_made(hint: Any, value: object) -> typing.TypeGuard[Template | TemplateTable]:
    """Whether the option takes the same as it is, or made by a callable.

    Where a callable makes something else, what comes as it is has another meaning: the name of a
    header that has a digest, say, in place of the digest.
    """
    made: list[Any] = []
    plain: list[Any] = []
    for arm in arms(hint):
        if typing.get_origin(arm) is Callable:
            made += arms(typing.get_args(arm)[-1])
        elif arm is not type(None):
            plain.append(arm)
    if not made or any(arm not in made for arm in plain) or any(arm not in plain for arm in made):
        return False
    if isinstance(value, Template):
        return str in plain
    kinds = [typing.get_origin(arm) or arm for arm in plain]
    return isinstance(value, TemplateTable) and (Mapping in kinds or dict in kinds)
