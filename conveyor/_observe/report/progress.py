"""How far a run is, and how long it will take."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures


def progress_of(statistics: StreamFigures) -> float | None:
    """Return which share of the work is done, from 0 to 1; ``None`` if the input has no length.

    It is the share of the input that has come in, times what was made of that: for each stage
    the share of its items that it is done with, and the share of its results that went on. Where
    each item makes one result, this is the share that is delivered; but it counts
    neither on that, nor on anything that the items to come will do.
    """
    total, stages = statistics.total, statistics.stages
    if total is None:
        return None
    parts = [(stages[0].received if stages else statistics.read, total)]
    for index, stage in enumerate(stages):
        last = index == len(stages) - 1
        went_on = statistics.delivered if last else stages[index + 1].received
        parts += [(done_with(stage), stage.received), (went_on, stage.emitted)]
    # Whole numbers, so that what cancels out does so exactly. Of nothing all is done.
    some = prod(min(max(some, 0), whole) for some, whole in parts if whole > 0)
    return some / prod(whole for _, whole in parts if whole > 0)


def remaining_of(statistics: StreamFigures) -> float | None:
    """Return how many seconds are left if all goes on as it did; ``None`` if that is not known."""
    if statistics.over:
        return 0.0
    share = progress_of(statistics)
    if not share or statistics.elapsed <= 0:
        return None
    return statistics.elapsed * (1 - share) / share


def done_with(stage: StageStatistics) -> int:
    """Return how many of its items a stage has nothing more to do with.

    What was cut off is not done. Of a batch that runs only the mean size is known, and a result
    that waits for its turn counts as an item.
    """
    begun = stage.received - stage.filling
    at_work = stage.running + stage.cancelled
    if stage.batches:
        at_work *= -(-begun // stage.batches)
    return max(begun - at_work - stage.waiting, 0)
