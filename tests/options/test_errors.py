"""What goes wrong: who hears of it, when, and what else becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from _helpers import (
    Flawed,
    all_blocked,
    error_of,
    in_both_modes,
    passing,
    results_and_error,
    stalling,
    timed,
    troubles,
)
from conveyor import (
    BatchError,
    ErrorHandler,
    Failure,
    LoggingErrorHandler,
    Pipeline,
    RateLimit,
    StreamConsumedError,
    batch_task,
    single_task,
)


class Secret:
    """An item whose `repr` must not be found in a log or a note."""

    def __repr__(self) -> str:
        return "SECRET"


def logged(caplog: pytest.LogCaptureFixture, error: BaseException) -> list[tuple[str, int]]:
    """Return the loggers and the levels at which `error` was logged."""
    return [
        (record.name, record.levelno)
        for record in caplog.records
        if record.exc_info and record.exc_info[1] is error
    ]


AT_DEBUG = [("conveyor", logging.DEBUG)]


# --- on_error="fail"


@in_both_modes
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("after", [0, 2])
async def test_the_error_is_the_very_object_that_was_raised(
    mode: str, before: int, after: int
) -> None:
    error = ValueError("bad")
    fail = single_task(Flawed({3: error}))
    pipeline = Pipeline(*[passing] * before, fail, *[passing] * after).with_execution_mode(mode)
    for consume in (pipeline(range(9)).collect, pipeline(range(9)).drain):
        with pytest.raises(ValueError, match="bad") as caught:
            await consume()
        assert caught.value is error
    results, raised = await results_and_error(pipeline(range(9)))
    assert raised is error
    assert results == [0, 1, 2] if mode == "ordered" else set(results) <= set(range(9)) - {3}


@in_both_modes
@pytest.mark.parametrize(
    "error",
    [
        anyio.EndOfStream(),
        anyio.ClosedResourceError(),
        anyio.BrokenResourceError(),
        anyio.BusyResourceError("reading from"),
        anyio.WouldBlock(),
        asyncio.InvalidStateError(),
        TimeoutError(),
        StreamConsumedError(),
        ExceptionGroup("several", [ValueError("bad"), KeyError("worse")]),
        BaseExceptionGroup("several", [ValueError("bad"), KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", ["task", "input"])
async def test_an_error_that_the_engine_or_its_like_might_raise_is_still_the_functions_own(
    mode: str, error: BaseException, place: str
) -> None:
    task = single_task(Flawed({1: error} if place == "task" else {}), concurrency_limit=1)
    source = range(3) if place == "task" else broken_async_generator("next", error)
    pipeline = (passing | task | passing).with_execution_mode(mode)
    _, raised = await results_and_error(pipeline(source))
    assert raised is error


@in_both_modes
async def test_the_error_carries_the_traceback_to_the_function(mode: str) -> None:
    @single_task
    async def fail(item: int) -> None:
        raise ValueError("bad")

    _, error = await results_and_error((passing | fail | passing).with_execution_mode(mode)([1]))
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "fail"


@in_both_modes
async def test_the_stream_is_over_after_an_error(mode: str) -> None:
    stream = single_task(Flawed({0: ValueError("bad")})).with_execution_mode(mode)([0])
    await results_and_error(stream)
    with pytest.raises(RuntimeError, match="call the pipeline again"):
        await anext(stream)


@in_both_modes
async def test_inside_its_block_the_error_comes_from_the_iteration(mode: str) -> None:
    error = ValueError("bad")
    task = single_task(Flawed({1: error}), concurrency_limit=1).with_execution_mode(mode)
    async with task(range(3)) as stream:
        results, raised = await results_and_error(stream)
        assert raised is error
    assert results in ([0], [])


@in_both_modes
async def test_a_note_names_the_stage_its_place_and_the_item(mode: str) -> None:
    @single_task
    def parse(item: Any) -> Any:
        if type(item) is Secret:
            raise ValueError("bad")
        return item

    items = [*range(17), Secret()]
    pipeline = (passing | parse | passing).with_execution_mode(mode)
    _, error = await results_and_error(pipeline(items))
    assert error.__notes__ == ["stage 'parse' (2 of 3), item 17"]


@in_both_modes
@pytest.mark.parametrize(
    ("before", "number"),
    [
        ([], 5),
        ([single_task(lambda item: None if item < 3 else item)], 2),
        ([single_task(lambda item: [item, item])], 10),
        ([single_task(lambda item: item, task_name="other")] * 2, 5),
    ],
    ids=["as in the input", "filtered", "unpacked", "third stage"],
)
async def test_the_number_counts_what_the_stage_was_given(
    mode: str, before: list[Any], number: int
) -> None:
    parse = single_task(Flawed({5: ValueError("bad")}), task_name="parse")
    pipeline = Pipeline(*before, parse).with_execution_mode(mode)
    _, error = await results_and_error(pipeline(range(9)))
    place = f"{len(before) + 1} of {len(before) + 1}"
    assert error.__notes__ == [f"stage 'parse' ({place}), item {number}"]


async def test_failures_that_pass_a_stage_are_not_numbered_there() -> None:
    errors = {0: KeyError("passes by"), 1: KeyError("passes by")}
    check = single_task(Flawed(errors), on_error="emit_failure")
    parse = single_task(Flawed({3: ValueError("bad")}), task_name="parse")
    results, error = await results_and_error((check | parse)(range(5)))
    assert len(results) == 3
    assert error.__notes__ == ["stage 'parse' (2 of 2), item 1"]


@in_both_modes
async def test_a_generator_that_fails_is_named_like_a_function(mode: str) -> None:
    @single_task
    async def pages(item: int) -> AsyncIterator[int]:
        yield item
        if item == 2:
            raise ValueError("bad")

    results, error = await results_and_error(pages.with_execution_mode(mode)(range(3)))
    assert results == [0, 1, 2] if mode == "ordered" else set(results) <= {0, 1, 2}
    assert error.__notes__ == ["stage 'pages' (1 of 1), item 2"]


@pytest.mark.virtual_time
async def test_in_order_the_results_before_the_failed_item_come_first_and_none_after_it() -> None:
    error = ValueError("bad")

    @single_task
    async def work(item: int) -> int:
        await anyio.sleep([4, 2, 1, 0.5, 0.25][item])
        if item == 2:
            raise error
        return item

    stream = (work | passing)(range(5))
    assert [await anext(stream), anyio.current_time()] == [0, 4]
    assert [await anext(stream), anyio.current_time()] == [1, 4]
    with pytest.raises(ValueError, match="bad"):
        await anext(stream)
    assert anyio.current_time() == 4


@pytest.mark.virtual_time
async def test_in_order_the_input_is_read_no_further_and_later_items_are_cancelled_at_once() -> (
    None
):
    happened: list[tuple[float, str]] = []

    def note(what: str) -> None:
        happened.append((anyio.current_time(), what))

    async def source() -> AsyncIterator[int]:
        try:
            for item in itertools.count():
                yield item
                await anyio.sleep(1)
        finally:
            note("source closed")

    @single_task
    async def before(item: int) -> int:
        if item == 4:
            try:
                await anyio.sleep(100)
            finally:
                note("4 cancelled upstream")
        return item

    @single_task
    async def work(item: int) -> int:
        try:
            await anyio.sleep([20, 10, 2.5, 100][item])
        except BaseException:
            note(f"{item} cancelled")
            raise
        if item == 2:
            note("2 failed")
            raise ValueError("bad")
        note(f"{item} done")
        return item

    results, _ = await results_and_error((before | work)(source()))
    assert results == [0, 1]
    assert happened[0] == (4.5, "2 failed")
    assert sorted(happened[1:]) == [
        (4.5, "3 cancelled"),
        (4.5, "4 cancelled upstream"),
        (4.5, "source closed"),
        (11, "1 done"),
        (20, "0 done"),
    ]


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("seconds", "end"),
    [
        ({0: 5, 1: 3, 2: 1}, 5),
        ({0: 1, 1: 3, 2: 5}, 1),
        ({0: 3, 1: 1, 2: 5}, 3),
        ({0: 2, 1: 2, 2: 2}, 2),
    ],
    ids=str,
)
async def test_in_order_the_first_failure_in_order_wins(
    seconds: dict[int, float], end: float
) -> None:
    errors = {item: ValueError(f"bad {item}") for item in seconds}

    @single_task
    async def work(item: int) -> None:
        await anyio.sleep(seconds[item])
        raise errors[item]

    results, error = await results_and_error(work(range(3)))
    assert results == []
    assert error is errors[0]
    assert anyio.current_time() == end


@pytest.mark.virtual_time
async def test_as_completed_the_first_failure_in_time_wins_and_ends_the_run_at_once() -> None:
    errors = {2: ValueError("second"), 3: ValueError("first")}
    cancelled: list[int] = []

    @single_task
    async def work(item: int) -> int:
        try:
            await anyio.sleep([1, 9, 3, 2, 1][item])
        except BaseException:
            cancelled.append(item)
            raise
        if item in errors:
            raise errors[item]
        return item

    stream = work.as_completed(range(5))
    assert {await anext(stream), await anext(stream)} == {0, 4}
    with pytest.raises(ValueError, match="first") as caught:
        await anext(stream)
    assert caught.value is errors[3]
    assert anyio.current_time() == 2
    assert sorted(cancelled) == [1, 2]


@pytest.mark.virtual_time
async def test_as_completed_what_has_left_the_last_stage_is_delivered_before_the_error() -> None:
    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(item)
        if item == 3:
            raise ValueError("bad")
        return item

    stream = work.as_completed([4, 3, 2, 1, 0])
    assert await anext(stream) == 0
    await anyio.sleep(10)  # the consumer is busy, and the run has failed meanwhile
    results, _ = await results_and_error(stream)
    assert results == [1, 2]


# Three stages fail at the same moment, each for another item.
async def failing_together(item: int, stage: int, errors: dict[int, Exception]) -> int:
    # Item 0 fails in the last stage, item 1 in the second, item 2 in the first: all at 3.
    if item + stage == 2:
        await anyio.sleep(1 + item)
        raise errors[item]
    await anyio.sleep(1)
    return item


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize("consume", ["iterate", "collect"])
async def test_of_several_stages_that_fail_at_once_one_error_comes_out_and_no_group(
    mode: str, consume: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors: dict[int, Exception] = {item: KeyError(item) for item in range(3)}
    stages = [
        single_task(functools.partial(failing_together, stage=stage, errors=errors))
        for stage in range(3)
    ]
    stream = Pipeline(*stages).with_execution_mode(mode)(range(3))
    if consume == "iterate":
        _, error = await results_and_error(stream)
    else:
        with pytest.raises(KeyError) as caught:
            await stream.collect()
        error = caught.value
    assert anyio.current_time() == 3
    assert error in errors.values()
    if mode == "ordered":
        assert error is errors[0]
    # What nobody receives is logged, unless it was cancelled before it was raised.
    for other in errors.values():
        assert logged(caplog, other) in ([[]] if other is error else [[], AT_DEBUG])


@pytest.mark.virtual_time
async def test_in_order_an_earlier_item_that_fails_later_and_further_on_wins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    first, second = ValueError("in order"), ValueError("in time")

    @single_task
    async def parse(item: int) -> int:
        if item == 2:
            await anyio.sleep(1)
            raise second
        return item

    @single_task
    async def store(item: int) -> int:
        await anyio.sleep(5)
        if item == 1:
            raise first
        return item

    results, error = await results_and_error((parse | store)(range(9)))
    assert results == [0]
    assert error is first
    assert anyio.current_time() == 5
    assert logged(caplog, second) == AT_DEBUG
    assert logged(caplog, first) == []


@pytest.mark.virtual_time
@in_both_modes
async def test_everything_is_cleaned_up_before_the_error_reaches_the_consumer(mode: str) -> None:
    cleaned_up: list[str] = []

    async def clean_up(what: str) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        cleaned_up.append(what)

    async def source() -> AsyncIterator[int]:
        try:
            yield 0
            yield 1
            await anyio.sleep_forever()
        finally:
            await clean_up("source")

    @single_task
    async def work(item: int) -> int:
        if item == 0:
            await anyio.sleep(1)
            raise ValueError("bad")
        try:
            await anyio.sleep_forever()
        finally:
            await clean_up("task")
        return item

    pipeline = (work | passing).with_execution_mode(mode)
    _, error = await results_and_error(pipeline(source()))
    assert isinstance(error, ValueError)
    assert sorted(cleaned_up) == ["source", "task"]
    assert anyio.current_time() == 2


async def failing_in_clean_up(error: Exception) -> None:
    """Run a task group with a child that, when it is cancelled, raises `error`.

    On trio the group then raises a group of this error and of cancellations.
    """

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        await anyio.sleep_forever()


class StuckIterator:
    """An input that gives two items, then waits, and fails in its clean-up."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.left = iter(range(2))

    def __aiter__(self) -> StuckIterator:
        return self

    async def __anext__(self) -> int:
        for item in self.left:
            return item
        await failing_in_clean_up(self.error)
        raise AssertionError("unreachable")


@in_both_modes
@pytest.mark.parametrize("place", ["task", "generator", "before", "input"])
async def test_errors_of_clean_up_do_not_come_before_the_error_that_led_to_it(
    mode: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error, late = ValueError("bad"), KeyError("in clean-up")

    async def work(item: int) -> int:
        if item == 0:
            await all_blocked()
            raise error
        await failing_in_clean_up(late)
        return item

    async def give(item: int) -> AsyncIterator[int]:
        yield await work(item)

    async def wait(item: int) -> int:
        if item == 1:
            await failing_in_clean_up(late)
        return item

    task = single_task(give if place == "generator" else work)
    pipeline = task if place != "before" else single_task(wait) | task
    for consume in ("iterate", "collect"):
        source = StuckIterator(late) if place == "input" else range(2)
        stream = pipeline.with_execution_mode(mode)(source)
        if consume == "iterate":
            _, raised = await results_and_error(stream)
        else:
            raised = await error_of(stream.collect())
        assert raised is error


@in_both_modes
@pytest.mark.parametrize("place", ["task", "generator", "input"])
async def test_errors_of_clean_up_do_not_come_out_of_a_block_that_is_left(
    mode: str, place: str
) -> None:
    late = KeyError("in clean-up")

    async def work(item: int) -> int:
        if item == 1 and place != "input":
            await failing_in_clean_up(late)
        return item

    async def give(item: int) -> AsyncIterator[int]:
        yield await work(item)

    task = single_task(give if place == "generator" else work).with_execution_mode(mode)

    def source() -> Any:
        return StuckIterator(late) if place == "input" else range(2)

    async with task(source()) as stream:
        assert await anext(stream) == 0
        await all_blocked()

    stream = task(source())
    assert await anext(stream) == 0
    await all_blocked()
    await stream.aclose()

    with anyio.CancelScope() as scope:
        async with task(source()) as stream:
            assert await anext(stream) == 0
            await all_blocked()
            scope.cancel()
            await anext(stream)
    assert scope.cancelled_caught


@in_both_modes
async def test_an_error_after_results_that_are_not_unpacked_yet(mode: str) -> None:
    pipeline = single_task(lambda item: [item] * 3) | single_task(Flawed({1: ValueError("bad")}))
    results, error = await results_and_error(pipeline.with_execution_mode(mode)(range(3)))
    assert isinstance(error, ValueError)
    if mode == "ordered":
        assert results == [0] * 3


@pytest.mark.parametrize("buffer_size", [1, 2, 100])
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_an_error_keeps_its_place_whatever_the_bounds(buffer_size: int, limit: int) -> None:
    @single_task(concurrency_limit=limit)
    async def work(item: int) -> int:
        for _ in range(item % 3):
            await checkpoint()
        if item == 20:
            raise ValueError("bad")
        return item

    pipeline = (passing | work | passing).with_context(buffer_size=buffer_size)
    results, _ = await results_and_error(pipeline(range(50)))
    assert results == list(range(20))


# --- errors that nobody receives


async def test_an_error_behind_which_the_stream_is_closed_is_logged_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    error = ValueError("bad")
    async with single_task(Flawed({1: error}))([0, 1]) as stream:
        assert await anext(stream) == 0
        await all_blocked()
    assert logged(caplog, error) == AT_DEBUG


async def test_an_error_that_stands_behind_results_when_the_loop_is_left_is_logged_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    error = ValueError("bad")
    stream = single_task(Flawed({1: error}))([0, 1])
    assert await anext(stream) == 0
    await all_blocked()
    await stream.aclose()
    assert logged(caplog, error) == AT_DEBUG


@in_both_modes
@pytest.mark.parametrize("way", ["block", "aclose"])
async def test_an_error_raised_by_clean_up_that_nobody_receives_is_logged_at_debug(
    mode: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error = ValueError("bad")

    @single_task
    async def work(item: int) -> int:
        if item == 0:
            return item
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    stream = work.with_execution_mode(mode)([0, 1])
    if way == "block":
        async with stream:
            assert await anext(stream) == 0
            await all_blocked()
    else:
        assert await anext(stream) == 0
        await all_blocked()
        await stream.aclose()
    assert logged(caplog, error) == AT_DEBUG


@in_both_modes
@pytest.mark.parametrize("place", ["task", "input"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_error_raised_where_a_generator_is_closed_is_logged_at_debug(
    mode: str, place: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error = ValueError("bad")

    def give() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise error

    async def give_async() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise error

    generator = give() if kind == "sync" else give_async()
    task = passing if place == "input" else single_task(lambda item: generator)
    source = generator if place == "input" else [1]
    async with task.with_execution_mode(mode)(source) as stream:
        assert await anext(stream) == 1
    assert logged(caplog, error) == AT_DEBUG


async def test_the_body_of_the_block_keeps_its_own_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    mine, theirs = KeyError("mine"), ValueError("theirs")

    async def fail_inside() -> None:
        async with single_task(Flawed({1: theirs}))([0, 1]) as stream:
            assert await anext(stream) == 0
            await all_blocked()
            raise mine

    with pytest.raises(KeyError) as caught:
        await fail_inside()
    assert caught.value is mine
    assert logged(caplog, theirs) == AT_DEBUG


# --- errors of the input


class Broken:
    """An input that gives three items and then fails, where it is told to."""

    def __init__(self, place: str, error: BaseException) -> None:
        self.place = place
        self.error = error
        self.left = iter(range(3))

    def give(self) -> int:
        if self.place in ("iter", "aiter"):
            raise self.error
        for item in self.left:
            return item
        raise self.error


class BrokenIterable(Broken):
    def __iter__(self) -> BrokenIterable:
        if self.place == "iter":
            raise self.error
        return self

    def __next__(self) -> int:
        return self.give()


class BrokenAsyncIterable(Broken):
    def __aiter__(self) -> BrokenAsyncIterable:
        if self.place == "iter":
            raise self.error
        return self

    async def __anext__(self) -> int:
        await checkpoint()
        return self.give()


def broken_generator(place: str, error: BaseException) -> Iterator[int]:
    if place == "next":
        yield from range(3)
    raise error


async def broken_async_generator(place: str, error: BaseException) -> AsyncIterator[int]:
    if place == "next":
        for item in range(3):
            yield item
    raise error


@in_both_modes
@pytest.mark.parametrize(
    "source", [BrokenIterable, BrokenAsyncIterable, broken_generator, broken_async_generator]
)
@pytest.mark.parametrize(("place", "given"), [("iter", []), ("next", [0, 1, 2])])
@pytest.mark.parametrize("stages", [1, 3])
async def test_the_results_of_all_that_the_input_gave_come_before_its_error(
    mode: str,
    source: Callable[[str, BaseException], Any],
    place: str,
    given: list[int],
    stages: int,
) -> None:
    error = KeyError("gone")
    pipeline = Pipeline(*[passing] * stages).with_execution_mode(mode)
    results, raised = await results_and_error(pipeline(source(place, error)))
    assert sorted(results) == given
    assert raised is error
    (note,) = error.__notes__
    assert "input" in note
    assert str(len(given)) in note


@pytest.mark.virtual_time
@in_both_modes
async def test_an_error_of_the_input_waits_for_what_the_input_gave(mode: str) -> None:
    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(3 - item)
        return item

    pipeline = (work | work).with_execution_mode(mode)
    results, error = await results_and_error(pipeline(broken_generator("next", KeyError("gone"))))
    assert results == ([0, 1, 2] if mode == "ordered" else [2, 1, 0])
    assert isinstance(error, KeyError)
    assert anyio.current_time() == 6


@pytest.mark.virtual_time
@pytest.mark.parametrize(("mode", "wins"), [("ordered", "task"), ("as_completed", "input")])
async def test_an_error_of_the_input_is_one_among_others(
    mode: str, wins: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors = {"task": ValueError("later, of an earlier item"), "input": KeyError("gone")}

    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(2 * item + 1)
        if item == 1:
            raise errors["task"]
        return item

    source = broken_generator("next", errors["input"])
    results, error = await results_and_error(work.with_execution_mode(mode)(source))
    assert results == [0]
    assert error is errors[wins]
    assert anyio.current_time() == 3
    (other,) = set(errors.values()) - {error}
    assert logged(caplog, other) == AT_DEBUG


@in_both_modes
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_options_of_tasks_do_not_apply_to_errors_of_the_input(mode: str, kind: str) -> None:
    error = KeyError("gone")
    source = broken_generator if kind == "sync" else broken_async_generator
    task = single_task(lambda item: item, on_error="skip_item", retry_attempts=3)
    results, raised = await results_and_error(task.with_execution_mode(mode)(source("next", error)))
    assert sorted(results) == [0, 1, 2]
    assert raised is error


# --- skip_item


@in_both_modes
async def test_skip_item_drops_the_item_counts_it_and_logs_it_without_its_repr(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error = ValueError("bad")

    @single_task(on_error="skip_item")
    def parse(item: Any) -> Any:
        if isinstance(item, Secret):
            raise error
        return item

    pipeline = (passing | parse).with_execution_mode(mode)
    async with pipeline([0, 1, Secret(), 3]) as stream:
        results = [result async for result in stream]
        first, second = stream.statistics().stages
    assert results == [0, 1, 3]
    assert (first.skipped, first.failed) == (0, 0)
    assert (second.received, second.skipped, second.failed, second.emitted) == (4, 1, 1, 3)
    (record,) = troubles(caplog)
    assert (record.name, record.levelno) == ("conveyor", logging.WARNING)
    assert "stage 'parse' (2 of 2), item 2" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert "SECRET" not in caplog.text


@in_both_modes
async def test_skip_item_may_skip_everything(mode: str) -> None:
    task = single_task(Flawed({item: ValueError("bad") for item in range(5)}), on_error="skip_item")
    assert await (task | passing).with_execution_mode(mode)(range(5)).collect() == []


@in_both_modes
async def test_skip_item_keeps_what_a_generator_gave_before_it_failed(mode: str) -> None:
    @single_task(on_error="skip_item")
    def pages(item: int) -> Iterator[str]:
        yield f"{item} a"
        if item == 1:
            raise ValueError("bad")
        yield f"{item} b"

    results = await pages.with_execution_mode(mode)(range(3)).collect()
    assert sorted(results) == ["0 a", "0 b", "1 a", "2 a", "2 b"]


# --- emit_failure


@in_both_modes
async def test_emit_failure_gives_a_failure_that_tells_what_happened(mode: str) -> None:
    item, error = Secret(), ValueError("bad")

    @single_task(on_error="emit_failure", retry_attempts=3, retry_delay=0)
    async def parse(item: Any) -> Any:
        raise error

    (failure,) = await parse.with_execution_mode(mode)([item]).collect()
    assert type(failure) is Failure
    assert failure.item is item
    assert failure.error is error
    assert failure.task_name == "parse"
    assert failure.attempts == 3


def test_the_fields_of_a_failure_can_be_read_like_those_of_a_dict() -> None:
    error = ValueError("bad")
    failure = Failure("the item", error, "parse", 3)
    fields = {"item": "the item", "error": error, "task_name": "parse", "attempts": 3}
    for name, value in fields.items():
        assert getattr(failure, name) == failure[name] == failure.get(name) == value
    assert failure.get("status") is None
    assert failure.get("status", 7) == 7
    assert failure.get("get") is None
    for name in ("status", "get", "__class__"):
        with pytest.raises(KeyError, match=name):
            failure[name]
    with pytest.raises(AttributeError):
        failure.item = "another"
    assert failure == failure
    assert failure != Failure("the item", error, "parse", 3)


@in_both_modes
async def test_failures_go_straight_to_the_consumer_in_their_places(mode: str) -> None:
    seen: list[Any] = []

    def note(item: Any) -> Any:
        seen.append(item)
        return item

    check = single_task(Flawed({1: ValueError("1"), 3: ValueError("3")}), on_error="emit_failure")
    pipeline = (
        check | single_task(note) | single_task(lambda item: [item, item]) | single_task(note)
    )
    results = await pipeline.with_execution_mode(mode)(range(5)).collect()
    results = [[result.item] if isinstance(result, Failure) else result for result in results]
    assert not any(isinstance(item, Failure) for item in seen)
    if mode == "ordered":
        assert results == [0, 0, [1], 2, 2, [3], 4, 4]
    assert sorted(map(str, results)) == ["0", "0", "2", "2", "4", "4", "[1]", "[3]"]


@pytest.mark.virtual_time
async def test_in_order_a_failure_waits_for_what_is_before_it() -> None:
    @single_task(on_error="emit_failure")
    async def check(item: int) -> int:
        if item == 1:
            raise ValueError
        return item

    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(5 - item)
        return item

    results = await timed((check | work)(range(3)))
    assert [(time, getattr(result, "item", result)) for time, result in results] == [
        (5, 0),
        (5, 1),
        (5, 2),
    ]


@pytest.mark.virtual_time
async def test_as_completed_a_failure_is_there_at_once() -> None:
    @single_task(on_error="emit_failure")
    async def check(item: int) -> int:
        if item == 1:
            raise ValueError
        return item

    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(5 - item)
        return item

    results = await timed((check | work).as_completed(range(3)))
    assert [(time, getattr(result, "item", result)) for time, result in results] == [
        (0, 1),
        (3, 2),
        (5, 0),
    ]


@in_both_modes
async def test_a_failure_comes_after_what_its_generator_gave(mode: str) -> None:
    @single_task(on_error="emit_failure", retry_attempts=3, retry_delay=0)
    async def pages(item: int) -> AsyncIterator[int]:
        yield item
        raise ValueError("bad")

    results = await (pages | passing).with_execution_mode(mode)([7]).collect()
    assert results[0] == 7
    assert results[1].item == 7
    assert results[1].attempts == 1


@in_both_modes
async def test_a_failure_in_the_input_is_an_ordinary_item(mode: str) -> None:
    failure = Failure("item", ValueError("bad"), "other", 1)
    seen: list[Any] = []
    pipeline = single_task(lambda item: seen.append(item) or item) | passing
    (result,) = await pipeline.with_execution_mode(mode)([failure]).collect()
    assert result is failure
    assert seen == [failure]
    assert await batch_task(max_size=2)(tuple)([failure, failure]).collect() == [(failure, failure)]


@in_both_modes
async def test_a_failure_that_a_task_returns_is_an_ordinary_result(mode: str) -> None:
    failure = Failure("item", ValueError("bad"), "other", 1)
    seen: list[Any] = []
    pipeline = single_task(lambda item: failure) | single_task(seen.append)
    assert await pipeline.with_execution_mode(mode)([1]).collect() == []
    assert seen == [failure]


async def test_one_run_may_hold_every_policy() -> None:
    bad = {1: ValueError("1")}, {2: ValueError("2")}, {4: ValueError("4")}
    pipeline = (
        single_task(Flawed(bad[0]), on_error="skip_item")
        | single_task(Flawed(bad[1]), on_error="emit_failure")
        | single_task(Flawed(bad[2]))
    )
    results, error = await results_and_error(pipeline(range(9)))
    assert [getattr(result, "item", result) for result in results] == [0, 2, 3]
    assert error is bad[2][4]


# --- retries


class Unsteady:
    """A function that fails a number of times for each item, and notes when it was called."""

    def __init__(self, failures: int, error: Callable[[], Exception] = ValueError) -> None:
        self.failures = failures
        self.error = error
        self.times: list[float] = []

    async def __call__(self, item: Any) -> Any:
        self.times.append(anyio.current_time())
        if len(self.times) <= self.failures:
            raise self.error()
        return "result"


KINDS: dict[str, Callable[..., Any]] = {
    "single": single_task,
    "batch": lambda function, **options: batch_task(max_size=1, **options)(function),
}
of_both_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@of_both_kinds
@in_both_modes
@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_retry_attempts_is_the_number_of_all_tries(
    mode: str, kind: Callable[..., Any], attempts: int
) -> None:
    unsteady = Unsteady(attempts)
    task = kind(unsteady, retry_attempts=attempts, retry_delay=0).with_execution_mode(mode)
    async with task([1]) as stream:
        with pytest.raises(ValueError, match="1 of 1"):
            await anext(stream)
        (counts,) = stream.statistics().stages
    assert len(unsteady.times) == attempts
    assert (counts.retried, counts.failed) == (attempts - 1, 1)

    unsteady = Unsteady(attempts - 1)
    task = kind(unsteady, retry_attempts=attempts, retry_delay=0).with_execution_mode(mode)
    async with task([1]) as stream:
        assert await anext(stream) == "result"
        (counts,) = stream.statistics().stages
    assert len(unsteady.times) == attempts
    assert (counts.retried, counts.failed) == (attempts - 1, 0)


@pytest.mark.virtual_time
@of_both_kinds
@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({}, [0, 1, 3, 7, 15, 31]),
        ({"retry_delay": 0.5}, [0, 0.5, 1.5, 3.5, 7.5, 15.5]),
        ({"retry_max_delay": 3}, [0, 1, 3, 6, 9, 12]),
        ({"retry_max_delay": 0.5}, [0, 0.5, 1, 1.5, 2, 2.5]),
        ({"retry_delay": 30}, [0, 30, 90, 150, 210, 270]),
        ({"retry_exponential_backoff": False}, [0, 1, 2, 3, 4, 5]),
        ({"retry_exponential_backoff": False, "retry_delay": 90}, [0, 60, 120, 180, 240, 300]),
        ({"retry_delay": 0}, [0, 0, 0, 0, 0, 0]),
        ({"retry_max_delay": 0}, [0, 0, 0, 0, 0, 0]),
    ],
    ids=str,
)
async def test_the_delays_without_jitter_are_exact(
    kind: Callable[..., Any], options: dict[str, Any], times: list[float]
) -> None:
    unsteady = Unsteady(5)
    task = kind(unsteady, retry_attempts=6, retry_jitter=False, **options)
    assert await timed(task([1])) == [(times[-1], "result")]
    assert unsteady.times == times


@pytest.mark.virtual_time
async def test_with_jitter_each_delay_is_a_random_share_of_the_full_one() -> None:
    delays: list[list[float]] = [[], [], []]
    for _ in range(50):
        unsteady = Unsteady(3)
        task = single_task(unsteady, retry_attempts=4, retry_delay=2, retry_max_delay=5)
        await task([1]).drain()
        for number, (earlier, later) in enumerate(itertools.pairwise(unsteady.times)):
            delays[number].append(later - earlier)
    for full, shares in zip([2, 4, 5], delays, strict=True):
        assert all(0 <= share <= full for share in shares)
        # Each of these fails once in 10**15 runs or so.
        assert min(shares) < full / 2 < max(shares)
        assert len(set(shares)) > 1


class SlowDown(Exception):  # noqa: N818 - short, as it stands in every example
    """What a service answers that is asked too often."""

    def __init__(self, retry_after: Any) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


def asking(*seconds: float) -> Unsteady:
    """Return a function that fails as often as there are `seconds`, which its errors ask for."""
    asked = iter(seconds)
    return Unsteady(len(seconds), lambda: SlowDown(next(asked)))


KINDS_THAT_ASK: dict[str, Callable[..., Any]] = {
    **KINDS,
    "generator": lambda function, **options: single_task(as_generator(function), **options),
    "keyed": lambda function, **options: single_task(function, key=lambda item: 0, **options),
    "keyed batch": lambda function, **options: batch_task(max_size=1, by=lambda item: 0, **options)(
        function
    ),
    "timeout": lambda function, **options: single_task(function, timeout=1, **options),
    "limited": lambda function, **options: single_task(
        function, rate_limit=RateLimit(1, burst=100), **options
    ),
}


@pytest.mark.backends("asyncio", "trio")
@given(
    kind=st.sampled_from(list(KINDS_THAT_ASK.values())),
    asked=st.lists(st.sampled_from([0, 0.25, 0.5, 1, 2.5, 7, 90]), min_size=1, max_size=4),
    delay=st.sampled_from([0, 0.25, 1, 8]),
    most=st.sampled_from([0, 0.5, 4, 60]),
    mode=st.sampled_from(["ordered", "as_completed"]),
    random=st.random_module(),
)
async def test_the_next_try_starts_at_the_later_of_the_two_delays(
    kind: Callable[..., Any],
    asked: list[float],
    delay: float,
    most: float,
    mode: str,
    random: object,
) -> None:
    begin = anyio.current_time()
    unsteady = asking(*asked)
    task = kind(
        unsteady,
        retry_attempts=len(asked) + 1,
        retry_delay=delay,
        retry_max_delay=most,
        retry_jitter=False,
    )
    await task.with_execution_mode(mode)([1]).drain()
    expected = [0.0]
    for number, seconds in enumerate(asked):
        # `retry_max_delay` bounds our own delay, and not what a service asks for.
        expected.append(expected[-1] + max(min(delay * 2**number, most), seconds))
    assert [time - begin for time in unsteady.times] == expected


@pytest.mark.virtual_time
@of_both_kinds
async def test_jitter_shortens_our_own_delay_alone(kind: Callable[..., Any]) -> None:
    unsteady = asking(8, 16)
    task = kind(unsteady, retry_attempts=3, retry_delay=8)
    await task([1]).drain()
    assert unsteady.times == [0, 8, 24]


@pytest.mark.virtual_time
@pytest.mark.parametrize("value", ["30", None, math.inf, math.nan, -1, True, [1], 10**400])
async def test_what_is_no_number_of_seconds_leaves_the_delay_alone(value: Any) -> None:
    unsteady = asking(value, 3)
    task = single_task(unsteady, retry_attempts=3, retry_delay=1, retry_jitter=False)
    await task([1]).drain()
    assert unsteady.times == [0, 1, 4]


@pytest.mark.virtual_time
async def test_the_items_that_a_batch_error_names_are_tried_again_when_all_of_them_may_be() -> None:
    calls: list[tuple[float, list[int]]] = []
    errors: list[dict[int, Exception]] = [
        {0: SlowDown(4), 2: SlowDown(10), 3: SlowDown(90)},
        {1: SlowDown(2)},
    ]
    errors[0][3].args = ("never",)

    @batch_task(
        max_size=4,
        retry_attempts=3,
        retry_jitter=False,
        retry_on=lambda error: "never" not in error.args,
        on_error="skip_item",
    )
    async def store(items: list[int]) -> list[int]:
        calls.append((anyio.current_time(), items))
        if errors:
            named = errors.pop(0)
            raise BatchError(named, [n for place, n in enumerate(items) if place not in named])
        return items

    assert await store(range(4)).collect() == [0, 1, 2]
    # The item that is given up asks for more than anybody waits.
    assert calls == [(0, [0, 1, 2, 3]), (10, [0, 2]), (12, [2])]


@pytest.mark.virtual_time
async def test_the_items_of_a_batch_error_pause_a_limit_too() -> None:
    limit = RateLimit(1)

    @batch_task(max_size=2, rate_limit=limit, on_error="skip_item")
    async def store(items: list[int]) -> list[int]:
        raise BatchError({1: SlowDown(30)}, [items[0]])

    assert await store([1, 2]).collect() == [1]
    assert limit.statistics().paused == 30


@pytest.mark.virtual_time
@in_both_modes
@pytest.mark.parametrize("limit", [None, RateLimit(1, burst=100)], ids=["no limit", "limit"])
async def test_the_halves_of_a_batch_wait_as_well(mode: str, limit: RateLimit | None) -> None:
    begin = anyio.current_time()
    calls: list[tuple[float, list[int]]] = []

    @batch_task(max_size=4, on_error="skip_item", rate_limit=limit)
    async def store(items: list[int]) -> list[int]:
        calls.append((anyio.current_time() - begin, list(items)))
        if 0 in items:
            raise SlowDown(10 * len(items))
        return items

    assert await store.with_execution_mode(mode)(range(4)).collect() == [1, 2, 3]
    assert calls == [(0, [0, 1, 2, 3]), (40, [0, 1]), (60, [0]), (70, [1]), (70, [2, 3])]


@pytest.mark.virtual_time
@pytest.mark.parametrize("limit", [None, RateLimit(1, burst=100)], ids=["no limit", "limit"])
async def test_the_log_says_when_the_next_try_may_start(
    limit: RateLimit | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "conveyor")
    task = single_task(
        asking(30, 0.5), retry_attempts=3, retry_jitter=False, rate_limit=limit, task_name="ask"
    )
    await task([1]).drain()
    texts = [record.getMessage() for record in caplog.records]
    assert [text.rpartition(" in ")[2] for text in texts if "the next is" in text] == [
        "30.000 s",
        "2.000 s",
    ]


@pytest.mark.virtual_time
async def test_who_waits_is_cancelled_when_the_stream_is_left() -> None:
    async with single_task(asking(10**6), retry_attempts=2)([1]) as stream:
        with anyio.move_on_after(5):
            await anext(stream)
        (counts,) = stream.statistics().stages
    assert (counts.running, counts.retried) == (1, 0)
    assert anyio.current_time() == 5


@pytest.mark.virtual_time
async def test_the_wait_keeps_nobody_from_the_slots_of_the_run() -> None:
    asked = asking(50)
    slow = single_task(asked, retry_attempts=2).with_context(max_parallelism=1)
    results = await timed((slow | passing).as_completed([1]))
    assert results == [(50, "result")]

    @single_task(retry_attempts=2, retry_jitter=False)
    async def work(item: int) -> int:
        if item == 0 and anyio.current_time() < 60:
            raise SlowDown(20)
        return item

    pipeline = work.with_context(max_parallelism=1)
    assert await timed(pipeline.as_completed(range(1, 3))) == [(50, 1), (50, 2)]
    assert await timed(pipeline.as_completed(range(3))) == [(50, 1), (50, 2), (70, 0)]


@pytest.mark.virtual_time
async def test_other_items_go_on_while_one_waits_for_its_next_try() -> None:
    unsteady = Unsteady(1)

    @single_task(retry_attempts=2, retry_delay=10, retry_jitter=False)
    async def work(item: int) -> int:
        if item == 0:
            await unsteady(item)
        return item

    assert await timed(work.as_completed(range(3))) == [(0, 1), (0, 2), (10, 0)]


async def test_a_plain_function_is_retried_too() -> None:
    calls: list[int] = []

    @single_task(retry_attempts=3, retry_delay=0)
    def work(item: int) -> int:
        calls.append(item)
        if len(calls) < 3:
            raise ValueError
        return item

    assert await work([7]).collect() == [7]
    assert calls == [7, 7, 7]


@of_both_kinds
@pytest.mark.parametrize(
    ("retry_on", "error", "tries"),
    [
        (ValueError, ValueError, 3),
        (ValueError, UnicodeError, 3),
        (ValueError, KeyError, 1),
        ((ValueError, KeyError), KeyError, 3),
        ((ValueError, KeyError), IndexError, 1),
        ((), ValueError, 1),
        (lambda error: isinstance(error, ValueError), ValueError, 3),
        (lambda error: isinstance(error, ValueError), KeyError, 1),
        (lambda error: "yes", KeyError, 3),
        (lambda error: None, KeyError, 1),
    ],
)
async def test_retry_on_says_which_errors_deserve_another_try(
    kind: Callable[..., Any], retry_on: Any, error: type[Exception], tries: int
) -> None:
    unsteady = Unsteady(3, error)
    task = kind(unsteady, retry_attempts=3, retry_delay=0, retry_on=retry_on)
    with pytest.raises(error, match="1 of 1"):
        await task([1]).drain()
    assert len(unsteady.times) == tries


async def test_a_predicate_is_asked_about_the_error_itself_while_there_are_tries_left() -> None:
    error, asked = ValueError("bad"), []

    def deserves(error: Exception) -> bool:
        asked.append(error)
        return True

    task = single_task(
        Flawed({1: error}), retry_attempts=3, retry_delay=0, retry_on=deserves, on_error="skip_item"
    )
    await task([1]).drain()
    assert asked == [error, error]


def as_generator(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return an async generator that fails as `function` does."""

    async def give(item: Any) -> AsyncIterator[Any]:
        yield await function(item)

    return give


@in_both_modes
@pytest.mark.parametrize(
    "wrap", [lambda function: function, as_generator], ids=["def", "generator"]
)
@pytest.mark.parametrize("policy", ["fail", "skip_item", "emit_failure"])
async def test_a_predicate_that_raises_ends_the_tries_with_its_own_error(
    mode: str, wrap: Callable[[Any], Any], policy: str
) -> None:
    original, broken = ValueError("original"), RuntimeError("broken predicate")
    flawed = Flawed({1: original})

    def deserves(error: Exception) -> bool:
        raise broken

    task = single_task(wrap(flawed), retry_attempts=3, retry_on=deserves, on_error=policy)
    stream = task.with_execution_mode(mode)([1])
    if policy == "fail":
        results, error = await results_and_error(stream)
        assert results == []
        assert error is broken
        assert error.__notes__ == [f"stage {task.name!r} (1 of 1), item 0"]
    elif policy == "skip_item":
        assert await stream.collect() == []
    else:
        (failure,) = await stream.collect()
        assert failure.error is broken
        assert failure.attempts == 1
    assert broken.__context__ is original
    assert len(flawed.calls) == 1


async def test_a_function_with_a_retry_loop_of_its_own_works_as_it_is() -> None:
    def retrying(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            for _ in range(2):
                with contextlib.suppress(ValueError):
                    return await function(*args, **kwargs)
            return await function(*args, **kwargs)

        return wrapper

    calls: list[int] = []

    @single_task
    @retrying
    async def work(item: int, more: int) -> int:
        calls.append(item)
        if len(calls) % 3:
            raise ValueError
        return item + more

    assert work.name == "work"
    assert await work.with_inputs(10)([1, 2]).collect() == [11, 12]
    assert len(calls) == 6


# Generators are tried again until they have given a value.


@in_both_modes
@pytest.mark.parametrize("wrap", ["sync", "async"])
async def test_a_generator_that_failed_before_giving_a_value_is_tried_again(
    mode: str, wrap: str
) -> None:
    starts: list[int] = []

    def plain(item: int) -> Iterator[int]:
        starts.append(item)
        if len(starts) < 3:
            raise ValueError
        yield from (1, 2)

    async def waiting(item: int) -> AsyncIterator[int]:
        await checkpoint()
        for value in plain(item):
            yield value

    function = plain if wrap == "sync" else waiting
    task = single_task(function, retry_attempts=3, retry_delay=0).with_execution_mode(mode)
    assert await task([7]).collect() == [1, 2]
    assert starts == [7, 7, 7]


@in_both_modes
@pytest.mark.parametrize("wrap", ["sync", "async"])
async def test_a_generator_that_failed_after_giving_a_value_is_not_tried_again(
    mode: str, wrap: str
) -> None:
    starts: list[int] = []

    def plain(item: int) -> Iterator[int]:
        starts.append(item)
        yield 1
        raise ValueError("bad")

    async def waiting(item: int) -> AsyncIterator[int]:
        for value in plain(item):
            yield value

    function = plain if wrap == "sync" else waiting
    task = single_task(function, retry_attempts=3, retry_delay=0).with_execution_mode(mode)
    results, error = await results_and_error(task([7]))
    assert results in ([1], []) if mode == "as_completed" else results == [1]
    assert isinstance(error, ValueError)
    assert starts == [7]


@in_both_modes
async def test_a_generator_that_gave_none_has_given_nothing(mode: str) -> None:
    starts: list[int] = []

    @single_task(retry_attempts=2, retry_delay=0)
    def pages(item: int) -> Iterator[int | None]:
        starts.append(item)
        yield None
        if len(starts) == 1:
            raise ValueError
        yield item

    assert await pages.with_execution_mode(mode)([7]).collect() == [7]
    assert starts == [7, 7]


@pytest.mark.virtual_time
async def test_the_tries_of_a_generator_come_after_the_delays() -> None:
    starts: list[float] = []

    @single_task(retry_attempts=4, retry_jitter=False)
    async def pages(item: int) -> AsyncIterator[int]:
        starts.append(anyio.current_time())
        if len(starts) < 4:
            raise ValueError
        yield item

    assert await timed(pages([7])) == [(7, 7)]
    assert starts == [0, 1, 3, 7]


# --- time-outs


@pytest.mark.virtual_time
@of_both_kinds
@in_both_modes
async def test_a_timeout_bounds_one_try(mode: str, kind: Callable[..., Any]) -> None:
    times: list[float] = []

    async def work(item: int) -> None:
        times.append(anyio.current_time())
        await anyio.sleep(100)

    task = kind(work, timeout=2, retry_attempts=3, retry_delay=0.5, retry_jitter=False)
    with pytest.raises(TimeoutError, match="'work' \\(1 of 1\\)"):
        await task.with_execution_mode(mode)([1]).drain()
    assert times == [0, 2.5, 5.5]
    assert anyio.current_time() == 7.5


@pytest.mark.virtual_time
async def test_a_try_within_the_timeout_is_left_alone() -> None:
    @single_task(timeout=2)
    async def work(item: int) -> int:
        await anyio.sleep(item)
        return item

    assert await work.as_completed([1, 1.5]).collect() == [1, 1.5]


@pytest.mark.virtual_time
async def test_retry_on_may_leave_time_outs_out() -> None:
    calls: list[int] = []

    @single_task(timeout=2, retry_attempts=3, retry_on=ValueError, on_error="emit_failure")
    async def work(item: int) -> None:
        calls.append(item)
        await anyio.sleep(100)

    (failure,) = await work([1]).collect()
    assert isinstance(failure.error, TimeoutError)
    assert (calls, failure.attempts) == ([1], 1)
    assert anyio.current_time() == 2


@pytest.mark.virtual_time
@in_both_modes
async def test_a_timeout_bounds_the_wait_for_each_value_of_a_generator(mode: str) -> None:
    cleaned_up: list[float] = []

    @single_task(timeout=2)
    async def pages(item: int) -> AsyncIterator[int]:
        try:
            for seconds in (1.5, 1.5, 1.5, 3):
                await anyio.sleep(seconds)
                yield seconds
        finally:
            cleaned_up.append(anyio.current_time())

    results, error = await results_and_error(pages.with_execution_mode(mode)([1]))
    assert results == [1.5, 1.5, 1.5]
    assert isinstance(error, TimeoutError)
    assert cleaned_up == [6.5]
    assert anyio.current_time() == 6.5


@pytest.mark.virtual_time
@in_both_modes
async def test_the_time_in_which_a_generator_is_paused_does_not_count(mode: str) -> None:
    @single_task(timeout=2)
    async def pages(item: int) -> AsyncIterator[int]:
        for value in range(5):
            await anyio.sleep(1)
            yield value

    pipeline = pages.with_execution_mode(mode).with_context(buffer_size=1)
    results = []
    async for result in pipeline([1]):
        results.append(result)
        await anyio.sleep(10)
    assert results == [0, 1, 2, 3, 4]


@pytest.mark.virtual_time
async def test_the_wait_for_max_parallelism_does_not_count() -> None:
    @single_task(timeout=2)
    async def work(item: int) -> int:
        await anyio.sleep(1.5)
        return item

    pipeline = work.with_context(max_parallelism=1)
    assert await pipeline(range(5)).collect() == list(range(5))
    assert anyio.current_time() == 7.5


@pytest.mark.virtual_time
async def test_a_timeout_of_the_function_itself_is_an_error_like_any_other() -> None:
    @single_task(on_error="emit_failure", timeout=10)
    async def work(item: int) -> None:
        with anyio.fail_after(1):
            await anyio.sleep(5)

    (failure,) = await work([1]).collect()
    assert isinstance(failure.error, TimeoutError)
    assert anyio.current_time() == 1


# --- error_handler


class Recorder:
    """A handler that notes what it is asked, and gives one answer."""

    def __init__(self, *answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def decide(self, *question: Any) -> Any:
        self.asked.append(question)
        return self.answer

    async def decide_later(self, *question: Any) -> Any:
        await checkpoint()
        return self.decide(*question)


class Handler(Recorder):
    async def handle_error(
        self, error: Exception, item: Any, task_name: str, attempt: int
    ) -> tuple[bool, Any]:
        return await self.decide_later(error, item, task_name, attempt)


HANDLERS: dict[str, Callable[[Handler], Any]] = {
    "object": lambda handler: handler,
    "def": lambda handler: handler.decide,
    "async def": lambda handler: handler.decide_later,
    "lambda": lambda handler: lambda *question: handler.decide(*question),
    "partial": lambda handler: functools.partial(handler.decide_later),
}
handlers = pytest.mark.parametrize("form", HANDLERS.values(), ids=HANDLERS.keys())


def test_an_object_with_handle_error_is_an_error_handler() -> None:
    assert isinstance(Handler(), ErrorHandler)
    assert not isinstance(Recorder(), ErrorHandler)
    assert isinstance(LoggingErrorHandler(), ErrorHandler)


@handlers
@in_both_modes
async def test_a_handler_is_asked_once_after_the_last_try(
    mode: str, form: Callable[[Handler], Any]
) -> None:
    handler, error = Handler(True, "instead"), ValueError("bad")
    flawed = Flawed({1: error})
    task = single_task(
        flawed, task_name="parse", retry_attempts=3, retry_delay=0, error_handler=form(handler)
    )
    assert await task.with_execution_mode(mode)([1]).collect() == ["instead"]
    assert handler.asked == [(error, 1, "parse", 3)]
    assert flawed.calls == [1, 1, 1]


async def test_a_handler_is_not_asked_when_a_try_succeeds() -> None:
    handler = Handler(False, None)
    task = single_task(Unsteady(2), retry_attempts=3, retry_delay=0, error_handler=handler)
    assert await task([1]).collect() == ["result"]
    assert handler.asked == []


@handlers
async def test_a_handler_of_a_batch_task_is_given_the_batch(form: Callable[[Handler], Any]) -> None:
    handler, error = Handler(True, ["a", "b"]), ValueError("bad")

    @batch_task(max_size=3, error_handler=form(handler))
    def store(batch: list[int]) -> None:
        raise error

    assert await store(range(3)).collect() == ["a", "b"]
    assert handler.asked == [(error, [0, 1, 2], "store", 1)]


@in_both_modes
@pytest.mark.parametrize(
    ("value", "last", "piped"),
    [
        ("instead", ["instead"], ["instead"]),
        (0, [0], [0]),
        ([1, None, 2], [[1, None, 2]], [1, 2]),
        ((1, 2), [(1, 2)], [(1, 2)]),
        (None, [], []),
    ],
    ids=str,
)
async def test_the_value_of_a_handler_takes_the_place_of_the_result(
    mode: str, value: Any, last: list[Any], piped: list[Any]
) -> None:
    task = single_task(
        Flawed({1: ValueError("bad")}), error_handler=Handler(True, value), concurrency_limit=1
    )
    assert await task.with_execution_mode(mode)([0, 1, 2]).collect() == [0, *last, 2]
    pipeline = (task | passing).with_execution_mode(mode)
    assert await pipeline([0, 1, 2]).collect() == [0, *piped, 2]


async def test_an_item_that_a_handler_skips_is_counted_as_skipped() -> None:
    task = single_task(Flawed({1: ValueError("bad")}), error_handler=Handler(True, None))
    async with task(range(3)) as stream:
        assert [result async for result in stream] == [0, 2]
        (counts,) = stream.statistics().stages
    assert (counts.received, counts.skipped, counts.failed, counts.emitted) == (3, 1, 1, 2)


@handlers
@in_both_modes
@pytest.mark.parametrize("value", [None, "ignored"])
async def test_a_handler_that_does_not_carry_on_leaves_it_to_on_error(
    mode: str, form: Callable[[Handler], Any], value: Any
) -> None:
    error = ValueError("bad")
    options: dict[str, Any] = {"error_handler": form(Handler(False, value)), "concurrency_limit": 1}
    flawed = Flawed({1: error})
    task = single_task(flawed, **options)
    _, raised = await results_and_error(task.with_execution_mode(mode)(range(3)))
    assert raised is error
    task = single_task(flawed, on_error="skip_item", **options)
    assert await task.with_execution_mode(mode)(range(3)).collect() == [0, 2]
    task = single_task(flawed, on_error="emit_failure", **options)
    failure = (await task.with_execution_mode(mode)(range(3)).collect())[1]
    assert failure.error is error


async def test_a_handler_that_carries_on_settles_it_whatever_on_error_says() -> None:
    for policy in ("fail", "skip_item", "emit_failure"):
        options = {"on_error": policy, "error_handler": Handler(True, "instead")}
        task = single_task(Flawed({1: ValueError("bad")}), **options)
        assert await task(range(3)).collect() == [0, "instead", 2]


@in_both_modes
async def test_a_handler_decides_about_a_generator_that_has_given_values(mode: str) -> None:
    @single_task(error_handler=Handler(True, "instead"))
    async def pages(item: int) -> AsyncIterator[int]:
        yield item
        raise ValueError("bad")

    assert await pages.with_execution_mode(mode)([1]).collect() == [1, "instead"]


@in_both_modes
@pytest.mark.parametrize("later", [False, True])
async def test_the_error_of_a_handler_takes_the_place_of_the_one_it_was_given(
    mode: str, later: bool
) -> None:
    original, broken = ValueError("original"), RuntimeError("broken handler")

    def handle(*question: Any) -> Any:
        raise broken

    async def handle_later(*question: Any) -> Any:
        await checkpoint()
        raise broken

    handler = handle_later if later else handle
    options: dict[str, Any] = {"error_handler": handler, "concurrency_limit": 1}
    task = single_task(Flawed({1: original}), **options)
    _, error = await results_and_error(task.with_execution_mode(mode)(range(3)))
    assert error is broken
    assert error.__notes__[-1] == "stage 'Flawed' (1 of 1), item 1"
    task = single_task(Flawed({1: original}), on_error="emit_failure", **options)
    failure = (await task.with_execution_mode(mode)(range(3)).collect())[1]
    assert failure.error is broken
    task = single_task(Flawed({1: original}), on_error="skip_item", **options)
    assert await task.with_execution_mode(mode)(range(3)).collect() == [0, 2]


async def test_the_error_of_a_handler_still_tells_of_the_one_it_was_given() -> None:
    original = ValueError("original")

    def handle(*question: Any) -> Any:
        raise RuntimeError("broken handler")

    task = single_task(Flawed({1: original}), error_handler=handle)
    _, error = await results_and_error(task([1]))
    assert original in (error.__context__, error.__cause__)


@in_both_modes
async def test_a_handler_may_raise_the_error_again(mode: str) -> None:
    original = ValueError("original")

    async def handle(error: Exception, *rest: Any) -> Any:
        raise error

    task = single_task(Flawed({1: original}), error_handler=handle).with_execution_mode(mode)
    _, error = await results_and_error(task(range(3)))
    assert error is original


@pytest.mark.parametrize("policy", ["fail", "emit_failure"])
@pytest.mark.parametrize(
    "answer", [None, True, "ok", (), (True,), (True, 1, 2), (1, "value"), ["x", 1], [True, 1]]
)
async def test_a_handler_that_answers_something_else_is_told_what_is_wanted(
    answer: Any, policy: str
) -> None:
    original = ValueError("original")
    task = single_task(
        Flawed({1: original}),
        task_name="parse",
        on_error=policy,
        error_handler=lambda *question: answer,
    )
    if policy == "fail":
        _, error = await results_and_error(task([1]))
    else:
        (failure,) = await task([1]).collect()
        error = failure.error
    assert isinstance(error, TypeError)
    assert "parse" in str(error)
    assert "(carry_on, value)" in str(error)
    assert repr(answer) in str(error)
    assert error.__cause__ is original


@in_both_modes
async def test_a_logging_handler_logs_the_error_and_leaves_it_to_on_error(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    error, item = ValueError("bad"), Secret()
    task = single_task(
        Flawed({item: error}),
        task_name="parse",
        on_error="emit_failure",
        error_handler=LoggingErrorHandler(),
    )
    (failure,) = await task.with_execution_mode(mode)([item]).collect()
    assert failure.error is error
    assert logged(caplog, error) == [("conveyor", logging.ERROR)]
    assert "parse" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_logging_handler_can_have_a_logger_and_a_level_and_carry_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    error = ValueError("bad")
    handler = LoggingErrorHandler(logging.getLogger("mine"), logging.INFO, carry_on=True)
    task = single_task(Flawed({1: error}), error_handler=handler)
    assert await task(range(3)).collect() == [0, 2]
    assert ("mine", logging.INFO) in logged(caplog, error)


# --- what is no Exception


class Exit(BaseException):
    """Somebody's own."""


FATAL = [KeyboardInterrupt, SystemExit, Exit, GeneratorExit]


def raising(error: BaseException, place: str) -> Any:
    """Return a task that raises `error` for the item 1, and would do anything to avoid it."""
    calls: list[Any] = []
    options: dict[str, Any] = {
        "retry_attempts": 3,
        "retry_delay": 0,
        "on_error": "skip_item",
        "error_handler": lambda *question: (True, "handled"),
    }

    def plain(item: Any) -> Any:
        calls.append(item)
        if item == 1 or 1 in (item if isinstance(item, list) else []):
            raise error
        return item

    async def waiting(item: Any) -> Any:
        await checkpoint()
        return plain(item)

    def generator(item: Any) -> Iterator[Any]:
        yield plain(item)

    async def async_generator(item: Any) -> AsyncIterator[Any]:
        yield await waiting(item)

    def handle(*question: Any) -> Any:
        raise error

    def fail(item: Any) -> None:
        calls.append(item)
        raise ValueError

    functions = {
        "def": plain,
        "async def": waiting,
        "generator": generator,
        "async generator": async_generator,
    }
    match place:
        case "bare def":
            return single_task(plain), calls
        case "bare async def":
            return single_task(waiting), calls
        case "batch":
            return batch_task(max_size=1, **options)(waiting), calls
        case "handler":
            return single_task(fail, error_handler=handle, on_error="skip_item"), calls
        case "predicate":
            return single_task(fail, retry_on=handle, retry_attempts=3), calls
        case _:
            return single_task(**options)(functions[place]), calls


@pytest.mark.parametrize("kind", FATAL)
@pytest.mark.parametrize(
    "place",
    [
        "def",
        "async def",
        "generator",
        "async generator",
        "bare def",
        "bare async def",
        "batch",
        "handler",
        "predicate",
    ],
)
async def test_what_is_no_exception_reaches_the_consumer_as_it_is_and_is_never_handled(
    kind: type[BaseException], place: str
) -> None:
    for mode, consume in itertools.product(["ordered", "as_completed"], ["iterate", "collect"]):
        error = kind("stop")
        task, calls = raising(error, place)
        stream = (passing | task | passing).with_execution_mode(mode)([1])
        if consume == "iterate":
            results, raised = await results_and_error(stream)
            assert results == []
        else:
            raised = await error_of(stream.collect())
        assert raised is error
        assert len(calls) == 1


@in_both_modes
@pytest.mark.parametrize("kind", FATAL)
async def test_what_is_no_exception_ends_everything_else_at_once(
    mode: str, kind: type[BaseException]
) -> None:
    started, cleaned_up = anyio.Event(), []

    @single_task
    async def work(item: int) -> None:
        if item == 1:
            await started.wait()
            raise kind("stop")
        try:
            started.set()
            await anyio.sleep_forever()
        finally:
            cleaned_up.append(item)

    _, error = await results_and_error(work.with_execution_mode(mode)([0, 1]))
    assert type(error) is kind
    assert cleaned_up == [0]


@in_both_modes
@pytest.mark.parametrize("kind", FATAL)
@pytest.mark.parametrize("source", [BrokenIterable, BrokenAsyncIterable])
async def test_what_is_no_exception_reaches_the_consumer_from_the_input_too(
    mode: str, kind: type[BaseException], source: type[Broken]
) -> None:
    error = kind("stop")
    _, raised = await results_and_error(passing.with_execution_mode(mode)(source("next", error)))
    assert raised is error


@in_both_modes
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("place", ["def", "async def", "bare def", "bare async def"])
async def test_a_task_that_raises_the_end_of_an_iteration_cannot_end_the_consumers_loop(
    mode: str, kind: type[Exception], place: str
) -> None:
    error = kind("not the end")
    calls: list[int] = []

    def plain(item: int) -> int:
        calls.append(item)
        if item == 1:
            raise error
        return item

    async def waiting(item: int) -> int:
        return plain(item)

    options = {} if "bare" in place else {"timeout": 60, "retry_attempts": 2, "retry_delay": 0}
    task = single_task(waiting if "async" in place else plain, **options)
    for stages in ([task], [passing, task, passing]):
        pipeline = Pipeline(*stages).with_execution_mode(mode)
        results, raised = await results_and_error(pipeline(range(3)))
        assert results == [0] if mode == "ordered" else set(results) <= {0, 2}
        assert type(raised) is RuntimeError
        assert raised.__cause__ is error
        for consume in (pipeline(range(3)).collect, pipeline(range(3)).drain):
            raised = await error_of(consume())
            assert type(raised) is RuntimeError
            assert raised.__cause__ is error


@in_both_modes
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
async def test_the_end_of_an_iteration_raised_in_a_task_is_an_error_like_others(
    mode: str, kind: type[Exception]
) -> None:
    def work(item: int) -> int:
        if item == 1:
            raise kind("not the end")
        return item

    task = single_task(work, on_error="skip_item").with_execution_mode(mode)
    assert await task(range(3)).collect() == [0, 2]
    task = single_task(work, on_error="emit_failure").with_execution_mode(mode)
    assert isinstance((await task(range(3)).collect())[1], Failure)
    batches = batch_task(max_size=1)(lambda batch: work(batch[0])).with_execution_mode(mode)
    with pytest.raises(RuntimeError, match="not the end"):
        await batches(range(3)).collect()


@in_both_modes
@pytest.mark.parametrize(
    ("source", "kind"),
    [(BrokenIterable, StopAsyncIteration), (BrokenAsyncIterable, StopIteration)],
)
async def test_an_input_that_raises_the_other_end_of_an_iteration_cannot_end_the_loop(
    mode: str, source: type[Broken], kind: type[Exception]
) -> None:
    results, error = await results_and_error(
        passing.with_execution_mode(mode)(source("next", kind("not the end")))
    )
    assert results == [0, 1, 2]
    assert type(error) is RuntimeError


# --- cancellation that comes from elsewhere


async def await_a_cancelled_task() -> None:
    """Raise what asyncio raises where a task is awaited that somebody else has cancelled."""
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


@pytest.mark.backends("asyncio", "uvloop")
@in_both_modes
@pytest.mark.parametrize("form", ["def", "generator", "batch", "input"])
@pytest.mark.parametrize("consume", ["iterate", "collect", "block"])
@pytest.mark.parametrize("options", [{}, {"on_error": "skip_item", "retry_attempts": 3}], ids=len)
async def test_a_cancellation_from_elsewhere_is_neither_lost_nor_waited_for(
    mode: str, form: str, consume: str, options: dict[str, Any]
) -> None:
    async def work(item: Any) -> Any:
        if item in (1, [1]):
            await await_a_cancelled_task()
        return item

    async def give(item: int) -> AsyncIterator[int]:
        yield await work(item)

    async def source() -> AsyncIterator[int]:
        for item in range(3):
            yield await work(item)

    tasks = {
        "def": single_task(work, **options),
        "generator": single_task(give, **options),
        "batch": batch_task(max_size=1, **options)(work),
        "input": passing,
    }
    pipeline = (passing | tasks[form] | passing).with_execution_mode(mode)
    stream = pipeline(source() if form == "input" else range(3))
    if consume == "iterate":
        _, error = await results_and_error(stream)
    elif consume == "collect":
        error = await error_of(stream.collect())
    else:
        async with stream:
            _, error = await results_and_error(stream)
    assert isinstance(error, asyncio.CancelledError | RuntimeError)
    # It was no cancellation of this task, which goes on.
    await asyncio.sleep(0)


@pytest.mark.backends("asyncio", "uvloop")
async def test_a_cancellation_from_elsewhere_can_be_handled_by_the_function() -> None:
    @single_task
    async def work(item: int) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await await_a_cancelled_task()
        return "handled"

    assert await work([1]).collect() == ["handled"]


async def test_cancellation_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handler, calls = Handler(True, "handled"), []

    @single_task(on_error="emit_failure", retry_attempts=3, retry_delay=0, error_handler=handler)
    async def work(item: int) -> None:
        calls.append(item)
        await anyio.sleep_forever()

    async with work(stalling(1, 2)):
        await all_blocked()
    assert handler.asked == []
    assert sorted(calls) == [1, 2]
    assert troubles(caplog) == []
