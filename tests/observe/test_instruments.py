"""What instruments are told: of everything, once, with the right numbers, and without a say."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from itertools import count
from typing import Any

import anyio
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from _helpers import all_blocked, error_of, in_both_modes, passing, stalling
from conveyor import (
    BatchError,
    ExecutionMode,
    Failure,
    Instrument,
    Pipeline,
    PipelineContext,
    RateLimit,
    RunInfo,
    StageInfo,
    Stream,
    batch_task,
    single_task,
)
from test_properties import (
    Bad,
    Setting,
    Single,
    any_stages,
    build,
    free_stages,
    model,
    model_single,
    plain,
    settings,
    try_batch,
)

Event = tuple[Any, ...]


class Recorder(Instrument):
    """Remembers all it is told, each time with the seconds since the run began."""

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self._began = run.clock()
        self.events: list[Event] = []

    def _add(self, *event: Any) -> None:
        self.events.append((self.run.clock() - self._began, *event))

    def call_started(self, stage: int, items: Sequence[int], slot: int) -> None:
        self._add("started", stage, tuple(items), slot)

    def try_ended(
        self,
        stage: int,
        items: Sequence[int],
        slot: int,
        attempt: int,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        self._add("tried", stage, tuple(items), slot, attempt, seconds, error)

    def call_ended(self, stage: int, items: Sequence[int], slot: int, *, cancelled: bool) -> None:
        self._add("cancelled" if cancelled else "ended", stage, tuple(items), slot)

    def result_sent(self, stage: int, items: Sequence[int]) -> None:
        self._add("sent", stage, tuple(items))

    def items_settled(self, stage: int, items: Sequence[int]) -> None:
        self._add("settled", stage, tuple(items))

    def items_failed(
        self, stage: int, items: Sequence[int], what: Any, error: Exception, attempts: int
    ) -> None:
        self._add("failed", stage, tuple(items), what, error, attempts)

    def result_delivered(self) -> None:
        self._add("delivered")

    def failure_delivered(self, failure: Failure[Any]) -> None:
        self._add("failure", failure)

    def run_ended(self, error: BaseException | None) -> None:
        self._add("over", error)


class Recorded:
    """Makes a `Recorder` for each run, and keeps the last."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    def __call__(self, run: RunInfo) -> Recorder:
        self.made.append(Recorder(run))
        return self.made[-1]

    @property
    def run(self) -> RunInfo:
        return self.made[-1].run

    @property
    def everything(self) -> list[Event]:
        return self.made[-1].events

    @property
    def events(self) -> list[Event]:
        """Everything but what is settled, which has tests of its own."""
        return [event for event in self.everything if event[1] != "settled"]

    def of(self, stage: int) -> list[Event]:
        """What was told of one stage, without the stage."""
        return [
            (time, what, *rest[1:])
            for time, what, *rest in self.events
            if rest[:1] == [stage] and what != "over"
        ]

    def kinds(self, *kinds: str) -> list[Event]:
        """What was told of these kinds, without the time."""
        return [event[1:] for event in self.events if event[1] in kinds]

    def count(self, kind: str, stage: int | None = None) -> int:
        return sum(
            event[1] == kind and (stage is None or event[2] == stage) for event in self.events
        )


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


async def waiting(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds


wait = single_task(task_name="wait")(waiting)


def added(items: list[int]) -> int:
    return sum(items)


def size(items: list[float]) -> int:
    return len(items)


# --- of each run it is told


@in_both_modes
async def test_what_a_run_is(recorded: Recorded, mode: str) -> None:
    three = wait.with_options(concurrency_limit=3, task_name="three")
    unlimited = wait.with_options(concurrency_limit=float("inf"), task_name="unlimited")
    batches = batch_task(max_size=2, task_name="batches")(size)
    pipeline = (wait | three | unlimited | batches).with_context(
        instruments=[recorded], execution_mode=mode
    )
    stream = pipeline([0, 0, 0])
    assert recorded.made == []  # there is no run yet
    assert await stream.collect() == [2, 1]
    run = recorded.run
    assert run.pipeline_id == stream.statistics().pipeline_id != ""
    assert run.execution_mode is ExecutionMode(mode)
    assert run.stages == (
        StageInfo("wait", 100, batch=False),
        StageInfo("three", 3, batch=False),
        StageInfo("unlimited", float("inf"), batch=False),
        StageInfo("batches", 1, batch=True),
    )
    assert run.total == 3
    assert run.statistics() == stream.statistics()
    await pipeline(iter([0])).collect()
    assert recorded.run.total is None
    assert len(recorded.made) == 2
    assert recorded.run.pipeline_id != run.pipeline_id


@pytest.mark.virtual_time
async def test_single_tasks_in_order(recorded: Recorded) -> None:
    two = wait.with_options(concurrency_limit=2)
    assert await (two | two).with_context(instruments=[recorded])([2, 0.5, 1]).collect() == [
        2,
        0.5,
        1,
    ]
    expected: list[Event] = [
        (0, "started", (0,), 0),
        (0, "started", (1,), 1),
        (0.5, "tried", (1,), 1, 1, 0.5, None),
        (0.5, "ended", (1,), 1),
        (0.5, "started", (2,), 1),
        (1.5, "tried", (2,), 1, 1, 1, None),
        (1.5, "ended", (2,), 1),
        (2, "tried", (0,), 0, 1, 2, None),
        (2, "sent", (0,)),
        (2, "sent", (1,)),
        (2, "sent", (2,)),
        (2, "ended", (0,), 0),
    ]
    assert recorded.of(0) == expected
    assert recorded.of(1) == [(time + 2, *rest) for time, *rest in expected]
    assert recorded.events[-4:] == [(4, "delivered")] * 3 + [(4, "over", None)]


@pytest.mark.virtual_time
async def test_single_tasks_as_completed(recorded: Recorded) -> None:
    two = wait.with_options(concurrency_limit=2)
    pipeline = (two | two).with_context(instruments=[recorded])
    assert await pipeline.as_completed([2, 0.5, 1]).collect() == [0.5, 1, 2]
    assert recorded.of(0) == [
        (0, "started", (0,), 0),
        (0, "started", (1,), 1),
        (0.5, "tried", (1,), 1, 1, 0.5, None),
        (0.5, "sent", (1,)),
        (0.5, "ended", (1,), 1),
        (0.5, "started", (2,), 1),
        (1.5, "tried", (2,), 1, 1, 1, None),
        (1.5, "sent", (2,)),
        (1.5, "ended", (2,), 1),
        (2, "tried", (0,), 0, 1, 2, None),
        (2, "sent", (0,)),
        (2, "ended", (0,), 0),
    ]
    # There the items are those of 0.5, 1 and 2 seconds.
    assert recorded.of(1) == [
        (0.5, "started", (0,), 0),
        (1, "tried", (0,), 0, 1, 0.5, None),
        (1, "sent", (0,)),
        (1, "ended", (0,), 0),
        (1.5, "started", (1,), 0),
        (2, "started", (2,), 1),
        (2.5, "tried", (1,), 0, 1, 1, None),
        (2.5, "sent", (1,)),
        (2.5, "ended", (1,), 0),
        (4, "tried", (2,), 1, 1, 2, None),
        (4, "sent", (2,)),
        (4, "ended", (2,), 1),
    ]
    assert [event[0] for event in recorded.events if event[1] == "delivered"] == [1, 2.5, 4]
    assert recorded.events[-1] == (4, "over", None)


@in_both_modes
async def test_what_never_waits(recorded: Recorded, mode: str) -> None:
    pipeline = (passing | passing).with_context(instruments=[recorded], execution_mode=mode)
    assert await pipeline(range(300)).collect() == list(range(300))
    for stage in 0, 1:
        assert recorded.count("sent", stage) == 300
        started = [event[2] for event in recorded.kinds("started") if event[1] == stage]
        assert started == [(n,) for n in range(300)]
        kinds = [event[1] for event in recorded.of(stage)]
        assert kinds == ["started", "tried", "sent", "ended"] * 300
    assert recorded.count("delivered") == 300
    assert {event[3] for event in recorded.kinds("started")} == {0}
    assert recorded.kinds("over") == [("over", None)]


@in_both_modes
async def test_none_is_no_result_and_a_list_is_many(recorded: Recorded, mode: str) -> None:
    @single_task
    def some(item: int) -> list[Any] | None:
        return None if item == 1 else [item, None, item]

    pipeline = (some | passing).with_context(instruments=[recorded], execution_mode=mode)
    assert await pipeline(range(3)).collect() == [0, 0, 2, 2]
    assert [event[1:] for event in recorded.of(0) if event[1] == "sent"] == [
        ("sent", (0,)),
        ("sent", (0,)),
        ("sent", (2,)),
        ("sent", (2,)),
    ]
    assert [event[2] for event in recorded.of(1) if event[1] == "started"] == [
        (0,),
        (1,),
        (2,),
        (3,),
    ]
    assert recorded.count("ended", 0) == 3


@pytest.mark.virtual_time
async def test_each_value_of_a_generator_is_a_try(recorded: Recorded) -> None:
    @single_task
    async def given(item: int) -> AsyncIterator[int | None]:
        for value in range(item):
            await anyio.sleep(1)
            yield value or None
        await anyio.sleep(4)  # nothing comes of it

    assert await given.with_context(instruments=[recorded])([3]).collect() == [1, 2]
    assert recorded.events == [
        (0, "started", 0, (0,), 0),
        (1, "tried", 0, (0,), 0, 1, 1, None),
        (2, "tried", 0, (0,), 0, 1, 1, None),
        (2, "sent", 0, (0,)),
        (2, "delivered"),
        (3, "tried", 0, (0,), 0, 1, 1, None),
        (3, "sent", 0, (0,)),
        (3, "delivered"),
        (7, "ended", 0, (0,), 0),
        (7, "over", None),
    ]


@in_both_modes
@pytest.mark.virtual_time
async def test_retries(recorded: Recorded, mode: str) -> None:
    errors = [Bad("first"), Bad("second")]

    @single_task(retry_attempts=3, retry_delay=8, retry_jitter=False)
    async def work(item: int) -> int:
        await anyio.sleep(1)
        if errors:
            raise errors.pop(0)
        return item

    await work.with_context(instruments=[recorded], execution_mode=mode)([7]).collect()
    assert recorded.events == [
        (0, "started", 0, (0,), 0),
        (1, "tried", 0, (0,), 0, 1, 1, Bad("first")),
        (10, "tried", 0, (0,), 0, 2, 1, Bad("second")),
        (27, "tried", 0, (0,), 0, 3, 1, None),
        (27, "sent", 0, (0,)),
        (27, "ended", 0, (0,), 0),
        (27, "delivered"),
        (27, "over", None),
    ]


@pytest.mark.virtual_time
async def test_what_a_call_waits_for_does_not_count_as_its_time(recorded: Recorded) -> None:
    limited = wait.with_options(rate_limit=RateLimit(1, per=4))
    pipeline = limited.with_context(instruments=[recorded], max_parallelism=1)
    await pipeline([1, 1, 1]).drain()
    assert [(event[0], event[6]) for event in recorded.events if event[1] == "tried"] == [
        (1, 1),
        (5, 1),
        (9, 1),
    ]
    assert [event[0] for event in recorded.events if event[1] == "started"] == [0, 0, 0]


@pytest.mark.virtual_time
async def test_a_time_out(recorded: Recorded) -> None:
    slow = wait.with_options(timeout=0.5, on_error="skip_item")
    await slow.with_context(instruments=[recorded])([0.25, 2]).drain()
    failed = [event for event in recorded.events if event[1] == "failed"]
    ((time, _, stage, items, what, error, attempts),) = failed
    assert (time, stage, items, what, attempts) == (0.5, 0, (1,), 2, 1)
    assert isinstance(error, TimeoutError)
    assert recorded.of(0)[-3:] == [
        (0.5, "tried", (1,), 1, 1, 0.5, error),
        (0.5, "failed", (1,), 2, error, 1),
        (0.5, "ended", (1,), 1),
    ]


@pytest.mark.real_time
@pytest.mark.parametrize("executor", ["thread"])
async def test_calls_elsewhere(recorded: Recorded, executor: Any) -> None:
    work = single_task(executor=executor, concurrency_limit=2, on_error="skip_item")(invert)
    assert await work.with_context(instruments=[recorded])([1, 0, 2]).collect() == [1, 0.5]
    assert recorded.count("started") == recorded.count("ended") == recorded.count("tried") == 3
    ((_, stage, items, what, error, attempts),) = recorded.kinds("failed")
    assert (stage, items, what, attempts) == (0, (1,), 0, 1)
    assert isinstance(error, ZeroDivisionError)
    assert recorded.kinds("sent") == [("sent", 0, (0,)), ("sent", 0, (2,))]


def invert(item: int) -> float:
    return 1 / item


# --- batches


@pytest.mark.virtual_time
async def test_batches(recorded: Recorded) -> None:
    @batch_task(max_size=2)
    async def work(items: list[int]) -> list[int]:
        await anyio.sleep(1)
        return [*items, *items]

    await work.with_context(instruments=[recorded])([1, 2, 3]).drain()
    assert recorded.of(0) == [
        (0, "started", (0, 1), 0),
        (1, "tried", (0, 1), 0, 1, 1, None),
        *[(1, "sent", (0, 1))] * 4,
        (1, "ended", (0, 1), 0),
        (1, "started", (2,), 0),
        (2, "tried", (2,), 0, 1, 1, None),
        *[(2, "sent", (2,))] * 2,
        (2, "ended", (2,), 0),
    ]


@pytest.mark.virtual_time
async def test_batches_by_a_key(recorded: Recorded) -> None:
    work = batch_task(max_size=2, by=lambda item: item % 2)(added)
    assert await work.with_context(instruments=[recorded])([1, 2, 3, 4, 5]).collect() == [4, 6, 5]
    assert [event[2] for event in recorded.kinds("started")] == [(0, 2), (1, 3), (4,)]
    assert recorded.kinds("sent") == [
        ("sent", 0, (0, 2)),
        ("sent", 0, (1, 3)),
        ("sent", 0, (4,)),
    ]


@pytest.mark.virtual_time
async def test_the_halves_of_a_batch_are_tries_of_it(recorded: Recorded) -> None:
    bad = Bad("3 is bad")

    @batch_task(max_size=4, on_error="skip_item")
    async def work(items: list[int]) -> list[int]:
        await anyio.sleep(1)
        if 3 in items:
            raise bad
        return items

    assert await work.with_context(instruments=[recorded])([1, 2, 3, 4]).collect() == [1, 2, 4]
    every = (0, 1, 2, 3)
    assert recorded.of(0) == [
        (0, "started", every, 0),
        (1, "tried", every, 0, 1, 1, bad),
        (2, "tried", (0, 1), 0, 1, 1, None),
        (3, "tried", (2, 3), 0, 1, 1, bad),
        (4, "tried", (2,), 0, 1, 1, bad),
        (4, "failed", (2,), [3], bad, 1),
        (5, "tried", (3,), 0, 1, 1, None),
        *[(5, "sent", every)] * 3,
        (5, "ended", every, 0),
    ]


@pytest.mark.virtual_time
async def test_items_that_a_batch_error_names_are_tried_alone(recorded: Recorded) -> None:
    wrong = [ValueError("1"), ValueError("3"), ValueError("3 again")]
    errors = [
        BatchError({1: wrong[0], 3: wrong[1]}, [0, 2]),
        BatchError({1: wrong[2]}, [1]),
    ]
    raised = [*errors]

    @batch_task(
        max_size=4, on_error="skip_item", retry_attempts=2, retry_delay=2, retry_jitter=False
    )
    async def work(items: list[int]) -> list[int]:
        await anyio.sleep(1)
        raise raised.pop(0)

    assert await work.with_context(instruments=[recorded])(range(4)).collect() == [0, 1, 2]
    every = (0, 1, 2, 3)
    assert recorded.of(0) == [
        (0, "started", every, 0),
        (1, "tried", every, 0, 1, 1, errors[0]),
        (4, "tried", (1, 3), 0, 2, 1, errors[1]),
        (4, "failed", (3,), 3, wrong[2], 2),
        *[(4, "sent", every)] * 3,
        (4, "ended", every, 0),
    ]


@pytest.mark.parametrize("on_error", ["fail", "skip_batch", "emit_failure"])
async def test_a_batch_that_fails_as_a_whole(recorded: Recorded, on_error: Any) -> None:
    bad = Bad("bad")

    @batch_task(max_size=2, on_error=on_error)
    def work(items: list[int]) -> list[int]:
        raise bad

    with suppress(Bad):
        await work.with_context(instruments=[recorded])([5, 6]).drain()
    assert recorded.kinds("failed") == [("failed", 0, (0, 1), [5, 6], bad, 1)]
    assert recorded.kinds("sent") == []


async def test_what_a_batch_task_drops_is_not_begun(recorded: Recorded) -> None:
    work = batch_task(max_size=2, min_size=2, drop_remainder=True)(added)
    assert await work.with_context(instruments=[recorded])([1, 2, 3]).collect() == [3]
    assert [event[2] for event in recorded.kinds("started")] == [(0, 1)]


# --- keys and failures that pass


@pytest.mark.virtual_time
async def test_items_that_are_set_aside_for_their_key(recorded: Recorded) -> None:
    work = wait.with_options(key=lambda item: item, concurrency_limit=2)
    await work.with_context(instruments=[recorded])([2, 2, 1]).drain()
    # The second waits for the first, and the third goes ahead.
    assert [
        (event[0], event[3], event[4]) for event in recorded.events if event[1] == "started"
    ] == [
        (0, (0,), 0),
        (0, (2,), 1),
        (2, (1,), 0),
    ]
    assert [event[2] for event in recorded.kinds("sent")] == [(0,), (1,), (2,)]


@in_both_modes
async def test_failures_pass_without_a_number(recorded: Recorded, mode: str) -> None:
    bad = Bad("bad")

    @single_task(on_error="emit_failure")
    def work(item: int) -> int:
        if item == 1:
            raise bad
        return item

    pipeline = (work | passing).with_context(instruments=[recorded], execution_mode=mode)
    results = await pipeline(range(3)).collect()
    assert [type(result) for result in results] == [int, Failure, int]
    assert recorded.kinds("failed") == [("failed", 0, (1,), 1, bad, 1)]
    assert [event[2] for event in recorded.of(1) if event[1] == "started"] == [(0,), (1,)]
    assert Counter(event[1:] for event in recorded.kinds("sent")) == {
        (0, (0,)): 1,
        (0, (2,)): 1,
        (1, (0,)): 1,
        (1, (1,)): 1,
    }
    assert recorded.count("delivered") == 2
    ((_, failure),) = recorded.kinds("failure")
    assert (failure.item, failure.error) == (1, bad)


@in_both_modes
async def test_whatever_the_consumer_gets_is_told_as_delivered(mode: str) -> None:
    """Unless failures are told apart: then it is only results."""
    told: list[Any] = []

    class Counting(Instrument):
        def result_delivered(self) -> None:
            told.append("delivered")

    class Apart(Counting):
        def failure_delivered(self, failure: Failure[Any]) -> None:
            told.append(failure)

    @single_task(on_error="emit_failure")
    def work(item: int) -> int:
        if item == 1:
            raise Bad("bad")
        return item

    await work.with_context(instruments=[Counting], execution_mode=mode)(range(3)).drain()
    assert told == ["delivered"] * 3
    told.clear()
    got = await work.with_context(instruments=[Apart], execution_mode=mode)(range(3)).collect()
    assert told == [result if isinstance(result, Failure) else "delivered" for result in got]


@in_both_modes
@pytest.mark.parametrize("options", [{}, {"max_wait": 3600}])
async def test_what_a_batch_task_drops_is_settled(
    recorded: Recorded, mode: str, options: dict[str, Any]
) -> None:
    task = batch_task(max_size=4, min_size=4, drop_remainder=True, **options)(added)
    await task.with_context(instruments=[recorded], execution_mode=mode)(range(10)).drain()
    settled = [event[3] for event in recorded.everything if event[1] == "settled"]
    assert settled == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]


@in_both_modes
async def test_instruments_that_compare_equal_are_told_apart(mode: str) -> None:
    told: list[str] = []

    class Equal(Instrument):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = Instrument.__hash__

    class Counting(Equal):
        def items_settled(self, stage: int, items: Sequence[int]) -> None:
            told.append("counting")

    class Failing(Equal):
        def items_settled(self, stage: int, items: Sequence[int]) -> None:
            told.append("failing")
            raise OSError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("conveyor"), "disabled", True)
        for made in [Counting, Failing], [Failing, Counting]:
            told.clear()
            task = passing.with_context(instruments=made, execution_mode=mode)
            await task(range(5)).drain()
            assert sorted(told) == ["counting"] * 5 + ["failing"]


@pytest.mark.parametrize("value", ["another", None])
async def test_what_an_error_handler_makes_good_has_not_failed(
    recorded: Recorded, value: str | None
) -> None:
    @single_task(error_handler=lambda *_: (True, value))
    def work(item: int) -> str:
        raise Bad("bad")

    results = await work.with_context(instruments=[recorded])([0]).collect()
    assert results == ([] if value is None else [value])
    assert recorded.kinds("failed") == (
        [("failed", 0, (0,), 0, Bad("bad"), 1)] if value is None else []
    )
    assert recorded.count("sent") == len(results)


# --- however it ends


@in_both_modes
async def test_a_run_that_fails(recorded: Recorded, mode: str) -> None:
    bad = Bad("bad")

    @single_task
    async def work(item: int) -> int:
        if item < 3:
            await all_blocked(30 * (item + 1))
        if item == 0:
            raise bad
        await anyio.sleep_forever()
        return item

    pipeline = work.with_context(instruments=[recorded], execution_mode=mode)
    assert await error_of(pipeline(range(4)).drain()) is bad
    assert recorded.kinds("failed") == [("failed", 0, (0,), 0, bad, 1)]
    assert sorted(recorded.kinds("ended", "cancelled")) == [
        ("cancelled", 0, (1,), 1),
        ("cancelled", 0, (2,), 2),
        ("cancelled", 0, (3,), 3),
        ("ended", 0, (0,), 0),
    ]
    assert recorded.events[-1][1:] == ("over", bad)


@pytest.mark.parametrize("how", ["break", "block", "aclose", "cancel", "abort", "stop"])
async def test_it_is_told_of_every_end(recorded: Recorded, how: str) -> None:
    @single_task
    async def work(item: int) -> int:
        if item:
            await anyio.sleep_forever()
        return item

    bad = Bad("enough")

    async def read(stream: Stream[int]) -> None:
        async for _ in stream:
            await all_blocked(10)
            assert recorded.count("started") == 3
            assert recorded.count("over") == 0
            match how:
                case "cancel":
                    scope.cancel()
                case "abort":
                    stream.abort(bad)
                case "stop":
                    stream.stop(0)
                case "aclose":
                    await stream.aclose()
                    return
                case _:
                    return

    stream = work.with_context(instruments=[recorded])(stalling(0, 1, 2))
    with anyio.CancelScope() as scope, suppress(Bad):
        if how == "block":
            async with stream:
                await read(stream)
        else:
            await read(stream)
    del stream
    await all_blocked()
    assert sorted(event[:3] for event in recorded.kinds("ended", "cancelled")) == [
        ("cancelled", 0, (1,)),
        ("cancelled", 0, (2,)),
        ("ended", 0, (0,)),
    ]
    assert recorded.events[-1][1:] == ("over", bad if how == "abort" else None)
    assert recorded.count("over") == 1


@in_both_modes
async def test_a_block_that_is_cancelled_before_the_run_begins(
    recorded: Recorded, mode: str
) -> None:
    pipeline = passing.with_context(instruments=[recorded], execution_mode=mode)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with pipeline([1]) as stream:
            async for _ in stream:
                pass
    assert recorded.events[-1][1:] == ("over", None)
    assert recorded.count("over") == 1


async def test_an_input_that_fails(recorded: Recorded) -> None:
    gone = OSError("gone")

    def numbers() -> Iterator[int]:
        yield 1
        raise gone

    assert await error_of(passing.with_context(instruments=[recorded])(numbers()).drain()) is gone
    assert recorded.kinds("sent", "delivered", "failed", "over") == [
        ("sent", 0, (0,)),
        ("delivered",),
        ("over", gone),
    ]


async def test_a_side_input_that_fails(recorded: Recorded) -> None:
    async def broken() -> int:
        raise Bad("broken")

    @single_task
    def work(item: int, other: int) -> int:
        return item

    pipeline = work.with_inputs(broken()).with_context(instruments=[recorded])
    error = await error_of(pipeline([1]).drain())
    assert recorded.kinds("over") == [("over", error)]
    assert len(recorded.events) == 1


# --- when nothing more comes of an item


@pytest.mark.virtual_time
async def test_an_item_is_settled_after_its_last_result(recorded: Recorded) -> None:
    @single_task
    async def work(item: int) -> AsyncIterator[int]:
        await anyio.sleep(4 - item)
        for value in range(item):
            yield value
            await anyio.sleep(8)

    await work.with_context(instruments=[recorded])(range(3)).drain()
    kinds = ("sent", "settled", "ended")
    told = [(time, kind, rest[1]) for time, kind, *rest in recorded.everything if kind in kinds]
    # What was made before its turn leaves when all before it have given their last.
    assert told == [
        (4, "settled", (0,)),
        (4, "sent", (1,)),
        (4, "ended", (0,)),
        (11, "settled", (1,)),
        (11, "sent", (2,)),
        (11, "sent", (2,)),
        (11, "ended", (1,)),
        (18, "settled", (2,)),
        (18, "ended", (2,)),
    ]


@in_both_modes
async def test_items_without_results_are_settled_as_well(recorded: Recorded, mode: str) -> None:
    @single_task(on_error="emit_failure", concurrency_limit=1)
    def some(item: int) -> int | None:
        if item == 1:
            raise Bad("bad")
        return None if item == 2 else item

    pipeline = (some | passing).with_context(instruments=[recorded], execution_mode=mode)
    await pipeline(range(4)).drain()
    settled = [event[2:] for event in recorded.everything if event[1] == "settled"]
    assert [items for stage, items in settled if stage == 0] == [(0,), (1,), (2,), (3,)]
    assert [items for stage, items in settled if stage == 1] == [(0,), (1,)]


# --- slots


@pytest.mark.virtual_time
async def test_the_lowest_slot_that_is_free_is_taken(recorded: Recorded) -> None:
    three = wait.with_options(concurrency_limit=3)
    await three.with_context(instruments=[recorded])([8, 2, 1, 4, 0.5, 2]).drain()
    started = [(event[0], *event[3:]) for event in recorded.events if event[1] == "started"]
    assert started == [
        (0, (0,), 0),
        (0, (1,), 1),
        (0, (2,), 2),
        (1, (3,), 2),
        (2, (4,), 1),
        (2.5, (5,), 1),
    ]


async def test_one_call_after_the_other_takes_one_slot(recorded: Recorded) -> None:
    @single_task
    async def work(item: int) -> int:
        await all_blocked(3)
        return item

    async def slowly() -> AsyncIterator[int]:
        for number in range(5):
            yield number
            await all_blocked(50)

    await work.with_context(instruments=[recorded])(slowly()).drain()
    assert [event[3] for event in recorded.kinds("started")] == [0] * 5


# --- the promise of the numbers, for any pipeline and schedule


def of_unit(stage: Any, index: int, values: list[Any]) -> list[Any]:
    """What the model makes of one item or batch; failures, which have no number, left out."""
    results: list[Any] = []
    single = isinstance(stage, Single)
    with suppress(Bad):
        made = (
            model_single(stage, index, iter(values)) if single else try_batch(stage, index, values)
        )
        results.extend(result for result in made if not isinstance(result, Failure))
    return results


def followed(stages: list[Any], events: list[Event]) -> list[Any]:
    """What must have left the last stage, in this order, by what was told and the model alone."""
    values: dict[int, list[Any]] = defaultdict(list, {0: [(n,) for n in range(50)]})
    given: dict[Any, Iterator[Any]] = {}
    for _, kind, *rest in events:
        if kind == "sent":
            index, items = rest
            if (index, items) not in given:
                unit = [values[index][n] for n in items]
                given[index, items] = iter(of_unit(stages[index], index, unit))
            values[index + 1].append(next(given[index, items]))
        elif kind == "failed":
            index, items, what, *_ = rest
            unit = [values[index][n] for n in items]
            assert what == (unit[0] if isinstance(stages[index], Single) else unit)
    return values[len(stages)]


def check_settled(recorded: Recorded, error: Exception | None) -> None:
    """Each is settled, once and after its last result, unless the run failed."""
    begun: set[Any] = set()
    settled: set[Any] = set()
    dropped: Counter[int] = Counter()
    for _, kind, *rest in recorded.everything:
        unit = tuple(rest[:2])
        if kind == "started":
            begun.add(unit)
        elif kind == "sent":
            assert unit in begun - settled
        elif kind == "settled":
            assert unit not in settled
            settled.add(unit)
            if unit not in begun:
                dropped[unit[0]] += len(unit[1])
    for index, stage in enumerate(recorded.run.statistics().stages):
        assert dropped[index] == stage.dropped
        if error is None:
            numbers = [item for where, items in settled for item in items if where == index]
            assert sorted(numbers) == [*range(stage.received)]


def check_calls(stages: list[Any], events: list[Event]) -> None:
    """Slots: the lowest that is free is taken, and each that is taken is given back."""
    taken: dict[int, dict[int, Any]] = defaultdict(dict)
    for _, kind, *rest in events:
        if kind == "started":
            stage, items, slot = rest
            assert slot == next(n for n in count() if n not in taken[stage])
            taken[stage][slot] = items
            assert len(taken[stage]) <= stages[stage].concurrency
        elif kind in ("ended", "cancelled"):
            stage, items, slot = rest
            assert taken[stage].pop(slot) == items
        elif kind == "tried":
            stage, items, slot, *_ = rest
            assert set(items) <= set(taken[stage][slot])
    assert not any(taken.values())


def check_statistics(recorded: Recorded, error: Exception | None) -> None:
    """What was told adds up to what the statistics say."""
    for index, stage in enumerate(recorded.run.statistics().stages):
        failed = sum(len(event[2]) for event in recorded.kinds("failed") if event[1] == index)
        sent = recorded.count("sent", index)
        # It is told when there is room or, with an error on the way, when there would have been.
        assert stage.emitted == sent if error is None else stage.emitted <= sent
        assert stage.failed == failed
        assert stage.cancelled == recorded.count("cancelled", index)
        assert stage.latency.count == recorded.count("tried", index)
        assert stage.running == 0


async def look_at(
    pipeline: Pipeline[Any, Any], stages: list[Any], setting: Setting
) -> tuple[list[Any], Exception | None]:
    """Run it watched, and check all that it tells. Returns its results and its error."""
    recorded = Recorded()
    results: list[Any] = []
    error: Exception | None = None
    stream = setting.apply(pipeline).with_context(instruments=[recorded])(setting.source())
    try:
        async for result in stream:
            results.append(result)
            await anyio.sleep(setting.consumer_delays[len(results) % len(setting.consumer_delays)])
    except Bad as bad:
        error = bad
    note("\n".join(map(str, recorded.everything)))
    # What is there when the run is over is still delivered, unless it failed.
    last = [event for event in recorded.events if event[1] not in ("delivered", "failure")][-1]
    assert last[1:] == ("over", error)
    assert recorded.count("over") == 1
    ours = [result for result in results if not isinstance(result, Failure)]
    assert recorded.count("delivered") == len(ours)
    assert recorded.count("failure") == len(results) - len(ours)
    assert ours == followed(stages, recorded.events)[: len(ours)]
    check_calls(stages, recorded.events)
    check_settled(recorded, error)
    check_statistics(recorded, error)
    return results, error


@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
@given(stages=any_stages, setting=settings, random=st.random_module())
async def test_items_can_be_followed_in_order(
    stages: list[Any], setting: Setting, random: object
) -> None:
    expected: list[Any] = []
    expected_error: Exception | None = None
    try:
        expected.extend(plain_one for plain_one in model(stages, setting.items()))
    except Bad as bad:
        expected, expected_error = [], bad
        with suppress(Bad):
            for result in model(stages, setting.items()):
                expected.append(result)
    results, error = await look_at(build(stages), stages, setting)
    assert plain(results) == plain(expected)
    assert error == expected_error


@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
@given(stages=free_stages | any_stages, setting=settings, random=st.random_module())
async def test_items_can_be_followed_as_completed(
    stages: list[Any], setting: Setting, random: object
) -> None:
    pipeline = build(stages).with_execution_mode("as_completed")
    await look_at(pipeline, stages, setting)


# --- it has no say


EVENTS = (
    "call_started",
    "try_ended",
    "call_ended",
    "result_sent",
    "items_settled",
    "items_failed",
    "result_delivered",
    "failure_delivered",
    "run_ended",
)


@in_both_modes
@pytest.mark.parametrize("event", EVENTS)
async def test_one_that_raises_is_told_no_more(
    caplog: pytest.LogCaptureFixture, recorded: Recorded, event: str, mode: str
) -> None:
    told: list[str] = []

    def tells(name: str) -> Callable[..., None]:
        def method(self: Any, *args: Any, **options: Any) -> None:
            told.append(name)
            if name == event:
                raise RuntimeError("out of order")

        return method

    broken = type("Broken", (Instrument,), {name: tells(name) for name in EVENTS})

    @single_task(on_error="emit_failure" if event == "failure_delivered" else "skip_item")
    async def work(item: int) -> int:
        await anyio.lowlevel.checkpoint()
        if item == 0:
            raise Bad("bad")
        return item

    pipeline = work.with_context(instruments=[broken, recorded], execution_mode=mode)
    with caplog.at_level(logging.ERROR, "conveyor"):
        results = await pipeline(range(5)).collect()
    assert sorted(each for each in results if isinstance(each, int)) == [1, 2, 3, 4]
    assert told.count(event) == 1
    assert told[-1] == event
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("conveyor", "ERROR")
    assert event in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "out of order"
    assert recorded.kinds("over") == [("over", None)]  # the other is told of everything
    assert recorded.count("sent") == 4


async def test_several_are_told_in_their_order() -> None:
    told: list[tuple[str, str]] = []

    def named(name: str) -> type[Instrument]:
        class Named(Instrument):
            def result_sent(self, stage: int, items: Sequence[int]) -> None:
                told.append((name, "sent"))

            def run_ended(self, error: BaseException | None) -> None:
                told.append((name, "over"))

        return Named

    stream = passing.with_context(instruments=[named("a"), named("b")])([1])
    stream.add_instrument(named("c"))
    await stream.drain()
    assert told == [(name, what) for what in ("sent", "over") for name in "abc"]


async def test_a_base_instrument_changes_nothing() -> None:
    assert await passing.with_context(instruments=[Instrument])(range(5)).collect() == [*range(5)]


variable: ContextVar[str] = ContextVar("variable", default="nobody's")


@pytest.mark.parametrize("block", [True, False], ids=["block", "background"])
async def test_what_it_sets_is_seen_inside_alone(block: bool) -> None:
    seen: dict[str, str] = {}

    class Sets(Instrument):
        def __init__(self, run: RunInfo) -> None:
            super().__init__(run)
            seen["maker"] = variable.get()
            variable.set("the instrument's")

    def numbers() -> Iterator[int]:
        seen["input"] = variable.get()
        yield 1

    async def opened() -> int:
        seen["side input"] = variable.get()
        return 1

    @single_task
    async def work(item: int, other: int) -> int:
        seen["function"] = variable.get()
        return item

    stream = work.with_inputs(opened()).with_context(instruments=[Sets])(numbers())
    variable.set("the caller's")
    if block:
        async with stream:
            assert [result async for result in stream] == [1]
    else:
        assert [result async for result in stream] == [1]
    assert variable.get() == "the caller's"
    inside = dict.fromkeys(("input", "side input", "function"), "the instrument's")
    assert seen == {"maker": "the caller's"} | inside


async def test_what_cannot_be_made_keeps_the_stream_from_starting(recorded: Recorded) -> None:
    def broken(run: RunInfo) -> Instrument:
        raise Bad("broken")

    stream = passing.with_context(instruments=[recorded, broken])([1])
    assert await error_of(stream.drain()) == Bad("broken")
    # The one that was made before is not left waiting for the end.
    assert recorded.kinds("over") == [("over", Bad("broken"))]


nothing: Any = 3
made_of_nothing: Any = lambda run: 3  # noqa: E731 - not what its type says


@pytest.mark.parametrize("block", [True, False], ids=["block", "background"])
async def test_what_makes_no_instrument_is_refused(block: bool) -> None:
    stream = passing.with_context(instruments=[made_of_nothing])([1])
    with pytest.raises(TypeError, match=r"instruments must be Instrument classes.* returned 3"):
        await (stream.drain() if block else anext(stream))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([Instrument(nothing)], "give the class Instrument"),
        ([3], "an instrument is given as what makes it: .*not 3"),
        (Instrument, "instruments must be a list of Instrument classes, not <class"),
        ("text", "instruments must be a list of Instrument classes, not 'text'"),
        (None, "instruments must be a list of Instrument classes, not None"),
    ],
)
def test_what_is_no_instrument_is_refused(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PipelineContext(instruments=value)
    with pytest.raises(TypeError, match=message):
        passing.with_context(instruments=value)


async def test_instruments_are_added_before_a_stream_starts(recorded: Recorded) -> None:
    stream = passing([1])
    with pytest.raises(TypeError, match="an instrument is given as what makes it"):
        stream.add_instrument(nothing)
    stream.add_instrument(recorded)
    async with stream:
        with pytest.raises(RuntimeError, match="before a stream is started"):
            stream.add_instrument(recorded)
    with pytest.raises(RuntimeError, match="before a stream is started"):
        stream.add_instrument(recorded)
    assert len(recorded.made) == 1


async def test_an_added_instrument_is_the_streams_alone(recorded: Recorded) -> None:
    first, second = passing([1]), passing([2])
    first.add_instrument(recorded)
    await first.drain()
    await second.drain()
    assert len(recorded.made) == 1


@in_both_modes
async def test_statistics_may_be_read_at_every_event(mode: str) -> None:
    class Curious(Instrument):
        def __getattribute__(self, name: str) -> Any:
            if name in EVENTS:
                looked.append(object.__getattribute__(self, "run").statistics())
            return object.__getattribute__(self, name)

    looked: list[Any] = []

    @single_task(on_error="skip_item", concurrency_limit=2)
    async def work(item: int) -> list[int]:
        if item % 3 == 0:
            await anyio.lowlevel.checkpoint()
        if item % 5 == 0:
            raise Bad("bad")
        return [item, item]

    pipeline = (work | passing).with_context(instruments=[Curious], execution_mode=mode)
    results = await pipeline(range(20)).collect()
    assert Counter(results) == Counter({n: 2 for n in range(20) if n % 5})
    for statistics in looked:
        first, second = statistics.stages
        assert first.received <= statistics.read <= 20
        assert second.received + second.queued <= first.emitted <= 32
        assert first.running <= 2
    assert looked[-1].over
