"""How a run is ended by who reads it, and by signals: `stop`, `abort`, `stop_on_signals`."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import pickle
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from test_cancellation import Small

from _helpers import (
    all_blocked,
    error_of,
    in_both_modes,
    passing,
    stalling,
    timed,
    timetable,
    without_slow_callbacks,
)
from conveyor import (
    PipelineContext,
    Stream,
    StreamConsumedError,
    batch_task,
    get_current_context,
    resource,
    single_task,
    stop_on_signals,
)


@single_task
async def sleeping(seconds: float) -> float:
    """Sleep as long as an item says."""
    await anyio.sleep(seconds)
    return seconds


async def call_at(time: float, call: Callable[[], object]) -> None:
    await anyio.sleep_until(time)
    call()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "conveyor"]


def given_up(*, cancelled: int = 0, items: int = 0, results: int = 0) -> str:
    return (
        f"stopped, and out of time: {cancelled} items or batches cancelled, "
        f"{items} items not begun, {results} results not delivered"
    )


class Watched:
    """A source that stalls and a task that never ends for item 0, and what of them is open."""

    def __init__(self) -> None:
        self.opened = self.open = self.read = 0

    async def source(self) -> AsyncIterator[int]:
        self.opened += 1
        self.open += 1
        try:
            for item in (3, 2, 1, 0, 4):
                self.read += 1
                yield item
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            self.open -= 1

    async def work(self, item: int) -> int:
        self.opened += 1
        self.open += 1
        try:
            await anyio.sleep(item or math.inf)
            return item
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            self.open -= 1

    def stream(self, mode: str) -> Stream[int]:
        return (single_task(self.work) | passing).with_execution_mode(mode)(self.source())


async def iterate(stream: Stream[Any]) -> list[Any]:
    return [result async for result in stream]


async def block(stream: Stream[Any]) -> list[Any]:
    async with stream:
        return [result async for result in stream]


async def collect(stream: Stream[Any]) -> list[Any]:
    return await stream.collect()


async def drain(stream: Stream[Any]) -> None:
    await stream.drain()


in_all_ways = pytest.mark.parametrize("way", [iterate, block, collect, drain])
Way = Callable[[Stream[Any]], Awaitable[Any]]


# Stopping in time


@in_both_modes
@in_all_ways
@pytest.mark.virtual_time
async def test_what_is_done_in_time_is_delivered_and_nothing_is_logged(
    mode: str, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    stream = sleeping.with_execution_mode(mode)(stalling(3, 1, 2))
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 0.5, lambda: stream.stop(10))
        results = await way(stream)
    expected = [3, 1, 2] if mode == "ordered" else [1, 2, 3]
    assert results == (None if way is drain else expected)
    assert anyio.current_time() == 3
    assert warnings(caplog) == []
    assert stream.statistics().stages[0].cancelled == 0


@in_both_modes
@in_all_ways
@pytest.mark.virtual_time
async def test_what_takes_longer_is_cancelled_and_the_stream_ends_normally(
    mode: str, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched()
    stream = watched.stream(mode)
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 0.5, lambda: stream.stop(2))
        results = await way(stream)
    assert anyio.current_time() == 2.5
    assert watched.open == 0
    assert watched.opened == 6
    # In order, 1 and 2 wait for 3, and that is not done in time.
    assert results == (None if way is drain else [] if mode == "ordered" else [1, 2])
    assert warnings(caplog) == [given_up(cancelled=3, results=2 if mode == "ordered" else 0)]
    assert stream.statistics().stages[0].cancelled == 3


@pytest.mark.virtual_time
async def test_items_that_were_not_begun_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = sleeping.with_options(concurrency_limit=1) | batch_task(max_size=3)(len)
    stream = pipeline(stalling(1, 1, 5, 5, 5))
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 2.5, lambda: stream.stop(1))
        assert await iterate(stream) == []
    # Two were in front of the first task, and two in a batch that was being filled.
    assert warnings(caplog) == [given_up(cancelled=1, items=4)]
    assert [stage.queued for stage in stream.statistics().stages] == [2, 0]


@pytest.mark.virtual_time
async def test_the_item_in_the_inputs_hand_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    task = sleeping.with_options(concurrency_limit=1).with_context(buffer_size=1)
    stream = task(stalling(5, 5, 5))
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 2, lambda: stream.stop(1))
        assert await iterate(stream) == []
    assert warnings(caplog) == [given_up(cancelled=1, items=2)]


@in_both_modes
@pytest.mark.virtual_time
async def test_what_had_left_the_last_task_in_time_is_delivered_later_as_well(mode: str) -> None:
    stream = sleeping.with_execution_mode(mode)(stalling(1, 2, 3, 9))
    results: list[float] = []
    async for result in stream:
        results.append(result)
        if result == 1:
            stream.stop(4)
            await anyio.sleep(10)  # the consumer is its own: nothing cancels it
            assert anyio.current_time() == 11
    assert results == [1, 2, 3]


@pytest.mark.parametrize(
    ("calls", "end"),
    [
        ([(1, 5), (2, 1)], 3),
        ([(1, 5), (2, 9)], 6),
        ([(1, 5), (2, None)], 6),
        ([(1, None), (2, 5)], 7),
        ([(1, math.inf)], 100),
        ([(1, 0)], 1),
        ([(1, 5), (2, 0)], 2),
        ([(1, None)], 100),
    ],
)
@pytest.mark.virtual_time
async def test_of_several_calls_the_earliest_time_counts(
    calls: list[tuple[float, float | None]], end: float
) -> None:
    stream = sleeping(stalling(100))
    async with anyio.create_task_group() as group:
        for time, timeout in calls:
            group.start_soon(call_at, time, lambda timeout=timeout: stream.stop(timeout))
        assert await collect(stream) == ([100] if end == 100 else [])
    assert anyio.current_time() == end


@in_both_modes
@pytest.mark.virtual_time
async def test_a_task_may_stop_its_own_stream(mode: str) -> None:
    @single_task
    async def work(item: int) -> int:
        if item == 2:
            stream.stop(1)
        await anyio.sleep(item)
        return item

    stream: Stream[int] = work.with_execution_mode(mode)(timetable(0, 0.25, 0.5, 0.75, end=99))
    assert await timed(stream) == [(0, 0), (1.25, 1)]
    assert anyio.current_time() == 1.5


async def test_a_time_of_zero_cancels_also_what_never_waits() -> None:
    @single_task
    def work(item: int) -> int:
        if item == 5:
            stream.stop(0)
        return item

    stream: Stream[int] = work(range(1000))
    results = await collect(stream)
    assert results == list(range(len(results)))
    assert len(results) < 1000


@in_all_ways
async def test_a_time_does_not_matter_before_the_start(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched()
    stream = watched.stream("ordered")
    stream.stop(0)
    assert not await way(stream)
    assert watched.opened == 0
    assert warnings(caplog) == []


@pytest.mark.virtual_time
async def test_a_time_does_not_matter_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    stream = sleeping([1])
    assert await anext(stream) == 1
    await anyio.sleep(1)
    stream.stop(0)
    stream.stop(1)
    await anyio.sleep(2)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    stream.stop(0)
    assert warnings(caplog) == []


@pytest.mark.virtual_time
async def test_an_error_on_its_way_is_raised_when_the_time_is_over() -> None:
    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(item)
        if item == 1:
            raise KeyError(item)
        return item

    stream = (passing | work | passing)(stalling(9, 1))
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 0.5, lambda: stream.stop(2))
        error = await error_of(block(stream))
    assert repr(error) == "KeyError(1)"
    assert anyio.current_time() == 2.5


@pytest.mark.virtual_time
async def test_an_error_of_the_input_is_raised_when_the_time_is_over() -> None:
    async def source() -> AsyncIterator[float]:
        yield 9
        raise OSError("gone")

    stream = sleeping(source())
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 0.5, lambda: stream.stop(2))
        error = await error_of(block(stream))
    assert repr(error) == "OSError('gone')"
    assert anyio.current_time() == 2.5


@pytest.mark.virtual_time
async def test_resources_are_left_when_the_time_is_over() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        try:
            yield
            log.append("commit")
        except anyio.get_cancelled_exc_class():
            log.append("rollback")
            raise

    @single_task
    async def work(item: float, _: None) -> float:
        await anyio.sleep(item)
        return item

    for items in ([1], [1, 5]):
        stream = work.with_inputs(resource(transaction))(stalling(*items))
        async with anyio.create_task_group() as group:
            group.start_soon(call_at, anyio.current_time() + 0.5, lambda s=stream: s.stop(2))
            assert await iterate(stream) == [1]
    assert log == ["commit", "rollback"]


@pytest.mark.virtual_time
async def test_the_time_ends_the_opening_of_resources_as_well() -> None:
    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        await anyio.sleep(60)
        yield

    @single_task
    async def work(item: float, _: None) -> float:
        return item

    stream = work.with_inputs(resource(slow))([1])
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 1, lambda: stream.stop(2))
        assert await iterate(stream) == []
    assert anyio.current_time() == 3


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (math.nan, ValueError), ("1", TypeError), (True, TypeError)],
)
async def test_a_time_that_is_none_is_refused(timeout: Any, error: type[Exception]) -> None:
    stream = passing([1])
    for what in (lambda: stream.stop(timeout), lambda: stop_on_signals(stream, timeout=timeout)):
        with pytest.raises(error, match="timeout must be a number of seconds of at least 0"):
            what()
    assert await stream.collect() == [1]


# Open batches


@in_both_modes
@pytest.mark.virtual_time
async def test_an_open_batch_is_processed_at_once_and_not_when_it_is_due(mode: str) -> None:
    pipeline = passing | batch_task(max_size=9, max_wait=60)(list) | batch_task(max_size=9)(len)
    stream = pipeline.with_execution_mode(mode)(stalling("a", "b"))
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 1, stream.stop)
        assert await timed(stream) == [(1, 2)]


@in_both_modes
@pytest.mark.virtual_time
async def test_an_open_batch_does_not_wait_for_the_input_to_be_closed(mode: str) -> None:
    class Slow:
        """Takes its time to be closed."""

        def __init__(self) -> None:
            self.items = stalling("a", "b")

        def __aiter__(self) -> Slow:
            return self

        async def __anext__(self) -> str:
            return await anext(self.items)  # type: ignore[no-any-return]

        async def aclose(self) -> None:
            await anyio.sleep(5)

    @batch_task(max_size=9, max_wait=60)
    async def work(items: list[str]) -> tuple[float, str]:
        return anyio.current_time(), "".join(items)

    stream = work.with_execution_mode(mode)(Slow())
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 1, stream.stop)
        assert await timed(stream) == [(1, (1, "ab"))]
    assert anyio.current_time() == 6


@in_both_modes
@pytest.mark.virtual_time
async def test_a_batch_waits_for_what_can_still_join_it(mode: str) -> None:
    pipeline = sleeping | batch_task(max_size=9)(lambda items: tuple(items))
    stream = pipeline.with_execution_mode(mode)(stalling(1, 2, 4))
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 3, stream.stop)
        assert await timed(stream) == [(4, (1, 2, 4))]


# Aborting


@in_both_modes
@in_all_ways
@pytest.mark.virtual_time
async def test_abort_raises_the_error_itself_once_all_is_cleaned_up(mode: str, way: Way) -> None:
    watched = Watched()
    stream = watched.stream(mode)
    error = KeyError("reason")
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 0.5, lambda: stream.abort(error))
        with pytest.raises(KeyError) as caught:
            await way(stream)
        assert watched.open == 0
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert anyio.current_time() == 0.5
    with pytest.raises(StreamConsumedError):
        await anext(stream)


@in_both_modes
async def test_results_that_wait_are_given_up(mode: str) -> None:
    stream = passing.with_execution_mode(mode)(range(10))
    assert await anext(stream) == 0
    await all_blocked()
    error = ValueError()
    stream.abort(error)
    assert await error_of(anext(stream)) is error


@in_both_modes
async def test_the_loop_itself_may_abort(mode: str) -> None:
    error = ValueError()
    results = []

    async def read() -> None:
        async for result in stream:
            results.append(result)
            if result == 3:
                stream.abort(error)

    stream = (passing | passing).with_execution_mode(mode)(range(1000))
    assert await error_of(read()) is error
    assert results == [0, 1, 2, 3]


@in_both_modes
@pytest.mark.parametrize("suspends", [False, True])
async def test_a_task_may_abort_its_own_run(mode: str, suspends: bool) -> None:
    error = ValueError()
    calls: list[int] = []

    @single_task(on_error="skip_item", retry_attempts=3)
    async def work(item: int) -> int:
        calls.append(item)
        if item == 5:
            stream.abort(error)
        if suspends:
            await checkpoint()
        return item

    stream: Stream[int] = (work | passing).with_execution_mode(mode)(range(1000))
    assert await error_of(block(stream)) is error
    assert len(calls) < 1000


async def test_of_several_calls_the_first_one_counts() -> None:
    watched = Watched()
    stream = watched.stream("ordered")
    first = ValueError(1)
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, anyio.current_time(), lambda: stream.abort(first))
        group.start_soon(call_at, anyio.current_time(), lambda: stream.abort(ValueError(2)))
        caught = await error_of(iterate(stream))
    assert caught.args in [(1,), (2,)]  # trio shuffles who comes first
    stream = watched.stream("ordered")
    stream.abort(first)
    stream.abort(ValueError(2))
    assert await error_of(iterate(stream)) is first


@in_both_modes
@pytest.mark.virtual_time
async def test_a_run_that_has_failed_before_keeps_its_error(mode: str) -> None:
    async def work(item: int) -> int:
        if item == 3:
            raise KeyError("first")
        return item

    stream = single_task(work).with_execution_mode(mode)(range(5))
    async with stream:
        await anyio.sleep(1)
        stream.abort(ValueError("second"))
        assert repr(await error_of(anext(stream))) == "KeyError('first')"


@in_both_modes
@pytest.mark.virtual_time
async def test_abort_may_follow_stop_and_stop_after_it_does_nothing(mode: str) -> None:
    watched = Watched()
    stream = watched.stream(mode)
    error = ValueError()
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 0.25, lambda: stream.stop(60))
        group.start_soon(call_at, 0.5, lambda: stream.abort(error))
        group.start_soon(call_at, 0.5, stream.stop)
        assert await error_of(iterate(stream)) is error
    assert anyio.current_time() == 0.5
    assert watched.open == 0


@in_all_ways
@pytest.mark.parametrize("stopped", [False, True])
async def test_before_the_start_nothing_runs_at_all(way: Way, stopped: bool) -> None:
    watched = Watched()
    made: list[int] = []

    def factory() -> Any:
        made.append(1)
        return anyio.CancelScope()

    @single_task
    async def work(item: int, _: Any) -> int:
        return await watched.work(item)

    read: list[int] = []
    data = (read.append(item) for item in range(3))
    stream = work.with_inputs(resource(factory))(data)
    error = ValueError()
    if stopped:
        stream.stop()
    stream.abort(error)
    assert await error_of(way(stream)) is error
    assert (made, read, watched.opened) == ([], [], 0)
    with pytest.raises(StreamConsumedError):
        await anext(stream)


async def test_after_the_end_nothing_happens() -> None:
    stream = passing([1])
    assert await stream.collect() == [1]
    stream.abort(ValueError())
    with pytest.raises(StreamConsumedError):
        await anext(stream)
    stream = passing([1])
    await stream.aclose()
    stream.abort(ValueError())
    with pytest.raises(StreamConsumedError):
        await anext(stream)


@pytest.mark.virtual_time
async def test_while_resources_are_opened_it_ends_that() -> None:
    left: list[str] = []

    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        try:
            await anyio.sleep(60)
            yield
        finally:
            left.append("left")

    @single_task
    async def work(item: int, _: None) -> int:
        return item

    stream = work.with_inputs(resource(slow))([1])
    error = ValueError()
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 1, lambda: stream.abort(error))
        assert await error_of(iterate(stream)) is error
    assert (anyio.current_time(), left) == (1, ["left"])


@pytest.mark.virtual_time
async def test_resources_see_the_error() -> None:
    seen: list[BaseException] = []

    @asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        try:
            yield
        except ValueError as error:
            seen.append(error)
            raise

    @single_task
    async def work(item: int, _: None) -> int:
        await anyio.sleep_forever()
        return item

    stream = work.with_inputs(resource(transaction))([1])
    error = ValueError()
    async with anyio.create_task_group() as group:
        group.start_soon(call_at, 1, lambda: stream.abort(error))
        assert await error_of(iterate(stream)) is error
    assert seen == [error]


@in_all_ways
@pytest.mark.virtual_time
async def test_what_is_no_exception_may_be_the_error_as_well(way: Way) -> None:
    watched = Watched()
    stream = watched.stream("ordered")
    error = KeyboardInterrupt()
    caught: list[BaseException] = []

    async def read() -> None:
        try:
            await way(stream)
        except KeyboardInterrupt as interrupt:
            caught.append(interrupt)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(call_at, 1, lambda: stream.abort(error))
    assert caught == [error]
    assert watched.open == 0


@pytest.mark.parametrize("error", [None, "reason", ValueError, 5])
async def test_what_cannot_be_raised_is_refused(error: Any) -> None:
    stream = passing([1])
    with pytest.raises(TypeError, match="abort takes an exception object, not") as caught:
        stream.abort(error)
    assert repr(error) in str(caught.value)
    assert await stream.collect() == [1]


async def test_a_block_that_reads_no_further_is_left_in_peace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    error = ValueError()
    with caplog.at_level(logging.DEBUG, "conveyor"):
        async with watched.stream("ordered") as stream:
            await all_blocked()
            stream.abort(error)
    assert watched.open == 0
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]
    with pytest.raises(KeyboardInterrupt):
        async with watched.stream("ordered") as stream:
            stream.abort(KeyboardInterrupt())


@pytest.mark.virtual_time
async def test_a_stream_that_is_aborted_and_dropped_leaves_nothing() -> None:
    watched = Watched()
    stream = watched.stream("as_completed")
    assert await anext(stream) == 1
    stream.abort(ValueError())
    del stream
    await all_blocked()
    assert watched.open == 0


@in_both_modes
@pytest.mark.parametrize("ending", ["abort", "stop at once", "stop in time"])
@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
async def test_ended_at_any_moment(
    mode: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # skipping is what the stages do here
    whole = await Small().stream("ordered").collect()
    error = KeyError("reason")
    ended = {"early": 0, "late": 0}

    async def read(stream: Stream[Any], watched: Small) -> None:
        results: list[Any] = []
        early = False
        try:
            async for result in stream:
                results.append(result)
        except KeyError as caught:
            early = caught is error and ending == "abort"
        assert early or ending != "abort" or len(results) == len(whole)
        ended["early" if early or len(results) < len(whole) else "late"] += 1
        assert watched.open == 0
        if mode == "ordered":
            assert results == whole[: len(results)]
        else:
            assert not Counter(results) - Counter(whole)

    for time in range(24):
        for turns in (0, 2, 5):
            watched = Small()
            stream = watched.stream(mode)
            async with anyio.create_task_group() as group:
                group.start_soon(read, stream, watched)
                await anyio.sleep(time / 2)
                for _ in range(turns):
                    await checkpoint()
                if ending == "abort":
                    stream.abort(error)
                else:
                    stream.stop(0 if ending == "stop at once" else 1.5)
    assert min(ended.values()) > 0


@in_both_modes
async def test_a_reader_that_is_cancelled_after_abort_still_ends_the_run(mode: str) -> None:
    watched = Watched()
    async with watched.stream(mode) as stream:
        await all_blocked()
        stream.abort(ValueError("reason"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await error_of(anext(stream))
        assert repr(await error_of(anext(stream))) == "ValueError('reason')"
    assert watched.open == 0


# Signals

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="asyncio has none there")
on_all_backends = pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])

SCRIPT = """
    import os, signal, sys
    import anyio
    from conveyor import *

    def say(*words):
        print(*words, flush=True)

    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    {code}
    anyio.run(main, backend={backend!r}, backend_options={options})
"""


def start(code: str, backend: str) -> subprocess.Popen[str]:
    script = textwrap.dedent(SCRIPT).format(
        code=textwrap.dedent(code),
        backend="trio" if backend == "trio" else "asyncio",
        options={"use_uvloop": True} if backend == "uvloop" else {},
    )
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


STALLING = """
@single_task
async def work(item):
    try:
        if item == 3:
            say("working")
            await anyio.sleep_forever()
        return item
    finally:
        if item == 3:
            say("task ended")

async def source():
    try:
        for item in range({count}):
            yield item
        await anyio.sleep_forever()
    finally:
        say("input closed")

async def main():
    before = handlers()
    try:
        async with stop_on_signals(work(source()){arguments}) as stream:
            async for item in stream:
                say(item)
            say("end")
    except BaseException as error:
        say(repr(error))
    say(handlers() == before)
"""


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest(process: subprocess.Popen[str]) -> list[str]:
    output, errors = process.communicate(timeout=15)
    assert without_slow_callbacks(errors) == ""
    return output.splitlines()


@needs_signals
@on_all_backends
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops(backend: str, number: signal.Signals) -> None:
    with start(STALLING.format(count=3, arguments=""), backend) as process:
        assert [next_line(process) for _ in range(3)] == ["0", "1", "2"]
        process.send_signal(number)
        assert rest(process) == ["input closed", "end", "True"]
        assert process.returncode == 0


@needs_signals
@on_all_backends
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, "KeyboardInterrupt()"), (signal.SIGTERM, "SystemExit(143)")],
)
def test_the_second_signal_aborts(backend: str, number: signal.Signals, error: str) -> None:
    with start(STALLING.format(count=4, arguments=""), backend) as process:
        before = {next_line(process) for _ in range(4)}
        assert before == {"0", "1", "2", "working"}
        process.send_signal(signal.SIGTERM)
        assert next_line(process) == "input closed"
        process.send_signal(number)
        assert rest(process) == ["task ended", error, "True"]
        assert process.returncode == 0


@needs_signals
@on_all_backends
def test_the_first_signal_may_leave_so_much_time(backend: str) -> None:
    arguments = ", signal.SIGUSR1, timeout=0.01"
    with start(STALLING.format(count=4, arguments=arguments), backend) as process:
        for _ in range(4):
            next_line(process)
        process.send_signal(signal.SIGUSR1)
        output, errors = process.communicate(timeout=15)
        assert output.splitlines() == ["input closed", "task ended", "end", "True"]
        assert "1 items or batches cancelled" in errors  # logging's last resort
        assert process.returncode == 0


@needs_signals
@on_all_backends
def test_other_signals_are_left_alone(backend: str) -> None:
    arguments = ", signal.SIGUSR1"
    with start(STALLING.format(count=4, arguments=arguments), backend) as process:
        for _ in range(4):
            next_line(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
        assert process.returncode == -signal.SIGTERM


@needs_signals
@on_all_backends
def test_after_the_second_signal_they_do_what_they_did_before(backend: str) -> None:
    code = """
    async def main():
        before = handlers()
        async with stop_on_signals(single_task(lambda item: item)([1])) as stream:
            during = handlers()
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(20):
                    await anyio.sleep(0.001)
            say(during != before, handlers() == before)
            try:
                await anext(stream)
            except SystemExit as error:
                say(error.code)
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep(5)
            say("not reached")
    """
    with start(code, backend) as process:
        assert rest(process) == ["True True", "143"]
        assert process.returncode == -signal.SIGTERM


@needs_signals
@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_a_handler_of_the_loop_is_replaced_and_the_signal_not_swallowed(backend: str) -> None:
    code = """
    async def main():
        import asyncio
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, say, "loop")
        async with stop_on_signals(single_task(lambda item: item)([1])) as stream:
            say(await stream.collect())
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep(5)
        say("not reached")
    """
    with start(code, backend) as process:
        assert rest(process) == ["[1]"]
        assert process.returncode == -signal.SIGTERM


@needs_signals
@on_all_backends
def test_ctrl_c_after_the_block_is_as_it_was(backend: str) -> None:
    code = """
    async def main():
        async with stop_on_signals(single_task(lambda item: item)([1])) as stream:
            say(await stream.collect())
        try:
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep(5)
        finally:
            say("cleaned up")

    try:
        anyio.run(main, backend={backend!r}, backend_options={options})
    except KeyboardInterrupt as error:
        say(repr(error))

    async def main():
        pass
    """
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    name = "trio" if backend == "trio" else "asyncio"
    with start(code.format(backend=name, options=options), backend) as process:
        assert rest(process) == ["[1]", "cleaned up", "KeyboardInterrupt()"]


@needs_signals
async def test_the_block_passes_what_its_body_raises_and_gives_the_stream() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stream = passing([1, 2])
    error = ValueError()

    async def body() -> None:
        async with stop_on_signals(stream) as given:
            assert given is stream
            assert await anext(stream) == 1
            raise error

    assert await error_of(body()) is error
    assert await anext(stream) == 2
    with anyio.CancelScope() as scope:
        async with stop_on_signals(stream):
            scope.cancel()
            await checkpoint()
            raise AssertionError("cancelled, it went on")
    assert scope.cancelled_caught
    await stream.aclose()
    assert {number: signal.getsignal(number) for number in before} == before


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_two_signals_one_after_the_other(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    expected = {signal.SIGINT: "KeyboardInterrupt()", signal.SIGTERM: "SystemExit(143)"}[number]
    watched = Watched()
    stream = single_task(watched.work)(stalling(0))
    async with stop_on_signals(stream, number), stream:
        await all_blocked()
        for _ in range(2):
            signal.raise_signal(number)
            await all_blocked()
        assert signal.getsignal(number) == before
        assert watched.open == 0
        assert repr(await error_of(anext(stream))) == expected
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("arguments", "error", "right"),
    [
        ((signal.SIGTERM,), TypeError, "takes a stream and signals"),
        ((passing,), TypeError, "takes a stream and signals"),
        ((passing([1]), "SIGTERM"), TypeError, "signal.SIGTERM, not 'SIGTERM'"),
        ((passing([1]), True), TypeError, "not True"),
        ((passing([1]), 9999), ValueError, "no signal 9999"),
        ((passing([1]), getattr(signal, "SIGKILL", 0)), ValueError, "cannot be caught|no signal"),
    ],
)
def test_what_is_no_stream_or_no_signal_is_refused(
    arguments: Any, error: type[Exception], right: str
) -> None:
    with pytest.raises(error, match=right):
        stop_on_signals(*arguments)


@needs_signals
@pytest.mark.real_time
async def test_outside_the_main_thread_it_says_so(anyio_backend: tuple[str, Any]) -> None:
    name, options = anyio_backend

    async def main() -> None:
        async with stop_on_signals(passing([1])):
            raise AssertionError("entered")

    def run() -> None:
        anyio.run(main, backend=name, backend_options=options)

    with pytest.raises(RuntimeError, match="the main thread"):
        await anyio.to_thread.run_sync(run)


# --- the input


class Numbers:
    """An async iterator that is not a generator."""

    def __init__(self) -> None:
        self.left = iter(range(3))

    def __aiter__(self) -> Numbers:
        return self

    async def __anext__(self) -> int:
        for number in self.left:
            return number
        raise StopAsyncIteration


async def async_numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


INPUTS: dict[str, Callable[[], Any]] = {
    "list": lambda: [0, 1, 2],
    "range": lambda: range(3),
    "set": lambda: {0, 1, 2},
    "dict": lambda: {0: "zero", 1: "one"},
    "iterator": lambda: iter([0, 1, 2]),
    "generator": lambda: (number for number in range(3)),
    "async generator": async_numbers,
    "async iterator": Numbers,
    "stream": lambda: passing(range(3)),
}


@in_both_modes
@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("interrupt", [True, False])
async def test_stop_right_after_the_block_is_entered_reads_nothing(
    mode: str, data: Callable[[], Any], interrupt: bool
) -> None:
    source = data()
    async with passing.with_execution_mode(mode)(source) as stream:
        stream.stop(interrupt_input=interrupt)
        assert [result async for result in stream] == []
        assert stream.statistics().read == 0
    if isinstance(source, Stream):
        await source.aclose()


class Server:
    """Hands out numbers. A reply takes half a second to arrive, and is lost if nobody waits."""

    def __init__(self) -> None:
        self.popped: list[int] = []

    async def pop(self) -> int:
        await anyio.sleep(0.5)
        self.popped.append(len(self.popped))
        number = self.popped[-1]
        await anyio.sleep(0.5)
        return number


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize("tenths", range(1, 40, 3))
@pytest.mark.parametrize("form", ["generator", "iterator"])
async def test_a_read_that_may_finish_loses_nothing(mode: str, tenths: int, form: str) -> None:
    server = Server()

    async def source() -> AsyncIterator[int]:
        while True:
            yield await server.pop()

    class Source:
        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            return await server.pop()

    async def stop() -> None:
        await anyio.sleep(tenths / 10)
        stream.stop(interrupt_input=False)

    data: Any = source() if form == "generator" else Source()
    async with (
        anyio.create_task_group() as group,
        passing.with_execution_mode(mode)(data) as stream,
    ):
        group.start_soon(stop)
        assert [result async for result in stream] == server.popped


@pytest.mark.virtual_time
@in_both_modes
async def test_a_second_stop_interrupts_the_read(mode: str) -> None:
    closed = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 0
            await anyio.sleep_forever()
        finally:
            closed.append(anyio.current_time())

    async with passing.with_execution_mode(mode)(source()) as stream:
        assert await anext(stream) == 0
        await all_blocked()
        began = anyio.current_time()
        stream.stop(interrupt_input=False)
        with anyio.move_on_after(5) as scope:
            await anext(stream)
        assert scope.cancelled_caught
        assert closed == []
        stream.stop()
        assert [result async for result in stream] == []
        assert closed == [began + 5]


@pytest.mark.virtual_time
@in_both_modes
async def test_an_input_that_waits_for_the_stop_ends_by_itself(mode: str) -> None:
    """As it is written in the documentation: the wait for a message is raced with the stop."""
    taken: list[int] = []

    async def messages() -> AsyncIterator[int]:
        context = get_current_context()
        assert context is not None
        assert not context.stopping
        while not context.stopping:
            message = None

            async def take(scope: anyio.CancelScope) -> None:
                nonlocal message
                await anyio.sleep(1)
                message = len(taken)
                taken.append(message)
                scope.cancel()

            async with anyio.create_task_group() as group:
                group.start_soon(take, group.cancel_scope)
                await context.wait_stopping()
                group.cancel_scope.cancel()
            if message is not None:
                yield message
        ended.append(anyio.current_time() - began)

    ended: list[float] = []
    began = anyio.current_time()
    async with passing.with_execution_mode(mode)(messages()) as stream:
        for number in range(3):
            assert await anext(stream) == number
        await anyio.sleep(0.5)
        stream.stop(interrupt_input=False)
        assert [result async for result in stream] == []
    assert taken == [0, 1, 2]
    assert ended == [3.5]


@in_both_modes
@pytest.mark.parametrize("form", ["single", "batch", "generator", "keyed", "thread"])
@pytest.mark.real_time
async def test_tasks_are_told_of_the_stop(mode: str, form: str) -> None:
    seen: list[tuple[Any, bool]] = []

    def work(item: Any) -> Any:
        context = get_current_context()
        assert context is not None
        before = context.stopping
        if item in (2, [2]):
            if form == "thread":
                anyio.from_thread.run_sync(stream.stop)
            else:
                stream.stop()
        seen.append((before, context.stopping))
        return item

    def give(item: Any) -> Any:
        yield work(item)

    task: Any = {
        "single": single_task(concurrency_limit=1)(work),
        "batch": batch_task(max_size=1)(work),
        "generator": single_task(concurrency_limit=1)(give),
        "keyed": single_task(key=lambda _: 0)(work),
        "thread": single_task(concurrency_limit=1, executor="thread")(work),
    }[form]
    stream = task.with_execution_mode(mode)(range(5))
    results = await stream.collect()
    assert results == [*range(len(results))]
    assert seen[:3] == [(False, False), (False, False), (False, True)]
    assert all(after == (True, True) for after in seen[3:])


async def test_a_context_that_is_not_a_runs_own() -> None:
    context = PipelineContext(buffer_size=3)
    assert context.stopping is False
    with pytest.raises(RuntimeError, match=r"get_current_context\(\)"):
        await context.wait_stopping()
    with pytest.raises(AttributeError):
        context.stopping = True  # type: ignore[misc]  # it is the run that says so


async def test_a_runs_context_is_one_of_settings_all_the_same() -> None:
    """It can be given to another pipeline, copied and pickled: what belongs to the run stays."""
    contexts: list[PipelineContext] = []

    @single_task
    def work(item: int) -> int:
        context = get_current_context()
        assert context is not None
        contexts.append(context)
        stream.stop()
        return item

    stream = work.with_context(buffer_size=3, tenant="acme")([1])
    await stream.drain()
    (context,) = contexts
    assert context.stopping
    again = passing.with_context(**context.__dict__)
    assert await again([1]).collect() == [1]
    for copied in (
        copy.copy(context),
        copy.deepcopy(context),
        pickle.loads(pickle.dumps(context)),
        dataclasses.replace(context, buffer_size=3),
    ):
        assert copied == context
        assert copied.data == {"tenant": "acme"}
        assert not copied.stopping


@pytest.mark.parametrize("value", [None, 1, "no"])
async def test_interrupt_input_is_true_or_false(value: Any) -> None:
    stream = passing([1])
    with pytest.raises(TypeError, match="interrupt_input must be True or False"):
        stream.stop(interrupt_input=value)
    await stream.drain()
