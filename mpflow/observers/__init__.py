"""Observers that are ready to use: `Router(observer=LogObserver())`.

Knows: the names of this package. Must not know: flows; what an observer needs that is an extra.
"""

from mpflow.observers.combine import all_of
from mpflow.observers.logs import LogObserver
from mpflow.observers.progress import ProgressObserver
from mpflow.observers.telemetry import TelemetryObserver

__all__ = ["LogObserver", "ProgressObserver", "TelemetryObserver", "all_of"]
