"""Where the time goes: the books of a stage by themselves, and of real runs on virtual time."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import perf_counter, thread_time
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _helpers import in_both_modes, passing, timetable
from conveyor import (
    BatchError,
    Pipeline,
    RateLimit,
    StageStatistics,
    Stream,
    StreamStatistics,
    batch_task,
    single_task,
)
from conveyor._engine.books.processor import CpuClock, processors
from conveyor._engine.books.times import MANY, SLOW, Times
from conveyor._engine.rates.waits import Waits

# --- the books alone


def figures(times: Times) -> tuple[float, float, float, float]:
    return times.busy, times.full, times.starved, times.blocked


def test_a_stage_is_in_one_state_at_a_time() -> None:
    times = Times(2)
    times.finish(10)  # whatever was before is nobody's
    times.wake(11)
    times.wake(13)
    times.rest(16)  # full from 13 to 16
    times.is_starved = True  # that one found nothing, while another works on
    times.rest(20)
    times.feed(24)
    times.wake(25)  # one second on its way
    times.block(26)
    times.rest(29)  # what was begun before
    times.unblock(30)
    times.finish(33)
    assert figures(times) == (2 + 3 + 4 + 1, 3, 4, 4)


def test_being_fed_while_at_work_changes_nothing() -> None:
    times = Times(1)
    times.wake(1)
    times.is_starved = True
    times.feed(2)
    times.rest(3)
    times.finish(9)
    assert figures(times) == (2, 2, 0, 0)


EVENTS = ["wake", "rest", "feed", "block", "unblock", "note", "starve"]


@given(slots=st.integers(1, 3) | st.just(math.inf), events=st.lists(st.sampled_from(EVENTS)))
def test_the_books_agree_with_a_second_by_second_account(slots: float, events: list[str]) -> None:
    times = Times(slots)
    times.note(0)
    expected = {"busy": 0, "full": 0, "starved": 0, "blocked": 0}
    awake, blocked, starved = 0, False, False
    for now, event in enumerate(events, 1):
        if blocked:
            expected["blocked"] += 1
        elif awake:
            expected["busy"] += 1
            expected["full"] += awake >= slots
        elif starved:
            expected["starved"] += 1
        if event == "wake" and awake < slots:
            awake += 1
            times.wake(now)
        elif event == "rest" and awake:
            awake -= 1
            times.rest(now)
        elif event == "feed" and starved:
            starved = False
            times.feed(now)
        elif event == "block":
            blocked, starved = True, False
            times.block(now)
        elif event == "unblock":
            blocked = False
            times.unblock(now)
        elif event == "starve":
            times.note(now)  # a stage says it as a worker goes to rest
            starved = times.is_starved = True
    times.note(len(events))
    assert figures(times) == tuple(expected.values())


def test_many_calls_are_added_up_at_once() -> None:
    times = Times(1)
    times.calls += [0.5, 1.5]
    times.fold()
    times.fold()
    assert (times.occupied, times.latency.count, times.calls) == (2, 2, [])


@pytest.mark.parametrize("calls", [True, False])
def test_a_flow_counts_with_its_mean(calls: bool) -> None:
    times = Times(1)
    times.flow(4, 2, 0, calls)
    assert (times.occupied, times.held) == (4, 4)
    assert (times.latency.count, times.latency.longest) == ((2, 2) if calls else (0, 0))


def test_the_last_of_a_flow_counts_alone_if_it_was_slow() -> None:
    times = Times(1)
    times.flow(10, 3, 9, True)  # nothing is known of the others but that they took 1 at most
    assert (times.latency.count, times.latency.longest, times.latency.shortest) == (3, 9, 0.5)
    times.flow(0.125, 2, SLOW, True)
    times.flow(10, 3, 9, True)
    assert times.latency.longest == 10 - 2 * 0.0625
    times.flow(20, 1, 1, True)  # alone it is known
    assert (times.latency.longest, times.latency.count, times.held) == (20, 9, 40.125)


# --- runs on virtual time


def taking(seconds: float | Callable[[Any], float], **options: Any) -> Any:
    """Return a task that waits for so long, and gives what it gets."""

    @single_task(**options)
    async def work(item: Any) -> Any:
        await anyio.sleep(seconds(item) if callable(seconds) else seconds)
        return item

    return work


async def finished(stream: Stream[Any]) -> StreamStatistics:
    async for _ in stream:
        pass
    return stream.statistics()


def states(stage: StageStatistics) -> tuple[float, float, float, float]:
    return stage.busy, stage.full, stage.starved, stage.blocked


@in_both_modes
@pytest.mark.virtual_time
async def test_a_slow_stage_is_full_and_starves_what_comes_after_it(mode: str) -> None:
    slow = taking(2, concurrency_limit=3, task_name="slow")
    pipeline = (taking(1, concurrency_limit=3) | slow | passing).with_execution_mode(mode)
    run = await finished(pipeline(range(9)))
    first, second, third = run.stages
    assert (run.elapsed, run.consumer_waited, run.over, run.timed) == (7, 7, True, True)
    assert states(first) == (3, 3, 0, 0)
    assert states(second) == (6, 6, 1, 0)
    assert states(third) == (0, 0, 7, 0)
    assert (first.slots, second.slots, third.slots) == (3, 3, 100)
    assert (first.occupied, second.occupied, third.occupied) == (9, 18, 0)
    assert [stage.held for stage in run.stages] == [0, 0, 0]
    assert (second.latency.count, second.latency.p50, second.latency.p99) == (9, 2, 2)
    assert (run.total, run.read, run.delivered) == (9, 9, 9)


@in_both_modes
@pytest.mark.virtual_time
async def test_what_cannot_leave_blocks(mode: str) -> None:
    slow = taking(4, concurrency_limit=1)
    pipeline = (taking(1, concurrency_limit=1) | slow).with_context(
        buffer_size=1, execution_mode=mode
    )
    run = await finished(pipeline(range(5)))
    first, second = run.stages
    # 0 to 1 an item, 1 to 2 one that waits, 2 to 3 one that cannot leave until 5, and so on.
    assert (run.elapsed, states(second)) == (21, (20, 20, 1, 0))
    assert first.busy == first.full == 5
    assert first.blocked == 2 + 3 + 3
    assert first.starved == 0


@in_both_modes
@pytest.mark.virtual_time
async def test_a_slow_consumer_blocks_the_last_stage(mode: str) -> None:
    pipeline = taking(1, concurrency_limit=1).with_context(buffer_size=1, execution_mode=mode)
    stream = pipeline(range(4))
    async for _ in stream:
        await anyio.sleep(3)
    run = stream.statistics()
    (stage,) = run.stages
    assert run.consumer_waited == 1  # for the first; after that there was always one
    assert stage.busy == 4
    assert stage.blocked == 1 + 2
    assert run.delivered == 4


@pytest.mark.virtual_time
async def test_a_slow_head_of_the_line_blocks_though_it_runs() -> None:
    pipeline = taking(lambda item: 1 if item else 10, concurrency_limit=2)
    stream = pipeline.with_context(buffer_size=3)(range(20))
    async with stream, anyio.create_task_group() as group:

        async def look() -> None:
            await anyio.sleep(8)
            (stage,) = stream.statistics().stages
            assert (stage.running, stage.waiting, stage.received) == (1, 4, 5)
            assert stage.occupied == 8 + 4
            assert (stage.busy, stage.full, stage.blocked) == (4, 4, 4)

        group.start_soon(look)
        async for _ in stream:
            pass
    (stage,) = stream.statistics().stages
    assert stage.waiting == 0
    assert stage.blocked == 6


@pytest.mark.virtual_time
async def test_the_input_is_waited_for() -> None:
    run = await finished(taking(1)(timetable(2, 5, 9)))
    assert (run.elapsed, run.input_waited, run.total, run.read) == (10, 9, None, 3)
    assert states(run.stages[0]) == (3, 0, 7, 0)


@pytest.mark.real_time
@pytest.mark.parametrize("timing", [True, False])
async def test_the_time_that_a_plain_iterator_takes_counts(timing: bool) -> None:
    def slowly() -> Iterator[int]:
        for number in range(3):
            end = perf_counter() + 0.002
            while perf_counter() < end:
                pass
            yield number

    run = await finished(passing.with_context(timing=timing)(slowly()))
    assert (run.input_waited >= 0.006) is timing


@pytest.mark.virtual_time
async def test_an_input_that_waits_does_not_hold_the_loop() -> None:
    async def mixed() -> AsyncIterator[int]:
        yield 0
        await anyio.sleep(3)
        yield 1

    run = await finished(taking(1)(mixed()))
    assert (run.input_waited, run.input_held) == (3, 0)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["iterator", "async iterator"])
async def test_an_input_that_does_not_wait_holds_the_loop(kind: str) -> None:
    def spin() -> None:
        end = perf_counter() + 0.002
        while perf_counter() < end:
            pass

    def plain() -> Iterator[int]:
        for number in range(3):
            spin()
            yield number

    async def asynchronous() -> AsyncIterator[int]:
        for number in range(3):
            spin()
            yield number

    run = await finished(passing(plain() if kind == "iterator" else asynchronous()))
    assert 0.006 <= run.input_held <= run.input_waited


# --- processors


def burn(seconds: float) -> None:
    """Use up processor time, however long that takes."""
    end = thread_time() + seconds
    while thread_time() < end:
        pass


@pytest.mark.real_time
@pytest.mark.parametrize("executor", [None, "thread"])
async def test_processor_time_is_told_with_and_without_that_of_the_loop(executor: Any) -> None:
    @single_task(executor=executor, concurrency_limit=2)
    def work(item: int) -> int:
        burn(0.01)
        return item

    burn(0.01)  # before the run
    stream = work(range(4))
    run = await finished(stream)
    burn(0.01)  # and behind it
    assert stream.statistics() == run
    assert run.cpu_time >= 0.039  # clocks of processors are not exact
    assert 0 <= run.loop_cpu_time <= run.cpu_time + 0.001
    if executor is None:
        assert run.loop_cpu_time >= 0.039
    else:
        assert run.cpu_time - run.loop_cpu_time >= 0.039
    assert run.processors is None or run.processors >= 1
    assert run.stages[0].executor == executor


async def test_processor_time_is_not_told_without_timing() -> None:
    run = await finished(passing.with_context(timing=False)(range(3)))
    assert (run.cpu_time, run.loop_cpu_time, run.input_held) == (0, 0, 0)


@pytest.mark.virtual_time
async def test_processor_time_is_not_told_by_a_clock_that_is_not_its_own() -> None:
    run = await finished(taking(1)(range(3)))
    assert (run.cpu_time, run.loop_cpu_time) == (0, 0)


def test_the_clock_of_one_thread_says_nothing_of_another() -> None:
    clock = CpuClock()
    burn(0.002)
    told: list[tuple[float, float]] = []
    other = threading.Thread(target=lambda: told.append(clock.read()))
    other.start()
    other.join()
    assert told == [(0, 0)]
    process, thread = clock.read()
    assert process >= 0.001
    assert 0.001 <= thread <= process + 0.001
    clock.stop()
    stopped = clock.read()
    burn(0.002)
    assert clock.read() == stopped


def test_how_many_processors_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    number = processors()
    assert number is None or 1 <= number <= (os.cpu_count() or number)
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert processors() == 1
        finally:
            os.sched_setaffinity(0, before)
    if sys.version_info < (3, 13):
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        assert processors() == os.cpu_count()


def test_waits_are_added_up_while_they_last() -> None:
    waits = Waits()
    assert (waits.number, waits.total(5)) == (0, 0)
    waits.begin(10)
    waits.begin(12)
    assert (waits.number, waits.total(13)) == (2, 3 + 1)
    waits.end(14)
    assert (waits.number, waits.total(20)) == (1, 4 + 8)
    waits.end(21)
    assert (waits.number, waits.total(99)) == (0, 4 + 9)


@pytest.mark.virtual_time
async def test_where_calls_run_is_told() -> None:
    with ThreadPoolExecutor(1) as executor:
        pipeline = (
            taking(0, key=bool)
            | single_task(abs, executor="thread")
            | single_task(abs, executor=executor)
        )
        stream = pipeline(range(3))
        for _ in range(2):
            run = stream.statistics()
            assert [stage.executor for stage in run.stages] == [
                None,
                "thread",
                "ThreadPoolExecutor",
            ]
            assert [stage.keyed for stage in run.stages] == [True, False, False]
            if not run.over:
                await stream.drain()


@pytest.mark.virtual_time
async def test_generators_are_counted() -> None:
    @single_task
    async def some(item: int) -> AsyncIterator[int]:
        for number in range(item):
            yield number

    (stage,) = (await finished(some(range(4)))).stages
    assert stage.generators == 4
    (stage,) = (await finished(passing(range(4)))).stages
    assert stage.generators == 0


@pytest.mark.virtual_time
async def test_batches_starve_until_they_are_full() -> None:
    @batch_task(max_size=3)
    async def store(items: list[int]) -> list[int]:
        await anyio.sleep(2)
        return items

    run = await finished(store(timetable(1, 2, 5, 6)))
    (stage,) = run.stages
    assert (stage.busy, stage.full, stage.starved) == (4, 4, 5)
    assert (run.elapsed, stage.latency.count, stage.occupied) == (9, 2, 4)


@pytest.mark.virtual_time
async def test_items_of_a_batch_that_is_filled_are_told() -> None:
    @batch_task(max_size=3)
    def store(items: list[int]) -> list[int]:
        return items

    async with anyio.create_task_group() as group, store(timetable(1, 2, 9)) as stream:

        async def look() -> None:
            await anyio.sleep(3)
            (stage,) = stream.statistics().stages
            assert (stage.received, stage.filling, stage.running) == (2, 2, 0)

        group.start_soon(look)
        assert [result async for result in stream] == [0, 1, 2]
        assert stream.statistics().stages[0].filling == 0


@pytest.mark.virtual_time
async def test_waits_for_a_rate_are_told_apart() -> None:
    task = taking(1, rate_limit=RateLimit(1, per=4), concurrency_limit=2)
    run = await finished(task(range(3)))
    (stage,) = run.stages
    assert run.elapsed == 9
    assert stage.throttled_for == 4 + 7  # 1 from 0, and 2 from 1
    assert stage.occupied == 1 + 5 + 8
    assert (stage.latency.count, stage.latency.longest) == (3, 1)


@pytest.mark.virtual_time
async def test_pauses_of_a_rate_limit_are_told_apart_from_its_rate() -> None:
    limit = RateLimit(1, per=4)
    task = taking(1, rate_limit=limit, concurrency_limit=2)
    async with task(range(3)) as stream, anyio.create_task_group() as group:

        async def pause() -> None:
            await anyio.sleep(2)
            limit.pause(1)
            limit.pause(5)  # until 7: what would have gone at 4 does then, and the last at 11
            await anyio.sleep(4)
            (stage,) = stream.statistics().stages
            # Since 0 and 1, and of that 4 seconds each in the pause.
            assert (stage.throttled_for, stage.paused_for) == (2 + 1, 4 + 4)

        group.start_soon(pause)
        async for _ in stream:
            pass
    (stage,) = stream.statistics().stages
    assert stream.statistics().elapsed == 12
    assert (stage.throttled_for, stage.paused_for) == (2 + 5, 5 + 5)
    assert stage.occupied == 1 + 8 + 11
    assert stage.delayed_for == 0


class BusyError(Exception):
    retry_after = 8


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "limits", [{}, {"rate_limit": RateLimit(100, burst=100)}], ids=["no limit", "limit"]
)
async def test_delays_between_tries_are_pauses_if_the_error_asks_for_them(limits: Any) -> None:
    @single_task(retry_attempts=3, retry_delay=2, retry_jitter=False, **limits)
    async def ask(item: type[Exception]) -> int:
        if next(tries) == 0:
            raise item
        return 0

    tries = iter(range(10))
    (stage,) = (await finished(ask([BusyError]))).stages
    assert stage.delayed_for == 0
    assert stage.paused_for >= 2
    assert stage.occupied == stage.paused_for + stage.latency.total

    tries = iter(range(10))
    (stage,) = (await finished(ask([ValueError]))).stages
    assert (stage.delayed_for, stage.paused_for, stage.occupied) == (2, 0, 2)


@pytest.mark.virtual_time
async def test_waits_that_are_not_over_count_up_to_now() -> None:
    tasks = {
        "throttled_for": taking(1, rate_limit=RateLimit(1, per=100)),
        "crowded_for": taking(100).with_context(max_parallelism=1),
    }
    for name, task in tasks.items():
        async with task(range(2)) as stream:
            await anyio.sleep(7)
            (stage,) = stream.statistics().stages
            assert getattr(stage, name) == 7
            assert stage.occupied >= 7
        (stage,) = stream.statistics().stages
        assert getattr(stage, name) == 7  # it was cut off then


@pytest.mark.virtual_time
async def test_at_a_rate_waits_for_a_slot_of_the_run_are_not_for_the_rate() -> None:
    task = taking(3, rate_limit=RateLimit(100, burst=100)).with_context(max_parallelism=1)
    (stage,) = (await finished(task(range(3)))).stages
    assert (stage.crowded_for, stage.throttled_for) == (3 + 6, 0)


@pytest.mark.virtual_time
async def test_waits_for_others_of_the_run_are_told_apart() -> None:
    run = await finished(taking(2).with_context(max_parallelism=1)(range(3)))
    (stage,) = run.stages
    assert (stage.crowded_for, stage.throttled_for) == (2 + 4, 0)
    assert (run.max_parallelism, stage.latency.p99, run.elapsed) == (1, 2, 6)


@pytest.mark.virtual_time
async def test_tries_count_without_the_delays_between_them() -> None:
    tries = iter(range(10))

    @single_task(retry_attempts=3, retry_delay=4, retry_jitter=False)
    async def flaky(item: int) -> int:
        await anyio.sleep(1)
        if next(tries) < 2:
            raise ValueError
        return item

    run = await finished(flaky([0]))
    (stage,) = run.stages
    assert run.elapsed == 3 + 4 + 8
    assert (stage.latency.count, stage.latency.total) == (3, 3)
    assert (stage.busy, stage.occupied) == (15, 15)


@in_both_modes
@pytest.mark.virtual_time
async def test_of_a_generator_the_wait_for_each_value_counts(mode: str) -> None:
    @single_task
    async def three(item: int) -> AsyncIterator[int]:
        for number in range(3):
            await anyio.sleep(number + 1)
            yield number

    run = await finished(three.with_execution_mode(mode)([0]))
    (stage,) = run.stages
    assert (stage.latency.count, stage.latency.total, stage.latency.longest) == (3, 6, 3)
    assert (stage.busy, stage.occupied) == (6, 6)


@pytest.mark.virtual_time
async def test_a_generator_without_room_is_blocked() -> None:
    @single_task
    async def many(item: int) -> AsyncIterator[int]:
        for number in range(4):
            await anyio.sleep(1)
            yield number

    stream = many.with_context(buffer_size=1)([0])
    async for _ in stream:
        await anyio.sleep(3)
    (stage,) = stream.statistics().stages
    assert (stage.busy, stage.blocked) == (4, 1 + 2)


@pytest.mark.virtual_time
async def test_halves_of_a_batch_and_named_items_are_calls_too() -> None:
    @batch_task(max_size=4, on_error="skip_item")
    async def halved(items: list[int]) -> list[int]:
        await anyio.sleep(1)
        if 3 in items:
            raise ValueError
        return items

    run = await finished(halved(range(4)))
    (stage,) = run.stages
    assert (stage.latency.count, stage.latency.total, stage.occupied) == (5, 5, 5)

    @batch_task(max_size=3, on_error="skip_item", retry_attempts=2, retry_delay=0)
    async def named(items: list[int]) -> list[int]:
        await anyio.sleep(1)
        raise BatchError({0: ValueError()}, results=items[1:])

    run = await finished(named(range(3)))
    (stage,) = run.stages
    assert (stage.latency.count, stage.occupied) == (2, 2)


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        return anyio.sleep(2).__await__()


@pytest.mark.virtual_time
async def test_what_a_plain_function_returns_to_be_awaited_is_timed() -> None:
    run = await finished(single_task(lambda _: Later())([0, 1]))
    assert (run.stages[0].latency.count, run.stages[0].latency.total) == (2, 4)


@pytest.mark.virtual_time
async def test_what_is_cut_off_occupied_its_slot() -> None:
    stream = taking(lambda item: 10 * item + 1)(range(3))
    async with stream:
        await anext(stream)
        await anyio.sleep(3)
    (stage,) = stream.statistics().stages
    assert (stage.cancelled, stage.running, stage.occupied) == (2, 0, 1 + 4 + 4)
    assert stream.statistics().elapsed == 4


@in_both_modes
@pytest.mark.parametrize("options", [{}, {"retry_attempts": 2}], ids=["bare", "tries"])
async def test_every_call_is_counted_once(mode: str, options: dict[str, Any]) -> None:
    @single_task(**options)
    async def sometimes(item: int) -> int:
        if item % 7 == 3:
            await anyio.lowlevel.checkpoint()
        return item

    task: Any = sometimes
    run = await finished((task | task).with_execution_mode(mode)(range(3 * MANY)))
    for stage in run.stages:
        assert stage.latency.count == 3 * MANY
        assert 0 <= stage.full <= stage.busy
        assert stage.held <= stage.occupied


@pytest.mark.real_time
async def test_a_function_that_computes_holds_the_loop() -> None:
    def spin(item: int) -> int:
        end = perf_counter() + (0.005 if item == 20 else 0.0005)
        while perf_counter() < end:
            pass
        return item

    stream = (passing | single_task(spin) | passing)(range(40))
    run = await finished(stream)
    first, second, third = run.stages
    assert second.held >= 39 * 0.0005 + 0.005
    assert second.held <= second.occupied <= run.elapsed
    assert second.latency.count == 40
    assert second.latency.p50 >= 0.00049
    assert second.latency.longest >= 0.005
    assert first.busy + third.busy <= run.elapsed - second.held


async def test_a_function_may_look_while_items_flow() -> None:
    seen: list[StageStatistics] = []

    @single_task
    def looking(item: int) -> int:
        (stage,) = stream.statistics().stages
        seen.append(stage)
        return item

    stream = looking(range(5))
    assert await stream.collect() == [0, 1, 2, 3, 4]
    assert [stage.received for stage in seen] == [1, 2, 3, 4, 5]
    assert [stage.running for stage in seen] == [1] * 5
    for before, after in pairwise(seen):
        assert before.occupied <= after.occupied
        assert before.busy <= after.busy


@in_both_modes
async def test_nothing_is_measured_where_it_is_switched_off(mode: str) -> None:
    limit = RateLimit(1000)
    tasks = [
        passing,
        passing.with_options(retry_attempts=2),
        passing.with_options(rate_limit=limit),
    ]
    pipeline = Pipeline(*tasks).with_context(timing=False, max_parallelism=2, execution_mode=mode)
    run = await finished(pipeline(range(3)))
    assert not run.timed
    assert (run.input_waited, run.consumer_waited) == (0, 0)
    for stage in run.stages:
        assert (stage.received, stage.emitted) == (3, 3)
        times = (*states(stage), stage.occupied, stage.held)
        assert (*times, stage.throttled_for, stage.crowded_for) == (0,) * 8
        assert (stage.paused_for, stage.delayed_for) == (0, 0)
        assert stage.latency == type(stage.latency)()


def test_timing_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="timing must be True or False, not 1"):
        passing.with_context(timing=1)


async def test_before_and_after_a_run_there_is_a_snapshot_too() -> None:
    stream = passing.with_options(concurrency_limit=7)([1, 2])
    run = stream.statistics()
    assert (run.total, run.elapsed, run.over, run.stages[0].slots) == (2, 0, False, 7)
    await stream.collect()
    after = stream.statistics()
    assert (after.delivered, after.over, after.total) == (2, True, 2)
    assert stream.statistics() == after  # nothing goes on

    closed = passing(x for x in [1])
    assert closed.statistics().total is None
    await closed.aclose()
    assert closed.statistics().over


@pytest.mark.virtual_time
@in_both_modes
async def test_failures_count_as_delivered_and_the_error_does_not(mode: str) -> None:
    def odd(item: int) -> int:
        if item % 2:
            raise ValueError("odd")
        return item

    failing = single_task(odd, on_error="emit_failure").with_execution_mode(mode)
    assert (await finished(failing(range(4)))).delivered == 4

    stream = single_task(odd).with_execution_mode("ordered")(range(4))
    with pytest.raises(ValueError, match="odd"):
        await finished(stream)
    assert stream.statistics().delivered == 1
