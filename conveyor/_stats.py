"""What has happened in a run so far: frozen snapshots."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """The counters of one stage at one moment. Items, unless it says otherwise.

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
        waiting: Calls, of those that run, that wait for their ``rate_limit``.
        batches: Batches that have started; 0 for a single task.
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
    waiting: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """A snapshot of one run.

    Attributes:
        pipeline_id: The run's name, as in its context.
        stages: One entry a stage, from first to last.
        queued: Results that wait for the consumer.
    """

    __module__ = "conveyor"

    pipeline_id: str
    stages: tuple[StageStatistics, ...]
    queued: int = 0


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
