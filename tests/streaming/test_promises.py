"""Bounds, promptness, fairness, and a consumer whose code is its own."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from _helpers import in_both_modes, passing, stalling
from conveyor import Pipeline, batch_task, get_current_context, single_task


class Counting:
    """Sources that know how many items were read from them."""

    def __init__(self, count: int = 100_000) -> None:
        self.count = count
        self.read = 0

    def items(self) -> Iterator[int]:
        for item in range(self.count):
            self.read += 1
            yield item

    async def slowly(self, seconds: float) -> AsyncIterator[int]:
        for item in self.items():
            yield item
            await anyio.sleep(seconds)


async def until_quiet(turns: int = 2000) -> None:
    """Let everything run that can run."""
    for _ in range(turns):
        await checkpoint()


def bound(pipeline: Pipeline[Any, Any], limit: float, buffer_size: int) -> float:
    """The most items between the source and the consumer, the one in the source's hand included."""
    stages = len(pipeline)
    return stages * (limit + buffer_size) + (stages + 1) * buffer_size + 1


@in_both_modes
@pytest.mark.parametrize("limit", [1, 4])
@pytest.mark.parametrize("buffer_size", [1, 2, 10])
@pytest.mark.parametrize("suspends", [False, True])
async def test_a_consumer_that_stops_stops_the_source(
    mode: str, limit: int, buffer_size: int, suspends: bool
) -> None:
    @single_task(concurrency_limit=limit)
    async def work(item: int) -> int:
        if suspends:
            await checkpoint()
        return item

    source = Counting()
    pipeline = (work | work | work).with_context(execution_mode=mode, buffer_size=buffer_size)
    async with pipeline(source.items()) as stream:
        for _ in range(3):
            await anext(stream)
        await until_quiet()
        assert source.read <= 3 + bound(pipeline, limit, buffer_size)
        for stage in stream.statistics().stages:
            assert stage.queued <= buffer_size
            assert stage.received - stage.emitted <= limit + buffer_size
        assert stream.statistics().queued > buffer_size // 2  # it works on meanwhile
        read = source.read
        await until_quiet()
        assert source.read == read


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("buffer_size", [1, 3])
async def test_a_slow_head_stops_the_intake_at_the_window(limit: int, buffer_size: int) -> None:
    go = anyio.Event()

    @single_task(concurrency_limit=limit)
    async def work(item: int) -> int:
        if item == 0:
            await go.wait()
        return item

    source = Counting()
    pipeline = (work | passing).with_context(buffer_size=buffer_size)
    async with pipeline(source.items()) as stream, anyio.create_task_group() as group:

        async def read() -> None:
            assert await anext(stream) == 0

        group.start_soon(read)
        await until_quiet()
        first = stream.statistics().stages[0]
        # With one slot the head is all there is; else the others go on behind it.
        assert first.received == (1 if limit == 1 else limit + buffer_size)
        assert first.emitted == 0
        assert first.received < source.read <= first.received + buffer_size + 1
        go.set()
    assert source.read < 100_000


@in_both_modes
@pytest.mark.virtual_time
@pytest.mark.parametrize("buffer_size", [1, 100])
async def test_behind_a_slow_source_nothing_piles_up_and_nothing_waits(
    mode: str, buffer_size: int
) -> None:
    source = Counting(20)
    pipeline = (passing | passing).with_context(execution_mode=mode, buffer_size=buffer_size)
    begin = anyio.current_time()
    stream = pipeline(source.slowly(0.5))
    async for item in stream:
        assert anyio.current_time() == begin + item * 0.5
        assert source.read == item + 1
        statistics = stream.statistics()
        assert [stage.queued for stage in statistics.stages] == [0, 0]
        assert [stage.received for stage in statistics.stages] == [item + 1, item + 1]
    assert source.read == 20


@pytest.mark.virtual_time
async def test_slots_stay_busy_behind_a_slow_head() -> None:
    started: list[tuple[float, int]] = []

    @single_task(concurrency_limit=3)
    async def work(item: int) -> int:
        started.append((anyio.current_time(), item))
        await anyio.sleep(8 if item == 0 else 1)
        return item

    pipeline = work.with_context(buffer_size=10)
    begin = anyio.current_time()
    async for item in pipeline(range(16)):
        if item == 0:
            assert anyio.current_time() == begin + 8
    # Two slots beside the head's: a pair each second, thirteen items in the window.
    assert [(when - begin, item) for when, item in started[:13]] == [
        (0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6), (3, 7), (3, 8),
        (4, 9), (4, 10), (5, 11), (5, 12),
    ]  # fmt: skip
    assert started[13][0] == begin + 8


@in_both_modes
async def test_a_batch_stage_holds_no_more_than_its_batches(mode: str) -> None:
    go = anyio.Event()

    @batch_task(max_size=5, concurrency_limit=2)
    async def work(items: list[int]) -> list[int]:
        await go.wait()
        return items

    source = Counting()
    pipeline = work.with_context(execution_mode=mode, buffer_size=4)
    async with pipeline(source.items()) as stream, anyio.create_task_group() as group:

        async def read() -> None:
            await anext(stream)

        group.start_soon(read)
        await until_quiet()
        # Two batches run. No worker is free, so none is being filled.
        assert stream.statistics().stages[0].received == 10
        assert source.read <= 10 + 4 + 1
        go.set()


@in_both_modes
async def test_a_generator_is_paused_while_nobody_takes_what_it_gives(mode: str) -> None:
    given = 0

    @single_task
    async def forever(item: int) -> AsyncIterator[int]:
        nonlocal given
        while True:
            given += 1
            yield item

    pipeline = forever.with_context(execution_mode=mode, buffer_size=7)
    async with pipeline([1]) as stream:
        assert [await anext(stream) for _ in range(3)] == [1, 1, 1]
        await until_quiet()
        assert given <= 3 + 7 + 1  # taken, in the link, in the generator's hand
        before = given
    assert given == before


@in_both_modes
async def test_a_long_list_waits_in_its_stage(mode: str) -> None:
    @single_task(concurrency_limit=1)
    async def many(item: int) -> list[int]:
        return [item] * 1000

    source = Counting()
    pipeline = (many | passing).with_context(execution_mode=mode, buffer_size=5)
    async with pipeline(source.items()) as stream:
        await anext(stream)
        await until_quiet()
        assert stream.statistics().stages[0].received == 1
        assert 2 < stream.statistics().stages[1].queued <= 5
        assert source.read <= 1 + 5 + 1


@in_both_modes
@pytest.mark.parametrize("stages", [1, 3, 10])
async def test_a_result_is_delivered_though_the_source_gives_nothing_more(
    mode: str, stages: int
) -> None:
    pipeline = Pipeline(*[passing] * stages).with_execution_mode(mode)
    async with pipeline(stalling(1)) as stream:
        assert await anext(stream) == 1
    async for result in pipeline(stalling(1)):
        assert result == 1
        break


@in_both_modes
@pytest.mark.parametrize("stages", [1, 3, 10])
async def test_no_result_waits_for_the_next_item_to_be_read(mode: str, stages: int) -> None:
    source = Counting()
    pipeline = Pipeline(*[passing] * stages).with_execution_mode(mode)
    async with pipeline(source.items()) as stream:
        await anext(stream)
        assert source.read == 1


@in_both_modes
async def test_results_of_slow_functions_do_not_wait_for_each_other(mode: str) -> None:
    """A function that works long without a switch must not hold back what is made already."""
    worked: list[int] = []

    @single_task
    def work(item: int) -> int:
        # Real time, as what is shared out is real time; nothing is asserted of how long.
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        worked.append(item)
        return item

    pipeline = (passing | work | passing).with_execution_mode(mode)
    async for item in pipeline(range(20)):
        assert len(worked) == item + 1


@in_both_modes
@pytest.mark.parametrize("data", ["list", "generator"])
async def test_stages_that_never_wait_let_others_run(mode: str, data: str) -> None:
    """At least once per `buffer_size` items, whatever the clock says."""
    turns = 0
    worked = 0
    most = 0
    done = False

    async def count() -> None:
        nonlocal turns, most
        before = 0
        while not done:
            await checkpoint()
            turns += 1
            most = max(most, worked - before)
            before = worked

    @single_task
    def work(item: int) -> int:
        nonlocal worked
        worked += 1
        return item

    source = Counting(1000)
    pipeline = work.with_context(execution_mode=mode, buffer_size=20)
    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await pipeline(list(range(1000)) if data == "list" else source.items()).drain()
        done = True
    assert worked == 1000
    # On trio the counter may run last in one turn and first in the next but one.
    assert most <= 3 * 20
    assert turns >= 1000 / (3 * 20)


@in_both_modes
async def test_a_generator_that_gives_nothing_lets_others_run(mode: str) -> None:
    stopped = False

    @single_task
    def nothing(item: int) -> Iterator[None]:
        while not stopped:
            yield None

    async def stop() -> None:
        nonlocal stopped
        for _ in range(10):
            await checkpoint()
        stopped = True

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        assert await nothing.with_execution_mode(mode)([1]).collect() == []


@in_both_modes
async def test_work_goes_on_while_the_consumer_is_busy(mode: str) -> None:
    ready = anyio.Event()

    @single_task
    async def work(item: int) -> int:
        if item == 5:
            ready.set()
        return item

    async for item in work.with_execution_mode(mode)(range(6)):
        if item == 0:
            await ready.wait()


@in_both_modes
@pytest.mark.parametrize("block", [False, True])
async def test_a_failing_stage_does_not_cancel_the_consumers_body(mode: str, block: bool) -> None:
    failed = anyio.Event()

    @single_task
    async def work(item: int) -> int:
        if item == 1:
            failed.set()
            raise ValueError("in the stage")
        return item

    seen: list[int] = []

    async def consume(stream: Any) -> None:
        async for item in stream:
            await failed.wait()
            await until_quiet(50)  # every one of these would raise a cancellation
            seen.append(item)

    stream = work.with_execution_mode(mode)(range(3))
    with pytest.raises(ValueError, match="in the stage"):
        if block:
            async with stream:
                await consume(stream)
        else:
            await consume(stream)
    assert seen == [0]


@in_both_modes
@pytest.mark.parametrize("most", [1, 2, 3])
async def test_max_parallelism_bounds_the_functions_of_the_whole_run(mode: str, most: int) -> None:
    running = peak = 0

    async def work(item: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(1 + item % 3):
            await checkpoint()
        running -= 1
        return item

    @single_task
    async def generator(item: int) -> AsyncIterator[int]:
        yield await work(item)
        yield await work(item)

    @batch_task(max_size=3, concurrency_limit=2)
    async def batch(items: list[int]) -> list[int]:
        await work(0)
        return items

    pipeline = single_task(work) | generator | batch | single_task(work)
    pipeline = pipeline.with_context(max_parallelism=most, execution_mode=mode, buffer_size=2)
    results = await pipeline(range(20)).collect()
    assert sorted(results) == sorted([*range(20), *range(20)])
    assert peak == most


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, 1), (7, 7), (None, 100), (math.inf, 300)], ids=str
)
async def test_concurrency_limit_is_reached_and_kept(limit: float | None, expected: int) -> None:
    running = 0
    go = anyio.Event()

    @single_task(concurrency_limit=limit)
    async def work(item: int) -> int:
        nonlocal running
        running += 1
        await go.wait()
        return item

    async with work(range(300)) as stream, anyio.create_task_group() as group:
        group.start_soon(anext, stream)
        await until_quiet()
        assert running == expected
        assert stream.statistics().stages[0].running == expected
        go.set()


async def test_two_runs_of_a_pipeline_do_not_know_of_each_other() -> None:
    shared: list[Any] = []

    @single_task
    async def note(item: int) -> int:
        context = get_current_context()
        assert context is not None
        shared.append(context)
        return item

    pipeline = (note | note).with_context(data={"a": 1})
    first, second = pipeline([1, 2]), pipeline([3, 4])
    assert [await anext(first), await anext(second)] == [1, 3]
    assert [await anext(second), await anext(first)] == [4, 2]
    for stream in first, second:
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    contexts = {id(context): context for context in shared}.values()
    assert len(contexts) == 2
    one, two = contexts
    assert one.pipeline_id != two.pipeline_id
    assert one.data == two.data == {"a": 1}
    assert one.data is not two.data
    assert get_current_context() is None


async def test_endless_generators_do_not_starve_each_other() -> None:
    """Though they never wait, and the consumer is slower than they are."""

    @single_task
    def forever(item: int) -> Iterator[int]:
        while True:
            yield item

    seen: set[int] = set()
    count = 0
    async for item in forever.with_context(buffer_size=4).as_completed(range(5)):
        await checkpoint()
        seen.add(item)
        count += 1
        if seen == set(range(5)):
            break
        assert count < 2000
