"""A run ends well only if it did, and however it ends, whoever waits for it is told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from _helpers import all_blocked, error_of, in_both_modes, passing, results_and_error, stalling
from conveyor import (
    Instrument,
    RunInfo,
    Stream,
    batch_task,
    live,
    progress,
    resource,
    single_task,
    stop_on_signals,
)
from conveyor._engine.loop import host
from conveyor._engine.loop.companion import Companion

asyncio_only = pytest.mark.backends("asyncio", "asyncio-shuffled", "uvloop")

# --- asyncio's own Task.cancel(), called on a task of the run


async def slow(item: int) -> int:
    for _ in range(3):
        await checkpoint()
    return item


async def give(item: int) -> AsyncIterator[int]:
    await checkpoint()
    yield item
    await checkpoint()


async def slow_batch(items: list[int]) -> list[int]:
    await checkpoint()
    return items


async def slow_source() -> AsyncIterator[int]:
    for item in range(8):
        await checkpoint()
        yield item


@contextlib.asynccontextmanager
async def slow_resource() -> AsyncIterator[None]:
    await checkpoint()
    yield
    await checkpoint()


async def with_resource(item: int, _: None) -> int:
    await checkpoint()
    return item


PIPELINES: dict[str, Any] = {
    "tasks": single_task(slow, concurrency_limit=3) | passing,
    "generators": single_task(give, concurrency_limit=3),
    "batches": batch_task(max_size=3, concurrency_limit=2)(slow_batch) | single_task(slow),
    "keys": single_task(slow, key=lambda item: item % 2),
    "resource": single_task(with_resource).with_inputs(resource(slow_resource)),
}


def own_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("conveyor ")]


async def consume(stream: Stream[int], how: str) -> list[int]:
    if how == "collect":
        return await stream.collect()
    results = []
    if how == "block":
        async with stream:
            async for result in stream:
                results.append(result)
    else:
        async for result in stream:
            results.append(result)
    return results


@asyncio_only
@in_both_modes
@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("how", ["iterate", "block", "collect"])
async def test_a_task_of_the_run_is_cancelled_by_somebody_else(
    mode: str, kind: str, how: str
) -> None:
    """At any moment, any of them: all results or an error, and never less in silence."""
    pipeline = PIPELINES[kind].with_execution_mode(mode)
    errors: list[RuntimeError] = []
    for turns in range(40):
        for which in range(4):
            consumer = asyncio.create_task(consume(pipeline(slow_source()), how))
            for _ in range(turns):
                await checkpoint()
            tasks = sorted(own_tasks(), key=lambda task: task.get_name())
            if which >= len(tasks):
                await consumer
                continue
            tasks[which].cancel()
            try:
                assert sorted(await consumer) == [*range(8)]
            except RuntimeError as raised:
                errors.append(raised)
            assert not own_tasks()
    assert len(errors) > 20
    assert all("cancelled, and not by its run" in str(error) for error in errors)


@asyncio_only
@in_both_modes
async def test_a_time_limit_whose_timer_is_not_taken_back(mode: str) -> None:
    """Older time limits cancel the task of the function, late."""

    @single_task
    async def work(item: int) -> int:
        if item == 0:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            return item
        await all_blocked(20)
        return item

    error = await error_of(work.with_execution_mode(mode)(range(6)).collect())
    assert isinstance(error, RuntimeError)


@asyncio_only
@in_both_modes
async def test_a_task_group_around_the_consumer_learns_of_a_cancelled_run(mode: str) -> None:
    """Asyncio's groups take a `CancelledError` for a task that was cancelled, and go on."""

    async def read() -> None:
        async for _ in passing.with_execution_mode(mode)(stalling(1)):
            pass

    async def cancel() -> None:
        await all_blocked()
        own_tasks()[0].cancel()

    with pytest.RaisesGroup(RuntimeError):
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(cancel())


# --- from the inside


def ways_inside(stream: Callable[[], Stream[Any]]) -> dict[str, Any]:
    """Pipelines and inputs whose code closes its own stream."""

    async def close(item: int) -> int:
        if item == 2:
            await stream().aclose()
        return item

    async def close_and_give(item: int) -> AsyncIterator[int]:
        yield await close(item)

    async def close_in_batch(items: list[int]) -> list[int]:
        return [await close(item) for item in items]

    async def nested(item: int) -> int:
        (result,) = await single_task(close)([item]).collect()
        return result

    async def child(item: int) -> int:
        async with anyio.create_task_group() as group:
            with contextlib.suppress(RuntimeError):
                group.start_soon(close, item)
        return item

    async def source() -> AsyncIterator[int]:
        for item in range(4):
            yield await close(item)

    return {
        "task": (single_task(close), range(4)),
        "generator": (single_task(close_and_give), range(4)),
        "batch": (batch_task(max_size=2)(close_in_batch), range(4)),
        "keyed": (single_task(close, key=bool), range(4)),
        "nested": (single_task(nested), range(4)),
        "input": (passing, source()),
    }


@in_both_modes
@pytest.mark.parametrize("form", ["task", "generator", "batch", "keyed", "nested", "input"])
@pytest.mark.parametrize("how", ["iterate", "block", "collect"])
async def test_aclose_inside_the_run_is_refused(mode: str, form: str, how: str) -> None:
    stream: Stream[Any]
    pipeline, data = ways_inside(lambda: stream)[form]
    stream = pipeline.with_execution_mode(mode)(data)
    error = await error_of(consume(stream, how))
    assert isinstance(error, RuntimeError)
    assert "aclose() waits for the end of the run" in str(error)
    assert stream.statistics().over


async def test_aclose_of_another_stream_is_allowed_inside_a_run() -> None:
    @single_task
    async def work(item: int) -> int:
        other = passing(stalling(item))
        assert await anext(other) == item
        await other.aclose()
        return item

    assert await work(range(3)).collect() == [0, 1, 2]


@in_both_modes
@pytest.mark.parametrize("way", ["abort", "cancel", "drop", "aclose"])
async def test_a_function_that_reads_its_own_run_does_not_hold_up_its_end(
    mode: str, way: str
) -> None:
    stream: Any = None

    @single_task
    async def work(item: int) -> Any:
        if item == 0:
            return item
        return await anext(stream)

    stream = work.with_execution_mode(mode)(range(2))
    own = stream
    assert await anext(stream) == 0
    await all_blocked()
    if way == "abort":
        stream.abort(KeyError("enough"))
        await all_blocked()
        assert own.statistics().over
    elif way == "aclose":
        await stream.aclose()
        assert own.statistics().over
    elif way == "cancel":
        own._run.cancel()
        await all_blocked()
        assert own.statistics().over
    else:
        run = own._run
        del own, stream
        work = None  # type: ignore[assignment]  # the function's cell held the stream
        gc.collect()
        run.cancel()
        await all_blocked()
        assert run.done.is_set()


# --- whatever raises at the end


class Leaving(BaseException):
    pass


@pytest.mark.parametrize("kind", [OSError, SystemExit, Leaving])
@in_both_modes
@pytest.mark.parametrize("how", ["iterate", "block", "collect"])
@pytest.mark.parametrize("ending", ["well", "badly", "closed"])
async def test_an_instrument_that_raises_at_the_end(
    mode: str, kind: type[BaseException], how: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(Instrument):
        def run_ended(self, error: BaseException | None) -> None:
            raise kind("at the end")

    @single_task
    async def work(item: int) -> int:
        if ending == "badly" and item == 2:
            raise ValueError("bad")
        return item

    pipeline = work.with_context(instruments=[Raising], execution_mode=mode)
    stream = pipeline(stalling(0) if ending == "closed" else range(3))
    with caplog.at_level(logging.CRITICAL, "conveyor"):
        if ending == "closed":
            assert await anext(stream) == 0
            await stream.aclose()
        elif ending == "badly":
            error = await error_of(consume(stream, how))
            assert isinstance(error, ValueError)
        elif kind is OSError:  # it is logged, and the instrument told no more
            assert await consume(stream, how) == [0, 1, 2]
        else:
            assert type(await error_of(consume(stream, how))) is kind
    assert stream.statistics().over


@pytest.mark.parametrize("kind", [OSError, SystemExit])
@pytest.mark.parametrize("text", ["run begins", "run ends", "ends: ", "receives"])
@in_both_modes
async def test_a_log_that_raises(mode: str, text: str, kind: type[BaseException]) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            if text in record.getMessage():
                raise kind("the log server is gone")
            return True

    @single_task
    async def work(item: int) -> int:
        if text == "receives" and item > 0:
            await checkpoint()
            raise ValueError(item)  # one of several is the consumer's
        return item

    logger, handler = logging.getLogger("conveyor"), Broken()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        stream = (work | passing).with_execution_mode(mode)(range(4))
        results, error = await results_and_error(stream)
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
    assert isinstance(error, (kind, ValueError))
    assert results == sorted(results)
    assert stream.statistics().over


# --- blocks that are left in another task


@contextlib.asynccontextmanager
async def showing(stream: Stream[Any]) -> AsyncIterator[Any]:
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True)
    async with live(stream, console=console), stream:
        yield stream


@contextlib.asynccontextmanager
async def showing_progress(stream: Stream[Any]) -> AsyncIterator[Any]:
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True)
    async with stream, progress(stream, console=console) as shown:
        yield shown


@contextlib.asynccontextmanager
async def listening(stream: Stream[Any]) -> AsyncIterator[Any]:
    async with stop_on_signals(stream), stream:
        yield stream


BLOCKS: dict[str, Callable[[Stream[Any]], Any]] = {
    "stream": lambda stream: stream,
    "live": showing,
    "progress": showing_progress,
    "signals": listening,
}
blocks = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


async def nothing_runs(stream: Stream[Any]) -> bool:
    await all_blocked()
    return stream.statistics().over


@in_both_modes
@blocks
async def test_a_block_that_is_left_in_another_task(mode: str, block: Any) -> None:
    """As test fixtures are, and what web frameworks stream."""
    stream = passing.with_execution_mode(mode)(stalling(0, 1))
    entered = block(stream)
    left = anyio.Event()

    async def enter() -> None:
        with anyio.move_on_after(3600) as outer:
            await entered.__aenter__()
            assert await anext(stream) == 0
            # Its own scopes are as they were before.
            with anyio.CancelScope() as inner:
                inner.cancel()
                await checkpoint()
            assert inner.cancelled_caught
        assert not outer.cancelled_caught
        await left.wait()
        with anyio.fail_after(3600):
            await checkpoint()

    async def leave() -> None:
        with anyio.CancelScope():
            await entered.__aexit__(None, None, None)
        assert stream.statistics().over
        left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
        await all_blocked()
        await leave()


# Trio says so of every generator that is not closed.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@in_both_modes
@blocks
@pytest.mark.parametrize("way", ["closed", "dropped", "exception", "cancelled"])
async def test_a_block_in_an_async_generator_that_is_left_early(
    mode: str, block: Any, way: str
) -> None:
    stream = passing.with_execution_mode(mode)(stalling(0, 1))

    async def results() -> AsyncIterator[Any]:
        async with block(stream):
            async for result in stream:
                yield result  # noqa: ASYNC119 - that is what is tried

    async def read() -> None:
        with anyio.CancelScope() as scope:
            async for _ in results():
                if way == "exception":
                    raise KeyError("of the body")
                if way == "cancelled":
                    scope.cancel()
                    await checkpoint()
                break

    if way == "closed":
        async with contextlib.aclosing(results()) as closing:
            assert await anext(closing) == 0
        assert stream.statistics().over
    elif way == "exception":
        with pytest.raises(KeyError, match="of the body"):
            await read()
    else:
        await read()
    gc.collect()
    assert await nothing_runs(stream)


@asyncio_only
@in_both_modes
@blocks
async def test_the_callers_own_cancellation_is_left_alone(mode: str, block: Any) -> None:
    """A block cancels its run as it is left, and takes nothing of that from the caller's count."""
    counts = []

    @single_task
    async def work(item: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await all_blocked(10)

    async def read() -> None:
        stream = work.with_execution_mode(mode)([1, 2, 3])
        try:
            async with block(stream):
                async for _ in stream:
                    pass
        finally:
            task = asyncio.current_task()
            assert task is not None
            counts.append(task.cancelling())

    task = asyncio.create_task(read())
    await all_blocked(30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts == [1]


@pytest.mark.backends("asyncio", "asyncio-shuffled")
@pytest.mark.parametrize("method", ["collect", "drain"])
async def test_a_time_out_does_not_swallow_a_cancellation(method: str) -> None:
    @single_task
    async def work(item: int) -> None:
        try:
            await anyio.sleep(9)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)

    async def read() -> str:
        try:
            async with asyncio.timeout(1):
                await getattr(work([1, 2, 3]), method)()
        except TimeoutError:
            return "swallowed"
        return "ended"

    task = asyncio.create_task(read())
    await anyio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asyncio_only
@in_both_modes
async def test_a_second_cancellation_does_not_leave_the_run_behind(mode: str) -> None:
    @single_task
    async def work(item: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await all_blocked(20)

    async def read() -> None:
        async with work.with_execution_mode(mode)([1, 2, 3]) as stream:
            await anext(stream)

    task = asyncio.create_task(read())
    await all_blocked(30)
    task.cancel()
    await all_blocked(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert own_tasks() == []


async def test_what_runs_beside_a_block_is_raised_at_its_end() -> None:
    async def fail() -> None:
        await checkpoint()
        raise KeyError("beside")

    companion = Companion(fail, "beside")
    await all_blocked()
    with pytest.raises(KeyError, match="beside"):
        await companion.end()
    await companion.end()  # once


async def test_what_runs_beside_a_block_can_be_ended_from_anywhere() -> None:
    ended = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    companion = Companion(wait, "beside")
    await all_blocked()
    companion.cancel_soon()
    await all_blocked()
    assert ended == [True]
    await companion.end()


# --- inside somebody's `except` block


class SlowToClose:
    """An input that gives three items, and takes a minute to be closed."""

    def __init__(self) -> None:
        self.left: Iterator[int] = iter(range(3))

    def __aiter__(self) -> SlowToClose:
        return self

    async def __anext__(self) -> int:
        for item in self.left:
            return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await anyio.sleep(60)


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize("place", ["input", "generator", "resource"])
@pytest.mark.parametrize("how", ["iterate", "block", "collect"])
async def test_an_exception_that_is_being_handled_around_the_run_is_not_the_runs(
    mode: str, place: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.asynccontextmanager
    async def slow_to_leave() -> AsyncIterator[int]:
        yield 0
        await anyio.sleep(60)

    async def add(item: int, zero: int) -> int:
        return item + zero

    if place == "input":
        pipeline: Any = passing
    elif place == "resource":
        pipeline = single_task(add).with_inputs(resource(slow_to_leave))
    else:
        pipeline = single_task(lambda _: SlowGenerator())
    data: Any = SlowToClose() if place == "input" else [0] if place == "generator" else range(3)
    try:
        raise KeyError("cache")
    except KeyError:
        results = await consume(pipeline.with_execution_mode(mode)(data), how)
    assert results == [0, 1, 2]
    assert "took over 10 seconds to clean up" in caplog.text


class SlowGenerator(SlowToClose, AsyncIterator[int]):
    """A generator that does not let itself be closed in time."""

    async def asend(self, value: Any) -> int:
        return await anext(self)

    async def athrow(self, *args: Any) -> int:
        raise NotImplementedError


@in_both_modes
async def test_results_need_not_wait_for_the_closing_of_the_input_inside_an_except_block(
    mode: str,
) -> None:
    class Held(SlowToClose):
        async def aclose(self) -> None:
            await closed.wait()

    closed = anyio.Event()
    try:
        raise KeyError("cache")
    except KeyError:
        batches = batch_task(max_size=10)(lambda items: [items])
        stream = batches.with_execution_mode(mode)(Held())
        assert await anext(stream) == [0, 1, 2]
        closed.set()
        await stream.aclose()


# --- the safety net


async def test_a_run_that_ends_for_no_known_reason_is_an_error() -> None:
    """Nothing is known that leads there. Should it happen, results must not be missing."""
    stream = passing(range(3))
    stages: list[Any] = []

    class Cutting(Instrument):
        def __init__(self, run: RunInfo) -> None:
            super().__init__(run)

    stream.add_instrument(Cutting)
    run = stream._start()
    stages = run._stages
    stages[0].cancel()  # by nobody who says so
    error = await error_of(consume(stream, "iterate"))
    assert isinstance(error, RuntimeError)
    assert "cancelled, and not by its run" in str(error)


def test_what_tells_of_cancellation_outside_of_a_task() -> None:
    async def outside() -> None:
        assert host.cancelling()() == 0

    anyio.run(outside)
