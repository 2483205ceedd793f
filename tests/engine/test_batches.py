"""Batches: when one starts, what is in it, and what becomes of one that fails."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from _helpers import (
    all_blocked,
    in_both_modes,
    passing,
    results_and_error,
    stalling,
    timed,
    timetable,
    troubles,
)
from conveyor import Failure, Pipeline, Stream, batch_task, single_task


def whole(batch: list[Any]) -> tuple[Any, ...]:
    """Give the batch as one result."""
    return tuple(batch)


def in_batches(items: Any, size: int) -> list[tuple[Any, ...]]:
    """Return what is expected of `items`."""
    items = list(items)
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


class Diary:
    """A function that notes each call: when it was made, and with what.

    Args:
        seconds: How long a call takes.
    """

    def __init__(self, seconds: float = 0) -> None:
        self.calls: list[tuple[float, list[Any]]] = []
        self._seconds = seconds

    async def __call__(self, batch: list[Any]) -> None:
        self.calls.append((anyio.current_time(), list(batch)))
        await anyio.sleep(self._seconds)


# --- sizes


async def later(items: Any) -> AsyncIterator[Any]:
    for item in items:
        await checkpoint()
        yield item


@in_both_modes
@pytest.mark.parametrize("source", [list, iter, later])
@pytest.mark.parametrize("count", [0, 1, 10, 300])
async def test_batches_are_full_but_for_the_last(
    mode: str, source: Callable[[Any], Any], count: int
) -> None:
    for size in (1, 2, 3, 10, 11, 150):
        task = batch_task(max_size=size)(whole).with_execution_mode(mode)
        assert await task(source(range(count))).collect() == in_batches(range(count), size)


@pytest.mark.parametrize("buffer_size", [1, 2, 5])
async def test_a_batch_may_be_larger_than_the_buffers(buffer_size: int) -> None:
    pipeline = (passing | batch_task(max_size=7)(whole) | passing).with_context(
        buffer_size=buffer_size
    )
    assert await pipeline(range(30)).collect() == in_batches(range(30), 7)


async def test_batches_of_batches_are_made_of_their_results() -> None:
    pairs, triples = batch_task(max_size=2)(whole), batch_task(max_size=3)(whole)
    assert await (pairs | triples)(range(9)).collect() == [((0, 1), (2, 3), (4, 5)), ((6, 7), (8,))]


async def test_what_is_unpacked_is_put_into_batches_one_by_one() -> None:
    pipeline = single_task(lambda item: [item, None, item]) | batch_task(max_size=3)(whole)
    assert await pipeline([1, 2, 3]).collect() == [(1, 1, 2), (2, 3, 3)]


async def test_every_call_gets_a_list_of_its_own() -> None:
    seen: list[list[int]] = []

    @batch_task(max_size=2)
    def take(batch: list[int]) -> None:
        assert type(batch) is list
        seen.append(batch)
        batch.clear()
        batch.extend([7] * 5)

    await take(range(5)).drain()
    assert seen == [[7] * 5] * 3
    assert len({id(batch) for batch in seen}) == 3


# --- grouping without max_wait


@pytest.mark.virtual_time
@pytest.mark.parametrize("min_size", [1, 2, 3])
@pytest.mark.parametrize("concurrency_limit", [1, 3, math.inf])
@pytest.mark.parametrize(
    "delays",
    [(0,), (1,), (0, 0, 0, 5), (5, 0, 0, 0), (1, 0.5, 4, 0, 0.25), (3, 2, 1)],
    ids=str,
)
async def test_without_max_wait_the_grouping_depends_on_the_input_alone(
    delays: tuple[float, ...], concurrency_limit: float, min_size: int
) -> None:
    async def source() -> AsyncIterator[int]:
        for item, delay in zip(range(11), itertools.cycle(delays), strict=False):
            await anyio.sleep(delay)
            yield item

    @single_task
    async def wait(item: int) -> int:
        await anyio.sleep(delays[item % len(delays)])
        return item

    diary = Diary(seconds=delays[0])
    store = batch_task(max_size=3, min_size=min_size, concurrency_limit=concurrency_limit)(diary)
    await (wait | store)(source()).drain()
    groups = [batch for _, batch in diary.calls]
    assert groups == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]


@pytest.mark.virtual_time
async def test_as_completed_items_are_grouped_as_they_come() -> None:
    @single_task
    async def wait(seconds: int) -> int:
        await anyio.sleep(seconds)
        return seconds

    pipeline = wait | batch_task(max_size=2)(whole)
    assert await timed(pipeline.as_completed([5, 1, 4, 2, 3])) == [
        (2, (1, 2)),
        (4, (3, 4)),
        (5, (5,)),
    ]


async def test_a_full_batch_starts_while_the_source_stalls() -> None:
    async with batch_task(max_size=2)(whole)(stalling(0, 1, 2)) as stream:
        assert await anext(stream) == (0, 1)


async def test_without_max_wait_a_batch_that_is_not_full_waits_for_ever() -> None:
    seen: list[list[int]] = []
    async with batch_task(max_size=3, min_size=1)(seen.append)(stalling(0, 1)) as stream:
        await all_blocked()
        assert seen == []
        assert stream.statistics().stages[0].received == 2


# --- max_wait and min_size

# Options; arrivals; the end of the input; the seconds that a call takes; the calls.
TIMETABLES: dict[str, tuple[dict[str, Any], list[float], float, float, list[Any]]] = {
    "the oldest has waited": (
        {"max_wait": 4},
        [0, 1, 2, 20],
        30,
        0,
        [(4, [0, 1, 2]), (24, [3])],
    ),
    "it is the oldest that counts, not the newest": (
        {"max_wait": 4},
        [0, 3, 6, 9],
        30,
        0,
        [(4, [0, 1]), (10, [2, 3])],
    ),
    "the clock starts with the first item, not with the stream": (
        {"max_wait": 4},
        [10, 11],
        30,
        0,
        [(14, [0, 1])],
    ),
    "full before the time is up": (
        {"max_wait": 4, "max_size": 3},
        [0, 1, 2, 3],
        30,
        0,
        [(2, [0, 1, 2]), (7, [3])],
    ),
    "a batch of one is full at once": (
        {"max_wait": 4, "max_size": 1},
        [0, 1, 2],
        30,
        0,
        [(0, [0]), (1, [1]), (2, [2])],
    ),
    "the input ends before the time is up": (
        {"max_wait": 4},
        [0, 1],
        3,
        0,
        [(3, [0, 1])],
    ),
    "min_size is there before the time is up": (
        {"max_wait": 4, "min_size": 2},
        [0, 1],
        30,
        0,
        [(4, [0, 1])],
    ),
    "min_size is reached after the time is up": (
        {"max_wait": 4, "min_size": 3},
        [0, 1, 8, 9],
        30,
        0,
        [(8, [0, 1, 2]), (30, [3])],
    ),
    "min_size is reached when the time is up": (
        {"max_wait": 4, "min_size": 2},
        [0, 4],
        30,
        0,
        [(4, [0, 1])],
    ),
    "min_size is never reached": (
        {"max_wait": 4, "min_size": 3},
        [0, 1],
        30,
        0,
        [(30, [0, 1])],
    ),
    "max_wait without end": (
        {"max_wait": math.inf},
        [0, 1],
        30,
        0,
        [(30, [0, 1])],
    ),
    "no wait at all": (
        {"max_wait": 0},
        [0, 1, 2],
        30,
        0,
        [(0, [0]), (1, [1]), (2, [2])],
    ),
    "no wait at all but for min_size": (
        {"max_wait": 0, "min_size": 2},
        [0, 1, 5, 7],
        30,
        0,
        [(1, [0, 1]), (7, [2, 3])],
    ),
    "the oldest waits while the worker is busy": (
        {"max_wait": 2},
        [0, 1, 3, 4, 5],
        30,
        10,
        # At 12 the next has waited for 9 seconds.
        [(2, [0, 1]), (12, [2, 3, 4])],
    ),
    "the oldest has waited a part of the time when the worker is free": (
        {"max_wait": 4},
        [0, 12, 15],
        30,
        10,
        # The worker is free at 14; the item of 12 has waited for 2 seconds.
        [(4, [0]), (16, [1, 2])],
    ),
    "what came while the worker was busy makes several batches": (
        {"max_wait": 2, "max_size": 2},
        [0, 1, 2, 3, 4, 5.5],
        30,
        8,
        [(1, [0, 1]), (9, [2, 3]), (17, [4, 5])],
    ),
    "min_size is reached while the worker is busy": (
        {"max_wait": 1, "min_size": 2},
        [0, 0.5, 3, 4],
        30,
        10,
        [(1, [0, 1]), (11, [2, 3])],
    ),
    "min_size is not reached while the worker is busy": (
        {"max_wait": 1, "min_size": 2},
        [0, 0.5, 3, 15],
        30,
        10,
        [(1, [0, 1]), (15, [2, 3])],
    ),
    "two workers": (
        {"max_wait": 2, "concurrency_limit": 2},
        [0, 3, 6, 7],
        30,
        10,
        # Both are busy from 5 to 12.
        [(2, [0]), (5, [1]), (12, [2, 3])],
    ),
    "many workers": (
        {"max_wait": 2, "concurrency_limit": math.inf},
        [0, 3, 6, 7],
        30,
        10,
        [(2, [0]), (5, [1]), (8, [2, 3])],
    ),
    "several at one moment": (
        {"max_wait": 2, "max_size": 3},
        [0, 0, 0, 0, 0, 1],
        30,
        0,
        [(0, [0, 1, 2]), (1, [3, 4, 5])],
    ),
}


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize(
    ("options", "arrivals", "end", "seconds", "calls"), TIMETABLES.values(), ids=TIMETABLES.keys()
)
async def test_a_batch_starts_exactly_when_it_may(
    mode: str,
    options: dict[str, Any],
    arrivals: list[float],
    end: float,
    seconds: float,
    calls: list[tuple[float, list[int]]],
) -> None:
    # Whether it is the source or another task that it comes from makes no difference.
    for before in [(), (passing,)]:
        start = anyio.current_time()
        times = [start + arrival for arrival in arrivals]
        diary = Diary(seconds)
        store = batch_task(**{"max_size": 10} | options)(diary).with_execution_mode(mode)
        await Pipeline(*before, store)(timetable(*times, end=start + end)).drain()
        assert diary.calls == [(start + time, batch) for time, batch in calls]


@st.composite
def batch_options(draw: st.DrawFn) -> dict[str, Any]:
    max_size = draw(st.integers(1, 5))
    return {
        "max_size": max_size,
        "min_size": draw(st.integers(1, max_size)),
        # Arrivals are at whole seconds, so none comes when a batch is due or a worker is free.
        "max_wait": draw(st.none() | st.integers(0, 8).map(lambda seconds: seconds + 0.5)),
        "concurrency_limit": draw(st.integers(1, 3)),
    }


def calls_expected(
    arrivals: list[int], end: float, seconds: float, options: dict[str, Any]
) -> list[tuple[float, list[int]]]:
    """Go from one moment to the next, and start a batch whenever one may start."""
    max_size, min_size, max_wait = options["max_size"], options["min_size"], options["max_wait"]
    calls: list[tuple[float, list[int]]] = []
    waiting = list(enumerate(arrivals))
    free = [0.0] * options["concurrency_limit"]  # when each worker is free
    now = 0.0
    while waiting:
        here = [number for number, arrival in waiting[:max_size] if arrival <= now]
        due = waiting[0][1] + max_wait if max_wait is not None else math.inf
        over = now >= end
        if (
            min(free) <= now
            and here
            and (len(here) == max_size or over or (len(here) >= min_size and due <= now))
        ):
            calls.append((now, here))
            free[free.index(min(free))] = now + seconds
            del waiting[: len(here)]
        else:
            moments = [*free, due, end, *(arrival for _, arrival in waiting)]
            now = min(moment for moment in moments if moment > now)
    return calls


@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
@given(
    # Of two that come at the same moment, the first may be gone when the second is there.
    gaps=st.lists(st.integers(1, 10), max_size=25),
    tail=st.integers(0, 20),
    seconds=st.sampled_from([0, 1 / 64, 3 + 1 / 64, 12 + 1 / 64]),
    options=batch_options(),
    random=st.random_module(),
)
async def test_batches_start_when_a_model_says(
    gaps: list[int], tail: int, seconds: float, options: dict[str, Any], random: Any
) -> None:
    arrivals = list(itertools.accumulate(gaps))
    end = (arrivals[-1] if arrivals else 0) + tail + 0.25
    diary = Diary(seconds)
    await batch_task(**options)(diary)(timetable(*arrivals, end=end)).drain()
    assert diary.calls == calls_expected(arrivals, end, seconds, options)


@pytest.mark.virtual_time
async def test_an_item_is_as_old_as_its_wait_in_front_of_the_task() -> None:
    # It comes out of the first task at 3, and 2 seconds later at the latest it is worked on.
    @single_task
    async def wait(item: int) -> int:
        await anyio.sleep(3)
        return item

    diary = Diary()
    await (wait | batch_task(max_size=10, max_wait=2)(diary))(stalling_until(20, 0)).drain()
    assert diary.calls == [(5, [0])]


async def stalling_until(end: float, *items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item
    await anyio.sleep_until(end)


@pytest.mark.virtual_time
async def test_a_source_that_stalls_holds_nothing_back_longer_than_max_wait() -> None:
    task = batch_task(max_size=10, max_wait=2.5)(whole)
    async with task(stalling(0, 1, 2)) as stream:
        assert await anext(stream) == (0, 1, 2)
        assert anyio.current_time() == 2.5


@pytest.mark.virtual_time
@in_both_modes
async def test_the_results_of_a_batch_are_there_as_soon_as_it_is_done(mode: str) -> None:
    @batch_task(max_size=2)
    async def work(batch: list[int]) -> list[int]:
        await anyio.sleep(1)
        return batch

    assert await timed(work.with_execution_mode(mode)(range(5))) == [
        (1, 0),
        (1, 1),
        (2, 2),
        (2, 3),
        (3, 4),
    ]


# --- the final batch


@in_both_modes
@pytest.mark.parametrize("max_wait", [None, 1000])
async def test_a_final_batch_smaller_than_min_size_is_still_processed(
    mode: str, max_wait: float | None
) -> None:
    task = batch_task(max_size=4, min_size=3, max_wait=max_wait)(whole).with_execution_mode(mode)
    assert await task(range(6)).collect() == [(0, 1, 2, 3), (4, 5)]
    assert await task(range(1)).collect() == [(0,)]


@in_both_modes
@pytest.mark.parametrize("max_wait", [None, 1000])
@pytest.mark.parametrize(
    ("count", "batches", "dropped"),
    [
        (0, [], 0),
        (2, [], 2),
        (3, [(0, 1, 2)], 0),
        (4, [(0, 1, 2, 3)], 0),
        (5, [(0, 1, 2, 3)], 1),
        (6, [(0, 1, 2, 3)], 2),
        (7, [(0, 1, 2, 3), (4, 5, 6)], 0),
    ],
)
async def test_drop_remainder_drops_what_is_smaller_than_min_size_and_counts_and_logs_it(
    mode: str,
    max_wait: float | None,
    count: int,
    batches: list[tuple[int, ...]],
    dropped: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "conveyor")

    @batch_task(max_size=4, min_size=3, max_wait=max_wait, drop_remainder=True)
    def store(batch: list[str]) -> tuple[int, ...]:
        return tuple(map(len, batch))

    # Items whose `repr` is easily found in a log.
    async with store.with_execution_mode(mode)(["s" * n for n in range(count)]) as stream:
        assert [result async for result in stream] == batches
        (counts,) = stream.statistics().stages
    assert counts.dropped == dropped
    assert counts.received == count
    logged = troubles(caplog)
    assert len(logged) == (1 if dropped else 0)
    for record in logged:
        assert "'store'" in record.getMessage()
        assert str(dropped) in record.getMessage()
        assert record.levelno >= logging.INFO
        assert "sss" not in record.getMessage()


async def test_without_drop_remainder_nothing_is_dropped() -> None:
    async with batch_task(max_size=4, min_size=4)(whole)(range(6)) as stream:
        assert [result async for result in stream] == [(0, 1, 2, 3), (4, 5)]
        assert stream.statistics().stages[0].dropped == 0


# --- several batches at once


class Gauge:
    """A function that notes how many of its calls run at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, batch: list[int]) -> list[int]:
        self.now += 1
        self.most = max(self.most, self.now)
        await anyio.sleep(1)
        self.now -= 1
        return batch


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize(
    ("options", "most", "end"),
    [
        ({}, 1, 12),
        ({"concurrency_limit": 1}, 1, 12),
        ({"concurrency_limit": 5}, 5, 3),
        ({"concurrency_limit": 12}, 12, 1),
        ({"concurrency_limit": None}, 12, 1),
        ({"concurrency_limit": math.inf}, 12, 1),
    ],
)
async def test_concurrency_limit_counts_batches(
    mode: str, options: dict[str, Any], most: int, end: float
) -> None:
    gauge = Gauge()
    task = batch_task(max_size=10, **options)(gauge).with_execution_mode(mode)
    assert sorted(await task(range(120)).collect()) == list(range(120))
    assert gauge.most == most
    assert anyio.current_time() == end


@batch_task(max_size=2, concurrency_limit=3)
async def wait_for_the_first(batch: list[int]) -> list[int]:
    await anyio.sleep(batch[0])
    return batch


@pytest.mark.virtual_time
async def test_batches_leave_in_order() -> None:
    assert await timed(wait_for_the_first([3, 0, 1, 0, 2, 0])) == [
        (3, 3),
        (3, 0),
        (3, 1),
        (3, 0),
        (3, 2),
        (3, 0),
    ]


@pytest.mark.virtual_time
async def test_batches_leave_as_completed() -> None:
    assert await timed(wait_for_the_first.as_completed([3, 0, 1, 0, 2, 0])) == [
        (1, 1),
        (1, 0),
        (2, 2),
        (2, 0),
        (3, 3),
        (3, 0),
    ]


# --- batches that fail


class Picky:
    """A batch function that refuses some items, or some pairs of items that meet in a batch."""

    def __init__(self, *bad: int, quarrel: tuple[int, int] | None = None) -> None:
        self.bad = set(bad)
        self.quarrel = set(quarrel or ())
        self.calls: list[list[int]] = []

    async def __call__(self, batch: list[int]) -> list[int]:
        self.calls.append(list(batch))
        await checkpoint()
        if self.refuses(batch):
            raise ValueError("refused")
        return batch

    def refuses(self, batch: list[int]) -> bool:
        quarrel = bool(self.quarrel) and self.quarrel <= set(batch)
        return quarrel or not self.bad.isdisjoint(batch)


# What is refused, and the calls for the items 0 to 7.
BISECTED: dict[str, tuple[Picky, list[list[int]]]] = {
    "nothing": (Picky(), [[0, 1, 2, 3, 4, 5, 6, 7]]),
    "one": (
        Picky(5),
        [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]],
    ),
    "the first": (
        Picky(0),
        [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [0, 1], [0], [1], [2, 3], [4, 5, 6, 7]],
    ),
    "one in each half": (
        Picky(3, 4),
        [
            [0, 1, 2, 3, 4, 5, 6, 7],
            *([0, 1, 2, 3], [0, 1], [2, 3], [2], [3]),
            *([4, 5, 6, 7], [4, 5], [4], [5], [6, 7]),
        ],
    ),
    "two that quarrel": (
        Picky(quarrel=(1, 6)),
        [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]],
    ),
}


@in_both_modes
@pytest.mark.parametrize(("picky", "calls"), BISECTED.values(), ids=BISECTED.keys())
@pytest.mark.parametrize("attempts", [1, 3])
async def test_skip_item_splits_a_batch_until_the_bad_items_stand_alone(
    mode: str,
    picky: Picky,
    calls: list[list[int]],
    attempts: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    picky.calls.clear()
    task = batch_task(max_size=8, on_error="skip_item", retry_attempts=attempts, retry_delay=0)
    async with task(picky).with_execution_mode(mode)(range(8)) as stream:
        results = [result async for result in stream]
        (counts,) = stream.statistics().stages
    # Every call has its tries, that of a half too.
    assert picky.calls == [
        call for call in calls for _ in range(attempts if picky.refuses(call) else 1)
    ]
    assert results == [item for item in range(8) if item not in picky.bad]
    assert counts.received == 8
    assert counts.skipped == counts.failed == len(picky.bad)
    assert counts.emitted == 8 - len(picky.bad)
    assert counts.retried == (attempts - 1) * sum(picky.refuses(call) for call in calls)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    for bad, record in zip(sorted(picky.bad), warnings, strict=True):
        stage, _, items = record.getMessage().partition(", ")
        assert stage == "stage 'Picky' (1 of 1)"
        assert str(bad) in items


@pytest.mark.parametrize("size", range(1, 12))
async def test_only_the_bad_items_are_skipped_whatever_the_size(size: int) -> None:
    for bad in itertools.chain.from_iterable(
        itertools.combinations(range(size), count) for count in (1, 2, size)
    ):
        picky = Picky(*bad)
        task = batch_task(max_size=size, on_error="skip_item")(picky)
        good = [item for item in range(size) if item not in bad]
        assert await task(range(size)).collect() == good
        succeeded = [call for call in picky.calls if not picky.refuses(call)]
        assert sorted(itertools.chain(*succeeded)) == good
        assert all(len(call) > 1 or call[0] in bad for call in picky.calls if picky.refuses(call))
        # A half is as large as the other, or has one more.
        sizes = {len(call) for call in picky.calls}
        assert sizes <= halves_of(size)


def halves_of(size: int) -> set[int]:
    if size < 2:
        return {size}
    return {size} | halves_of(size // 2) | halves_of((size + 1) // 2)


@in_both_modes
async def test_a_split_batch_does_not_disturb_the_others(mode: str) -> None:
    picky = Picky(1, 6)
    task = batch_task(max_size=3, on_error="skip_item", concurrency_limit=3)(picky)
    results = await task.with_execution_mode(mode)(range(9)).collect()
    if mode == "as_completed":
        results.sort()
    assert results == [0, 2, 3, 4, 5, 7, 8]


async def test_what_a_half_gives_is_treated_like_what_the_batch_gives() -> None:
    given = {(0,): None, (1,): [1, None, 1], (2,): (value for value in (None, 2))}

    @batch_task(max_size=4, on_error="skip_item")
    def give(batch: list[int]) -> Any:
        if len(batch) > 1:
            raise ValueError
        return given.get(tuple(batch), "one")

    assert await give(range(4)).collect() == [1, 1, 2, "one"]


@in_both_modes
async def test_a_generator_that_failed_before_giving_a_value_is_split(mode: str) -> None:
    @batch_task(max_size=4, on_error="skip_item")
    async def give(batch: list[int]) -> AsyncIterator[int]:
        if 2 in batch:
            raise ValueError
        for item in batch:
            yield item

    assert await give.with_execution_mode(mode)(range(4)).collect() == [0, 1, 3]


@in_both_modes
async def test_a_generator_that_failed_after_giving_a_value_is_not_split(mode: str) -> None:
    calls: list[list[int]] = []

    @batch_task(max_size=4, on_error="skip_item")
    async def give(batch: list[int]) -> AsyncIterator[int]:
        calls.append(batch)
        for item in batch:
            if item == 2:
                raise ValueError
            yield item

    assert await give.with_execution_mode(mode)(range(6)).collect() == [0, 1, 4, 5]
    assert calls == [[0, 1, 2, 3], [4, 5]]


@in_both_modes
async def test_skip_batch_drops_the_batch_counts_its_items_and_logs_it(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    picky = Picky(4)
    task = batch_task(max_size=3, on_error="skip_batch", task_name="store")(picky)
    async with task.with_execution_mode(mode)(range(8)) as stream:
        assert [result async for result in stream] == [0, 1, 2, 6, 7]
        (counts,) = stream.statistics().stages
    assert picky.calls == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert (counts.received, counts.skipped, counts.failed, counts.emitted) == (8, 3, 3, 5)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("conveyor", logging.WARNING)
    assert "stage 'store' (1 of 1)" in record.getMessage()
    assert "[3, 4, 5]" not in caplog.text


@in_both_modes
async def test_emit_failure_gives_one_failure_for_the_batch_in_its_place(mode: str) -> None:
    picky = Picky(4)
    task = batch_task(max_size=3, on_error="emit_failure", retry_attempts=2, retry_delay=0)(picky)
    seen: list[Any] = []
    pipeline = (task | single_task(lambda item: seen.append(item) or item)).with_execution_mode(
        mode
    )
    async with pipeline(range(8)) as stream:
        results = [result async for result in stream]
        counts, _ = stream.statistics().stages
    assert seen == [0, 1, 2, 6, 7]
    failure = results.pop(3)
    assert results == [0, 1, 2, 6, 7]
    assert isinstance(failure, Failure)
    assert failure.item == [3, 4, 5]
    assert isinstance(failure.error, ValueError)
    assert (failure.task_name, failure.attempts) == ("Picky", 2)
    assert (counts.received, counts.skipped, counts.failed, counts.emitted) == (8, 0, 3, 5)


@in_both_modes
async def test_fail_ends_the_run_with_the_results_of_the_batches_before(mode: str) -> None:
    picky = Picky(4)
    task = batch_task(max_size=3)(picky).with_execution_mode(mode)
    results, error = await results_and_error(task(range(9)))
    assert results == [0, 1, 2]
    assert isinstance(error, ValueError)
    assert picky.calls == [[0, 1, 2], [3, 4, 5]]
    (note,) = error.__notes__
    assert note.startswith("stage 'Picky' (1 of 1), ")
    assert "3" in note
    assert "[" not in note


# --- failures that pass a batch task


def check(*bad: Any) -> Any:
    """Return a task that emits failures for these items."""

    @single_task(on_error="emit_failure")
    def checked(item: Any) -> Any:
        if item in bad:
            raise ValueError(item)
        return item

    return checked


def failed_items(results: list[Any]) -> list[Any]:
    """Return the results, failures as their items in a set."""
    return [{result.item} if isinstance(result, Failure) else result for result in results]


@in_both_modes
@pytest.mark.parametrize("max_wait", [None, 1000])
@pytest.mark.parametrize(
    ("bad", "results"),
    [
        ((), [(0, 1, 2), (3, 4, 5), (6,)]),
        ((0,), [{0}, (1, 2, 3), (4, 5, 6)]),
        ((1,), [{1}, (0, 2, 3), (4, 5, 6)]),
        ((3,), [(0, 1, 2), {3}, (4, 5, 6)]),
        ((4, 5), [(0, 1, 2), {4}, {5}, (3, 6)]),
        ((6,), [(0, 1, 2), (3, 4, 5), {6}]),
        ((0, 1, 2, 3, 4, 5, 6), [{0}, {1}, {2}, {3}, {4}, {5}, {6}]),
    ],
)
async def test_a_failure_overtakes_the_open_batch_and_does_not_close_it(
    mode: str, max_wait: float | None, bad: tuple[int, ...], results: list[Any]
) -> None:
    pipeline = check(*bad) | batch_task(max_size=3, max_wait=max_wait)(whole)
    given = await pipeline.with_execution_mode(mode)(range(7)).collect()
    if mode == "as_completed":  # a failure may overtake more
        assert sorted(map(str, failed_items(given))) == sorted(map(str, results))
    else:
        assert failed_items(given) == results


@in_both_modes
async def test_a_failure_is_delivered_while_a_batch_is_open(mode: str) -> None:
    pipeline = check(1) | batch_task(max_size=3)(whole) | passing
    async with pipeline.with_execution_mode(mode)(stalling(0, 1, 2)) as stream:
        failure = await anext(stream)
        assert isinstance(failure, Failure)
        assert failure.item == 1


@pytest.mark.virtual_time
async def test_a_failure_does_not_change_when_the_open_batch_starts() -> None:
    pipeline = check(1) | batch_task(max_size=10, max_wait=4, min_size=2)(whole)
    results = await timed(pipeline(timetable(0, 1, 2, 9, end=20)))
    times, given = zip(*results, strict=True)
    assert failed_items(given) == [{1}, (0, 2), (3,)]
    assert times == (1, 4, 20)


async def test_a_failure_keeps_its_place_behind_batches_that_have_started() -> None:
    go_on = anyio.Event()

    @batch_task(max_size=2)
    async def work(batch: list[int]) -> tuple[int, ...]:
        await go_on.wait()
        return tuple(batch)

    pipeline = check(2) | work
    async with pipeline(range(3)) as stream:
        await all_blocked()
        assert stream.statistics().queued == 0
        go_on.set()
        assert failed_items([result async for result in stream]) == [(0, 1), {2}]


# --- errors and ends upstream


@pytest.mark.parametrize("max_wait", [None, 1000])
@pytest.mark.parametrize("min_size", [1, 3])
async def test_a_batch_that_was_being_filled_is_processed_before_an_error_upstream(
    max_wait: float | None, min_size: int
) -> None:
    def parse(item: int) -> int:
        return item // (item - 4)

    parsed: list[int] = [parse(item) for item in range(4)]
    pipeline = single_task(parse) | batch_task(max_size=3, min_size=min_size, max_wait=max_wait)(
        whole
    )
    results, error = await results_and_error(pipeline(range(9)))
    assert results == in_batches(parsed, 3)
    assert isinstance(error, ZeroDivisionError)


@in_both_modes
@pytest.mark.parametrize("before", [(), (passing,)], ids=len)
async def test_a_batch_that_was_being_filled_is_processed_before_an_error_of_the_input(
    mode: str, before: tuple[Any, ...]
) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise KeyError("gone")

    pipeline = Pipeline(*before, batch_task(max_size=3)(whole)).with_execution_mode(mode)
    results, error = await results_and_error(pipeline(source()))
    assert results == [(0, 1, 2), (3, 4)]
    assert isinstance(error, KeyError)


@in_both_modes
@pytest.mark.parametrize("max_wait", [None, 1000])
async def test_stop_processes_the_batch_that_is_being_filled(
    mode: str, max_wait: float | None
) -> None:
    pipeline = passing | batch_task(max_size=3, min_size=2, max_wait=max_wait)(whole)
    async with pipeline.with_execution_mode(mode)(stalling(0, 1, 2, 3)) as stream:
        assert await anext(stream) == (0, 1, 2)
        await all_blocked()
        stream.stop()
        assert [result async for result in stream] == [(3,)]


async def test_stop_drops_a_remainder_that_is_to_be_dropped() -> None:
    task = batch_task(max_size=3, min_size=2, drop_remainder=True)(whole)
    async with task(stalling(0, 1, 2, 3)) as stream:
        assert await anext(stream) == (0, 1, 2)
        await all_blocked()
        stream.stop()
        assert [result async for result in stream] == []
        assert stream.statistics().stages[0].dropped == 1


@in_both_modes
async def test_stop_loses_nothing_that_has_been_read(mode: str) -> None:
    read: list[int] = []
    more, go_on = anyio.Event(), anyio.Event()

    async def source() -> AsyncIterator[int]:
        for item in itertools.count():
            if item == 2:
                await more.wait()
            read.append(item)
            yield item

    async def work(batch: list[int]) -> list[int]:
        await go_on.wait()
        return batch

    task = batch_task(max_size=1)(work).with_context(buffer_size=1)
    async with task.with_execution_mode(mode)(source()) as stream:
        await all_blocked()
        # One item is being worked on, one waits, and there is no room for the next.
        more.set()
        stream.stop()
        await all_blocked()
        go_on.set()
        assert [result async for result in stream] == read


@in_both_modes
async def test_stop_ends_an_endless_source(mode: str) -> None:
    task = batch_task(max_size=3)(whole).with_execution_mode(mode)
    stream: Stream[Any]
    async with task(itertools.count()) as stream:
        first = await anext(stream)
        stream.stop()
        rest = [result async for result in stream]
    items = [item for batch in [first, *rest] for item in batch]
    assert [first, *rest] == in_batches(range(len(items)), 3)
