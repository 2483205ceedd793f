"""What has happened in a run so far: frozen snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """How long the calls of a stage's function took, in seconds.

    A call is one try; of a generator, the wait for each of its values. What a try waits for a
    rate or a slot does not count, nor does the time between tries.

    The quantiles come from a DDSketch (Masson, Rim and Lee, VLDB 2019), and are wrong by at most
    1 % of their value. Calls that follow one another without waiting count with the mean of those
    in 0.2 ms; one that takes longer counts by itself.

    Attributes:
        count: How many calls.
        total: Their sum.
        p50: Half of the calls took at most so long. All of these are 0 where there was none.
        p95: 95 of 100.
        p99: 99 of 100.
        longest: The longest took so long.
    """

    __module__ = "conveyor"

    count: int = 0
    total: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """The counters of one stage at one moment. Items, unless it says otherwise.

    The times are seconds by the clock, and 0 where they were not measured, see
    `StreamStatistics.timed`. At every moment a stage is busy, starved, or blocked; or an item is
    there and free to start, and waits for its turn on the event loop.

    Attributes:
        name: The task's name.
        received: Items that the stage took from its input, those of the open batch included.
        emitted: Results that left the stage; failures that travel with them do not count.
        filtered: ``None`` among the results: they end here.
        skipped: Items left out because they failed.
        failed: Items whose last try failed, whatever became of them.
        retried: Further tries of the function after a first one.
        dropped: Items of a final batch that ``drop_remainder`` left out.
        cancelled: Calls of the function that were cut off as the run ended before they did.
        running: Calls of the function that run at this moment, those that wait included.
        queued: Items that wait in front of the stage.
        filling: Items of batches that have not started.
        waiting: Results that wait for those before them, where there is an order.
        throttled: Calls, of those that run, that wait for their ``rate_limit``.
        batches: Batches that have started; 0 for a single task.
        slots: How many calls may run at once; ``math.inf`` if any number.
        blocked: Seconds in which nothing could be started, as results could not leave: there was
            no room behind the stage, or too many waited for those before them. Calls that had
            begun may have run on meanwhile.
        busy: Seconds, beside those, in which at least one call ran.
        full: Seconds, of these, in which no slot was free.
        starved: Seconds in which nothing ran, as there was no input.
        occupied: Seconds of all calls together, each from its first try to the moment when its
            results left the slot: so ``occupied / elapsed`` slots were in use on average.
        held: Seconds, of these, of calls that never waited: nothing else could run meanwhile.
        throttled_for: Seconds, of these, in which calls waited for their ``rate_limit``, pauses
            aside.
        crowded_for: Seconds, of these, in which calls waited as ``max_parallelism`` others ran.
        paused_for: Seconds, of these, in which calls waited because the service had asked for that:
            an error with ``retry_after``, or `RateLimit.pause`.
        delayed_for: Seconds, of these, between a try that failed and the next, such pauses aside.
        latency: How long the calls took.
        generators: Generators among the results, whose values were handed on.
        keyed: Whether the task has a ``key``.
        executor: Where the function is called: ``"thread"``, ``"process"``, ``"interpreter"``, or
            the class of an executor; ``None`` for the event loop.
    """

    __module__ = "conveyor"

    name: str
    received: int = 0
    emitted: int = 0
    filtered: int = 0
    skipped: int = 0
    failed: int = 0
    retried: int = 0
    dropped: int = 0
    cancelled: int = 0
    running: int = 0
    queued: int = 0
    filling: int = 0
    waiting: int = 0
    throttled: int = 0
    batches: int = 0
    slots: float = 1
    busy: float = 0.0
    full: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0
    occupied: float = 0.0
    held: float = 0.0
    throttled_for: float = 0.0
    crowded_for: float = 0.0
    paused_for: float = 0.0
    delayed_for: float = 0.0
    latency: LatencyStatistics = field(default_factory=LatencyStatistics)
    generators: int = 0
    keyed: bool = False
    executor: str | None = None


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """A snapshot of one run. Printed, it is a table, and a sentence that names the bottleneck.

    Attributes:
        pipeline_id: The run's name, as in its context.
        stages: One entry a stage, from first to last.
        queued: Results that wait for the consumer.
        total: How many items the input has; ``None`` if it does not say.
        read: Items that were read from the input.
        delivered: What the consumer has got: results, and failures that came with them.
        elapsed: Seconds since the run began, until its end if it is over.
        input_waited: Seconds in which the run waited for its input to give the next item.
        consumer_waited: Seconds in which the consumer waited for a result. In the rest of the
            time the run waited for the consumer, or worked ahead.
        execution_mode: ``"ordered"`` or ``"as_completed"``.
        max_parallelism: As in the run's context.
        timed: Whether the times were measured, see `PipelineContext.timing`.
        over: Whether the run has ended.
        named: Whether somebody has chosen `pipeline_id`. One that was made up is not shown.
        input_held: Seconds, of `input_waited`, in which nothing else could run: a plain iterator,
            or an async one that gave an item without having waited, had the event loop to itself.
        cpu_time: Seconds of processor time that this process has used meanwhile, in all of its
            threads, whatever they worked on; its child processes aside. Times of processors are 0
            where the event loop has a clock of its own, as a virtual one.
        loop_cpu_time: Seconds, of these, in the thread of the event loop.
        processors: How many processors this process may use; ``None`` if that is not known.
        free_threaded: Whether threads run Python code side by side, as they do without a GIL.
    """

    __module__ = "conveyor"

    pipeline_id: str
    stages: tuple[StageStatistics, ...]
    queued: int = 0
    total: int | None = None
    read: int = 0
    delivered: int = 0
    elapsed: float = 0.0
    input_waited: float = 0.0
    consumer_waited: float = 0.0
    execution_mode: str = "ordered"
    max_parallelism: int | None = None
    timed: bool = True
    over: bool = False
    named: bool = True
    input_held: float = 0.0
    cpu_time: float = 0.0
    loop_cpu_time: float = 0.0
    processors: int | None = None
    free_threaded: bool = False

    @property
    def bottleneck(self) -> str:
        """What took most of the time, and how that shows, in one sentence without a full stop.

        It is for people, and its wording may change. Where nothing stands out, where the run was
        not timed, or has taken less than 0.01 seconds so far, it says so.
        """
        from ._report.bottleneck import find_bottleneck

        return find_bottleneck(self).sentence

    @property
    def progress(self) -> float | None:
        """Which share of the work is done, from 0 to 1; ``None`` if the input has no length.

        It is the share of the input that has come in, times the share of that which each stage is
        done with and has passed on. It is 1 once all of the input is delivered, whatever
        was filtered, unpacked or left out. It may fall, when an item turns out to be many.
        """
        from ._report.progress import progress_of

        return progress_of(self)

    @property
    def remaining(self) -> float | None:
        """How many seconds it will take if all goes on as it did; 0 if the run has ended.

        ``None`` if that cannot be told: the input has no length, or nothing is done yet.
        """
        from ._report.progress import remaining_of

        return remaining_of(self)

    def to_mermaid(self) -> str:
        """Return the pipeline as a Mermaid flowchart, with the numbers of this moment.

        On the edges stands how many items have passed, and how many wait. What limits the run is
        of the class ``bottleneck``. Any task name is safe in it.
        """
        from ._report.graph import run_graph, to_mermaid

        return to_mermaid(run_graph(self))

    def to_dot(self) -> str:
        """Return the same as `to_mermaid`, in the language of Graphviz."""
        from ._report.graph import run_graph, to_dot

        return to_dot(run_graph(self))

    def __str__(self) -> str:
        """Return the report: a table of at most 100 columns, and what limits the run."""
        from ._report.table import report_text

        return report_text(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from ._report.colour import report  # only rich calls this, so it is there

        yield from report(self, options.max_width)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from ._report.html import report

        return {"text/plain": str(self), "text/html": report(self)}


@dataclass(frozen=True, slots=True)
class RateLimitStatistics:
    """How a `RateLimit` stands at one moment.

    Attributes:
        rate: How much comes in every `per` seconds.
        per: See there.
        burst: How much there is at most.
        available: How much there is. Below 0 it is a debt.
        paused: Seconds until the end of a pause; 0 if there is none.
        waiting: Calls that wait, in all stages and runs and elsewhere.
    """

    __module__ = "conveyor"

    rate: float
    per: float
    burst: float
    available: float
    paused: float
    waiting: int
