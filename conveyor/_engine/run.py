"""One run: builds links and stages, owns them, and knows how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any, Generic, TypeVar

from anyio import (
    CancelScope,
    Event,
    Semaphore,
    create_task_group,
)

from .._model.context import PipelineContext, current_context
from .._model.figures import StageStatistics, StreamFigures
from .._model.instrument import Instrument, RunInfo, StageInfo
from .._model.modes import ExecutionMode
from .._model.spec import BatchSpec, Spec
from .books.processor import CpuClock, is_free_threaded, processors
from .books.times import Times
from .books.watch import Watch
from .calls.caller import Caller
from .calls.side_inputs import Inputs
from .frames import empty
from .link import Link, TimedLink
from .log import Log, annotate
from .loop import host
from .loop.cleanup import Cleanup
from .loop.later import Later
from .nesting import Mark
from .source import Source
from .stage import Stage
from .supervisor import Supervisor, sole, split, stray

T = TypeVar("T")
Shown = TypeVar("Shown", bound=StreamFigures)


class Run(Generic[Shown]):
    """One stream's stages and links, in one task group.

    Args:
        specs: What the stages are to be.
        data: The input.
        context: The settings.
        show: Makes of the figures of the run what `statistics` returns.

    Attributes:
        results: What has left the last stage.
        done: Set when nothing of the run is left.
        aborted: Whether results that are not delivered yet are given up.
        clock: What durations are measured with.
        consumer_waited: Seconds in which the consumer waited for a result.
        errors_taken: How many errors the consumer has taken from `results`: they are no results.
        log: Where it logs.
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        data: Any,
        context: PipelineContext,
        show: Callable[..., Shown],
    ) -> None:
        self._show = show
        host.protect(Run.main, Source.run, Stage.run, Stage.work)
        self.context = context.for_a_run(context.pipeline_id or os.urandom(16).hex())
        self._named = bool(context.pipeline_id)
        self.log = Log(self.context.pipeline_id)
        self.done = Event()
        self.aborted = False
        self._closed = False  # from outside
        self._mark = Mark()
        self._working = False
        self._worked = False  # whether all that was to be done is done
        self._cut = False  # whether that is given up, as the time to stop is over
        self._scope = CancelScope()
        self._group = create_task_group()  # of the source and the stages
        self._supervisor = supervisor = Supervisor(self, self.context, self.log, len(specs))
        self.turn = supervisor.turn
        limit = self.context.max_parallelism
        slots = None if limit is None else Semaphore(limit, fast_acquire=True)
        self.clock = clock = supervisor.stopwatch
        timing = self.context.timing
        # By a clock of its own a loop may be faster or slower than any processor.
        self._cpu = CpuClock() if timing and clock is perf_counter else None
        self._callers = [
            Caller(
                spec, slots, clock, Times(spec.limit) if timing else None, self.log.of(spec.name)
            )
            for spec in specs
        ]
        self.consumer_waited = 0.0
        self.errors_taken = 0
        self._discarded = 0
        self._began = clock()
        self._elapsed: float | None = None  # once it is over
        # Once it is over, if not all was done: as it was then, with what was given up.
        self._left: tuple[StageStatistics, ...] | None = None
        self.results = Link(self.context.buffer_size)
        self._links = links = [*(self._link(spec) for spec in specs), self.results]
        self._source = Source(data, links[0], supervisor)
        if self.context.instruments:
            supervisor.watch = Watch(self.log)
        self._stages = [
            Stage(caller, index, links[index], links[index + 1], supervisor)
            for index, caller in enumerate(self._callers)
        ]
        if supervisor.watch is not None:
            try:
                supervisor.watch.make(self.context.instruments, self._info(specs))
            except BaseException as error:
                self.error = error
                self.over()  # those that there are may hold something
                self.error = None
                raise

    def _link(self, spec: Spec) -> Link:
        if isinstance(spec, BatchSpec) and spec.max_wait is not None:
            return TimedLink(self.context.buffer_size, self._supervisor.clock)
        return Link(self.context.buffer_size)

    async def main(self) -> None:
        """Run it. Every error ends in `error`, none is raised: cancellation alone passes.

        It ends well only if it has come to its end, or was closed, or told to stop in a time that
        is over. Whatever else may end it is an error, or results would be missing in silence.
        """
        try:
            current_context.set(self.context)
            self._mark.set()
            with self._scope:
                await self._main()
            if self._scope.cancel_called and not (self._worked or self._closed):
                self._cut_short()
        except BaseException as error:  # noqa: ASYNC103 - raised on, or handed to the consumer
            cancelled, rest = split(error)
            try:
                if rest is not None:
                    self._supervisor.set_error(sole(rest))
                if cancelled is not None:
                    if not self._closed:
                        self._supervisor.set_error(stray("the run", cancelled))
                    empty(cancelled)
                    raise cancelled from None  # noqa: ASYNC104 - it is all of it that cancels
            finally:
                cancelled = rest = None  # its traceback holds this frame: a reference cycle
        finally:
            self.over()

    def over(self) -> None:
        """Say that nothing of the run is left. It may be said again. Raises nothing.

        Whatever goes wrong on the way, the consumer must be told: it would wait for ever.
        """
        if self._elapsed is not None:
            return
        self._elapsed = self.clock() - self._began
        if not (self._worked or self._closed or self._cut) and self.error is None:
            self.error = stray("the run")  # before its first step, or in a way that is not known
        try:
            self._end()
        except BaseException as error:  # noqa: ASYNC103 - handed to the consumer
            if self.error is None:
                self.error = error
        finally:
            self.done.set()

    def _end(self) -> None:
        if self._cpu is not None:
            self._cpu.stop()
        for link in self._links:
            link.close()
        if not self._worked:
            self._left = tuple(stage.statistics() for stage in self._stages)
        # Who keeps the stream, its error or an instrument keeps the run, and is to keep no items.
        self._supervisor.input_error = None
        self._source.forget()
        for stage in self._stages:
            stage.forget()
        for link in self._links[:-1]:
            link.forget()
        try:
            errors, self._supervisor.noted = self._supervisor.noted, []
            for error in errors:
                if error is not self.error:
                    self.log.lost(error)
            if self.log.debugs:
                self._log_end()
        finally:
            if self.watch is not None:
                self.watch.tell(Instrument.run_ended, self.error)

    def _log_end(self) -> None:
        now, error = self.statistics(), self.error
        self.log.debug(
            "run ends after %.3f s: %d read, %d delivered%s",
            now.elapsed,
            now.read,
            now.delivered,
            "" if error is None else f", {type(error).__name__}",
        )

    async def _main(self) -> None:
        if self._scope.cancel_called:  # it was ended before it began
            return
        if self.log.debugs:
            names = " | ".join(caller.spec.name for caller in self._callers)
            self.log.debug("run begins, %s: %s", self.context.execution_mode, names)
        if any(caller.needs_binding for caller in self._callers):
            await self._with_inputs()
        else:
            await self._work()

    async def _with_inputs(self) -> None:
        with Cleanup("leaving the side inputs", self.log) as cleanup:
            async with AsyncExitStack() as stack:
                with cleanup.work():
                    inputs = Inputs(stack)
                    for stage, caller in zip(self._stages, self._callers, strict=True):
                        try:
                            args, kwargs = await inputs.resolve(caller.spec)
                        except Exception as error:
                            annotate(error, f"{stage}, side inputs")
                            raise
                        await caller.bind(args, kwargs)
                    await self._work()
                    if self.error is not None:
                        raise self.error  # past the side inputs: a transaction must see it

    async def _work(self) -> None:
        async with self._group:
            self._working = True
            for stage in self._stages:
                self._group.start_soon(Later, stage.run, name=f"conveyor {stage}")
            await self._source.run()  # this task has nothing else to do
        final = self._stages[-1].final
        if final is not None and final.error is not None:
            self._supervisor.set_error(final.error)
        del final  # frames of the input know this one, and it has the error: a reference cycle
        self._worked = self._source.is_over and all(stage.is_over for stage in self._stages)

    def _cut_short(self) -> None:
        """Say what was given up when the time to stop was over; an error that was due comes now."""
        self._cut = True
        finals = [stage.final.error for stage in self._stages if stage.final is not None]
        # The last stage's is the first in order.
        error = finals[-1] if finals else self._supervisor.input_error
        if error is not None:
            self._supervisor.set_error(error)
        left = [stage.left() for stage in self._stages]
        calls, items, results = (sum(counts) for counts in zip(*left, strict=True))
        if self.error is None and (calls or items or results or self._source.holds):
            self.log.warning(
                "stopped, and out of time: %d items or batches cancelled, %d items not begun, "
                "%d results not delivered",
                calls,
                items + self._source.holds,
                results,
            )

    def cancel(self) -> None:
        """End the run: nothing more is delivered."""
        self._closed = True
        self._scope.cancel()

    def stop(self, timeout: float | None, *, interrupt_input: bool) -> None:
        """Read no further; what is inside is delivered, as far as it is done in time."""
        self._supervisor.stop.set()
        self._source.stop(interrupt=interrupt_input)
        if timeout is not None:
            deadline = self._supervisor.clock() + timeout
            self._scope.deadline = min(self._scope.deadline, deadline)

    def abort(self, error: BaseException) -> None:
        """End the run in `error`, unless it has ended in another: nothing more is delivered."""
        self.aborted = True
        if self._working:
            self._supervisor.fail(error)
        else:
            self._supervisor.set_error(error)
            self._scope.cancel()

    def discard(self) -> None:
        """Let go of the results that were not delivered. Nobody will ask for them."""
        self._discarded += len(self.results)
        self.results.forget()

    def received(self) -> int:
        """How many items have come to the stage to which the most have come."""
        return max(stage.received for stage in self._stages)

    def is_around(self) -> bool:
        """Whether the caller is a part of the run, which cannot end before the caller has."""
        return self._mark.is_around()

    def within(self, start: Callable[..., T], *args: Any) -> T:
        """Start tasks of the run: with the context variables that its instruments have set."""
        watch = self.watch
        return start(*args) if watch is None else watch.context.run(start, *args)

    def interrupt(self) -> None:
        """Be ready for one of the functions to read results of its own run."""
        self._stages[-1].interrupt()

    def end(self) -> None:
        """End the work at once."""
        for stage in self._stages:
            stage.cancel()
        self._group.cancel_scope.cancel()

    def end_above(self, index: int) -> None:
        """End everything in front of stage `index`."""
        self._source.cancel()
        for stage in self._stages[:index]:
            stage.cancel()

    @property
    def error(self) -> BaseException | None:
        """What it ended in, once `done` is set; ``None`` if it came to its end."""
        return self._supervisor.error

    @error.setter
    def error(self, error: BaseException | None) -> None:
        self._supervisor.error = error

    @property
    def watch(self) -> Watch | None:
        """What tells the instruments; ``None`` if there are none."""
        return self._supervisor.watch

    def _info(self, specs: Sequence[Spec]) -> RunInfo:
        context = self.context
        assert context.pipeline_id is not None
        assert isinstance(context.execution_mode, ExecutionMode)
        stages = (StageInfo(s.name, s.limit, isinstance(s, BatchSpec)) for s in specs)
        return RunInfo(
            context.pipeline_id,
            context.execution_mode,
            tuple(stages),
            self._source.total,
            self.clock,
            self.statistics,
        )

    def statistics(self) -> Shown:
        stages = self._left
        if stages is None:
            stages = tuple(stage.statistics() for stage in self._stages)
        assert self.context.pipeline_id is not None
        results, source, timing = self.results, self._source, self.context.timing
        elapsed = self._elapsed
        queued = len(results) + self._discarded
        cpu_time, loop_cpu_time = (0.0, 0.0) if self._cpu is None else self._cpu.read()
        return self._show(
            pipeline_id=self.context.pipeline_id,
            stages=stages,
            queued=queued,
            total=source.total,
            read=source.read,
            delivered=results.sent - queued - self.errors_taken,
            elapsed=self.clock() - self._began if elapsed is None else elapsed,
            input_waited=source.waited if timing else 0.0,
            consumer_waited=self.consumer_waited if timing else 0.0,
            execution_mode=str(self.context.execution_mode),
            max_parallelism=self.context.max_parallelism,
            timed=timing,
            over=elapsed is not None,
            named=self._named,
            input_held=source.held if timing else 0.0,
            cpu_time=cpu_time,
            loop_cpu_time=loop_cpu_time,
            processors=processors(),
            free_threaded=is_free_threaded(),
        )
