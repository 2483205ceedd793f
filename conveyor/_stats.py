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
        running: Calls of the function that run at this moment.
        queued: Items that wait in front of the stage.
    """

    name: str
    received: int = 0
    emitted: int = 0
    filtered: int = 0
    skipped: int = 0
    failed: int = 0
    retried: int = 0
    dropped: int = 0
    running: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """A snapshot of one run.

    Attributes:
        pipeline_id: The run's name, as in its context.
        stages: One entry a stage, from first to last.
        queued: Results that wait for the consumer.
    """

    pipeline_id: str
    stages: tuple[StageStatistics, ...]
    queued: int = 0
