"""Telemetry: each run as a span of OpenTelemetry, and its counters as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .._model.instrument import Instrument

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from .._model.instrument import MakesInstrument, RunInfo

    Attributes: TypeAlias = dict[str, str | list[str] | int]

SCOPE = "conveyor"
SYSTEM = "conveyor"

# What OpenTelemetry's conventions say of messaging.process.duration.
CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
RUN_SECONDS = (0.01, 0.1, 1, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)

# Of what no event tells, the statistics do. Seconds between two looks at them.
LOOK = 1.0


def telemetry(
    *,
    name: str | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> MakesInstrument:
    """Return what has each run tell OpenTelemetry of itself: in a span, and in metrics.

    ``pipeline.with_context(instruments=[telemetry()])`` does it for every run of a pipeline, and
    ``stream.add_instrument(telemetry())`` for one. The how-to guide on telemetry lists the names.

    It only talks to OpenTelemetry's API: where the program has set up no SDK, nothing comes of it.

    Args:
        name: What the pipeline is called in the span's name and in attributes. It should not
            differ from run to run. ``None`` (the default) means the names of its tasks.
        tracer_provider: Where spans go; ``None`` (the default) means the global provider,
            looked up when a run starts.
        meter_provider: Where metrics go; ``None`` (the default) means the same.

    Raises:
        ImportError: If OpenTelemetry is not installed.
        TypeError: If an argument is none of these.
        ValueError: If `name` is empty.
    """
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        raise ImportError("telemetry needs OpenTelemetry: pip install 'conveyor[otel]'") from None

    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {name!r}")
    if name == "":
        raise ValueError("name must not be empty; None means the names of the tasks")
    for option, provider, kind in (
        ("tracer_provider", tracer_provider, trace.TracerProvider),
        ("meter_provider", meter_provider, metrics.MeterProvider),
    ):
        if provider is not None and not isinstance(provider, kind):
            raise TypeError(
                f"{option} must be an OpenTelemetry {kind.__name__} or None, not {provider!r}"
            )

    # Made once a provider: the global one, before it is set up, keeps every meter that it gives.
    made: tuple[MeterProvider, _Meters] | None = None

    def make(run: RunInfo) -> Instrument:
        nonlocal made
        tracers = trace.get_tracer_provider() if tracer_provider is None else tracer_provider
        provider = metrics.get_meter_provider() if meter_provider is None else meter_provider
        if made is None or made[0] is not provider:
            made = provider, _Meters(provider.get_meter(SCOPE))
        pipeline = " | ".join(stage.name for stage in run.stages) if name is None else name
        span = tracers.get_tracer(SCOPE).start_span(
            f"process {pipeline}", attributes=_first_attributes(run, pipeline)
        )
        return _Telemetry(run, pipeline, span, made[1])

    return make


def _first_attributes(run: RunInfo, pipeline: str) -> Attributes:
    attributes: Attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "conveyor.pipeline": pipeline,
        "conveyor.pipeline_id": run.pipeline_id,
        "conveyor.execution_mode": run.execution_mode.value,
        "conveyor.stages": [stage.name for stage in run.stages],
    }
    if run.total is not None:
        attributes["conveyor.input.total"] = run.total
    return attributes


class _Meters:
    """What is measured. The names are a promise: see the how-to guide."""

    def __init__(self, meter: Meter) -> None:
        self.process_duration = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long the calls of the function took, each try by itself.",
            explicit_bucket_boundaries_advisory=CALL_SECONDS,
        )
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            "{message}",
            "Items that a stage has begun to work on.",
        )
        self.sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Results that have left a stage."
        )
        self.failed = meter.create_counter(
            "conveyor.stage.failed", "{item}", "Items whose last try failed."
        )
        self.looked_up = {
            "filtered": meter.create_counter(
                "conveyor.stage.filtered", "{item}", "Results that were None."
            ),
            "skipped": meter.create_counter(
                "conveyor.stage.skipped", "{item}", "Items left out because they failed."
            ),
            "retried": meter.create_counter(
                "conveyor.stage.retried", "{call}", "Further tries after a first one."
            ),
            "dropped": meter.create_counter(
                "conveyor.stage.dropped", "{item}", "Items of a final batch that was too small."
            ),
            "cancelled": meter.create_counter(
                "conveyor.stage.cancelled", "{call}", "Calls that the end of the run cut off."
            ),
        }
        self.running = meter.create_up_down_counter(
            "conveyor.stage.running", "{call}", "Items or batches that are worked on."
        )
        self.active = meter.create_up_down_counter(
            "conveyor.run.active", "{run}", "Runs that have begun and not ended."
        )
        self.run_duration = meter.create_histogram(
            "conveyor.run.duration",
            "s",
            "How long the runs took.",
            explicit_bucket_boundaries_advisory=RUN_SECONDS,
        )


class _Stage:
    """The attributes of one stage's metrics, and how far they have got."""

    __slots__ = ("attributes", "consumed", "failed", "processed", "running", "seen", "sent")

    def __init__(self, pipeline: str, name: str) -> None:
        self.attributes: Attributes = {"conveyor.pipeline": pipeline, "conveyor.stage": name}
        messaging: Attributes = {"messaging.system": SYSTEM, **self.attributes}
        self.consumed: Attributes = {**messaging, "messaging.operation.name": "receive"}
        self.sent: Attributes = {**messaging, "messaging.operation.name": "send"}
        process: Attributes = {**messaging, "messaging.operation.name": "process"}
        self.processed = _ByError(process)
        self.failed = _ByError(self.attributes)
        self.running = 0
        self.seen: dict[str, int] = {}


class _ByError(dict[type[BaseException] | None, "Attributes"]):
    """Attributes by the type of an error; ``None`` is for success."""

    def __init__(self, attributes: Attributes) -> None:
        super().__init__({None: attributes})

    def __missing__(self, error: type[BaseException] | None) -> Attributes:
        assert error is not None
        self[error] = attributes = {**self[None], "error.type": error_type(error)}
        return attributes


def error_type(error: type[BaseException]) -> str:
    """Return the name of an error's type, as tracebacks have it."""
    if error.__module__ == "builtins":
        return error.__qualname__
    return f"{error.__module__}.{error.__qualname__}"


class _Telemetry(Instrument):
    def __init__(self, run: RunInfo, pipeline: str, span: Span, meters: _Meters) -> None:
        from opentelemetry.context import attach
        from opentelemetry.trace import set_span_in_context

        super().__init__(run)
        # In the context of the run's own task, that of all its functions: it ends with the task.
        attach(set_span_in_context(span))
        self._span = span
        self._meters = meters
        self._stages = [_Stage(pipeline, stage.name) for stage in run.stages]
        self._attributes: Attributes = {"conveyor.pipeline": pipeline}
        self._clock: Callable[[], float] = run.clock
        self._began = self._clock()
        self._look_at = self._began + LOOK
        meters.active.add(1, self._attributes)

    def call_started(self, stage: int, items: Sequence[int], slot: int) -> None:
        of, meters = self._stages[stage], self._meters
        of.running += 1
        meters.running.add(1, of.attributes)
        meters.consumed.add(len(items), of.consumed)

    def try_ended(
        self,
        stage: int,
        items: Sequence[int],
        slot: int,
        attempt: int,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        attributes = self._stages[stage].processed[None if error is None else type(error)]
        self._meters.process_duration.record(seconds, attributes)

    def call_ended(self, stage: int, items: Sequence[int], slot: int, *, cancelled: bool) -> None:
        of = self._stages[stage]
        of.running -= 1
        self._meters.running.add(-1, of.attributes)
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._look_up()

    def result_sent(self, stage: int, items: Sequence[int]) -> None:
        self._meters.sent.add(1, self._stages[stage].sent)

    def items_failed(
        self, stage: int, items: Sequence[int], what: Any, error: Exception, attempts: int
    ) -> None:
        self._meters.failed.add(len(items), self._stages[stage].failed[type(error)])

    def run_ended(self, error: BaseException | None) -> None:
        meters = self._meters
        self._look_up()
        for stage in self._stages:
            if stage.running:
                meters.running.add(-stage.running, stage.attributes)
        meters.active.add(-1, self._attributes)
        by_error = _ByError(self._attributes)
        ended = by_error[None if error is None else type(error)]
        meters.run_duration.record(self._clock() - self._began, ended)
        self._end_span(error)

    def _look_up(self) -> None:
        """Add what has been counted since the last look."""
        counters = self._meters.looked_up
        now = self.run.statistics().stages
        for stage, statistics in zip(self._stages, now, strict=True):
            for what, counter in counters.items():
                count: int = getattr(statistics, what)
                seen = stage.seen.get(what, 0)
                if count > seen:
                    counter.add(count - seen, stage.attributes)
                    stage.seen[what] = count

    def _end_span(self, error: BaseException | None) -> None:
        span = self._span
        self._describe(span)
        if error is not None:
            from opentelemetry.trace import Status, StatusCode

            kind = type(error)
            span.set_attribute("error.type", error_type(kind))
            try:
                span.record_exception(error)
                description = f"{kind.__name__}: {error}"
            except Exception:  # what an exception says of itself is a user's code
                description = kind.__name__
            span.set_status(Status(StatusCode.ERROR, description))
        span.end()

    def _describe(self, span: Span) -> None:
        statistics = self.run.statistics()
        span.set_attribute("messaging.batch.message_count", statistics.read)
        span.set_attribute("conveyor.results", statistics.stages[-1].emitted)
        for what in "failed", "skipped", "retried":
            count = sum(getattr(stage, what) for stage in statistics.stages)
            span.set_attribute(f"conveyor.{what}", count)
