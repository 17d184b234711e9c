"""`all_of`: several observers as one.

Knows: that one that fails must not keep the others from hearing. Must not know: what they do.
"""

from __future__ import annotations

import logging

import attrs

from mpflow.registration import check_observer
from mpflow.reports import Observer, Report

__all__ = ["all_of"]

_logger = logging.getLogger("mpflow")


def all_of(*observers: Observer) -> Observer:
    """An observer that tells each of these every report, in this order.

    What one of them raises is logged under `mpflow`, and the next is told. `RouteError` for one
    that cannot be called, or is async.
    """
    for observer in observers:
        check_observer(observer)
    return observers[0] if len(observers) == 1 else _All(observers)


@attrs.frozen(eq=False)
class _All:
    observers: tuple[Observer, ...]

    def __call__(self, report: Report) -> None:
        for observer in self.observers:
            try:
                observer(report)
            except Exception:
                _logger.exception("an observer failed on a %s", type(report).__name__)
