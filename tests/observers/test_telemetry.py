"""`TelemetryObserver`: spans and metrics, as OpenTelemetry's own SDK gets them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import anyio
import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from mpflow import CommitFailed, LimitExceeded, Limits, Part, Rejected, Router
from mpflow.observers import TelemetryObserver
from mpflow_handlers import Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import Diary, Field, fails, form, nested, read, reader

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), Field("b", b"22", filename="b.txt"))


@attrs.define(eq=False)
class Telemetry:
    """An observer, and what it has sent."""

    spans_sent: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    metrics_sent: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    observer: TelemetryObserver = attrs.field(init=False)
    tracers: TracerProvider = attrs.field(factory=lambda: TracerProvider(shutdown_on_exit=False))

    def __attrs_post_init__(self) -> None:
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_sent))
        meters = MeterProvider([self.metrics_sent], shutdown_on_exit=False)
        self.observer = TelemetryObserver(tracer_provider=self.tracers, meter_provider=meters)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans by place: `flow`, `flow 0` of one inside, `part 0.1`."""
        found: dict[str, ReadableSpan] = {}
        for span in self.spans_sent.get_finished_spans():
            path = (span.attributes or {})["mpflow.path"]
            key = f"{span.name.removeprefix('multipart ')} {path}".strip()
            assert key not in found
            found[key] = span
        return found

    def metric(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The points of a metric: attributes, and a sum or a count."""
        data = self.metrics_sent.get_metrics_data()
        assert data is not None
        return [
            (dict(point.attributes or {}), getattr(point, "value", None) or point.count)  # type: ignore[union-attr]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def own(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_a_flow_and_its_parts() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)
    router.add(read, name="a")
    router.add(read, filename=True, key="files")
    await router.dispatch(reader(BODY))
    spans = telemetry.spans
    assert sorted(spans) == ["flow", "part 0", "part 1"]
    assert spans["flow"].parent is None
    assert parent(spans["part 0"]) == parent(spans["part 1"]) == own(spans["flow"])
    assert spans["flow"].attributes == {
        "mpflow.content_type": "multipart/form-data",
        "mpflow.path": "",
        "mpflow.outcome": "committed",
        "mpflow.parts": 2,
        "mpflow.size": 3,
    }
    assert spans["part 1"].attributes == {
        "mpflow.path": "1",
        "mpflow.route": "read",
        "mpflow.key": "files",
        "mpflow.content_type": "text/plain",
        "mpflow.part.name": "b",
        "file.name": "b.txt",
        "mpflow.size": 2,
    }
    assert {span.status.status_code for span in spans.values()} == {StatusCode.UNSET}
    finished = {"mpflow.route": "read", "mpflow.outcome": "finished"}
    assert telemetry.metric("mpflow.parts") == [(finished, 2)]
    assert telemetry.metric("mpflow.part.duration") == [(finished, 2)]
    assert telemetry.metric("mpflow.bytes") == [({"mpflow.outcome": "committed"}, 3)]
    assert telemetry.metric("mpflow.flow.duration") == [({"mpflow.outcome": "committed"}, 1)]
    assert telemetry.metric("mpflow.rejected") == []


async def test_the_current_span_is_the_parent() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)
    router.add(read)
    tracer = telemetry.tracers.get_tracer("test")
    with tracer.start_as_current_span("multipart request", attributes={"mpflow.path": ""}) as span:
        await router.dispatch(reader(BODY))
    spans = telemetry.spans
    assert parent(spans["flow"]) == own(spans["request"]) == span.get_span_context().span_id


async def test_flows_inside_hang_on_their_part() -> None:
    telemetry = Telemetry()
    inner, router = Router(), Router(observer=telemetry.observer)
    inner.add(Diary())
    router.add(Nested(inner))
    body = form(nested("n", ("x", b"1"), boundary="i1"), nested("m", ("y", b"2"), boundary="i2"))
    await router.dispatch(reader(body, size=40))
    spans = telemetry.spans
    assert sorted(spans) == ["flow", "flow 0", "flow 1", "part 0", "part 0.0", "part 1", "part 1.0"]
    for place in ("0", "1"):
        assert parent(spans[f"part {place}.0"]) == own(spans[f"flow {place}"])
        assert parent(spans[f"flow {place}"]) == own(spans[f"part {place}"])
        assert parent(spans[f"part {place}"]) == own(spans["flow"])
        # A part ends with its commit, which is that of the flow inside.
        assert (spans[f"part {place}"].end_time or 0) >= (spans[f"flow {place}"].end_time or 0)
    assert telemetry.metric("mpflow.flow.duration")[0][1] == 1  # the outermost


async def test_two_flows_inside_one_part() -> None:
    telemetry = Telemetry()
    inner, router = Router(), Router(observer=telemetry.observer)
    inner.add(Diary())
    router.add(Tee(Nested(inner), Nested(inner)))
    await router.dispatch(reader(form(nested("n", ("x", b"1")))))
    spans = telemetry.spans_sent.get_finished_spans()
    (around,) = (span for span in spans if parent(span) and own(span) in map(parent, spans)
                 and (span.attributes or {})["mpflow.path"] == "0"
                 and span.name == "multipart part")  # fmt: skip
    inside = [span for span in spans if parent(span) == own(around)]
    assert [span.name for span in inside] == ["multipart flow"] * 2
    assert len(spans) == 6
    assert not telemetry.observer._parts
    assert not telemetry.observer._places


async def test_two_phases() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)
    router.add(Diary(), name="a")
    router.add(read)
    async with router.flow(reader(BODY)):
        assert sorted(telemetry.spans) == ["part 1"]
    span = telemetry.spans["part 0"]
    assert [event.name for event in span.events] == ["answered"]
    assert (span.attributes or {})["mpflow.outcome"] == "committed"
    with pytest.raises(KeyError):
        async with router.flow(reader(BODY)):
            raise KeyError
    outcomes = [
        (span.attributes or {}).get("mpflow.outcome")
        for span in telemetry.spans_sent.get_finished_spans()
        if span.name == "multipart part"
    ]
    assert outcomes == [None, "committed", None, "rolled back"]


@attrs.frozen
class Unclear:
    """A handler of one phase that could have two: only its answer tells."""

    def __call__(self, part: Part) -> Any:
        return read(part)


async def test_a_handler_that_could_have_had_a_second_phase() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)
    router.add(Unclear())
    async with router.flow(reader(BODY)) as flow:
        assert len(flow.results) == 2
    spans = telemetry.spans
    assert sorted(spans) == ["flow", "part 0", "part 1"]
    assert all((spans["flow"].end_time or 0) > (spans[f"part {i}"].end_time or 0) for i in (0, 1))
    assert not telemetry.observer._parts


async def test_a_failure() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)

    @router.route(name="a")
    async def fails_(part: Part) -> None:
        raise ValueError("bad")

    @router.route()
    async def waits(part: Part) -> None:
        await anyio.sleep_forever()

    with pytest.raises(ValueError, match="bad"):
        await router.dispatch(reader(BODY))
    spans = telemetry.spans
    for name in ("flow", "part 0"):
        assert spans[name].status.status_code is StatusCode.ERROR
        assert (spans[name].attributes or {})["error.type"] == "ValueError"
        assert [event.name for event in spans[name].events] == ["exception"]
    if "part 1" in spans:  # on asyncio its handler may not have been called
        assert (spans["part 1"].attributes or {})["mpflow.outcome"] == "cancelled"
    assert (spans["flow"].attributes or {})["mpflow.outcome"] == "rolled back"
    failed = {"mpflow.outcome": "failed", "error.type": "ValueError"}
    points = telemetry.metric("mpflow.parts")
    assert failed in [
        {k: v for k, v in attributes.items() if k != "mpflow.route"} for attributes, _ in points
    ]
    assert telemetry.metric("mpflow.rejected") == []


async def test_what_the_client_is_to_blame_for() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)

    @router.route()
    async def refuses(part: Part) -> None:
        raise Rejected(403, "no")

    for _ in range(2):
        with pytest.raises(Rejected):
            await router.dispatch(reader(BODY))
    with pytest.raises(LimitExceeded):
        await router.dispatch(reader(BODY, limits=Limits(max_parts=0)))
    assert telemetry.metric("mpflow.rejected") == [
        ({"http.response.status_code": 403, "error.type": "Rejected"}, 2),
        ({"http.response.status_code": 413, "error.type": "LimitExceeded"}, 1),
    ]


async def test_a_commit_and_a_rollback_that_fail() -> None:
    async def step(what: str, name: str) -> None:
        await fails("commit", "a", OSError("full"))(what, name)
        await fails("rollback", "b", OSError("gone"))(what, name)

    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)
    router.add(Diary(step))
    with pytest.raises(CommitFailed):
        await router.dispatch(reader(BODY))
    spans = telemetry.spans
    assert (spans["flow"].attributes or {})["mpflow.outcome"] == "commit failed"
    for name in ("part 0", "part 1"):
        assert (spans[name].attributes or {})["error.type"] == "OSError"
    # Each counts once: when it answered.
    assert telemetry.metric("mpflow.parts")[0][1] == 2
    assert not telemetry.observer._parts
    assert not telemetry.observer._flows


@virtual_time
async def test_waits() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer, max_handlers=1)

    @router.route()
    async def slow(part: Part) -> None:
        await anyio.sleep(2)

    await router.dispatch(reader(BODY))
    assert telemetry.metric("mpflow.part.wait") == [
        ({"mpflow.route": "test_waits.<locals>.slow", "mpflow.why": "slot"}, 1)
    ]


async def test_what_clients_send_is_bounded() -> None:
    telemetry = Telemetry()
    router = Router(observer=telemetry.observer)
    router.add(read)
    await router.dispatch(reader(form(Field("n" * 500, b"", filename="f" * 500))))
    attributes = telemetry.spans["part 0"].attributes or {}
    assert attributes["mpflow.part.name"] == "n" * 100
    assert attributes["file.name"] == "f" * 100


async def test_the_global_providers_do_nothing_and_cost_no_error() -> None:
    router = Router(observer=TelemetryObserver())
    router.add(read)
    assert len(await router.dispatch(reader(BODY))) == 2


def test_without_opentelemetry() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import mpflow.observers\n"
        "try: mpflow.observers.TelemetryObserver()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "expected opentelemetry-api for a TelemetryObserver: "
        "install multipart-flow[opentelemetry]\n"
    )
