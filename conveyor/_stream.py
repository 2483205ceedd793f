"""The consumer's end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, final
from warnings import warn

from anyio import BusyResourceError, ClosedResourceError, get_cancelled_exc_class
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from ._engine.link import Link
from ._engine.loop import host
from ._engine.loop.cleanup import wait_to_end
from ._engine.loop.turn import Turn
from ._engine.run import Run
from ._engine.signals import Bypass
from ._engine.source import check_source, length_of
from ._model.awaiting import NotAwaitable
from ._model.checks import check_bool, check_seconds
from ._model.context import PipelineContext, check_instrument
from ._model.errors import EmptyInputError, StreamConsumedError
from ._model.figures import StageStatistics
from ._model.instrument import Instrument, MakesInstrument
from ._model.spec import SingleSpec, Spec
from ._observe.statistics import StreamStatistics

Out = TypeVar("Out", covariant=True)


class _State(Enum):
    NEW = "not started"
    RUNNING = "running"  # tied to this object, and to whoever waits for its next result
    BLOCK = "running in its block"  # tied to this object, and to the block
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
        self._run: Run[StreamStatistics] | None = None
        self._abort_error: BaseException | None = None  # until there is a run
        self._cancel_soon: Any = None
        self._reading = False
        # The run's, while results may be taken without a look at the state; else None.
        self._results: Link | None = None
        self._turn: Turn | None = None
        self._unread = True  # nobody has used it yet, or has it for later use

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is one run, which cannot be copied or pickled: "
            "copy or pickle the pipeline, and call it again"
        )

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
                        if run.watch is not None:
                            run.watch.tell(Instrument.failure_delivered, result.failure)
                        return result.failure  # type: ignore[no-any-return]
                    run.errors_taken += 1
                    result = None  # the run has the error, whose traceback will hold this frame
                    break
                began = run.clock()
                try:
                    more = await results.sleep()
                finally:
                    run.consumer_waited += run.clock() - began
                if not more and not results.refill() and not results.taken:
                    break
                run.turn.begin(results)
            await run.done.wait()
        except get_cancelled_exc_class():
            if self._state is _State.RUNNING:
                self._reading = False
                await self._end()  # noqa: ASYNC102 - shielded, and clean-up inside has its bound
            raise
        finally:
            self._reading = False
        return self._finish(run)

    def _start(self, state: _State = _State.RUNNING) -> Run[StreamStatistics]:
        """Host the run in a background task."""
        if self._state is not _State.NEW:
            raise StreamConsumedError
        self._unread = False
        host.require_loop()
        self._run = run = Run(self._specs, self._data, self._context, StreamStatistics)
        self._data = None
        if self._abort_error is not None:
            run.abort(self._abort_error)
            self._abort_error = None
        self._cancel_soon = run.within(host.start, run.main, run.cancel, run.over, "conveyor run")
        self._state = state
        return run

    def _finish(self, run: Run[StreamStatistics]) -> NoReturn:
        """End the iteration as the run has ended."""
        closed = self._state is _State.OVER
        self._state, self._results = _State.OVER, None
        run.discard()  # an abort has left some
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
            async for result in self:
                del result  # an error that comes next would keep it, in its traceback

    # Ending

    def stop(self, timeout: float | None = None, *, interrupt_input: bool = True) -> None:
        """Stop reading the input; what is inside is finished and delivered, then the stream ends.

        A batch that is being filled is processed as soon as no item of those inside can join it.
        Before the stream is started this leaves nothing to run, and when it is over it does
        nothing. May be called from anywhere in the event loop, also from inside a task.

        From now on `PipelineContext.stopping` is true, for the input as for the tasks.

        Args:
            timeout: Seconds from now, after which what is not done is cancelled. The stream then
                ends normally as well, after what had left the last task by then; what was given
                up is logged as a warning, and `statistics` tell of it. ``None`` (the default)
                means no limit. Of several calls the earliest time counts.
            interrupt_input: What becomes of an async input that is being waited for. True (the
                default) cancels it, which loses what it has taken from elsewhere and not given
                yet. False lets it finish that one read, and what it gives is processed; a
                second call with true cancels it then. An input that may wait for long should
                look at `PipelineContext.stopping`, or wait for `PipelineContext.wait_stopping`
                beside what it waits for.

        Raises:
            TypeError: If `timeout` is not a number, or `interrupt_input` not a bool.
            ValueError: If `timeout` is below 0.
        """
        check_seconds("timeout", timeout, zero=True, none=True)
        check_bool("interrupt_input", interrupt_input)
        self._unread = False
        if self._run is not None:
            self._run.stop(timeout, interrupt_input=interrupt_input)
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

        A checkpoint. It may be called more than once, and from any task outside the run.

        Raises:
            RuntimeError: If it is called by a task function or by the input of this run, which
                would wait for itself. `stop` and `abort` may be called there.
        """
        if self._run is not None and self._run.is_around():
            raise RuntimeError(
                "aclose() waits for the end of the run, and is called inside the run, which "
                "cannot end before this call has: use stop() or abort() there"
            )
        await self._end()
        await checkpoint()

    async def _end(self) -> None:
        self._state, self._results, self._unread = _State.OVER, None, False
        run = self._run
        if run is None:
            self._data = None
            return
        run.cancel()
        if run.is_around():
            return  # the caller is a part of the run, which cannot end before it has
        await wait_to_end(run.done)
        run.discard()
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
        elif self._state is _State.RUNNING or self._state is _State.BLOCK:
            self._cancel_soon()

    async def __aenter__(self) -> Stream[Out]:
        """Start the run, and tie it to the block.

        Raises:
            StreamConsumedError: If the stream has been started or closed before.
            RuntimeError: If no event loop is running.
        """
        self._start(_State.BLOCK)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the run and wait until all of it is over. The body's exception passes as it is.

        A checkpoint, if the body has raised nothing.

        Nothing of the block stands in the scopes of the task that entered it. So it may be left in
        another task, as happens to a block inside an async generator.
        """
        run = self._run
        assert run is not None
        self._state, self._results = _State.OVER, None
        run.cancel()
        if not run.is_around():
            await wait_to_end(run.done)  # noqa: ASYNC102 - shielded, and it is about to end
            run.discard()
        if isinstance(exc, get_cancelled_exc_class()):
            return
        error, run.error = run.error, None
        if error is not None and error is not exc:
            if exc is None and not isinstance(error, Exception):
                raise error
            run.log.lost(error)
        if exc is None:
            await checkpoint_if_cancelled()  # noqa: ASYNC102 - all is over, and it does not wait

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
            tuple(
                StageStatistics(
                    spec.name,
                    slots=spec.limit,
                    keyed=isinstance(spec, SingleSpec) and spec.key is not None,
                    executor=spec.runs_in,
                )
                for spec in self._specs
            ),
            total=length_of(self._data),
            execution_mode=str(context.execution_mode),
            max_parallelism=context.max_parallelism,
            timed=context.timing,
            over=self._state is _State.OVER,
            named=bool(context.pipeline_id),
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
        from ._observe.report.html import stream

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
