"""Items of one key follow one another; others go on beside them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from _helpers import all_blocked, in_both_modes, passing, results_and_error, timed
from conveyor import Failure, Stream, Task, batch_task, single_task
from conveyor._engine.intake.keyed import Keyed


class Log:
    """A keyed task that sleeps as long as an item says, and when which item ran."""

    def __init__(self) -> None:
        self.started: list[tuple[float, Any]] = []
        self.ended: list[tuple[float, Any]] = []
        self.running: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()

    def task(self, **options: Any) -> Task[Any, Any]:
        return single_task(key=lambda item: item[0], **options)(self.work)

    async def work(self, item: tuple[str, int, float]) -> tuple[str, int]:
        key, number, seconds = item
        self.running[key] += 1
        self.most[key] = max(self.most[key], self.running[key])
        self.started.append((anyio.current_time(), (key, number)))
        try:
            await anyio.sleep(seconds)
        finally:
            self.running[key] -= 1
        self.ended.append((anyio.current_time(), (key, number)))
        return key, number


def keyed_of(stream: Stream[Any], stage: int = 0) -> Keyed:
    assert stream._run is not None
    keyed = stream._run._stages[stage]._keyed
    assert keyed is not None
    return keyed


@in_both_modes
@pytest.mark.virtual_time
async def test_items_of_a_key_follow_one_another_and_others_run_beside_them(mode: str) -> None:
    log = Log()
    items = [("a", 0, 3.0), ("a", 1, 1.0), ("b", 2, 1.0), ("a", 3, 1.0), ("b", 4, 5.0)]
    assert await timed(log.task().with_execution_mode(mode)(items)) == (
        [(3, ("a", 0)), (4, ("a", 1)), (4, ("b", 2)), (5, ("a", 3)), (6, ("b", 4))]
        if mode == "ordered"
        else [(1, ("b", 2)), (3, ("a", 0)), (4, ("a", 1)), (5, ("a", 3)), (6, ("b", 4))]
    )
    assert sorted(log.started) == [
        (0, ("a", 0)),
        (0, ("b", 2)),
        (1, ("b", 4)),
        (3, ("a", 1)),
        (4, ("a", 3)),
    ]


@in_both_modes
@pytest.mark.virtual_time
async def test_per_key_lets_so_many_of_one_key_run(mode: str) -> None:
    log = Log()
    items = [("a", number, 1.0) for number in range(5)]
    task = log.task(per_key=2).with_execution_mode(mode)
    assert [time for time, _ in await timed(task(items))] == [1, 1, 2, 2, 3]
    assert log.most == {"a": 2}
    assert [item[1] for _, item in sorted(log.started)] == [0, 1, 2, 3, 4]


@in_both_modes
@pytest.mark.virtual_time
async def test_the_limit_of_the_task_holds_for_all_keys_together(mode: str) -> None:
    log = Log()
    items = [(key, number, 1.0) for number, key in enumerate("abcdef")]
    task = log.task(concurrency_limit=4).with_execution_mode(mode)
    assert [time for time, _ in await timed(task(items))] == [1, 1, 1, 1, 2, 2]


@in_both_modes
@pytest.mark.virtual_time
async def test_a_hot_key_leaves_the_slots_to_others_as_far_as_the_window_reaches(
    mode: str,
) -> None:
    log = Log()
    # One is at work, and up to four are set aside: nothing is taken while there are so many.
    items = [("hot", n, 10.0) for n in range(4)] + [("cold", 5, 1.0)]
    items += [("hot", 6, 10.0), ("late", 7, 1.0)]
    task = log.task().with_execution_mode(mode).with_context(buffer_size=4)
    await task(items).drain()
    started = {item: time for time, item in log.started}
    assert started["cold", 5] == 0
    assert started["late", 7] == 10


@pytest.mark.virtual_time
async def test_in_order_the_window_counts_what_is_set_aside() -> None:
    read = 0

    async def source() -> AsyncIterator[tuple[str, int, float]]:
        nonlocal read
        for number in range(100):
            read += 1
            yield "hot", number, 1.0

    log = Log()
    stream = log.task(concurrency_limit=2).with_context(buffer_size=3)(source())
    async with stream:
        await all_blocked()
        (stage,) = stream.statistics().stages
        # One at work, three aside, three in the link, one in the hands of the reader; or, if that
        # was stopped at a full link, two, and none: it goes on when the link is half full.
        assert (stage.received, stage.running) == (4, 1)
        assert (stage.queued, before := read) in ((6, 8), (5, 7))
        await anyio.sleep(0.5)
        assert read == before


@in_both_modes
@pytest.mark.virtual_time
async def test_a_key_without_items_takes_no_memory(mode: str) -> None:
    most = 0

    @single_task(key=lambda item: item)
    async def work(item: int) -> int:
        nonlocal most
        await anyio.sleep(0.01)
        most = max(most, len(keyed_of(stream)._lanes))
        return item

    stream = work.with_execution_mode(mode)(range(2000))
    async with stream:
        assert sorted([item async for item in stream]) == list(range(2000))
        assert keyed_of(stream)._lanes == {}
    assert most <= 100


@in_both_modes
@pytest.mark.parametrize("plain", [False, True])
async def test_functions_that_never_suspend_do_as_well(mode: str, plain: bool) -> None:
    async def coroutine(item: int) -> int:
        return item

    function: Callable[[int], Any] = (lambda item: item) if plain else coroutine
    task = single_task(key=lambda item: item % 3)(function).with_execution_mode(mode)
    assert await (task | task)(range(500)).collect() == list(range(500))


@in_both_modes
async def test_lists_generators_and_filters_keep_to_their_keys(mode: str) -> None:
    order: defaultdict[int, list[int]] = defaultdict(list)

    @single_task(key=lambda item: item % 2, spread=True)
    async def work(item: int) -> Any:
        order[item % 2].append(item)
        await checkpoint()
        if item % 3 == 0:
            return None
        return [item, -item] if item % 3 == 1 else (value for value in (item, -item))

    results = await work.with_execution_mode(mode)(range(12)).collect()
    expected = [value for item in range(12) if item % 3 for value in (item, -item)]
    assert results == expected if mode == "ordered" else sorted(results) == sorted(expected)
    assert order == {0: [0, 2, 4, 6, 8, 10], 1: [1, 3, 5, 7, 9, 11]}


# Errors


def bad_key(item: int) -> Any:
    if item == 2:
        raise KeyError("no key")
    return [] if item == 3 else item


@in_both_modes
async def test_an_error_in_key_is_one_of_the_item_and_is_named(mode: str) -> None:
    handed: list[int] = []

    @single_task(key=bad_key, on_error="emit_failure", retry_attempts=3)
    async def work(item: int) -> int:
        handed.append(item)
        return item

    stream = work.with_execution_mode(mode)(range(5))
    results = await stream.collect()
    failures = [result for result in results if isinstance(result, Failure)]
    assert sorted(result for result in results if isinstance(result, int)) == [0, 1, 4]
    assert sorted(handed) == [0, 1, 4]
    assert [(failure.item, failure.attempts) for failure in failures] == [(2, 1), (3, 1)]
    assert [type(failure.error) for failure in failures] == [KeyError, TypeError]
    for failure in failures:
        assert "in the key of task 'work'" in failure.error.__notes__
    if mode == "ordered":
        assert [results.index(failure) for failure in failures] == [2, 3]
    assert stream.statistics().stages[0].failed == 2


async def test_an_error_in_key_can_end_the_run() -> None:
    work = single_task(lambda item: item).with_options(key=bad_key)
    results, error = await results_and_error(work(range(5)))
    assert results == [0, 1]
    assert isinstance(error, KeyError)
    assert error.__notes__ == ["in the key of task '<lambda>'", "stage '<lambda>' (1 of 1), item 2"]


@pytest.mark.virtual_time
async def test_in_order_what_was_set_aside_before_an_error_is_still_delivered() -> None:
    log = Log()

    @single_task(key=lambda item: item[0])
    async def work(item: tuple[str, int, float]) -> tuple[str, int]:
        if item[0] == "bad":
            await anyio.sleep(item[2])
            raise ValueError(item[1])
        return await log.work(item)

    items = [("a", 0, 2.0), ("a", 1, 2.0), ("bad", 2, 1.0), ("a", 3, 2.0), ("b", 4, 9.0)]
    results, error = await results_and_error(work(items))
    assert results == [("a", 0), ("a", 1)]
    assert (type(error), error.args, anyio.current_time()) == (ValueError, (2,), 4)
    assert ("a", 3) not in [item for _, item in log.started]


@in_both_modes
@pytest.mark.virtual_time
async def test_an_error_of_the_input_waits_for_what_is_set_aside(mode: str) -> None:
    async def source() -> AsyncIterator[tuple[str, int, float]]:
        for number in range(3):
            yield "a", number, 1.0
        raise OSError("input")

    log = Log()
    results, error = await results_and_error(log.task().with_execution_mode(mode)(source()))
    assert results == [("a", 0), ("a", 1), ("a", 2)]
    assert (type(error), anyio.current_time()) == (OSError, 3)


@in_both_modes
async def test_failures_pass_a_stage_with_keys(mode: str) -> None:
    @single_task(on_error="emit_failure")
    async def first(item: int) -> int:
        if item % 4 == 1:
            raise ValueError(item)
        return item

    @single_task(key=lambda item: item % 2)
    async def second(item: int) -> int:
        await checkpoint()
        return item

    stream = (first | second).with_execution_mode(mode)(range(20))
    results = [
        result.item if isinstance(result, Failure) else result for result in await stream.collect()
    ]
    assert results == list(range(20)) if mode == "ordered" else sorted(results) == list(range(20))
    assert [stage.received for stage in stream.statistics().stages] == [20, 15]


@in_both_modes
@pytest.mark.virtual_time
async def test_leaving_early_gives_up_what_is_set_aside(mode: str) -> None:
    log = Log()
    stream = log.task().with_execution_mode(mode)(("a", n, 1.0) for n in range(50))
    async with stream:
        async for result in stream:
            assert result == ("a", 0)
            break
    assert [item for _, item in log.started] == [("a", 0), ("a", 1)]


def test_a_batch_task_has_no_key() -> None:
    with pytest.raises(TypeError, match="unknown option 'key'"):
        batch_task(max_size=3, key=len)  # type: ignore[call-overload]  # is refused


# All of it together


@given(
    items=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from((0, 1, 2, 5))), max_size=25),
    limit=st.integers(1, 4),
    per_key=st.integers(1, 3),
    buffer_size=st.integers(1, 6),
    mode=st.sampled_from(("ordered", "as_completed")),
    random=st.random_module(),
)
@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
async def test_no_key_runs_more_than_it_may_and_no_slot_idles_without_need(
    items: list[tuple[str, int]],
    limit: int,
    per_key: int,
    buffer_size: int,
    mode: str,
    random: object,
) -> None:
    log = Log()
    numbered = [(key, number, seconds) for number, (key, seconds) in enumerate(items)]
    task = log.task(concurrency_limit=limit, per_key=per_key)
    stream = task.with_execution_mode(mode).with_context(buffer_size=buffer_size)(numbered)
    results = await stream.collect()
    expected = [(key, number) for key, number, _ in numbered]
    assert results == expected if mode == "ordered" else sorted(results) == sorted(expected)
    assert all(most <= per_key for most in log.most.values())
    order: defaultdict[str, list[int]] = defaultdict(list)
    for _, (key, number) in log.started:
        order[key].append(number)
    assert all(numbers == sorted(numbers) for numbers in order.values())
    # While one is left that could run, all slots are busy: then the whole takes no longer than
    # one slot would that has to do everything.
    assert anyio.current_time() <= sum(seconds for _, seconds in items)
    assert keyed_of(stream)._lanes == {}
    assert keyed_of(stream).set_aside == 0


def test_a_coroutine_function_is_no_key() -> None:
    async def key(item: int) -> int:
        return item

    with pytest.raises(TypeError, match="key must be a plain function of the item, not"):
        single_task(lambda item: item).with_options(key=key)


@in_both_modes
@pytest.mark.parametrize("place", ["input", "stage before"])
async def test_a_stage_that_has_failed_sleeps_until_what_is_in_front_has_cleaned_up(
    mode: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could start nothing of what waits in front of it, and was to look again and again."""
    looks = 0
    take = Keyed.take

    def counting(keyed: Keyed) -> Any:
        nonlocal looks
        looks += 1
        return take(keyed)

    async def clean_up() -> None:
        with anyio.CancelScope(shield=True):
            await all_blocked(500)

    async def source() -> AsyncIterator[int]:
        try:
            for item in range(300):
                yield item
        finally:
            if place == "input":
                await clean_up()

    async def before(item: int) -> int:
        if item == 250:
            try:
                await anyio.sleep_forever()
            finally:
                await clean_up()
        return item

    async def work(item: int) -> int:
        await all_blocked(20)
        if item == 1:
            raise ValueError("bad")
        return item

    monkeypatch.setattr(Keyed, "take", counting)
    keyed = single_task(key=lambda item: item % 3)(work)
    pipeline = (single_task(before) if place == "stage before" else passing) | keyed
    results, error = await results_and_error(pipeline.with_execution_mode(mode)(source()))
    assert isinstance(error, ValueError)
    assert results in ([0], [0, 2], [2, 0], [])
    assert looks < 1000
