"""What a run tells those who watch it, as it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from .failure import Failure
    from .figures import StreamFigures
    from .modes import ExecutionMode


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A stage of a run, as an `Instrument` is told of it.

    Attributes:
        name: The task's name.
        slots: How many calls may run at once; ``math.inf`` if any number.
        batch: Whether it is a batch task.
    """

    __module__ = "conveyor"

    name: str
    slots: float
    batch: bool


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run, as an `Instrument` is told of it.

    Attributes:
        pipeline_id: Its name, as in its context.
        execution_mode: Its mode.
        stages: Its stages, from first to last.
        total: How many items the input has; ``None`` if it does not say.
        clock: Returns the time in seconds, by the clock that the statistics are measured with.
            Only differences mean something.
        statistics: Returns a snapshot: the same `StreamStatistics` as the stream's own method.
    """

    __module__ = "conveyor"

    pipeline_id: str
    execution_mode: ExecutionMode
    stages: tuple[StageInfo, ...]
    total: int | None
    clock: Callable[[], float]
    statistics: Callable[[], StreamFigures]


class Instrument:
    """Watches one run. A subclass overrides what it wants to be told.

    Each run makes one, by calling what its context has in ``instruments`` with a `RunInfo`: the
    class itself, or any function that returns an instrument.

    Every method is called in the event loop of the run, in the middle of its work, so it has to
    be quick, and must not wait. If one raises an exception, that is logged, and the instrument is
    told no more; the run goes on. A run that is watched takes no short cuts, so an item costs
    some ten microseconds more at every stage.

    Stages are numbered from 0. Items are named by their numbers at the stage, as in error
    notes: counted from 0 in the order in which the stage received them. The ``n``-th result that
    leaves a stage is item ``n`` of the next one, so an item can be followed through
    the stages. `items` has one number for a single task, and one for each item of a batch.

    It is made in the context in which the tasks of the run live, so they see a context variable
    that it sets then, and nobody else does.

    Args:
        run: The run that it watches.
    """

    __module__ = "conveyor"

    def __init__(self, run: RunInfo) -> None:
        self.run = run

    def call_started(self, stage: int, items: Sequence[int], slot: int) -> None:
        """A slot of a stage has begun to work on an item, or on a batch.

        Slots are numbered from 0, and the lowest that is free is taken.
        """

    def try_ended(
        self,
        stage: int,
        items: Sequence[int],
        slot: int,
        attempt: int,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        """A call of the function has returned, or failed in `error`, after so many seconds.

        `attempt` counts from 1. Of a generator, each value is a call.
        """

    def call_ended(self, stage: int, items: Sequence[int], slot: int, *, cancelled: bool) -> None:
        """A slot is done with what it had begun, or was cut off in the middle."""

    def result_sent(self, stage: int, items: Sequence[int]) -> None:
        """A result of these items leaves the stage: as soon as there is room behind it."""

    def items_settled(self, stage: int, items: Sequence[int]) -> None:
        """Nothing more comes of these items: all their results, if any, have left the stage.

        So it is told of what a batch task with ``drop_remainder`` drops. What is cut off, or comes
        after the error that ends the run, is never settled.
        """

    def items_failed(
        self, stage: int, items: Sequence[int], what: Any, error: Exception, attempts: int
    ) -> None:
        """The last try of these items has failed, and it is settled that they give no result.

        `what` is the item; of a batch task it is the list of those that were tried together, the
        whole batch or a part of it, or the one item that a `BatchError`, a weight or a key names.
        """

    def result_delivered(self) -> None:
        """The consumer has got the next result of the last stage, or a `Failure`."""

    def failure_delivered(self, failure: Failure[Any]) -> None:
        """The consumer has got a `Failure`. Unless it is overridden, it calls `result_delivered`.

        To tell the two apart matters where results are counted: a failure has passed the stages
        behind the one that it comes from, and is not a result of theirs.
        """
        self.result_delivered()

    def run_ended(self, error: BaseException | None) -> None:
        """Nothing of the run is left. `error` is what it ended in, ``None`` if all went well.

        A run that was closed or cancelled from outside has ended well in this sense. Results that
        wait for the consumer by then may still be delivered.
        """


MakesInstrument: TypeAlias = Callable[[RunInfo], Instrument]
