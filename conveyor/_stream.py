"""The consumer's end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, final
from warnings import warn

from anyio import (
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    create_task_group,
    get_cancelled_exc_class,
)
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from ._awaiting import NotAwaitable
from ._context import PipelineContext, check_instrument
from ._engine import host
from ._engine.block import leave
from ._engine.later import Later
from ._engine.link import Link
from ._engine.run import Run
from ._engine.signals import Bypass
from ._engine.source import check_source, length_of
from ._engine.turn import Turn
from ._errors import EmptyInputError, StreamConsumedError
from ._instrument import Instrument, MakesInstrument
from ._spec import Spec, check_seconds
from ._stats import StageStatistics, StreamStatistics

Out = TypeVar("Out", covariant=True)


class _State(Enum):
    NEW = "not started"
    BACKGROUND = "running"  # in a task of the loop, tied to this object
    BLOCK = "running in its block"  # in a task group of `async with`
    OVER = "over"


@final
class Stream(NotAwaitable, Generic[Out]):
    """One run of a pipeline over one input. Made by calling a pipeline, consumed once.

    ``async for result in stream`` reads it. So iterated, the run lives in the background, and
    ends with the loop: at the end of the input, with an error, when the loop is left and the
    stream dropped, or when reading it is cancelled. ``async with stream:`` ties the run to a
    block instead: when the block is left, nothing of the run is left.

    Nothing is read from the input before the first result is asked for or the block is entered.
    A stream that is dropped without having been read warns with a `RuntimeWarning`, as a coroutine
    does that was never awaited. To have been closed, stopped or aborted will do, and so will to
    have been given on, as the data or a side input of another.
    """

    __module__ = "conveyor"

    __slots__ = (
        "__weakref__",
        "_abort_error",
        "_cancel_soon",
        "_context",
        "_data",
        "_group",
        "_reading",
        "_results",
        "_run",
        "_specs",
        "_state",
        "_turn",
        "_unread",
    )

    def __init__(self, specs: Sequence[Spec], data: Any, context: PipelineContext) -> None:
        self._state = _State.NEW
        self._unread = False  # while it is being made
        check_source(data, specs)
        if isinstance(data, Stream):
            data._give_on()
        for spec in specs:
            spec.check_call()
        self._specs = specs
        self._data = data
        self._context = context
        self._run: Run | None = None
        self._abort_error: BaseException | None = None  # until there is a run
        self._group: TaskGroup | None = None
        self._cancel_soon: Any = None
        self._reading = False
        # The run's, while results may be taken without a look at the state; else None.
        self._results: Link | None = None
        self._turn: Turn | None = None
        self._unread = True  # nobody has used it yet, or has it for later use

    def __repr__(self) -> str:
        names = " | ".join(spec.name for spec in self._specs)
        return f"<Stream of {names}: {self._state.value}>"

    # Reading

    def __aiter__(self) -> Stream[Out]:
        """Return the stream itself.

        Raises:
            StreamConsumedError: If it has ended or was closed.
        """
        if self._state is _State.OVER:
            raise StreamConsumedError
        self._unread = False
        return self

    async def __anext__(self) -> Out:
        """Return the next result. A checkpoint whenever it has to wait, and every so often.

        When it is cancelled, no result is lost inside the stream's block, and the run goes
        on; without a block the run ends.

        Raises:
            StopAsyncIteration: At the end, once.
            StreamConsumedError: If the stream has ended or was closed before.
            anyio.BusyResourceError: If another task is reading at this moment.
            anyio.ClosedResourceError: If the stream is closed while this waits.
            RuntimeError: If no event loop is running.
            Exception: What a task or the input failed with, itself, once all of the run is over.
        """
        results = self._results
        if results is not None and results.taken and not results.bypasses:  # the usual way
            turn = self._turn
            assert turn is not None
            if turn.holder is results and perf_counter() < turn.end:
                taken = results.taken
                result = taken.popleft()
                if results.blocked is not None and len(taken) <= results.low:
                    results.unblock()
                return result  # type: ignore[no-any-return]  # links carry anything
        return await self._next()

    def _is_over(self) -> bool:
        return self._state is _State.OVER

    async def _next(self) -> Out:
        run = self._run if self._run is not None else self._start()
        if self._reading:
            raise BusyResourceError("reading from")
        if self._is_over():
            raise StreamConsumedError
        run.interrupt()
        results = run.results
        self._reading, self._results = True, None
        try:
            # In the link's name: nothing of the run may hold the stream, or it is never dropped.
            if run.turn.is_over(results):
                await run.turn.give_way()
            while not run.aborted:
                if results.taken or results.refill():
                    result = results.taken.popleft()
                    if results.blocked is not None:
                        results.unblock()
                    if type(result) is not Bypass:
                        if run.watch is not None:
                            run.watch.tell(Instrument.result_delivered)
                        elif not self._is_over():
                            self._turn, self._results = run.turn, results
                        return result  # type: ignore[no-any-return]  # links carry anything
                    results.bypasses -= 1
                    if result.error is None:
                        return result.failure  # type: ignore[no-any-return]
                    run.errors_taken += 1
                    break
                began = run.clock()
                try:
                    more = await results.sleep()
                finally:
                    run.consumer_waited += run.clock() - began
                if not more and not results.refill() and not results.taken:
                    break
            await run.done.wait()
        except get_cancelled_exc_class():
            if self._state is _State.BACKGROUND:
                self._reading = False
                await self._end()  # noqa: ASYNC102 - shielded, and clean-up inside has its bound
            raise
        finally:
            self._reading = False
        return self._finish(run)

    def _start(self) -> Run:
        """Host the run in the background."""
        if self._state is _State.OVER:
            raise StreamConsumedError
        run = self._make_run()
        self._cancel_soon = run.within(host.start, run.main, run.cancel, run.over)
        self._state = _State.BACKGROUND
        return run

    def _make_run(self) -> Run:
        self._unread = False
        host.require_loop()
        self._run = run = Run(self._specs, self._data, self._context)
        self._data = None
        if self._abort_error is not None:
            run.abort(self._abort_error)
            self._abort_error = None
        return run

    def _finish(self, run: Run) -> NoReturn:
        """End the iteration as the run has ended."""
        closed = self._state is _State.OVER
        self._state, self._results = _State.OVER, None
        error, run.error = run.error, None
        try:
            if error is None:
                raise ClosedResourceError if closed else StopAsyncIteration
            if isinstance(error, StopIteration | StopAsyncIteration):
                # Either would end the consumer's loop as if all were well (PEP 479).
                message = f"a task or the input raised {error!r}"
                raise RuntimeError(message) from error  # noqa: TRY004 - the type of PEP 479
            raise error
        finally:
            del error  # its traceback holds this frame: a reference cycle

    async def collect(self) -> list[Out]:
        """Run to the end and return all results. Structured: nothing runs on, however it ends.

        Raises:
            StreamConsumedError: If the stream has been started or closed before.
            Exception: What a task or the input failed with; the results before it are given up.
        """
        async with self:
            return [result async for result in self]

    async def drain(self) -> None:
        """Run to the end and discard the results. Structured, and raises, as `collect` does."""
        async with self:
            async for _ in self:
                pass

    # Ending

    def stop(self, timeout: float | None = None) -> None:
        """Stop reading the input; what is inside is finished and delivered, then the stream ends.

        A batch that is being filled is processed as soon as no item of those inside can join it.
        Before the stream is started this leaves nothing to run, and when it is over it does
        nothing. May be called from anywhere in the event loop, also from inside a task.

        Args:
            timeout: Seconds from now, after which what is not done is cancelled. The stream then
                ends normally as well, after what had left the last task by then; what was given
                up is logged as a warning, and `statistics` tell of it. ``None`` (the default)
                means no limit. Of several calls the earliest time counts.

        Raises:
            TypeError: If `timeout` is no number.
            ValueError: If it is below 0.
        """
        check_seconds("timeout", timeout, zero=True, none=True)
        self._unread = False
        if self._run is not None:
            self._run.stop(timeout)
        else:
            self._data = ()

    def abort(self, error: BaseException) -> None:
        """End the run now: the next iteration raises `error` itself, once all of the run is over.

        All that is inside is cancelled, and results that are not delivered yet are given up. It
        may follow `stop`. If the run has ended in an error before, it is that one which is raised,
        and when the stream is over this does nothing. May be called from anywhere in the event
        loop. To end the run without an error, there is `aclose`.

        Args:
            error: The exception object.

        Raises:
            TypeError: If `error` is no exception object.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"abort takes an exception object, not {error!r}")
        self._unread = False
        if self._state is _State.OVER:
            return
        self._results = None
        if self._run is not None:
            self._run.abort(error)
        elif self._abort_error is None:
            self._abort_error = error

    async def aclose(self) -> None:
        """End the run: nothing more is delivered, and nothing is left when this returns.

        A checkpoint. It may be called more than once, and from any task.
        """
        await self._end()
        await checkpoint()

    async def _end(self) -> None:
        self._state, self._results, self._unread = _State.OVER, None, False
        run = self._run
        if run is None:
            self._data = None
            return
        run.cancel()
        with CancelScope(shield=True):  # short: clean-up inside has its own bound
            await run.done.wait()
        if not self._reading and run.error is not None:
            run.log.lost(run.error)
            run.error = None

    def _give_on(self) -> None:
        """Note that somebody else has it now, and reads it or not."""
        self._unread = False

    def __del__(self, _warn: Any = warn) -> None:  # names may be gone when the interpreter exits
        if self._unread:
            _warn(
                f"{self!r} was never read: write `async for result in stream`, or `await "
                "stream.collect()`; or close it with `await stream.aclose()`",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )
        elif self._state is _State.BACKGROUND:
            self._cancel_soon()

    async def __aenter__(self) -> Stream[Out]:
        """Start the run in a task group of the block.

        Raises:
            StreamConsumedError: If the stream has been started or closed before.
            RuntimeError: If no event loop is running.
        """
        if self._state is not _State.NEW:
            raise StreamConsumedError
        run = self._make_run()
        self._group = create_task_group()
        await self._group.__aenter__()
        run.within(partial(self._group.start_soon, name="conveyor run"), Later, run.main)
        self._state = _State.BLOCK
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """End the run and wait until all of it is over. The body's exception passes as it is."""
        run, group = self._run, self._group
        assert run is not None
        assert group is not None
        self._state, self._results = _State.OVER, None
        run.cancel()
        swallowed = await leave(group, exc_type, exc, traceback)  # noqa: ASYNC102 - it is about to end
        if isinstance(exc, get_cancelled_exc_class()):
            return swallowed
        error, run.error = run.error, None
        if error is not None and error is not exc:
            if exc is None and not isinstance(error, Exception):
                raise error
            run.log.lost(error)
        return None

    async def _ready(self) -> list[Out]:
        """Wait for a result, and return it with those that are there; none at the end.

        The consumer then has up to ``buffer_size`` results in hand.
        """
        async for result in self:
            results = [result]
            link = self._results
            while link is not None and link.taken and not link.bypasses:
                results.append(await anext(self))
            return results
        return []

    async def _as_side_input(self) -> Out:
        async with self:
            async for result in self:
                return result
        raise EmptyInputError(repr(self))

    # Looking

    def statistics(self) -> StreamStatistics:
        """Return what has happened so far: a frozen snapshot, made when this is called.

        Call it in the event loop's thread. Printed, it is a table and a sentence.
        """
        if self._run is not None:
            return self._run.statistics()
        context = self._context
        return StreamStatistics(
            context.pipeline_id or "",
            tuple(StageStatistics(spec.name, slots=spec.limit) for spec in self._specs),
            total=length_of(self._data),
            execution_mode=str(context.execution_mode),
            max_parallelism=context.max_parallelism,
            timed=context.timing,
            over=self._state is _State.OVER,
        )

    def add_instrument(self, make: MakesInstrument) -> None:
        """Have the run watched, beside those that the context has in ``instruments``.

        Args:
            make: An `Instrument` class, or a function that takes a `RunInfo` and returns an
                instrument. It is called when the stream starts; what it raises is
                raised there.

        Raises:
            TypeError: If `make` cannot be called, or is an instrument already.
            RuntimeError: If the stream has been started or closed.
        """
        check_instrument(make)
        if self._state is not _State.NEW:
            raise RuntimeError("instruments are added before a stream is started")
        instruments = (*self._context.instruments, make)
        self._context = replace(self._context, instruments=instruments)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from ._report.html import stream

        shown = stream(self._specs, self._state.value, self.statistics())
        return {"text/plain": repr(self), "text/html": shown}

    # Misuse. Type checkers see none of these, and object by themselves.

    def _instead_of_await(self) -> str:
        self._unread = False  # it is said already
        return (
            "a stream is read, not awaited: `async for result in pipeline(data)`, or "
            "`await pipeline(data).collect()` for a list of all results"
        )

    if not TYPE_CHECKING:

        def __iter__(self):
            self._unread = False
            raise TypeError("a stream is read with `async for`, not with `for`")

        def __enter__(self):
            self._unread = False
            raise TypeError("a stream is entered with `async with`, not with `with`")

        def __exit__(self, *exc_info):
            """Python looks for it before it enters."""
