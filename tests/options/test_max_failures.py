"""`max_failures`: how many items may be done without before a run gives up."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import anyio
import pytest

from _helpers import Flawed, in_both_modes, passing, results_and_error, timed, troubles
from conveyor import Failure, Pipeline, PipelineContext, TooManyFailures, batch_task, single_task
from conveyor._engine.results.budget import PROBATION, Failures


def failing(*items: Any) -> Flawed:
    return Flawed({item: ValueError(item) for item in items})


def shown(results: list[Any]) -> list[Any]:
    """Return results with the items of failures in their places."""
    return [
        ("failed", result.item) if isinstance(result, Failure) else result for result in results
    ]


# When it is too many


@pytest.mark.parametrize("allowed", [0, 1, 5])
def test_a_number_is_too_many_with_one_more(allowed: int) -> None:
    failures = Failures(allowed)
    assert [failures.add(1, 1000) for _ in range(allowed + 2)] == [False] * allowed + [True, True]
    assert failures.count == allowed + 2


def test_failures_of_a_batch_count_all_at_once() -> None:
    failures = Failures(5)
    assert [failures.add(3, 3), failures.add(2, 5), failures.add(3, 8)] == [False, False, True]


def test_a_share_is_exact_and_counts_from_the_hundredth_item_on() -> None:
    assert PROBATION == 100
    assert [Failures(Fraction(1, 10)).add(failed, 99) for failed in (1, 99)] == [False, False]
    assert [Failures(Fraction(1, 10)).add(failed, 100) for failed in (10, 11)] == [False, True]
    assert [Failures(Fraction(1, 3)).add(failed, 300) for failed in (100, 101)] == [False, True]
    assert [Failures(Fraction(1, 10)).add(failed, 1000) for failed in (100, 101)] == [False, True]


# On a task


@in_both_modes
@pytest.mark.parametrize("on_error", ["skip_item", "emit_failure"])
async def test_one_more_than_is_allowed_ends_the_run(mode: str, on_error: Any) -> None:
    flawed = failing(1, 3, 5, 7)
    task = single_task(on_error=on_error, max_failures=2, concurrency_limit=1)(flawed)
    stream = (task.with_options(task_name="check") | passing).with_execution_mode(mode)(range(10))
    results, error = await results_and_error(stream)
    assert type(error) is TooManyFailures
    assert error.__cause__ is flawed.errors[5]
    assert (error.failed, error.received) == (3, 6)
    assert str(error) == (
        "stage 'check' (1 of 2): 3 of 6 items failed, more than max_failures=2 allows"
    )
    assert error.__notes__ == ["stage 'check' (1 of 2), item 5"]
    passed = {"skip_item": [0, 2, 4], "emit_failure": [0, ("failed", 1), 2, ("failed", 3), 4]}
    if mode == "ordered":
        assert shown(results) == passed[on_error]
    assert flawed.calls == [0, 1, 2, 3, 4, 5]
    statistics = stream.statistics().stages[0]
    assert (statistics.failed, statistics.skipped) == (3, 2 if on_error == "skip_item" else 0)


async def test_the_error_can_be_pickled() -> None:
    task = single_task(on_error="skip_item", max_failures=0, task_name="check")(failing(1))
    _, error = await results_and_error(task(range(3)))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.failed) == (TooManyFailures, str(error), 1)
    assert copy.__notes__ == error.__notes__


@in_both_modes
async def test_as_many_as_are_allowed_do_no_harm(mode: str) -> None:
    task = single_task(on_error="skip_item", max_failures=3)(failing(1, 2, 3))
    assert await task.with_execution_mode(mode)(range(5)).collect() == [0, 4]


@in_both_modes
async def test_none_at_all(mode: str) -> None:
    flawed = failing(2)
    task = single_task(on_error="skip_item", max_failures=0)(flawed)
    _, error = await results_and_error(task.with_execution_mode(mode)(range(5)))
    assert type(error) is TooManyFailures
    assert error.__cause__ is flawed.errors[2]


async def test_every_run_counts_anew() -> None:
    task = single_task(on_error="skip_item", max_failures=1)(failing(1))
    pipeline = task.with_context(max_failures=1)
    for _ in range(3):
        assert await pipeline(range(3)).collect() == [0, 2]


@pytest.mark.virtual_time
async def test_in_order_what_was_before_comes_first() -> None:
    @single_task(on_error="skip_item", max_failures=1)
    async def work(item: int) -> int:
        await anyio.sleep(item if item < 10 else item / 16)
        if item >= 10:
            raise ValueError(item)
        return item

    stream = work([3, 2, 10, 1, 11, 4])  # 10 and 11 fail first, while the others sleep
    results: list[Any] = []
    with pytest.raises(TooManyFailures) as caught:
        async for result in stream:
            results.append((anyio.current_time(), result))
    assert results == [(3, 3), (3, 2), (3, 1)]
    assert repr(caught.value.__cause__) == "ValueError(11)"
    assert stream.statistics().stages[0].cancelled == 1  # item 4, which came after


@pytest.mark.virtual_time
async def test_as_completed_it_ends_at_once() -> None:
    @single_task(on_error="skip_item", max_failures=0)
    async def work(item: int) -> int:
        await anyio.sleep(item)
        if item == 2:
            raise ValueError(item)
        return item

    stream = work.as_completed([1, 2, 3])
    assert await anext(stream) == 1
    with pytest.raises(TooManyFailures):
        await anext(stream)
    assert anyio.current_time() == 2


async def test_tries_that_are_followed_by_another_do_not_count() -> None:
    tries = 0

    @single_task(on_error="skip_item", max_failures=0, retry_attempts=3, retry_delay=0)
    def work(item: int) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError(item)
        return item

    assert await work([1]).collect() == [1]


async def test_an_item_that_a_handler_saves_does_not_count_and_one_that_it_skips_does() -> None:
    def handler(error: Exception, item: int, task_name: str, attempt: int) -> tuple[bool, Any]:
        return True, None if item == 9 else -item

    flawed = failing(1, 2, 3, 9)
    task = single_task(error_handler=handler, max_failures=1, concurrency_limit=1)(flawed)
    assert await task([0, 1, 2, 3, 9]).collect() == [0, -1, -2, -3]
    results, error = await results_and_error(task([0, 1, 9, 3, 9, 0]))
    assert (results, type(error)) == ([0, -1, -3], TooManyFailures)
    assert error.__cause__ is flawed.errors[9]


async def test_a_generator_that_fails_in_the_middle_counts_once() -> None:
    @single_task(on_error="skip_item", max_failures=1)
    def work(item: int) -> Iterator[int]:
        yield item
        raise ValueError(item)

    results, error = await results_and_error(work(range(5)))
    assert (results, type(error)) == ([0, 1], TooManyFailures)


async def test_an_item_that_is_skipped_is_logged_and_the_last_is_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = single_task(on_error="skip_item", max_failures=1, task_name="check")(failing(0, 1))
    with caplog.at_level(logging.DEBUG, "conveyor"):
        await results_and_error(task([0, 1]))
    assert [record.getMessage() for record in troubles(caplog)] == [
        "stage 'check' (1 of 1), item 0: skipped"
    ]


# Batches


@in_both_modes
@pytest.mark.parametrize("on_error", ["skip_batch", "emit_failure"])
async def test_a_batch_counts_its_items(mode: str, on_error: Any) -> None:
    @batch_task(max_size=3, on_error=on_error, max_failures=5)
    def work(batch: list[int]) -> list[int]:
        if 0 in batch:
            raise ValueError(batch)
        return batch

    pipeline = work.with_execution_mode(mode)
    results = await pipeline([0, 0, 0, 1, 1, 1, 0, 0]).collect()
    assert shown(results).count(1) == 3
    assert (("failed", [0, 0, 0]) in shown(results)) is (on_error == "emit_failure")
    _, error = await results_and_error(pipeline([0, 0, 0, 1, 1, 1, 0, 0, 0]))
    assert type(error) is TooManyFailures
    assert error.failed == 6


@in_both_modes
async def test_of_a_batch_in_halves_only_bad_items_count_and_the_good_before_them_come(
    mode: str,
) -> None:
    @batch_task(max_size=4, on_error="skip_item", max_failures=2)
    def work(batch: list[int]) -> list[int]:
        if any(item < 0 for item in batch):
            raise ValueError(batch)
        return batch

    pipeline = work.with_execution_mode(mode)
    assert await pipeline([1, -2, 3, -4, 5]).collect() == [1, 3, 5]
    stream = pipeline([1, -2, 3, -4, 5, 6, -7, 8, 9, 10])
    results, error = await results_and_error(stream)
    assert results == [1, 3, 5, 6]
    assert type(error) is TooManyFailures
    assert repr(error.__cause__) == "ValueError([-7])"
    assert error.__notes__ == ["stage 'work' (1 of 1), item 6"]


@pytest.mark.virtual_time
async def test_later_batches_give_nothing_after_the_good_items_of_one_that_was_too_bad() -> None:
    @batch_task(max_size=2, on_error="skip_item", max_failures=0, concurrency_limit=3)
    async def work(batch: list[int]) -> list[int]:
        await anyio.sleep(1 if -2 in batch else 0.5)
        if -2 in batch:
            raise ValueError(batch)
        return batch

    for mode, expected in [("ordered", [1]), ("as_completed", [3, 4, 1])]:
        results, error = await results_and_error(work.with_execution_mode(mode)([1, -2, 3, 4]))
        assert (results, type(error)) == (expected, TooManyFailures)


# On a pipeline


@in_both_modes
async def test_a_pipeline_counts_all_its_tasks_together(mode: str) -> None:
    first = single_task(on_error="skip_item", concurrency_limit=1)(failing(1, 2))
    flawed = failing(3, 4)
    second = single_task(on_error="emit_failure", concurrency_limit=1, task_name="b")(flawed)
    pipeline = (first | second).with_execution_mode(mode)
    enough = pipeline.with_context(max_failures=4)
    assert len(await enough(range(6)).collect()) == 4
    results, error = await results_and_error(pipeline.with_context(max_failures=3)(range(6)))
    assert type(error) is TooManyFailures
    assert error.__cause__ is flawed.errors[4]
    assert error.__notes__ == ["stage 'b' (2 of 2), item 2"]
    assert str(error).startswith("all stages: 4 of ")
    if mode == "ordered":
        assert shown(results) == [0, ("failed", 3)]


async def test_what_fails_with_fail_ends_the_run_as_always() -> None:
    flawed = failing(3)
    pipeline = single_task(flawed).with_context(max_failures=10)
    results, error = await results_and_error(pipeline(range(5)))
    assert (results, error) == ([0, 1, 2], flawed.errors[3])


async def test_of_a_tasks_limit_and_the_pipelines_the_smaller_one_counts() -> None:
    task = single_task(on_error="skip_item", max_failures=3, task_name="a")(failing(*range(9)))
    for most, said in [(1, "all stages: 2"), (3, "stage 'a' (1 of 1): 4"), (9, "stage 'a'")]:
        _, error = await results_and_error(task.with_context(max_failures=most)(range(9)))
        assert str(error).startswith(said)


# Shares


@in_both_modes
@pytest.mark.parametrize("where", ["task", "pipeline"])
async def test_a_share_of_the_items(mode: str, where: str) -> None:
    share = Fraction(1, 10)

    @single_task(on_error="skip_item", concurrency_limit=1)
    def work(item: int) -> int:
        if item < 0:
            raise ValueError(item)
        return item

    pipeline: Pipeline[int, int] = work.with_options(max_failures=share)
    if where == "pipeline":
        pipeline = work.with_context(max_failures=share)
    pipeline = pipeline.with_execution_mode(mode)
    # Below 100 items anything goes, and after that one in ten.
    assert await pipeline([-1] * 99).collect() == []
    assert len(await pipeline([*range(90), *[-1] * 10]).collect()) == 90
    _, error = await results_and_error(pipeline([-1] * 100))
    assert (type(error), error.failed, error.received) == (TooManyFailures, 100, 100)  # type: ignore[attr-defined]
    results, error = await results_and_error(pipeline([*range(95), *[-1] * 20]))
    # The eleventh of 106 is above a tenth.
    assert (type(error), error.failed, error.received) == (TooManyFailures, 11, 106)  # type: ignore[attr-defined]
    assert "max_failures=1/10 allows" in str(error)
    if mode == "ordered":
        assert results == list(range(95))


async def test_for_a_pipeline_it_is_a_share_of_what_the_busiest_task_got() -> None:
    @single_task
    def tens(item: int) -> list[int]:
        return list(range(10))

    @single_task(on_error="skip_item")
    def check(item: int) -> int:
        if item < 2:
            raise ValueError(item)
        return item

    pipeline = tens | check
    results = await pipeline.with_context(max_failures=Fraction(1, 4))(range(20)).collect()
    assert len(results) == 160
    _, error = await results_and_error(
        pipeline.with_context(max_failures=Fraction(1, 5))(range(20))
    )
    assert type(error) is TooManyFailures
    assert (error.failed, error.received) == (21, 101)


# What is refused

MAKE: list[Callable[[Any], object]] = [
    lambda value: single_task(on_error="skip_item", max_failures=value)(passing.func),
    lambda value: batch_task(max_size=2, on_error="skip_batch", max_failures=value)(passing.func),
    lambda value: PipelineContext(max_failures=value),
    lambda value: passing.with_context(max_failures=value),
]


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize(
    ("value", "error", "right"),
    [
        (-1, ValueError, "at least 0"),
        (Fraction(0), ValueError, "between 0 and 1"),
        (Fraction(1), ValueError, "between 0 and 1"),
        (Fraction(-1, 2), ValueError, "between 0 and 1"),
        (Fraction(3, 2), ValueError, "between 0 and 1"),
        (True, TypeError, "a whole number"),
        ("3", TypeError, "a whole number"),
        (2.0, TypeError, "a whole number"),
        (float("nan"), TypeError, "a whole number"),
        (0.05, TypeError, 'write Fraction("0.05")'),
    ],
)
def test_what_says_no_number_of_items_is_refused(
    make: Callable[[Any], object], value: Any, error: type[Exception], right: str
) -> None:
    with pytest.raises(error) as caught:
        make(value)
    assert "max_failures" in str(caught.value)
    assert repr(value) in str(caught.value)
    assert right in str(caught.value)


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("value", [None, 0, 7, Fraction(1, 20)])
def test_what_does_say_one_is_taken(make: Callable[[Any], object], value: Any) -> None:
    make(value)


def test_where_the_first_failure_ends_the_run_it_is_refused() -> None:
    for make in (
        lambda: single_task(max_failures=3),
        lambda: batch_task(max_size=2, max_failures=3),
    ):
        with pytest.raises(ValueError, match="max_failures=3 needs an on_error other than 'fail'"):
            make()(passing.func)
    task = single_task(on_error="skip_item", max_failures=3)(passing.func)
    with pytest.raises(ValueError, match="max_failures=3 needs"):
        task.with_options(on_error="fail")
    task.with_options(on_error="fail", max_failures=None)


def test_fractions_are_known_without_being_imported() -> None:
    script = """
import sys
import conveyor
conveyor.single_task(lambda item: item, on_error="skip_item", max_failures=3)
assert "fractions" not in sys.modules
from fractions import Fraction
conveyor.single_task(lambda item: item, on_error="skip_item", max_failures=Fraction(1, 9))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""


@in_both_modes
@pytest.mark.virtual_time
async def test_without_it_anything_may_fail(mode: str) -> None:
    task = single_task(on_error="skip_item")(failing(*range(300)))
    assert await timed(task.with_execution_mode(mode)(range(301))) == [(0, 300)]
