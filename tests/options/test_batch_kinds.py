"""Batches by weight, by key and when the task is idle; what a batch knows; items that fail."""

from __future__ import annotations

import gc
import itertools
import math
import pickle
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from _helpers import (
    all_blocked,
    error_of,
    in_both_modes,
    passing,
    results_and_error,
    stalling,
    timed,
    timetable,
)
from conveyor import (
    BatchError,
    BatchInfo,
    Failure,
    Pipeline,
    TooManyFailures,
    batch_task,
    get_current_batch,
    single_task,
)
from conveyor._engine.loop import turn


def told(batch: list[Any]) -> tuple[Any, ...]:
    """Give what is known of the batch, and the batch, as one result."""
    info = get_current_batch()
    assert info is not None
    assert info.size == len(batch)
    return info.trigger, info.key, tuple(batch)


def parity(item: int) -> str:
    return "odd" if item % 2 else "even"


class Diary:
    """A function that notes each call: when it was made, why, and with what.

    Args:
        seconds: How long a call takes.
    """

    def __init__(self, seconds: float = 0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._seconds = seconds

    async def __call__(self, batch: list[Any]) -> None:
        trigger, _, items = told(batch)
        self.calls.append((anyio.current_time(), trigger, list(items)))
        await anyio.sleep(self._seconds)


# --- what a batch knows


async def test_outside_of_a_batch_function_there_is_no_current_batch() -> None:
    seen: list[Any] = []

    @single_task
    def look(item: int) -> int:
        seen.append(get_current_batch())
        return item

    async def source() -> AsyncIterator[int]:
        for item in range(3):
            seen.append(get_current_batch())
            yield item

    pipeline = look | batch_task(max_size=2)(told) | look
    async with pipeline(source()) as stream:
        async for _ in stream:
            seen.append(get_current_batch())
    assert set(seen) == {None}
    assert len(seen) == 3 + 3 + 2 + 2


async def test_the_first_batches_are_full_and_the_last_is_the_end() -> None:
    task = batch_task(max_size=2)(told)
    assert await task(range(3)).collect() == [("size", None, (0, 1)), ("end", None, (2,))]


@in_both_modes
async def test_a_batch_before_an_error_of_the_input_says_it_is_the_end(mode: str) -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise KeyError("gone")

    task = batch_task(max_size=2)(told).with_execution_mode(mode)
    results, error = await results_and_error(task(source()))
    assert results == [("size", None, (0, 1)), ("end", None, (2,))]
    assert isinstance(error, KeyError)


@in_both_modes
@pytest.mark.parametrize("by", [None, parity])
async def test_a_batch_that_starts_as_the_stream_is_stopped_says_so(mode: str, by: Any) -> None:
    pipeline = passing | batch_task(max_size=3, by=by)(told)
    async with pipeline.with_execution_mode(mode)(stalling(0, 2, 4, 6, 1)) as stream:
        assert (await anext(stream))[2] == (0, 2, 4)
        await all_blocked()
        stream.stop()
        rest = [result async for result in stream]
    if by is None:
        assert rest == [("stop", None, (6, 1))]
    else:
        assert rest == [("stop", "even", (6,)), ("stop", "odd", (1,))]


@pytest.mark.virtual_time
async def test_a_batch_that_has_waited_says_so() -> None:
    diary = Diary()
    await batch_task(max_size=2, max_wait=3)(diary)(timetable(0, 1, 2, end=9)).drain()
    assert diary.calls == [(1, "size", [0, 1]), (5, "time", [2])]


@in_both_modes
@pytest.mark.parametrize("kind", ["plain", "async", "generator", "async generator"])
async def test_every_kind_of_function_has_its_own_batch(mode: str, kind: str) -> None:
    def plain(batch: list[int]) -> tuple[Any, ...]:
        return told(batch)

    async def coroutine(batch: list[int]) -> tuple[Any, ...]:
        await checkpoint()
        await checkpoint()
        return told(batch)

    def generator(batch: list[int]) -> Iterator[tuple[Any, ...]]:
        yield ()
        yield told(batch)

    async def async_generator(batch: list[int]) -> AsyncIterator[tuple[Any, ...]]:
        await checkpoint()
        yield ()
        await checkpoint()
        yield told(batch)

    functions: dict[str, Callable[..., Any]] = {
        "plain": plain,
        "async": coroutine,
        "generator": generator,
        "async generator": async_generator,
    }
    task = batch_task(max_size=3, by=parity, concurrency_limit=3)(functions[kind])
    results = await task.with_execution_mode(mode)(range(8)).collect()
    assert sorted(result for result in results if result) == [
        ("end", "even", (6,)),
        ("end", "odd", (7,)),
        ("size", "even", (0, 2, 4)),
        ("size", "odd", (1, 3, 5)),
    ]


async def test_the_batch_is_frozen_and_can_be_compared() -> None:
    found = await batch_task(max_size=2)(lambda batch: get_current_batch())([1, 2]).collect()
    assert found == [BatchInfo("size", 2, None)]
    with pytest.raises(AttributeError):
        found[0].size = 3


async def test_halves_have_sizes_of_their_own() -> None:
    seen: list[Any] = []

    @batch_task(max_size=4, on_error="skip_item")
    def pick(batch: list[int]) -> list[int]:
        seen.append(get_current_batch())
        if 2 in batch:
            raise ValueError
        return batch

    assert await pick(range(4)).collect() == [0, 1, 3]
    assert seen == [BatchInfo("size", size) for size in (4, 2, 2, 1, 1)]


@in_both_modes
async def test_statistics_count_the_batches_that_have_started(mode: str) -> None:
    pipeline = passing | batch_task(max_size=2, by=parity, concurrency_limit=2)(told)
    async with pipeline.with_execution_mode(mode)(stalling(*range(7))) as stream:
        for _ in range(3):
            await anext(stream)
        await all_blocked()
        single, batch = stream.statistics().stages
        assert (single.batches, batch.batches) == (0, 3)
        assert (batch.received, batch.queued) == (7, 0)
        stream.stop()
        assert [result async for result in stream] == [("stop", "odd", (5,))]
        assert stream.statistics().stages[1].batches == 4


# --- weights


@in_both_modes
@pytest.mark.parametrize("buffer_size", [1, 2, 100])
async def test_the_ceiling_is_hard_and_a_heavy_item_is_alone(mode: str, buffer_size: int) -> None:
    task = batch_task(max_size=3, max_weight=10, weight=lambda item: item)(told)
    pipeline = task.with_execution_mode(mode).with_context(buffer_size=buffer_size)
    assert await pipeline([4, 5, 2, 11, 1, 1, 1, 10, 3]).collect() == [
        ("weight", None, (4, 5)),
        ("weight", None, (2,)),
        ("weight", None, (11,)),
        ("size", None, (1, 1, 1)),
        ("weight", None, (10,)),
        ("end", None, (3,)),
    ]


async def test_a_batch_that_has_reached_its_weight_starts_while_the_source_stalls() -> None:
    task = batch_task(max_size=10, max_weight=3, weight=len)(told)
    async with task(stalling("a", "bc", "d", "xyz!")) as stream:
        assert await anext(stream) == ("weight", None, ("a", "bc"))
        assert await anext(stream) == ("weight", None, ("d",))
        assert await anext(stream) == ("weight", None, ("xyz!",))


@pytest.mark.virtual_time
async def test_both_batches_that_one_item_closes_run_beside_each_other() -> None:
    diary = Diary(seconds=5)
    task = batch_task(
        max_size=10, max_weight=3, weight=lambda item: 9 * item + 1, concurrency_limit=2
    )
    await task(diary)(timetable(0, 1, end=20)).drain()
    assert diary.calls == [(1, "weight", [0]), (1, "weight", [1])]


@pytest.mark.virtual_time
async def test_weight_and_time_together() -> None:
    diary = Diary()
    task = batch_task(max_size=9, max_wait=3, max_weight=2, weight=lambda item: 1 + (item == 2))
    await task(diary)(timetable(0, 1, 2, 3, 9, end=11)).drain()
    assert diary.calls == [
        (1, "weight", [0, 1]),
        (2, "weight", [2]),
        (6, "time", [3]),
        (11, "end", [4]),
    ]


class Half:
    """What numbers of other libraries look like."""

    def __float__(self) -> float:
        return 0.5


async def test_a_weight_may_be_of_any_kind_of_number() -> None:
    task = batch_task(max_size=9, max_weight=1, weight=lambda item: item)(told)
    halves = [Half() for _ in range(3)]
    assert await task([*halves, True]).collect() == [
        ("weight", None, (halves[0], halves[1])),
        ("weight", None, (halves[2],)),
        ("weight", None, (True,)),
    ]


# --- keys


@in_both_modes
@pytest.mark.parametrize("concurrency_limit", [1, 4])
@pytest.mark.parametrize("source", [list, iter])
async def test_every_batch_is_of_one_key(
    mode: str, concurrency_limit: int, source: Callable[[Any], Any]
) -> None:
    task = batch_task(max_size=2, by=lambda item: item % 3, concurrency_limit=concurrency_limit)
    assert await task(told).with_execution_mode(mode)(source(range(10))).collect() == [
        ("size", 0, (0, 3)),
        ("size", 1, (1, 4)),
        ("size", 2, (2, 5)),
        ("size", 0, (6, 9)),
        ("end", 1, (7,)),
        ("end", 2, (8,)),
    ]


async def test_a_key_may_be_none_or_anything_that_can_be_hashed() -> None:
    task = batch_task(max_size=2, by=lambda item: item)(told)
    assert await task([None, "a", (1,), None, "a"]).collect() == [
        ("size", None, (None, None)),
        ("size", "a", ("a", "a")),
        ("end", (1,), ((1,),)),
    ]


async def test_the_oldest_open_batch_starts_when_there_are_too_many() -> None:
    task = batch_task(max_size=9, by=lambda item: item, max_open=2)(told)
    async with task(stalling("a", "b", "a", "c", "b")) as stream:
        assert await anext(stream) == ("open", "a", ("a", "a"))
        await all_blocked()
        assert stream.statistics().queued == 0


async def test_a_hundred_batches_are_open_by_default() -> None:
    task = batch_task(max_size=2, by=lambda item: item)(told)
    assert await task(range(100)).collect() == [("end", item, (item,)) for item in range(100)]
    results = await task(range(102)).collect()
    assert results[:2] == [("open", 0, (0,)), ("open", 1, (1,))]
    assert {trigger for trigger, *_ in results[2:]} == {"end"}


@pytest.mark.virtual_time
async def test_in_order_results_come_as_batches_start() -> None:
    @batch_task(max_size=2, by=parity, concurrency_limit=3)
    async def work(batch: list[int]) -> list[int]:
        await anyio.sleep(10 - batch[0])
        return batch

    # The odd ones are two first, and the last of the even ones is alone at the end.
    results = await timed(work([0, 1, 3, 2, 4]))
    assert results == [(9, 1), (9, 3), (10, 0), (10, 2), (10, 4)]


@pytest.mark.virtual_time
@pytest.mark.parametrize("concurrency_limit", [1, 2, 5])
async def test_what_is_open_at_the_end_runs_at_once_as_far_as_it_may(
    concurrency_limit: int,
) -> None:
    diary = Diary(seconds=10)
    task = batch_task(max_size=2, by=lambda item: item, concurrency_limit=concurrency_limit)
    await task(diary)(timetable(*range(5), end=5)).drain()
    assert [(time, items) for time, _, items in diary.calls] == [
        (5 + 10 * (item // concurrency_limit), [item]) for item in range(5)
    ]


@pytest.mark.virtual_time
async def test_each_open_batch_waits_by_its_own_oldest_item() -> None:
    diary = Diary()
    task = batch_task(max_size=9, by=parity, max_wait=4)(diary)
    await task(timetable(0, 1, 2, 3, 4.5, 8, end=20)).drain()
    assert diary.calls == [
        (4, "time", [0, 2]),
        (5, "time", [1, 3]),
        (8.5, "time", [4]),
        (12, "time", [5]),
    ]


@pytest.mark.virtual_time
async def test_a_batch_that_is_due_starts_while_another_key_is_worked_on() -> None:
    # From 3 on there is one batch at work, and the other is due at 4 though nothing more comes.
    diary = Diary(seconds=10)
    task = batch_task(max_size=2, by=lambda item: item > 0, max_wait=4, concurrency_limit=2)
    await task(diary)(timetable(0, 1, 3, end=30)).drain()
    assert diary.calls == [(3, "size", [1, 2]), (4, "time", [0])]


@pytest.mark.virtual_time
async def test_who_sleeps_until_a_batch_is_due_wakes_earlier_if_another_is() -> None:
    # The odd ones are due at 5, and wait for that; since 2 the even ones are two, due at 4.
    diary = Diary()
    task = batch_task(
        max_size=9, min_size=2, by=lambda item: item in (1, 2), max_wait=4, concurrency_limit=3
    )
    await task(diary)(timetable(0, 1, 1.5, 2, end=30)).drain()
    assert diary.calls == [(4, "time", [0, 3]), (5, "time", [1, 2])]


@pytest.mark.virtual_time
async def test_a_key_that_comes_all_the_time_does_not_hold_up_one_that_is_due() -> None:
    diary = Diary(seconds=1)
    items = itertools.chain([-1], itertools.repeat(0, 60))
    task = batch_task(max_size=5, by=lambda item: item, max_wait=3.5)(diary)
    await task(items).drain()
    assert [call for call in diary.calls if call[2] == [-1]] == [(4, "time", [-1])]
    assert len(diary.calls) == 13


async def test_nothing_is_kept_of_a_key_whose_batch_is_done() -> None:
    class Key:
        pass

    keys: list[weakref.ref[Key]] = []

    def by(item: int) -> Key:
        key = Key()
        keys.append(weakref.ref(key))
        return key

    task = batch_task(max_size=2, by=by, max_open=3)(lambda batch: batch)
    async with task(stalling(*range(50))) as stream:
        for _ in range(47):
            await anext(stream)
        await all_blocked()
        gc.collect()
        assert sum(ref() is not None for ref in keys) <= 4  # the open ones, and the last call's


async def test_keys_and_weights_together() -> None:
    task = batch_task(max_size=9, by=parity, max_weight=10, weight=lambda item: item)(told)
    assert await task([2, 3, 4, 7, 6, 1, 12]).collect() == [
        ("weight", "odd", (3, 7)),
        ("weight", "even", (2, 4)),
        ("weight", "even", (6,)),
        ("weight", "even", (12,)),
        ("end", "odd", (1,)),
    ]


async def test_a_failure_that_passes_closes_no_open_batch() -> None:
    @single_task(on_error="emit_failure")
    def check(item: int) -> int:
        if item == 2:
            raise ValueError(item)
        return item

    results = await (check | batch_task(max_size=2, by=parity)(told))(range(5)).collect()
    assert [r if isinstance(r, tuple) else r.item for r in results] == [
        2,
        ("size", "odd", (1, 3)),
        ("size", "even", (0, 4)),
    ]


# --- callbacks that fail


def picky(item: Any) -> int:
    if item == 2:
        raise KeyError("refused")
    return 1


def refusing(callback: str, function: Any = picky) -> dict[str, Any]:
    """Return options with a callback that refuses the item 2."""
    if callback == "weight":
        return {"weight": function, "max_weight": 100}
    return {"by": function}


both_callbacks = pytest.mark.parametrize("callback", ["weight", "by"])


@in_both_modes
@both_callbacks
@pytest.mark.parametrize("policy", ["skip_item", "skip_batch"])
async def test_an_item_whose_callback_fails_is_skipped_alone(
    mode: str, callback: str, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    task = batch_task(max_size=3, on_error=policy, task_name="store", **refusing(callback))(told)
    async with task.with_execution_mode(mode)(range(5)) as stream:
        assert [items async for *_, items in stream] == [(0, 1, 3), (4,)]
        (counts,) = stream.statistics().stages
    assert (counts.received, counts.skipped, counts.failed) == (5, 1, 1)
    (record,) = caplog.records
    assert record.getMessage() == "stage 'store' (1 of 1), item 2: skipped"
    assert record.exc_info is not None
    assert f"in the {callback} of task 'store'" in record.exc_info[1].__notes__  # type: ignore[union-attr]


@in_both_modes
@both_callbacks
async def test_an_item_whose_callback_fails_is_a_failure_of_its_own(
    mode: str, callback: str
) -> None:
    task = batch_task(max_size=3, on_error="emit_failure", **refusing(callback))(told)
    failure, *rest = await task.with_execution_mode(mode)(range(5)).collect()
    # As those of earlier tasks it does not wait for the batch that is open.
    assert [items for *_, items in rest] == [(0, 1, 3), (4,)]
    assert isinstance(failure, Failure)
    assert (failure.item, failure.attempts, failure.task_name) == (2, 1, "told")
    assert failure.error.__notes__ == [f"in the {callback} of task 'told'"]


@in_both_modes
@both_callbacks
async def test_an_item_whose_callback_fails_ends_the_run_in_its_place(
    mode: str, callback: str
) -> None:
    task = batch_task(max_size=9, **refusing(callback))(told)
    results, error = await results_and_error(task.with_execution_mode(mode)(range(5)))
    assert [items for *_, items in results] == [(0, 1)]
    assert isinstance(error, KeyError)
    assert error.__notes__ == [
        f"in the {callback} of task 'told'",
        "stage 'told' (1 of 1), item 2",
    ]


@pytest.mark.virtual_time
async def test_all_open_batches_start_before_the_error_of_a_callback() -> None:
    diary = Diary(seconds=5)
    task = batch_task(max_size=9, by=lambda item: 6 // (3 - item), concurrency_limit=2)(diary)
    error = await error_of(task(range(6)).drain())
    assert isinstance(error, ZeroDivisionError)
    assert diary.calls == [(0, "end", [0]), (0, "end", [1]), (5, "end", [2])]
    assert anyio.current_time() == 10


@both_callbacks
async def test_a_handler_decides_on_an_item_whose_callback_fails(callback: str) -> None:
    asked: list[Any] = []

    def handler(error: Exception, item: Any, name: str, attempt: int) -> tuple[bool, Any]:
        asked.append((type(error), item, name, attempt))
        return True, ["instead", item]

    task = batch_task(max_size=3, error_handler=handler, **refusing(callback))(told)
    assert await task(range(4)).collect() == ["instead", 2, ("size", *told_of(callback), (0, 1, 3))]
    assert asked == [(KeyError, 2, "told", 1)]


def told_of(callback: str) -> tuple[Any]:
    return (1 if callback == "by" else None,)


@pytest.mark.virtual_time
async def test_what_is_due_does_not_wait_for_a_handler() -> None:
    async def handler(error: Exception, item: Any, name: str, attempt: int) -> tuple[bool, Any]:
        await anyio.sleep(10)
        return True, None

    diary = Diary()
    task = batch_task(max_size=9, max_wait=3, by=picky, error_handler=handler, concurrency_limit=2)(
        diary
    )
    await task(timetable(0, 1, 2, end=30)).drain()
    assert diary.calls == [(3, "time", [0, 1])]


@both_callbacks
async def test_an_item_whose_callback_fails_is_not_tried_again(callback: str) -> None:
    calls: list[Any] = []

    def count(item: Any) -> int:
        calls.append(item)
        return picky(item)

    options = refusing(callback, count)
    task = batch_task(max_size=9, on_error="skip_item", retry_attempts=3, **options)(told)
    await task(range(4)).drain()
    assert calls == [0, 1, 2, 3]


async def coroutine(item: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("callback", "function", "kind", "message"),
    [
        ("weight", lambda item: -1, ValueError, "at least 0, not -1"),
        ("weight", lambda item: math.nan, ValueError, "at least 0, not nan"),
        ("weight", lambda item: None, TypeError, "at least 0, not None"),
        ("weight", lambda item: "5", TypeError, "at least 0, not '5'"),
        ("weight", lambda item: coroutine(item), TypeError, "not a coroutine"),
        ("by", lambda item: coroutine(item), TypeError, "not a coroutine"),
        ("by", lambda item: [item], TypeError, "unhashable"),
    ],
)
async def test_what_a_callback_must_not_return_is_an_error_of_the_item(
    callback: str, function: Any, kind: type[Exception], message: str
) -> None:
    task = batch_task(max_size=3, **refusing(callback, function))(told)
    error = await error_of(task([5]).drain())
    assert type(error) is kind
    assert message in str(error)
    assert error.__notes__[0] == f"in the {callback} of task 'told'"


class Exit(BaseException):
    pass


@both_callbacks
async def test_an_exit_in_a_callback_ends_the_run(callback: str) -> None:
    def leave(item: Any) -> int:
        raise Exit

    task = batch_task(max_size=3, on_error="skip_item", **refusing(callback, leave))(told)
    assert isinstance(await error_of(task([5]).drain()), Exit)


# --- when the task is idle


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize("before", [(), (passing,)], ids=len)
@pytest.mark.parametrize("concurrency_limit", [1, 3])
async def test_small_batches_under_low_load_and_full_ones_under_high_load(
    mode: str, before: tuple[Any, ...], concurrency_limit: int
) -> None:
    diary = Diary(seconds=2)
    task = batch_task(max_size=3, flush_when_idle=True, concurrency_limit=concurrency_limit)(diary)
    source = timetable(0, 5, 5.5, 6, 10, 10, 10, 10, 10, 20, end=30)
    await Pipeline(*before, task).with_execution_mode(mode)(source).drain()
    low = [(0, "idle", [0]), (5, "idle", [1]), (7, "idle", [2, 3])]
    high = [(10, "size", [4, 5, 6]), (12, "idle", [7, 8])]
    assert diary.calls == [*low, *high, (20, "idle", [9])]


@pytest.mark.virtual_time
async def test_what_waits_for_an_idle_task_is_at_least_min_size() -> None:
    diary = Diary()
    task = batch_task(max_size=9, min_size=2, flush_when_idle=True)(diary)
    await task(timetable(0, 1, 2, end=9)).drain()
    assert diary.calls == [(1, "idle", [0, 1]), (9, "end", [2])]


@pytest.mark.virtual_time
async def test_max_wait_starts_what_is_not_enough_for_another_worker() -> None:
    # One batch is at work until 10, and the stage is not idle; the second worker may start at 5.
    diary = Diary(seconds=10)
    task = batch_task(max_size=9, max_wait=4, flush_when_idle=True, concurrency_limit=2)(diary)
    await task(timetable(0, 1, 2, 12, end=30)).drain()
    # At 12 a worker is free, but the stage is not idle before the second call is done, at 15.
    assert diary.calls == [(0, "idle", [0]), (5, "time", [1, 2]), (15, "idle", [3])]


@pytest.mark.virtual_time
async def test_an_idle_task_does_not_wait_for_who_waits_for_the_clock() -> None:
    # A second worker sleeps until 8. The first is done at 2, and what waits is started then.
    diary = Diary(seconds=2)
    task = batch_task(max_size=9, max_wait=7, flush_when_idle=True, concurrency_limit=2)(diary)
    await task(timetable(0, 1, end=30)).drain()
    assert diary.calls == [(0, "idle", [0]), (2, "idle", [1])]


@pytest.mark.virtual_time
@pytest.mark.parametrize("hurried", [False, True])
@pytest.mark.parametrize("buffer_size", [1, 5, 100])
async def test_under_high_load_batches_are_full(
    buffer_size: int, hurried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hurried:  # who reads lets others run after every third item
        ticks = itertools.count()
        monkeypatch.setattr(turn, "perf_counter", lambda: next(ticks) * turn.SLICE / 3)
    diary = Diary(seconds=1)
    task = batch_task(max_size=30, flush_when_idle=True)(diary).with_context(
        buffer_size=buffer_size
    )

    def source() -> Iterator[int]:
        yield from range(300)

    await task(source()).drain()
    sizes = [len(items) for *_, items in diary.calls]
    assert sum(sizes) == 300
    # The first may be alone, the last is what is left.
    assert sizes[1:-1] == [30] * (len(sizes) - 2)
    assert len(sizes) <= 11


@pytest.mark.virtual_time
async def test_the_oldest_open_batch_of_an_idle_task_starts() -> None:
    diary = Diary(seconds=1)
    task = batch_task(max_size=9, by=parity, flush_when_idle=True)(diary)
    await task(timetable(0, 0.25, 0.5, 0.75, end=9)).drain()
    assert diary.calls == [(0, "idle", [0]), (1, "idle", [1, 3]), (2, "idle", [2])]


async def test_an_idle_task_starts_what_is_there_though_the_source_stalls() -> None:
    task = passing | batch_task(max_size=9, flush_when_idle=True)(told) | passing
    async with task(stalling(0)) as stream:
        assert await anext(stream) == ("idle", None, (0,))


@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
@given(
    gaps=st.lists(st.sampled_from((0, 0, 0, 1, 2, 5)), max_size=25),
    seconds=st.sampled_from((0, 1 / 64, 1 + 1 / 64, 4 + 1 / 64)),
    max_size=st.integers(1, 5),
    concurrency=st.integers(1, 3),
    max_wait=st.sampled_from((None, 0.5, 3.5)),
    keys=st.integers(1, 3),
    random=st.random_module(),
)
async def test_an_idle_task_never_lets_items_wait(
    gaps: list[int],
    seconds: float,
    max_size: int,
    concurrency: int,
    max_wait: float | None,
    keys: int,
    random: object,
) -> None:
    running = 0
    done: list[int] = []
    arrivals = list(itertools.accumulate(gaps))
    start: dict[int, float] = {}

    async def work(batch: list[int]) -> None:
        nonlocal running
        running += 1
        info = get_current_batch()
        assert info is not None
        now = anyio.current_time()
        if info.trigger == "size":
            assert len(batch) == max_size
        elif info.trigger == "idle":
            assert running == 1
        elif info.trigger == "time":
            assert max_wait is not None
            assert now >= arrivals[batch[0]] + max_wait
        for item in batch:
            start[item] = now
        await anyio.sleep(seconds)
        done.extend(batch)
        running -= 1

    task = batch_task(
        max_size=max_size,
        max_wait=max_wait,
        by=None if keys == 1 else lambda item: item % keys,
        concurrency_limit=concurrency,
        flush_when_idle=True,
    )(work)
    await task(timetable(*arrivals, end=sum(gaps) + 100)).drain()
    assert sorted(done) == list(range(len(gaps)))
    if not seconds:
        assert start == dict(enumerate(arrivals))  # idle at every moment: nothing ever waited
    assert max(start.values(), default=0) <= sum(gaps) + (len(gaps) + 1) * seconds


# --- single items that fail


class Naming:
    """A batch function that names the items that it refuses, and multiplies the others.

    Args:
        errors: What it raises for which item.
        until: How many calls it refuses them for.
    """

    def __init__(self, errors: dict[int, Exception], until: float = math.inf) -> None:
        self.errors = errors
        self.until = until
        self.calls: list[list[int]] = []
        self.infos: list[Any] = []

    async def __call__(self, batch: list[int]) -> list[int]:
        self.calls.append(list(batch))
        self.infos.append(get_current_batch())
        await checkpoint()
        bad = {place: self.errors[item] for place, item in enumerate(batch) if item in self.errors}
        good = [item * 10 for item in batch if item not in self.errors]
        if bad and len(self.calls) <= self.until:
            raise BatchError(bad, results=good)
        return [item * 10 for item in batch]


@in_both_modes
@pytest.mark.parametrize("policy", ["skip_item", "skip_batch"])
async def test_items_that_are_named_are_skipped_and_the_others_pass(
    mode: str, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    naming = Naming({1: ValueError(1), 3: KeyError(3)})
    task = batch_task(max_size=5, on_error=policy, task_name="store")(naming)
    async with task.with_execution_mode(mode)(range(7)) as stream:
        assert [result async for result in stream] == [0, 20, 40, 50, 60]
        (counts,) = stream.statistics().stages
    assert naming.calls == [[0, 1, 2, 3, 4], [5, 6]]
    assert (counts.received, counts.skipped, counts.failed, counts.emitted) == (7, 2, 2, 5)
    assert [record.getMessage() for record in caplog.records] == [
        "stage 'store' (1 of 1), item 1: skipped",
        "stage 'store' (1 of 1), item 3: skipped",
    ]


@in_both_modes
async def test_items_that_are_named_are_failures_in_their_places(mode: str) -> None:
    errors: dict[int, Exception] = {1: ValueError(1), 5: KeyError(5)}
    task = batch_task(max_size=4, on_error="emit_failure")(Naming(errors))
    results = await (task | passing).with_execution_mode(mode)(range(7)).collect()
    if mode == "as_completed":
        results.sort(key=lambda result: result.item * 10 if isinstance(result, Failure) else result)
    assert [r.item if isinstance(r, Failure) else r for r in results] == [0, 1, 20, 30, 40, 5, 60]
    for failure in results:
        if isinstance(failure, Failure):
            assert failure.error is errors[failure.item]
            assert (failure.attempts, failure.task_name) == (1, "Naming")


@in_both_modes
async def test_the_first_item_that_is_named_ends_the_run_in_its_place(mode: str) -> None:
    errors: dict[int, Exception] = {5: ValueError(5), 6: KeyError(6)}
    task = batch_task(max_size=4)(Naming(errors)).with_execution_mode(mode)
    results, error = await results_and_error(task(range(12)))
    assert results == [0, 10, 20, 30, 40]
    assert error is errors[5]
    assert error.__notes__ == ["stage 'Naming' (1 of 1), item 5"]


@pytest.mark.virtual_time
async def test_an_error_of_an_item_waits_for_the_batches_before() -> None:
    @batch_task(max_size=3, concurrency_limit=4)
    async def work(batch: list[int]) -> list[int]:
        await anyio.sleep(10 - batch[0])
        if 4 in batch:
            raise BatchError({1: ValueError(4)}, results=[3, 5])
        return batch

    results, error = await results_and_error((work | passing)(range(12)))
    assert results == [0, 1, 2, 3]
    assert isinstance(error, ValueError)
    assert anyio.current_time() == 10


@pytest.mark.virtual_time
async def test_nothing_comes_after_an_error_of_an_item_though_it_is_done_later() -> None:
    @batch_task(max_size=2, concurrency_limit=3)
    async def work(batch: list[int]) -> list[int]:
        if 0 in batch:
            await anyio.sleep(3)
        if 2 in batch:
            await anyio.sleep(1)
            raise BatchError({1: ValueError(3)}, results=[2])
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)
        return batch

    results, error = await results_and_error((work | passing)(range(6)))
    assert results == [0, 1, 2]
    assert isinstance(error, ValueError)


async def test_without_results_the_others_give_nothing() -> None:
    @batch_task(max_size=3, on_error="emit_failure")
    def store(batch: list[int]) -> None:
        raise BatchError({2: ValueError()})

    async with store(range(3)) as stream:
        (failure,) = [result async for result in stream]
        (counts,) = stream.statistics().stages
    assert failure.item == 2  # type: ignore[attr-defined]  # the task gives nothing else
    assert (counts.emitted, counts.filtered, counts.failed) == (0, 1, 1)


async def test_none_among_the_results_filters_its_item_out() -> None:
    @batch_task(max_size=4, on_error="emit_failure")
    def store(batch: list[int]) -> list[int]:
        raise BatchError({1: ValueError()}, results=["a", None, ["b"]])

    async with store(range(4)) as stream:
        results: list[Any] = [result async for result in stream]
        assert stream.statistics().stages[0].filtered == 1
    assert [r.item if isinstance(r, Failure) else r for r in results] == ["a", 1, ["b"]]


async def test_all_items_may_be_named() -> None:
    @batch_task(max_size=3, on_error="skip_item")
    def store(batch: list[int]) -> list[int]:
        raise BatchError(dict.fromkeys(range(len(batch)), ValueError()), results=[])

    async with store(range(5)) as stream:
        assert [result async for result in stream] == []
        assert stream.statistics().stages[0].skipped == 5


@in_both_modes
async def test_only_the_items_that_failed_are_tried_again(mode: str) -> None:
    naming = Naming({1: ValueError(), 3: ValueError()}, until=2)
    task = batch_task(max_size=5, retry_attempts=3, retry_delay=0)(naming)
    async with task.with_execution_mode(mode)(range(5)) as stream:
        assert [result async for result in stream] == [0, 10, 20, 30, 40]
        (counts,) = stream.statistics().stages
    assert naming.calls == [[0, 1, 2, 3, 4], [1, 3], [1, 3]]
    assert naming.infos == [BatchInfo("size", size) for size in (5, 2, 2)]
    assert (counts.retried, counts.failed, counts.emitted) == (2, 0, 5)


@pytest.mark.virtual_time
async def test_tries_of_single_items_have_the_delays_of_all_tries() -> None:
    times: list[tuple[float, list[int]]] = []

    @batch_task(
        max_size=3, retry_attempts=4, retry_delay=1, retry_jitter=False, on_error="emit_failure"
    )
    async def work(batch: list[int]) -> list[int]:
        times.append((anyio.current_time(), batch))
        if len(times) == 1:
            raise ConnectionError  # of the whole batch
        raise BatchError({0: ValueError(), 1: KeyError()}, results=[7] * (len(batch) - 2))

    work = work.with_options(retry_on=(ConnectionError, ValueError))
    first, second, third = await work([1, 2, 3]).collect()
    assert times[:2] == [(0, [1, 2, 3]), (1, [1, 2, 3])]
    assert [type(first), type(second), third] == [Failure, Failure, 7]
    # Then the first alone, which fits no such error: that is one of its batch.
    assert times[2:] == [(3, [1])]
    assert (first.attempts, second.attempts) == (3, 2)  # type: ignore[attr-defined]
    assert "names item 1 of a batch of 1" in str(first.error)  # type: ignore[attr-defined]


async def test_retry_on_is_asked_for_each_item() -> None:
    asked: list[Exception] = []
    errors: dict[int, Exception] = {0: ValueError(), 1: KeyError(), 2: ValueError()}

    def temporary(error: Exception) -> bool:
        asked.append(error)
        return isinstance(error, ValueError)

    naming = Naming(errors)
    task = batch_task(
        max_size=4, retry_attempts=2, retry_delay=0, retry_on=temporary, on_error="emit_failure"
    )(naming)
    results = await task(range(4)).collect()
    assert [(r.item, r.attempts) for r in results[:3]] == [(0, 2), (1, 1), (2, 2)]  # type: ignore[attr-defined]
    assert results[3] == 30
    assert naming.calls == [[0, 1, 2, 3], [0, 2]]
    assert asked == [errors[0], errors[1], errors[2]]


async def test_a_retry_on_that_fails_takes_the_place_of_the_error() -> None:
    def broken(error: Exception) -> bool:
        raise LookupError("broken")

    task = batch_task(max_size=2, retry_attempts=2, retry_on=broken, on_error="emit_failure")
    failure, result = await task(Naming({0: ValueError()}))(range(2)).collect()
    assert result == 10
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, LookupError)
    assert isinstance(failure.error.__context__, ValueError)


async def test_what_is_behind_an_item_that_ends_the_run_is_not_tried_again() -> None:
    errors: dict[int, Exception] = {0: ValueError(), 1: KeyError(), 2: ValueError()}
    naming = Naming(errors, until=1)
    task = batch_task(max_size=4, retry_attempts=2, retry_delay=0, retry_on=ValueError)(naming)
    results, error = await results_and_error(task(range(4)))
    assert naming.calls == [[0, 1, 2, 3], [0]]
    assert results == [0]
    assert error is errors[1]


@pytest.mark.parametrize(
    ("second", "results"),
    [
        (lambda: ["x", "y"], [0, "x", 20, "y", 40]),
        (lambda: ["x"], [0, "x", 20, 40]),
        (lambda: ["x", None], [0, "x", 20, 40]),
        (lambda: "one", [0, "one", 20, 40]),
        (lambda: None, [0, 20, 40]),
        (lambda: (item for item in "xyz"), [0, "x", "y", "z", 20, 40]),
    ],
    ids=["each", "fewer", "none among them", "one", "none", "a generator"],
)
async def test_what_comes_of_another_try_stands_in_its_place(
    second: Callable[[], Any], results: list[Any]
) -> None:
    naming = Naming({1: ValueError(), 3: ValueError()})

    @batch_task(max_size=5, retry_attempts=2, retry_delay=0)
    async def work(batch: list[int]) -> Any:
        return second() if naming.calls else await naming(batch)

    assert await work(range(5)).collect() == results


@pytest.mark.parametrize("policy", ["fail", "skip_item", "skip_batch", "emit_failure"])
async def test_another_try_that_fails_as_a_whole_is_one_of_a_batch(policy: Any) -> None:
    calls: list[list[int]] = []

    @batch_task(max_size=5, retry_attempts=2, retry_delay=0, on_error=policy)
    def work(batch: list[int]) -> list[int]:
        calls.append(batch)
        if len(calls) == 1:
            raise BatchError({1: ValueError(), 3: ValueError(), 4: ValueError()}, results=[0, 20])
        if 3 in batch:
            raise OSError("the whole of it")
        return [item * 10 for item in batch]

    results, error = [], None
    try:
        async for result in work(range(5)):
            results.append(result)
    except OSError as raised:
        error = raised
    if policy == "fail":
        assert results == [0]
        assert error is not None
        assert error.__notes__ == ["stage 'work' (1 of 1), batch of 3 of the items 1 to 4"]
    elif policy == "emit_failure":
        failure = results.pop(1)
        assert isinstance(failure, Failure)
        assert failure.item == [1, 3, 4]
        assert results == [0, 20]
    elif policy == "skip_item":
        assert results == [0, 10, 40, 20]  # where the first of them stood
    else:
        assert results == [0, 20]


@in_both_modes
async def test_a_handler_decides_on_each_item_that_is_named(mode: str) -> None:
    asked: list[Any] = []
    errors: dict[int, Exception] = {0: ValueError(), 1: KeyError(), 3: OSError()}

    async def handler(error: Exception, item: Any, name: str, attempt: int) -> tuple[bool, Any]:
        asked.append((error, item, name, attempt))
        if item == 0:
            return True, "instead"
        return item == 1, None

    task = batch_task(max_size=5, error_handler=handler, on_error="emit_failure")(Naming(errors))
    async with task.with_execution_mode(mode)(range(5)) as stream:
        results: list[Any] = [result async for result in stream]
        (counts,) = stream.statistics().stages
    assert asked == [(errors[item], item, "Naming", 1) for item in (0, 1, 3)]
    assert [r.item if isinstance(r, Failure) else r for r in results] == ["instead", 20, 3, 40]
    assert (counts.failed, counts.skipped) == (3, 1)


@in_both_modes
async def test_a_generator_may_name_items_before_it_gives_a_value(mode: str) -> None:
    tries = 0

    @batch_task(max_size=3, on_error="skip_item", retry_attempts=2, retry_delay=0)
    async def work(batch: list[int]) -> AsyncIterator[int]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise BatchError({1: ValueError()}, results=[0, 2])
        for item in batch:
            yield item
            await checkpoint()

    assert await work.with_execution_mode(mode)(range(3)).collect() == [0, 1, 2]
    assert tries == 2


@in_both_modes
async def test_what_a_generator_has_given_is_not_tried_again_but_items_are_named(
    mode: str,
) -> None:
    calls: list[list[int]] = []

    @batch_task(max_size=3, on_error="emit_failure", retry_attempts=2, retry_delay=0)
    async def work(batch: list[int]) -> AsyncIterator[int]:
        calls.append(batch)
        yield batch[0]
        raise BatchError({1: ValueError()}, results=None)

    results: list[Any] = await work.with_execution_mode(mode)(range(3)).collect()
    assert [r.item if isinstance(r, Failure) else r for r in results] == [0, 1]
    assert calls == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("errors", "results", "message"),
    [
        ({3: ValueError()}, [0, 1], "names item 3 of a batch of 3"),
        ({0: ValueError()}, [1], "has 1 results for 2 items"),
        ({0: ValueError()}, [1, 2, 3], "has 3 results for 2 items"),
        ({0: ValueError()}, [], "has 0 results for 2 items"),
    ],
)
async def test_a_batch_error_that_does_not_fit_is_an_error_of_the_batch(
    errors: Any, results: Any, message: str
) -> None:
    calls: list[list[int]] = []

    @batch_task(max_size=3, on_error="emit_failure", retry_attempts=2)
    def work(batch: list[int]) -> list[int]:
        calls.append(batch)
        raise BatchError(errors, results=results)

    (failure,) = await work(range(3)).collect()
    assert isinstance(failure, Failure)
    assert failure.item == [0, 1, 2]
    assert isinstance(failure.error, ValueError)
    assert message in str(failure.error)
    assert failure.error.__notes__ == ["in the BatchError that task 'work' raised"]
    assert isinstance(failure.error.__context__, BatchError)
    assert len(calls) == 1


@in_both_modes
async def test_items_that_are_named_count_as_failures_one_by_one(mode: str) -> None:
    errors: dict[int, Exception] = {item: ValueError(item) for item in (1, 3, 4)}
    task = batch_task(max_size=6, on_error="skip_item", max_failures=1)(Naming(errors))
    results, error = await results_and_error(task.with_execution_mode(mode)(range(6)))
    assert isinstance(error, TooManyFailures)
    assert error.__cause__ is errors[3]
    assert error.__notes__ == ["stage 'Naming' (1 of 1), item 3"]
    assert results == [0, 20]


@pytest.mark.real_time
async def test_a_function_in_a_thread_knows_its_batch_and_names_items() -> None:
    seen: list[Any] = []

    @batch_task(max_size=3, executor="thread", on_error="skip_item", by=parity)
    def work(batch: list[int]) -> list[int]:
        seen.append(get_current_batch())
        if 2 in batch:
            raise BatchError({batch.index(2): ValueError()}, results=[0, 4])
        return batch

    assert await work(range(6)).collect() == [0, 4, 1, 3, 5]
    assert seen == [BatchInfo("size", 3, "even"), BatchInfo("size", 3, "odd")]


async def test_in_a_single_task_it_is_an_error_like_any_other() -> None:
    error = BatchError({0: ValueError()})

    @single_task(on_error="emit_failure")
    def work(item: int) -> int:
        raise error

    (failure,) = await work([5]).collect()
    assert isinstance(failure, Failure)
    assert (failure.item, failure.error) == (5, error)


async def test_a_batch_error_for_an_item_is_the_error_of_that_item() -> None:
    inner = BatchError({0: ValueError()})

    @batch_task(max_size=2, on_error="emit_failure")
    def work(batch: list[int]) -> list[int]:
        raise BatchError({1: inner}, results=["fine"])

    first, failure = await work([5, 6]).collect()
    assert first == "fine"
    assert isinstance(failure, Failure)
    assert (failure.item, failure.error) == (6, inner)


async def test_numbers_of_items_are_those_of_the_stage_also_with_keys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @batch_task(max_size=3, by=parity, on_error="skip_item", task_name="store")
    def store(batch: list[int]) -> list[int]:
        if 13 in batch:
            raise BatchError({batch.index(13): ValueError()}, results=batch[1:])
        if 14 in batch:
            raise ValueError
        return batch

    await store(range(10, 20)).drain()
    assert [record.getMessage() for record in caplog.records] == [
        "stage 'store' (1 of 1), item 4: skipped",
        "stage 'store' (1 of 1), item 3: skipped",
    ]


async def test_a_batch_that_fails_as_a_whole_says_of_which_items_it_was() -> None:
    @batch_task(max_size=3, by=parity)
    def store(batch: list[int]) -> list[int]:
        raise ValueError

    error = await error_of(store(range(10, 20)).drain())
    assert error.__notes__ == ["stage 'store' (1 of 1), batch of 3 of the items 0 to 4"]


def test_a_batch_error_says_what_failed() -> None:
    one, many = ValueError(), KeyError()
    error = BatchError({3: one}, results=[1])
    assert str(error) == "item 3 of the batch failed"
    assert (error.errors, error.results) == ({3: one}, [1])
    error = BatchError({3: one, 0: many})
    assert str(error) == "items 0, 3 of the batch failed"
    assert list(error.errors) == [0, 3]
    assert error.results is None
    assert (
        str(BatchError(dict.fromkeys(range(9), one)))
        == "items 0, 1, 2, 3, 4, ... of the batch failed"
    )


def test_a_batch_error_can_be_pickled() -> None:
    error = BatchError({1: ValueError("no")}, results=[5])
    error.add_note("seen")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.results == [5]
    assert repr(again.errors) == repr(error.errors)
    assert again.__notes__ == ["seen"]


@pytest.mark.parametrize(
    ("errors", "results", "kind", "message"),
    [
        ({}, None, ValueError, "without one, return"),
        ([(0, ValueError())], None, TypeError, "a dict"),
        (ValueError(), None, TypeError, "a dict"),
        ({-1: ValueError()}, None, ValueError, "counted from 0, not -1"),
        ({"a": ValueError()}, None, TypeError, "a whole number, not 'a'"),
        ({True: ValueError()}, None, TypeError, "a whole number, not True"),
        ({0: "no"}, None, TypeError, "with an exception, not 'no'"),
        ({0: ValueError}, None, TypeError, "an instance, not the class"),
        ({0: KeyboardInterrupt()}, None, TypeError, "not KeyboardInterrupt()"),
        ({0: ValueError()}, "text", TypeError, "a list with one result for each"),
        ({0: ValueError()}, 5, TypeError, "not 5"),
        ({0: ValueError()}, iter([1]), TypeError, "a list"),
    ],
)
def test_what_a_batch_error_cannot_be_made_of(
    errors: Any, results: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        BatchError(errors, results=results)
    assert message in str(caught.value)


# --- options


def function(batch: list[Any]) -> list[Any]:
    return batch


async def async_function(item: Any) -> int:
    return 1


def weigh(item: Any) -> int:
    return 1


BAD: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"weight": weigh, "max_weight": 0}, ValueError, ["max_weight", "above 0", "not 0"]),
    ({"weight": weigh, "max_weight": -1}, ValueError, ["max_weight", "above 0", "not -1"]),
    ({"weight": weigh, "max_weight": math.nan}, ValueError, ["max_weight", "above 0", "not nan"]),
    ({"weight": weigh, "max_weight": "9"}, TypeError, ["max_weight", "a number", "not '9'"]),
    ({"weight": weigh, "max_weight": True}, TypeError, ["max_weight", "a number", "not True"]),
    ({"max_weight": 9}, ValueError, ["max_weight=9 needs weight", "max_size"]),
    ({"weight": weigh}, ValueError, ["weight needs max_weight"]),
    ({"weight": 5, "max_weight": 9}, TypeError, ["weight", "a function of the item", "not 5"]),
    ({"weight": async_function, "max_weight": 9}, TypeError, ["weight", "async"]),
    ({"by": "key"}, TypeError, ["by", "a function of the item", "not 'key'"]),
    ({"by": async_function}, TypeError, ["by", "async"]),
    ({"by": weigh, "max_open": 0}, ValueError, ["max_open", "at least 1", "not 0"]),
    ({"by": weigh, "max_open": 2.5}, TypeError, ["max_open", "a whole number", "not 2.5"]),
    ({"by": weigh, "max_open": math.inf}, TypeError, ["max_open", "a whole number", "not inf"]),
    ({"max_open": 5}, ValueError, ["max_open=5", "no by"]),
    ({"flush_when_idle": None}, TypeError, ["flush_when_idle", "True or False", "not None"]),
    ({"flush_when_idle": 1}, TypeError, ["flush_when_idle", "True or False", "not 1"]),
    (
        {"by": weigh, "drop_remainder": True},
        ValueError,
        ["drop_remainder=True and by do not go together", "min_size"],
    ),
    (
        {"weight": weigh, "max_weight": 9, "drop_remainder": True},
        ValueError,
        ["drop_remainder=True and max_weight do not go together", "min_size"],
    ),
]


@pytest.mark.parametrize(("options", "kind", "parts"), BAD)
def test_options_that_are_wrong_or_do_not_fit_are_refused(
    options: dict[str, Any], kind: type[Exception], parts: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        batch_task(max_size=10, **options)(function)
    for part in parts:
        assert part in str(caught.value)
    with pytest.raises(kind) as again:
        batch_task(max_size=10)(function).with_options(**options)
    assert str(again.value) == str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"weight": weigh, "max_weight": 0.5},
        {"weight": weigh, "max_weight": math.inf},
        {"weight": None, "max_weight": None},
        {"by": weigh, "max_open": None},
        {"by": weigh, "max_open": 1, "min_size": 2},
        {"by": None, "max_open": None},
        {"by": weigh, "weight": weigh, "max_weight": 2, "max_wait": 5, "flush_when_idle": True},
        {"flush_when_idle": True, "drop_remainder": True, "min_size": 2},
    ],
)
async def test_options_at_their_limits_are_taken(options: dict[str, Any]) -> None:
    assert await batch_task(max_size=2, **options)(function)([1, 2]).collect() == [1, 2]


@pytest.mark.parametrize("name", ["max_weight", "weight", "by", "max_open", "flush_when_idle"])
def test_single_tasks_have_none_of_it(name: str) -> None:
    with pytest.raises(TypeError, match=f"unknown option '{name}'"):
        single_task(**{name: None})  # type: ignore[call-overload]
