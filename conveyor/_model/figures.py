"""What has happened in a run so far, in numbers: frozen snapshots, as the engine makes them."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        p50: The median duration. This and all below are 0 if there were no calls.
        p95: 95 % of the calls took at most this long.
        p99: 99 % of the calls took at most this long.
        longest: The duration of the longest call.
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
class StreamFigures:
    """The numbers of one run at one moment. `StreamStatistics` has them all, and shows them."""

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
