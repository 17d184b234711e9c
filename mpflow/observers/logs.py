"""`LogObserver`: what a flow does, as lines of the standard library's logging.

Knows: reports, and how they read in one line. Must not know: where lines go; bodies and results.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from mpflow.errors import excerpt
from mpflow.info import PartInfo
from mpflow.reports import (
    FlowFinished,
    FlowRef,
    FlowStarted,
    PartCancelled,
    PartFailed,
    PartFinished,
    PartReport,
    PartRolledBack,
    PartWaited,
    Report,
)

__all__ = ["LogObserver"]

MAX_TEXT: Final = 200
"""Characters of an exception's text in a line."""

_Key: TypeAlias = tuple[int, int]


def _logger(value: str | logging.Logger) -> logging.Logger:
    return value if isinstance(value, logging.Logger) else logging.getLogger(value)


@attrs.define(eq=False)
class LogObserver:
    """Logs a line for each part once its handler has answered, and a line for each flow.

    `logger` is a logger or its name. What goes well is logged at `level`, what fails at
    `failure_level`. Each record has its facts as attributes as well (`extra`), for those who
    format records as JSON: `mpflow_event`, `mpflow_flow`, `mpflow_root`, `mpflow_path` and what
    the event has of `mpflow_part`, `mpflow_name`, `mpflow_filename`, `mpflow_content_type`,
    `mpflow_route`, `mpflow_key`, `mpflow_size`, `mpflow_parts`, `mpflow_seconds`,
    `mpflow_waited` (seconds by reason), `mpflow_outcome`, `mpflow_error`. The event is one of
    `part finished`, `part failed`, `part collected` (it failed, and the flow goes on), `part
    cancelled`, `rollback failed` and `flow finished`. What clients chose is
    bounded and escaped; of bodies and results nothing is logged.
    """

    logger: logging.Logger = attrs.field(
        default=logging.getLogger("mpflow.flow"), converter=_logger
    )
    level: int = attrs.field(default=logging.INFO, kw_only=True)
    failure_level: int = attrs.field(default=logging.WARNING, kw_only=True)
    _since: dict[int, float] = attrs.field(factory=dict[int, float], init=False)
    _waited: dict[int, dict[int, dict[str, float]]] = attrs.field(
        factory=dict[int, Any], init=False
    )

    def __call__(self, report: Report) -> None:
        """Take a report."""
        match report:
            case FlowStarted():
                self._since[report.flow.number] = report.at
            case FlowFinished():
                self._log_flow(report)
            case PartWaited():
                parts = self._waited.setdefault(report.flow.number, {})
                waits = parts.setdefault(report.part.index, {})
                waits[report.why] = waits.get(report.why, 0.0) + report.seconds
            case PartFinished():
                self._log_part(report, "part finished", "was handled by", seconds=report.seconds)
            case PartFailed():
                event = "part collected" if report.is_collected else "part failed"
                self._log_part(
                    report, event, "failed in", seconds=report.seconds, error=report.error
                )
            case PartCancelled():
                self._log_part(report, "part cancelled", "was cancelled in")
            case PartRolledBack(error=BaseException() as error):
                self._log_part(
                    report, "rollback failed", "was not rolled back cleanly by", error=error
                )
            case _:
                pass

    def _log_part(
        self,
        report: PartReport,
        event: str,
        text: str,
        *,
        seconds: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        level = self.level if error is None else self.failure_level
        waited = self._waited.get(report.flow.number, {}).pop(report.part.index, {})
        if not self.logger.isEnabledFor(level):
            return
        facts = _of_part(report.part) | {
            "mpflow_route": report.route.name,
            "mpflow_key": report.route.key,
            "mpflow_seconds": seconds,
            "mpflow_waited": waited,
        }
        said = [f"{report.part.ref} {text} {report.route.name}"]
        if seconds is not None:
            said.append(f"{'in' if error is None else 'after'} {seconds:.3f} s")
        if report.part.size is not None:
            said.append(f"({report.part.size} bytes)")
        said += [f"after waiting {spent:.3f} s for its {why}" for why, spent in waited.items()]
        self._log(level, " ".join(said), event, report.flow, facts, error)

    def _log_flow(self, report: FlowFinished) -> None:
        number = report.flow.number
        seconds = report.at - self._since.pop(number, report.at)
        self._waited.pop(number, None)
        failed = report.error is not None or report.outcome == "commit failed"
        facts = {
            "mpflow_content_type": excerpt(report.flow.content_type),
            "mpflow_parts": report.parts,
            "mpflow_size": report.size,
            "mpflow_seconds": seconds,
            "mpflow_outcome": report.outcome,
        }
        where = f" in part {_dotted(report.flow.path)}" if report.flow.path else ""
        text = (
            f"flow of {excerpt(report.flow.content_type)}{where}: {report.outcome} after "
            f"{seconds:.3f} s, {report.parts} parts, {report.size} bytes"
        )
        level = self.failure_level if failed else self.level
        self._log(level, text, "flow finished", report.flow, facts, report.error)

    def _log(
        self,
        level: int,
        text: str,
        event: str,
        flow: FlowRef,
        facts: Mapping[str, object],
        error: BaseException | None,
    ) -> None:
        if error is not None:
            text = f"{text}: {_told(error)}"
        extra = {
            "mpflow_event": event,
            "mpflow_flow": flow.number,
            "mpflow_root": flow.root,
            "mpflow_path": _dotted(flow.path),
            **facts,
            "mpflow_error": None if error is None else type(error).__name__,
        }
        self.logger.log(level, "%s", text, extra=extra)


def _of_part(info: PartInfo) -> dict[str, object]:
    return {
        "mpflow_part": _dotted(info.path),
        "mpflow_name": None if info.name is None else excerpt(info.name),
        "mpflow_filename": None if info.filename is None else excerpt(info.filename),
        "mpflow_content_type": excerpt(info.content_type),
        "mpflow_size": info.size,
    }


def _dotted(path: tuple[int, ...]) -> str:
    return ".".join(map(str, path))


def _told(error: BaseException) -> str:
    """The exception in one bounded line, whatever its `str` does."""
    try:
        text = str(error)
    except Exception:
        text = ""
    name = type(error).__name__
    return f"{name}: {excerpt(text, limit=MAX_TEXT)}" if text else name
