"""`TelemetryObserver`: flows and parts as spans and metrics of OpenTelemetry.

Knows: OpenTelemetry's API, if it is installed. Must not know: where its data goes.
"""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from mpflow.errors import MultipartError, Rejected
from mpflow.info import PartInfo
from mpflow.reports import (
    FlowFinished,
    FlowStarted,
    PartCancelled,
    PartCommitted,
    PartFailed,
    PartFinished,
    PartReport,
    PartRolledBack,
    PartStarted,
    PartWaited,
    Report,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["TelemetryObserver"]

_Key: TypeAlias = tuple[int, int]
_Place: TypeAlias = tuple[int, tuple[int, ...]]
MAX_TEXT: Final = 100
"""Characters of what clients choose in an attribute."""


@attrs.define(eq=False)
class TelemetryObserver:
    """A span a flow, a child span a part, and metrics of both.

    The span of an outermost flow is a child of the span that is current where the flow is entered;
    that of a flow inside is a child of its part's. A part's span lasts from its handler's call to
    its answer, or to its commit or rollback where it has a second phase. Errors are recorded on
    both. The providers default to the global ones.

    Spans: `multipart flow` and `multipart part`, with `mpflow.content_type`, `mpflow.outcome`,
    `mpflow.parts`, `mpflow.size`, `mpflow.path`, `mpflow.part.name`, `mpflow.route`,
    `mpflow.key`, `file.name` and `error.type`. Metrics: `mpflow.parts` and `mpflow.bytes`
    (counters), `mpflow.part.duration`, `mpflow.part.wait` and `mpflow.flow.duration` (histograms,
    in s), `mpflow.rejected` (counter of outermost flows that the client is to blame for, by
    `http.response.status_code`). No metric has an attribute that a client can choose.
    Raises `ImportError` without OpenTelemetry's API (extra `opentelemetry`).
    """

    tracer_provider: TracerProvider | None = attrs.field(default=None, kw_only=True)
    meter_provider: MeterProvider | None = attrs.field(default=None, kw_only=True)
    _tracer: Tracer = attrs.field(init=False)
    _metrics: _Metrics = attrs.field(init=False)
    _flows: dict[int, _Flow] = attrs.field(factory=dict[int, Any], init=False)
    _parts: dict[_Key, _Part] = attrs.field(factory=dict[Any, Any], init=False)
    # By the root's number and the part's path: so a flow inside finds the part that it is in.
    _places: dict[_Place, Span] = attrs.field(factory=dict[Any, Any], init=False)

    def __attrs_post_init__(self) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise ImportError(
                "expected opentelemetry-api for a TelemetryObserver: "
                "install multipart-flow[opentelemetry]"
            ) from error
        known = _version()
        self._tracer = trace.get_tracer("mpflow", known, self.tracer_provider)
        meter = metrics.get_meter("mpflow", known, self.meter_provider)
        self._metrics = _Metrics(
            parts=meter.create_counter("mpflow.parts", "{part}", "Parts that were handled"),
            bytes=meter.create_counter("mpflow.bytes", "By", "Bytes of the parts of messages"),
            rejected=meter.create_counter("mpflow.rejected", "{flow}", "Messages refused"),
            part=meter.create_histogram("mpflow.part.duration", "s", "From call to answer"),
            wait=meter.create_histogram("mpflow.part.wait", "s", "Waiting, by what for"),
            flow=meter.create_histogram("mpflow.flow.duration", "s", "Of outermost flows"),
        )

    def __call__(self, report: Report) -> None:
        """Take a report."""
        match report:
            case FlowStarted():
                self._start_flow(report)
            case FlowFinished():
                self._end_flow(report)
            case PartStarted():
                self._start_part(report)
            case PartWaited():
                attributes = {"mpflow.route": report.route.name, "mpflow.why": report.why}
                self._metrics.wait.record(report.seconds, attributes)
            case PartFinished() | PartFailed() | PartCancelled():
                self._on_answer(report)
            case PartCommitted() | PartRolledBack():
                self._on_decision(report)
            case _:
                pass

    # -- flows --------------------------------------------------------------------------------

    def _start_flow(self, report: FlowStarted) -> None:
        from opentelemetry.trace import set_span_in_context

        flow = report.flow
        around = self._places.get((flow.root, flow.path))
        span = self._tracer.start_span(
            "multipart flow",
            context=None if around is None else set_span_in_context(around),
            attributes={
                "mpflow.content_type": flow.content_type,
                "mpflow.path": _dotted(flow.path),
            },
        )
        self._flows[flow.number] = _Flow(span, report.at)

    def _end_flow(self, report: FlowFinished) -> None:
        number = report.flow.number
        for key in [key for key in self._parts if key[0] == number]:
            self._end_part(key)
        flow = self._flows.pop(number, None)
        if flow is None:
            return
        flow.span.set_attributes(
            {
                "mpflow.outcome": report.outcome,
                "mpflow.parts": report.parts,
                "mpflow.size": report.size,
            }
        )
        if report.error is not None:
            _record(flow.span, report.error)
        flow.span.end()
        if not report.flow.path:
            self._count_flow(report, report.at - flow.since)

    def _count_flow(self, report: FlowFinished, seconds: float) -> None:
        self._metrics.flow.record(
            seconds, {"mpflow.outcome": report.outcome, **_type(report.error)}
        )
        self._metrics.bytes.add(report.size, {"mpflow.outcome": report.outcome})
        error = report.error
        if isinstance(error, Rejected) or (
            isinstance(error, MultipartError) and error.status < 500
        ):
            status = {"http.response.status_code": error.status}
            self._metrics.rejected.add(1, {**status, **_type(error)})

    # -- parts --------------------------------------------------------------------------------

    def _start_part(self, report: PartReport) -> None:
        from opentelemetry.trace import set_span_in_context

        flow = self._flows.get(report.flow.number)
        span = self._tracer.start_span(
            "multipart part",
            context=None if flow is None else set_span_in_context(flow.span),
            attributes=_of_part(report),
        )
        place = report.flow.root, report.part.path
        self._parts[_key(report)] = _Part(span, place)
        self._places[place] = span

    def _on_answer(self, report: PartFinished | PartFailed | PartCancelled) -> None:
        part = self._parts.get(_key(report))
        error = report.error if isinstance(report, PartFailed) else None
        if part is not None and report.part.size is not None:
            part.span.set_attribute("mpflow.size", report.part.size)
        if part is None or part.answered is None:
            self._count_part(report, error)  # else it failed while it waited for its commit
        if part is None:
            return
        if error is not None:
            _record(part.span, error)
        if isinstance(report, PartFinished) and report.route.two_phase is not False:
            part.answered = time.time_ns()
            part.span.add_event("answered")
            return
        if isinstance(report, PartCancelled):
            part.span.set_attribute("mpflow.outcome", "cancelled")
        part.answered = None
        self._end_part(_key(report))

    def _count_part(
        self, report: PartFinished | PartFailed | PartCancelled, error: BaseException | None
    ) -> None:
        outcome = _OUTCOMES[type(report)]
        attributes = {"mpflow.route": report.route.name, "mpflow.outcome": outcome, **_type(error)}
        self._metrics.parts.add(1, attributes)
        if not isinstance(report, PartCancelled):
            self._metrics.part.record(report.seconds, attributes)

    def _on_decision(self, report: PartCommitted | PartRolledBack) -> None:
        part = self._parts.get(_key(report))
        if part is None:
            return
        outcome = "committed"
        if isinstance(report, PartRolledBack):
            outcome = "rolled back"
            if report.error is not None:
                _record(part.span, report.error)
        part.span.set_attribute("mpflow.outcome", outcome)
        part.answered = None
        self._end_part(_key(report))

    def _end_part(self, key: _Key) -> None:
        """One without a second phase ended when it answered, though that is known only now."""
        part = self._parts.pop(key)
        part.span.end(part.answered)
        if self._places.get(part.place) is part.span:
            del self._places[part.place]


@attrs.define(eq=False)
class _Flow:
    span: Span
    since: float


@attrs.define(eq=False)
class _Part:
    span: Span
    place: _Place
    answered: int | None = None
    """When it answered, in ns, if it may have a second phase."""


@attrs.frozen(eq=False)
class _Metrics:
    parts: Counter
    bytes: Counter
    rejected: Counter
    part: Histogram
    wait: Histogram
    flow: Histogram


_OUTCOMES: Final[dict[type[PartReport], str]] = {
    PartFinished: "finished",
    PartFailed: "failed",
    PartCancelled: "cancelled",
}


def _key(report: PartReport) -> _Key:
    return report.flow.number, report.part.index


def _dotted(path: tuple[int, ...]) -> str:
    return ".".join(map(str, path))


def _of_part(report: PartReport) -> dict[str, str]:
    info: PartInfo = report.part
    said = {
        "mpflow.path": _dotted(info.path),
        "mpflow.route": report.route.name,
        "mpflow.key": report.route.key,
        "mpflow.content_type": info.content_type,
        "mpflow.part.name": info.name,
        "file.name": info.filename,
    }
    return {name: _fit(value) for name, value in said.items() if value is not None}


def _fit(value: str) -> str:
    """Bounded, and such that it can be sent as UTF-8."""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode()


def _type(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {"error.type": type(error).__qualname__}


def _record(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import StatusCode

    span.record_exception(error)
    span.set_attributes(_type(error))
    span.set_status(StatusCode.ERROR, type(error).__name__)


def _version() -> str:
    try:
        return version("multipart-flow")
    except PackageNotFoundError:
        return ""
