"""What a run tells OpenTelemetry, read from the SDK's own in-memory exporters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import copy_context
from textwrap import dedent
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from _helpers import all_blocked, error_of, in_both_modes, stalling
from conveyor import (
    ExecutionMode,
    Instrument,
    Pipeline,
    RunInfo,
    StageInfo,
    StageStatistics,
    Stream,
    StreamStatistics,
    batch_task,
    single_task,
    telemetry,
)
from conveyor._observe.telemetry import CALL_SECONDS, RUN_SECONDS


class Observed:
    """Providers of the SDK, and what they have got."""

    def __init__(self) -> None:
        nothing = Resource.get_empty()
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(resource=nothing, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.tracer_provider.get_tracer("test")
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], nothing, shutdown_on_exit=False)

    def telemetry(self, name: str | None = None) -> Any:
        return telemetry(
            name=name, tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )

    def instrument(self, run: RunInfo) -> Instrument:
        """Begin to watch a run, whose span stays in the context: in another than the test's."""
        return copy_context().run(self.telemetry(), run)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended, in that order."""
        return self._exporter.get_finished_spans()

    @property
    def run(self) -> ReadableSpan:
        """The only run that has ended."""
        (span,) = (span for span in self.spans if span.name.startswith("process "))
        return span

    def points(self) -> Iterator[tuple[str, dict[str, Any], Any]]:
        """Yield all that is measured: its name, its attributes, and the data point."""
        data = self._reader.get_metrics_data()
        for of_resource in data.resource_metrics if data is not None else ():
            for of_scope in of_resource.scope_metrics:
                assert of_scope.scope.name == "conveyor"
                for metric in of_scope.metrics:
                    for point in metric.data.data_points:
                        yield metric.name, dict(point.attributes or {}), point

    def measured(self, name: str) -> dict[Any, Any]:
        """Return the values of a metric by stage, or by stage and error where there was one.

        Of a histogram it is the count and the sum.
        """
        found: dict[Any, Any] = {}
        for metric, attributes, point in self.points():
            if metric == name:
                stage, error = attributes.get("conveyor.stage"), attributes.get("error.type")
                value = (
                    (point.count, point.sum)
                    if isinstance(point, HistogramDataPoint)
                    else point.value
                )
                found[stage if error is None else (stage, error)] = value
        return found


@pytest.fixture
def observed() -> Observed:
    return Observed()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@single_task
async def fetch(item: int) -> int:
    await anyio.lowlevel.checkpoint()
    return item * 10


@single_task
def odd(item: int) -> int | None:
    return item if item % 20 else None


# --- the span


@in_both_modes
async def test_a_run_is_a_span(observed: Observed, mode: str) -> None:
    pipeline = (fetch | odd).with_context(
        instruments=[observed.telemetry()], execution_mode=mode, pipeline_id="the first"
    )
    stream = pipeline([1, 2, 3])
    with observed.tracer.start_as_current_span("caller") as caller:
        assert await stream.collect() == [10, 30]
    run, outer = observed.spans
    assert outer.name == "caller"
    assert run.name == "process fetch | odd"
    assert run.kind is SpanKind.INTERNAL
    assert run.parent == caller.get_span_context()
    assert run.status.status_code is StatusCode.UNSET
    assert run.events == ()
    assert attributes_of(run) == {
        "messaging.system": "conveyor",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": 3,
        "conveyor.pipeline": "fetch | odd",
        "conveyor.pipeline_id": "the first",
        "conveyor.execution_mode": mode,
        "conveyor.stages": ("fetch", "odd"),
        "conveyor.input.total": 3,
        "conveyor.results": 2,
        "conveyor.failed": 0,
        "conveyor.skipped": 0,
        "conveyor.retried": 0,
    }


async def test_a_run_without_a_caller_begins_a_trace(observed: Observed) -> None:
    async def endless() -> AsyncIterator[int]:
        yield 1

    pipeline = fetch.with_context(instruments=[observed.telemetry("orders")])
    await pipeline(endless()).drain()
    assert observed.run.parent is None
    assert observed.run.name == "process orders"
    attributes = attributes_of(observed.run)
    assert attributes["conveyor.pipeline"] == "orders"
    assert attributes["conveyor.stages"] == ("fetch",)
    assert "conveyor.input.total" not in attributes


async def test_one_stream_alone_may_be_watched(observed: Observed) -> None:
    first, second = fetch([1]), fetch([2])
    second.add_instrument(observed.telemetry())
    assert [await stream.collect() for stream in (first, second)] == [[10], [20]]
    assert attributes_of(observed.run)["conveyor.pipeline_id"] == second.statistics().pipeline_id


@pytest.mark.parametrize("block", [True, False], ids=["block", "background"])
async def test_spans_of_the_run_are_its_children(observed: Observed, block: bool) -> None:
    tracer = observed.tracer

    def numbers() -> Iterator[int]:
        with tracer.start_as_current_span("input"):
            pass
        yield 1

    async def opened() -> int:
        with tracer.start_as_current_span("side input"):
            return 5

    @single_task
    async def work(item: int, plus: int) -> int:
        with tracer.start_as_current_span("function"):
            await all_blocked(3)
        return item + plus

    pipeline = work.with_inputs(opened()).with_context(instruments=[observed.telemetry()])
    stream = pipeline(numbers())
    with tracer.start_as_current_span("caller") as caller:
        if block:
            async with stream:
                assert trace.get_current_span() is caller
                assert [result async for result in stream] == [6]
        else:
            async for result in stream:
                assert trace.get_current_span() is caller
                assert result == 6
        assert trace.get_current_span() is caller
    run = observed.run
    assert run.parent == caller.get_span_context()
    parents = {span.name: span.parent for span in observed.spans}
    for name in "input", "side input", "function":
        assert parents[name] == run.context, name


@pytest.mark.real_time
async def test_spans_in_threads_are_its_children_too(observed: Observed) -> None:
    @single_task(executor="thread")
    def work(item: int) -> int:
        with observed.tracer.start_as_current_span("function"):
            return item

    pipeline = work.with_context(instruments=[observed.telemetry()])
    assert await pipeline([1, 2]).collect() == [1, 2]
    functions = [span for span in observed.spans if span.name == "function"]
    assert [span.parent for span in functions] == [observed.run.context] * 2


class Broken(Exception):  # noqa: N818 - as it stands in every test
    """Of another module than `builtins`."""


@in_both_modes
async def test_a_run_that_failed(observed: Observed, mode: str) -> None:
    @single_task
    def work(item: int) -> int:
        if item == 3:
            raise Broken("no bread")
        return item

    pipeline = work.with_context(instruments=[observed.telemetry()], execution_mode=mode)
    assert isinstance(await error_of(pipeline(range(9)).drain()), Broken)
    run = observed.run
    assert run.status.status_code is StatusCode.ERROR
    assert run.status.description == "Broken: no bread"
    attributes = attributes_of(run)
    assert attributes["error.type"] == f"{__name__}.Broken"
    assert attributes["conveyor.failed"] == 1
    assert attributes["messaging.batch.message_count"] >= 4
    (event,) = run.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "no bread"
    assert "in work" in str(event.attributes["exception.stacktrace"])
    assert observed.measured("conveyor.stage.failed") == {("work", f"{__name__}.Broken"): 1}
    ((failed, (count, _)),) = observed.measured("conveyor.run.duration").items()
    assert (failed, count) == ((None, f"{__name__}.Broken"), 1)


async def test_an_error_that_cannot_say_what_it_is_ends_the_span_all_the_same(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not a word")

    @single_task
    def work(item: int) -> int:
        raise MuteError

    pipeline = work.with_context(instruments=[observed.telemetry()])
    assert isinstance(await error_of(pipeline([1]).drain()), MuteError)
    assert caplog.records == []
    assert observed.run.status.status_code is StatusCode.ERROR
    assert observed.run.status.description == "MuteError"
    assert attributes_of(observed.run)["error.type"].endswith("MuteError")


async def test_an_input_that_failed(observed: Observed) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    pipeline = fetch.with_context(instruments=[observed.telemetry()])
    await error_of(pipeline(numbers()).drain())
    assert observed.run.status.status_code is StatusCode.ERROR
    assert attributes_of(observed.run)["error.type"] == "OSError"
    assert observed.measured("conveyor.stage.failed") == {}


@pytest.mark.parametrize("how", ["break", "break in a block", "aclose", "cancel", "abort"])
async def test_the_span_ends_however_the_run_does(observed: Observed, how: str) -> None:
    @single_task(concurrency_limit=3)
    async def work(item: int) -> int:
        if item:
            await anyio.sleep_forever()
        return item

    pipeline = work.with_context(instruments=[observed.telemetry()])
    stream = pipeline(stalling(0, 1, 2))

    async def read_all(stream: Stream[int]) -> None:
        async for _ in stream:
            await all_blocked(10)
            assert observed.spans == ()
            assert observed.measured("conveyor.stage.running") == {"work": 2}
            assert observed.measured("conveyor.run.active") == {None: 1}
            if how == "cancel":
                scope.cancel()
            elif how == "abort":
                stream.abort(Broken("enough"))
            elif how == "aclose":
                await stream.aclose()
                return
            else:
                break

    with anyio.CancelScope() as scope:
        if how == "break in a block":
            async with stream:
                await read_all(stream)
        elif how == "abort":
            assert isinstance(await error_of(read_all(stream)), Broken)
        else:
            await read_all(stream)
    del stream
    await all_blocked()
    run = observed.run
    failed = how == "abort"
    assert run.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    attributes = attributes_of(run)
    assert attributes["messaging.batch.message_count"] == 3
    assert attributes["conveyor.results"] == 1
    assert observed.measured("conveyor.stage.running") == {"work": 0}
    assert observed.measured("conveyor.run.active") == {None: 0}
    assert observed.measured("conveyor.stage.cancelled") == {"work": 2}


async def test_several_runs_at_once(observed: Observed) -> None:
    pipeline = (fetch | odd).with_context(instruments=[observed.telemetry()])
    parents = {}

    async def one(number: int) -> None:
        with observed.tracer.start_as_current_span("caller") as caller:
            stream = pipeline(range(number))
            await stream.drain()
            parents[stream.statistics().pipeline_id] = caller.get_span_context()

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, number)
    runs = [span for span in observed.spans if span.name != "caller"]
    assert {attributes_of(run)["conveyor.pipeline_id"]: run.parent for run in runs} == parents
    counts = sorted(attributes_of(run)["messaging.batch.message_count"] for run in runs)
    assert counts == [0, 1, 2, 3, 4]
    assert observed.measured("messaging.client.consumed.messages") == {"fetch": 10, "odd": 10}
    assert observed.measured("conveyor.run.duration")[None][0] == 5
    assert observed.measured("conveyor.run.active") == {None: 0}


# --- the metrics


@in_both_modes
async def test_what_the_stages_do_is_counted(observed: Observed, mode: str) -> None:
    failed_before: set[int] = set()

    @single_task(retry_attempts=2, retry_delay=0, on_error="skip_item")
    async def flaky(item: int) -> int:
        await anyio.lowlevel.checkpoint()
        if item % 4 == 0 and item not in failed_before:
            failed_before.add(item)
            raise ConnectionError
        if item == 7:
            raise Broken
        return item

    @single_task
    def few(item: int) -> list[Any] | None:
        return None if item == 1 else [item, None, item + 1]

    @batch_task(max_size=4, min_size=4, drop_remainder=True)
    def stored(items: list[int]) -> int:
        return len(items)

    pipeline = Pipeline(flaky, few, stored).with_context(
        instruments=[observed.telemetry("shop")], execution_mode=mode
    )
    # 0 to 8 come, 7 is left out, and 1 filtered: seven are doubled, and two of these remain.
    assert await pipeline(range(9)).collect() == [4, 4, 4]
    name = f"{__name__}.Broken"
    expected = {
        "messaging.client.consumed.messages": {"flaky": 9, "few": 8, "stored": 12},
        "messaging.client.sent.messages": {"flaky": 8, "few": 14, "stored": 3},
        "conveyor.stage.failed": {("flaky", name): 1},
        "conveyor.stage.skipped": {"flaky": 1},
        "conveyor.stage.retried": {"flaky": 4},
        "conveyor.stage.filtered": {"few": 8},
        "conveyor.stage.dropped": {"stored": 2},
        "conveyor.stage.cancelled": {},
        "conveyor.stage.running": {"flaky": 0, "few": 0, "stored": 0},
        "conveyor.run.active": {None: 0},
    }
    assert {metric: observed.measured(metric) for metric in expected} == expected
    calls = {stage: count for stage, (count, _) in observed.measured(DURATION).items()}
    assert calls == {
        "flaky": 8,
        ("flaky", "ConnectionError"): 3,
        ("flaky", name): 2,
        "few": 8,
        "stored": 3,
    }


DURATION = "messaging.process.duration"


@pytest.mark.virtual_time
async def test_the_times_of_calls_and_runs(observed: Observed) -> None:
    @single_task(concurrency_limit=1, retry_attempts=2, retry_delay=8, retry_jitter=False)
    async def work(item: float) -> float:
        await anyio.sleep(item)
        if item == 2 and not failed:
            failed.append(item)
            raise ConnectionError
        return item

    failed: list[float] = []
    pipeline = work.with_context(instruments=[observed.telemetry()])
    assert await pipeline([0.5, 2, 16]).collect() == [0.5, 2, 16]
    assert observed.measured(DURATION) == {
        "work": (3, 18.5),
        ("work", "ConnectionError"): (1, 2.0),
    }
    assert observed.measured("conveyor.run.duration") == {None: (1, 28.5)}
    bounds = {
        metric: getattr(point, "explicit_bounds", None) for metric, _, point in observed.points()
    }
    assert bounds[DURATION] == CALL_SECONDS
    assert bounds["conveyor.run.duration"] == RUN_SECONDS


async def test_each_value_of_a_generator_is_a_call(observed: Observed) -> None:
    @single_task
    async def work(item: int) -> AsyncIterator[int]:
        for value in range(item):
            yield value

    pipeline = work.with_context(instruments=[observed.telemetry()])
    assert await pipeline([2, 3]).collect() == [0, 1, 0, 1, 2]
    assert observed.measured("messaging.client.consumed.messages") == {"work": 2}
    assert observed.measured("messaging.client.sent.messages") == {"work": 5}
    assert observed.measured(DURATION)["work"][0] == 5


@pytest.mark.virtual_time
async def test_what_has_no_event_is_there_a_second_later(observed: Observed) -> None:
    seen: list[Any] = []

    @single_task(concurrency_limit=1)
    async def work(item: int) -> None:
        seen.append(observed.measured("conveyor.stage.filtered"))
        await anyio.sleep(0.4)

    pipeline = work.with_context(instruments=[observed.telemetry()])
    await pipeline(range(6)).drain()
    # The third call ends at 1.2 s, and it is then that somebody looks.
    assert [counts.get("work", 0) for counts in seen] == [0, 0, 0, 3, 3, 3]
    assert observed.measured("conveyor.stage.filtered") == {"work": 6}


async def test_the_attributes_of_metrics_are_few(observed: Observed) -> None:
    @single_task(on_error="emit_failure")
    def work(item: int) -> int:
        return 1 // item

    pipeline = work.with_context(instruments=[observed.telemetry()])
    for _ in range(3):  # each with an id of its own
        await pipeline(range(4)).drain()
    found: dict[str, set[str]] = {}
    for metric, attributes, _ in observed.points():
        found.setdefault(metric, set()).update(attributes)
    stage = {"conveyor.pipeline", "conveyor.stage"}
    message = stage | {"messaging.system", "messaging.operation.name"}
    assert found == {
        "messaging.client.consumed.messages": message,
        "messaging.client.sent.messages": message,
        DURATION: message | {"error.type"},
        "conveyor.stage.failed": stage | {"error.type"},
        "conveyor.stage.running": stage,
        "conveyor.run.active": {"conveyor.pipeline"},
        "conveyor.run.duration": {"conveyor.pipeline"},
    }
    every = [(metric, *attributes.values()) for metric, attributes, _ in observed.points()]
    assert len(every) == len(set(every))


async def test_results_are_those_without_it(observed: Observed) -> None:
    @single_task
    async def slowly(item: int) -> int:
        await all_blocked(item % 3)
        return item + 1

    @batch_task(max_size=3)
    def together(items: list[int]) -> list[int]:
        return [item for item in items if item % 5]

    pipeline = slowly | together | fetch
    watched = pipeline.with_context(instruments=[observed.telemetry()])
    assert await watched(range(50)).collect() == await pipeline(range(50)).collect()


# --- by hand: what a run that is watched no longer, or ends oddly, leaves


def info(names: list[str], statistics: Any) -> RunInfo:
    stages = tuple(StageInfo(name, 1, batch=False) for name in names)
    return RunInfo("id", ExecutionMode.ORDERED, stages, None, lambda: 7.0, statistics)


def test_calls_that_never_ended_do_not_run_for_ever(observed: Observed) -> None:
    snapshot = StreamStatistics("id", (StageStatistics("a", cancelled=2),), read=2)
    instrument = observed.instrument(info(["a"], lambda: snapshot))
    instrument.call_started(0, (0,), 0)
    instrument.call_started(0, (1,), 1)
    assert observed.measured("conveyor.stage.running") == {"a": 2}
    instrument.run_ended(None)
    assert observed.measured("conveyor.stage.running") == {"a": 0}
    assert observed.measured("conveyor.stage.cancelled") == {"a": 2}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ExceptionGroup("two", [ValueError()])])
def test_whatever_it_ended_in(observed: Observed, error: BaseException) -> None:
    snapshot = StreamStatistics("id", (StageStatistics("a"),))
    observed.instrument(info(["a"], lambda: snapshot)).run_ended(error)
    assert observed.run.status.status_code is StatusCode.ERROR
    assert attributes_of(observed.run)["error.type"] == type(error).__name__


# --- providers


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": 3}, TypeError, "name must be a str or None, not 3"),
        ({"name": ""}, ValueError, "name must not be empty"),
        ({"tracer_provider": "x"}, TypeError, "tracer_provider must be an OpenTelemetry Tracer"),
        ({"meter_provider": 1}, TypeError, "meter_provider must be an OpenTelemetry MeterProvider"),
    ],
)
def test_what_is_no_provider_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        telemetry(**options)


async def test_without_an_sdk_it_does_nothing() -> None:
    assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
    before = trace.get_current_span()

    @single_task(on_error="skip_item")
    def work(item: int) -> int:
        assert not trace.get_current_span().is_recording()
        return 1 // item

    pipeline = work.with_context(instruments=[telemetry()])
    assert await pipeline(range(3)).collect() == [1, 0]
    assert trace.get_current_span() is before


def test_the_global_providers_are_those_of_the_moment() -> None:
    """In a process of its own, as they can be set only once."""
    program = """
        import anyio
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from conveyor import single_task, telemetry

        @single_task
        def work(item: int) -> int:
            return item

        pipeline = work.with_context(instruments=[telemetry()])

        async def main():
            await pipeline([1, 2]).drain()  # before there is an SDK

            spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(spans))
            trace.set_tracer_provider(provider)
            metrics.set_meter_provider(MeterProvider([reader]))
            await pipeline([1, 2, 3]).drain()
            for span in spans.get_finished_spans():
                print(span.name, span.attributes["messaging.batch.message_count"])
            for of_scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
                for metric in of_scope.metrics:
                    if metric.name == "messaging.client.consumed.messages":
                        print(*(point.value for point in metric.data.data_points))

        anyio.run(main)
    """
    assert run_program(program) == "process work 3\n3\n"


def run_program(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_imported_when_it_is_called_alone() -> None:
    program = """
        import sys

        import conveyor

        conveyor.telemetry
        print([name for name in sys.modules if name.startswith("opentelemetry")])
        sys.modules["opentelemetry"] = None  # as if it were not installed
        try:
            conveyor.telemetry()
        except ImportError as error:
            print(error)
    """
    assert run_program(program) == (
        "[]\ntelemetry needs OpenTelemetry: pip install 'conveyor[otel]'\n"
    )
