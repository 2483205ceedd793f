"""What the parts of a run have in common, and where each tells what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from anyio import current_effective_deadline, get_cancelled_exc_class

from .._model.context import PipelineContext
from .._model.modes import ExecutionMode
from .books.watch import Watch
from .frames import empty, release
from .log import Log
from .loop import host
from .loop.turn import Turn
from .results.budget import Failures


class Work(Protocol):
    """What a supervisor may end, which is a run."""

    def end(self) -> None:
        """End the source and all stages at once."""
        ...

    def end_above(self, index: int) -> None:
        """End what feeds stage `index`."""
        ...

    def received(self) -> int:
        """Return how many items have come to the stage to which the most have come."""
        ...


class Supervisor:
    """Knows how a run ends, and ends it when a part of it fails.

    The first error that is set is the run's, and the consumer gets it. All that were noted are
    kept until the end, so that those that nobody gets can be logged.

    Attributes:
        error: What the run ends in; ``None`` as long as nothing has gone wrong.
        input_error: What reading the input failed with, on its way behind all that was read.
        noted: All errors that have ended something, `error` among them.
        watch: What tells the instruments; ``None`` if there are none.
        failures: The limits that all stages count against together, as `Stage.failures` has them.
    """

    def __init__(self, work: Work, context: PipelineContext, log: Log, stages: int) -> None:
        self._work = work
        self.log = log
        self.context = context
        self.stages = stages
        self.ordered = context.execution_mode is ExecutionMode.ORDERED
        self.clock: Callable[[], float] = host.clock()
        self.turn = Turn(stages + 2)
        self.stopwatch = host.stopwatch()
        self.watch: Watch | None = None
        self.stop = context.stop_order
        self.error: BaseException | None = None
        self.input_error: Exception | None = None
        self.noted: list[BaseException] = []
        self.failures: list[tuple[str, Failures, Callable[[], int]]] = []
        if context.max_failures is not None:
            self.failures.append(("all stages", Failures(context.max_failures), work.received))

    def cancel_above(self, index: int) -> None:
        """End what feeds stage `index`: nothing that it makes is wanted any more."""
        self._work.end_above(index)

    def fail(self, error: BaseException) -> None:
        """End the whole run at once in `error`, unless an earlier one has ended it."""
        self.set_error(error)
        self._work.end()

    def set_error(self, error: BaseException) -> None:
        """Note what the run ends in, unless something else came first."""
        self.note(error)
        if self.error is None:
            self.error = error

    def note(self, error: BaseException) -> None:
        """Remember an error, so that it is logged in the end if the consumer does not get it."""
        release(error, whole=False)
        if not any(error is known for known in self.noted):
            self.noted.append(error)

    def input_failed(self, error: Exception) -> None:
        """Note that reading has failed: the error comes last, as completed it is the first."""
        self.note(error)
        self.input_error = error
        if not self.ordered:
            self.set_error(error)

    def leave(self, error: BaseException, what: object) -> None:
        """Raise on what ends a task from outside; anything else is the consumer's to handle.

        A cancellation that is not ours comes from a task that a function awaits and that somebody
        else has cancelled, or from asyncio's own ``Task.cancel()``, called on a task of the run. To
        let it end the task would lose items in silence.

        Args:
            error: What `what` ends in.
            what: The stage, or the input.
        """
        try:
            if isinstance(error, GeneratorExit):
                raise error
            cancelled, rest = split(error)
            if cancelled is None:
                self.fail(error)
                return
            if rest is not None:
                self.note(rest)
            if current_effective_deadline() == -math.inf:
                empty(cancelled)
                raise cancelled
            host.uncancel()  # it is dealt with: what this task waits for next is not cancelled
            self.fail(stray(what, cancelled))
        finally:
            del error  # its traceback holds this frame: a reference cycle
            cancelled = rest = None


def split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return what of `error` is cancellation, and what is not."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(get_cancelled_exc_class())
    return (error, None) if isinstance(error, get_cancelled_exc_class()) else (None, error)


def sole(error: BaseException) -> BaseException:
    """Return what task groups have wrapped, if it is one exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def stray(what: object, cancelled: BaseException | None = None) -> RuntimeError:
    """Return the error for a cancellation that the run knows nothing of.

    To hand the consumer the cancellation itself would say that the consumer is cancelled, and a
    task group around it would believe that, and end as if all were well.
    """
    error = RuntimeError(
        f"{what} was cancelled, and not by its run: a function awaited a task that somebody else "
        "had cancelled, or asyncio's Task.cancel() was called on a task of the run. To end a run "
        "there are stop(), abort() and aclose()"
    )
    error.__cause__ = cancelled
    return error
