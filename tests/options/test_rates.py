"""Rates: what may start when, to the exact moment.

The reference is a bucket in plain fractions (`Model`). The numbers in tests that compare with it
are quarters and powers of two, of which floats have exact sums, so that all can be equal.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _helpers import all_blocked, error_of, in_both_modes, passing, results_and_error, timed, unread
from _virtual import VirtualTimeLoop
from conveyor import (
    Failure,
    RateLimit,
    RateLimitStatistics,
    Task,
    batch_task,
    get_current_context,
    single_task,
)
from conveyor._engine.calls.caller import Caller
from conveyor._engine.loop import host
from conveyor._engine.rates import throttle
from conveyor._engine.rates.bucket import Bucket
from conveyor._engine.rates.meter import Meter

shuffled = pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")


# --- the reference


class Model:
    """A bucket that is filled as time passes, in exact numbers."""

    def __init__(self, rate: float, per: float, burst: float) -> None:
        self.rate = Fraction(rate) / Fraction(per)
        self.per = Fraction(per)
        self.burst = self.level = Fraction(burst)
        self.now = Fraction(0)
        self.held_until = Fraction(0)
        self.paused = Fraction(0)

    def pass_to(self, now: float | Fraction) -> None:
        now = Fraction(now)
        self.level = min(self.burst, self.level + (now - self.now) * self.rate)
        self.paused += max(min(now, self.held_until) - self.now, Fraction(0))
        self.now = now

    def due(self, cost: float) -> Fraction:
        short = min(Fraction(cost), self.burst) - self.level
        return max(self.now + max(short, Fraction(0)) / self.rate, self.held_until)

    def take(self, cost: float) -> None:
        self.level = min(self.burst, self.level - Fraction(cost))

    def starts(self, requests: list[tuple[float, float]]) -> list[float]:
        """Return when calls start that come at these times and cost this, one after another."""
        starts = []
        for arrival, cost in requests:
            self.pass_to(max(self.now, Fraction(arrival)))
            self.pass_to(self.due(cost))
            self.take(cost)
            starts.append(float(self.now))
        return starts


def quarters(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(least, most).map(lambda number: number / 4)


rates = st.sampled_from((0.25, 0.5, 1.0, 2.0, 4.0, 16.0))
pers = st.sampled_from((0.5, 1.0, 2.0, 4.0))
bursts = quarters(1, 24)
costs = quarters(1, 40)
gaps = st.sampled_from((0.0, 0.0, 0.0)) | quarters(0, 20)
limits = st.tuples(rates, pers, bursts)


def keeps_the_law(starts: list[tuple[float, float]], rate: float, per: float, burst: float) -> bool:
    """Say whether in any span no more started than burst and rate allow.

    Args:
        starts: Times and costs, none of them above the burst.
        rate: As of the limit.
        per: As of the limit.
        burst: As of the limit.
    """
    for first, (begin, _) in enumerate(starts):
        total = 0.0
        for end, cost in starts[first:]:
            total += cost
            if total > burst + rate * (end - begin) / per:
                return False
    return True


# --- the arithmetic, without a loop


@given(
    limit=limits,
    actions=st.lists(
        st.tuples(st.just("pass"), gaps)
        | st.tuples(st.just("call"), costs)
        | st.tuples(st.just("settle"), quarters(-20, 20))
        | st.tuples(st.just("pause"), gaps)
        | st.tuples(st.just("change"), rates)
        | st.tuples(st.just("other clock"), quarters(-40, 40)),
        max_size=30,
    ),
    start=quarters(-100, 100),
)
def test_the_bucket_is_the_one_that_is_filled_as_time_passes(
    limit: tuple[float, float, float], actions: list[tuple[str, float]], start: float
) -> None:
    bucket, model = Bucket(*limit), Model(*limit)
    bucket.shift(start)
    ahead = start  # of the bucket's clock
    for action, number in actions:
        match action:
            case "pass":
                model.pass_to(model.now + Fraction(number))
            case "call":
                due = model.due(number)
                said = bucket.due(number, float(model.now) + ahead)
                assert max(said - ahead, float(model.now)) == due
                model.pass_to(due)
                assert bucket.due(number, float(due) + ahead) <= float(due) + ahead
                bucket.take(number, float(due) + ahead)
                model.take(number)
            case "settle":
                bucket.take(number, float(model.now) + ahead)
                model.take(number)
            case "pause":
                now = float(model.now) + ahead
                bucket.hold(now + number, now)
                model.held_until = max(model.held_until, model.now + Fraction(number))
            case "change":
                bucket.change(number, float(model.now) + ahead)
                model.rate = Fraction(number) / model.per
            case "other clock":
                bucket.shift(number)
                ahead += number
        assert bucket.level(float(model.now) + ahead) == model.level
        assert bucket.paused(float(model.now) + ahead) == model.paused
        assert bucket.has_paused or not model.paused


@pytest.mark.parametrize("rate", [3, 7, 10, 30, 1000])
def test_with_any_rate_the_thousandth_call_is_no_less_exact_than_the_second(rate: int) -> None:
    bucket = Bucket(rate, 1, 1)
    now = 0.0
    for number in range(1000):
        now = max(now, bucket.due(1, now))
        assert now == number / rate
        bucket.take(1, now)


def test_a_bucket_that_nobody_used_is_full_at_any_time() -> None:
    for now in (-1e9, 0, 1e9):
        bucket = Bucket(1, 1, 5)
        assert bucket.due(5, now) <= now
        assert bucket.level(now) == 5


# --- the object


BAD_AMOUNTS: list[tuple[type[Exception], list[Any]]] = [
    (ValueError, [0, -1, -0.5, math.nan, math.inf, 10**400]),
    (TypeError, [None, "3", True, [1]]),
]


@pytest.mark.parametrize("name", ["rate", "per", "burst"])
def test_a_limit_is_made_of_numbers_above_0(name: str) -> None:
    for error, values in BAD_AMOUNTS:
        for value in values:
            with pytest.raises(error) as caught:
                RateLimit(**{"rate": 1, name: value})
            assert str(caught.value) == f"{name} must be a finite number above 0, not {value!r}"


def test_a_changed_rate_is_a_number_above_0() -> None:
    limit = RateLimit(5)
    for error, values in BAD_AMOUNTS:
        for value in values:
            with pytest.raises(error, match="rate must be a finite number above 0"):
                limit.rate = value
    assert limit.rate == 5


async def test_a_cost_is_a_number_above_0() -> None:
    for error, values in BAD_AMOUNTS:
        for value in values:
            with pytest.raises(error, match="cost must be a finite number above 0"):
                await RateLimit(5).acquire(value)


def test_a_pause_is_a_number_of_at_least_0() -> None:
    limit = RateLimit(5)
    for error, values in BAD_AMOUNTS:
        for value in values:
            if value != 0:
                with pytest.raises(error, match="seconds must be a finite number of at least 0"):
                    limit.pause(value)
    limit.pause(0)
    assert limit.statistics().paused == 0


def test_a_limit_says_what_it_is() -> None:
    limit = RateLimit(90_000, per=60, burst=10_000)
    assert repr(limit) == "RateLimit(90000, per=60, burst=10000)"
    assert (limit.rate, limit.per, limit.burst) == (90_000, 60, 10_000)
    assert repr(RateLimit(5)) == "RateLimit(5, per=1.0, burst=1.0)"
    limit.rate = 30
    assert repr(limit) == "RateLimit(30, per=60, burst=10000)"
    for name in ("per", "burst"):
        with pytest.raises(AttributeError):
            setattr(limit, name, 1)


def test_to_describe_a_limited_task_brings_no_event_loop_and_reads_no_clock() -> None:
    script = """
import sys, time

def clock():
    raise AssertionError

time.monotonic = clock
import conveyor
assert "conveyor._model.rate_limit" not in sys.modules
limit = conveyor.RateLimit(10)
task = conveyor.single_task(rate_limit=limit, cost=2)(print)
assert not {"anyio", "asyncio", "logging", "fractions"} & set(sys.modules)
print(limit, (task | task).stages[1].spec.rate_limit is limit)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "RateLimit(10, per=1.0, burst=1.0) True\n")


# --- who waits


class Starts:
    """Notes who has got through a limit, and when."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.begin = anyio.current_time()
        self.at: dict[Any, float] = {}

    async def __call__(self, name: Any, cost: float = 1) -> None:
        await self.limit.acquire(cost)
        self.at[name] = self.now()

    def now(self) -> float:
        return anyio.current_time() - self.begin


@pytest.mark.virtual_time
async def test_single_calls_are_spread_evenly() -> None:
    starts = Starts(RateLimit(10))
    async with anyio.create_task_group() as group:
        for name in range(50):
            group.start_soon(starts, name)
    assert sorted(starts.at.values()) == [name / 10 for name in range(50)]


@pytest.mark.virtual_time
async def test_after_a_pause_as_many_as_the_burst_go_at_once() -> None:
    starts = Starts(RateLimit(2, per=4, burst=3))
    for name in range(5):
        await starts(name)
    assert list(starts.at.values()) == [0, 0, 0, 2, 4]
    await anyio.sleep(4)  # two of three are there again
    for name in range(5, 8):
        await starts(name)
    assert list(starts.at.values())[5:] == [8, 8, 10]
    await anyio.sleep(1000)  # and never more than three
    for name in range(8, 13):
        await starts(name)
    assert list(starts.at.values())[8:] == [1010, 1010, 1010, 1012, 1014]


@pytest.mark.virtual_time
async def test_who_comes_first_goes_first_whatever_it_costs() -> None:
    starts = Starts(RateLimit(1, burst=4))
    async with anyio.create_task_group() as group:
        for name, cost in [("a", 4), ("b", 3), ("c", 0.5), ("d", 1)]:
            group.start_soon(starts, name, cost)
            await all_blocked()
    assert list(starts.at.items()) == [("a", 0), ("b", 3), ("c", 3.5), ("d", 4.5)]


@pytest.mark.virtual_time
async def test_what_costs_more_than_the_burst_waits_until_it_is_full_and_leaves_a_debt() -> None:
    limit = RateLimit(1, burst=2)
    starts = Starts(limit)
    await starts("a", 2)
    await starts("b", 10)
    assert limit.statistics().available == -8
    await starts("c", 1)
    await starts("d", 10)
    assert starts.at == {"a": 0, "b": 2, "c": 11, "d": 13}


@shuffled
@given(
    limit=limits,
    requests=st.lists(st.tuples(gaps, costs), min_size=1, max_size=12),
    random=st.random_module(),
)
async def test_calls_go_when_the_model_says(
    limit: tuple[float, float, float], requests: list[tuple[float, float]], random: Any
) -> None:
    starts = Starts(RateLimit(*limit))
    expected = []
    async with anyio.create_task_group() as group:
        arrival = 0.0
        for name, (gap, cost) in enumerate(requests):
            arrival += gap
            await anyio.sleep_until(starts.begin + arrival)
            await all_blocked(5)
            expected.append((arrival, cost))
            group.start_soon(starts, name, cost)
            await all_blocked(5)
    assert starts.at == dict(enumerate(Model(*limit).starts(expected)))


@pytest.mark.virtual_time
@pytest.mark.parametrize("left", ["first", "second", "both"])
async def test_who_is_cancelled_while_it_waits_has_spent_nothing(left: str) -> None:
    limit = RateLimit(1)
    starts = Starts(limit)
    await starts("before")
    scopes = {name: anyio.CancelScope() for name in ("first", "second", "third")}

    async def wait(name: str) -> None:
        with scopes[name]:
            await starts(name)

    async with anyio.create_task_group() as group:
        for name in scopes:
            group.start_soon(wait, name)
            await all_blocked()
        await anyio.sleep(0.5)
        assert limit.statistics().waiting == 3
        for name in ("first", "second") if left == "both" else (left,):
            scopes[name].cancel()
        await all_blocked()
        assert limit.statistics().waiting == (1 if left == "both" else 2)
    del starts.at["before"]
    assert (
        starts.at
        == {
            "first": {"second": 1, "third": 2},
            "second": {"first": 1, "third": 2},
            "both": {"third": 1},
        }[left]
    )
    assert limit.statistics().waiting == 0


@shuffled
@given(random=st.random_module())
async def test_cancelled_at_the_moment_it_is_due_it_has_gone_or_it_has_not(random: Any) -> None:
    limit = RateLimit(1)
    starts = Starts(limit)
    await starts("before")
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            await starts("first")

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await all_blocked(5)
        group.start_soon(starts, "second")
        await anyio.sleep_until(starts.begin + 1)
        scope.cancel()
    assert starts.at["second"] == (2 if "first" in starts.at else 1)


@pytest.mark.virtual_time
async def test_a_time_out_of_the_caller_ends_the_wait() -> None:
    starts = Starts(RateLimit(1, per=10))
    await starts("a")
    with anyio.move_on_after(9) as scope:
        await starts("b")
    assert scope.cancelled_caught
    await starts("c")
    assert starts.at == {"a": 0, "c": 10}


@pytest.mark.virtual_time
async def test_a_pause_holds_everybody_back_and_the_bucket_fills_meanwhile() -> None:
    limit = RateLimit(1, burst=2)
    starts = Starts(limit)
    async with anyio.create_task_group() as group:
        for name in range(6):
            group.start_soon(starts, name)
        await anyio.sleep(0.5)
        limit.pause(5)
        limit.pause(1)  # the one that ends last counts
        assert limit.statistics().paused == 5
    assert sorted(starts.at.values()) == [0, 0, 5.5, 5.5, 6.5, 7.5]


@pytest.mark.virtual_time
async def test_a_pause_before_the_first_call_counts() -> None:
    limit = RateLimit(4)
    limit.pause(3)
    starts = Starts(limit)
    await starts("a")
    await starts("b")
    assert starts.at == {"a": 3, "b": 3.25}


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("rate", "expected"),
    # A quarter is there at 0.25, and another at 0.5, when the rate changes.
    [(0.5, [0, 1.5, 3.5, 5.5]), (1, [0, 1, 2, 3]), (4, [0, 0.625, 0.875, 1.125])],
)
async def test_a_new_rate_holds_at_once_for_those_who_wait(
    rate: float, expected: list[float]
) -> None:
    limit = RateLimit(1)
    starts = Starts(limit)
    async with anyio.create_task_group() as group:
        for name in range(4):
            group.start_soon(starts, name)
        await anyio.sleep(0.5)
        limit.rate = rate
    assert sorted(starts.at.values()) == expected


@pytest.mark.virtual_time
async def test_a_rate_that_is_nearly_none_can_be_raised() -> None:
    limit = RateLimit(1e-300)
    starts = Starts(limit)
    await starts("a")
    async with anyio.create_task_group() as group:
        group.start_soon(starts, "b")
        await anyio.sleep(8)
        limit.rate = 0.5
    assert starts.at == {"a": 0, "b": 10}


@pytest.mark.virtual_time
async def test_statistics_say_how_it_stands() -> None:
    limit = RateLimit(2, per=4, burst=3)
    assert limit.statistics() == RateLimitStatistics(
        rate=2, per=4, burst=3, available=3, paused=0, waiting=0
    )
    await limit.acquire(2)
    await anyio.sleep(1)
    limit.pause(0.5)
    async with anyio.create_task_group() as group:
        group.start_soon(limit.acquire)
        await all_blocked()
        assert limit.statistics() == RateLimitStatistics(
            rate=2, per=4, burst=3, available=1.5, paused=0.5, waiting=1
        )


# --- more than one loop


def test_one_loop_after_another_goes_on_where_the_last_one_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common = 1000.0
    monkeypatch.setattr(throttle, "monotonic", lambda: common)
    limit = RateLimit(1, burst=2)
    times = []

    async def main(begin: float) -> None:
        await anyio.sleep(begin)  # its clock is another
        starts = Starts(limit)
        for name in range(4):
            await starts(name)
        times.append(list(starts.at.values()))

    options = {"loop_factory": VirtualTimeLoop}
    anyio.run(main, 0, backend_options=options)
    anyio.run(main, 77, backend_options=options)
    common += 1.5  # between two loops
    anyio.run(main, 5, backend_options=options)
    common += 100
    anyio.run(main, 0, backend_options=options)
    assert times == [[0, 0, 1, 2], [1, 2, 3, 4], [0, 0.5, 1.5, 2.5], [0, 0, 1, 2]]


def test_between_the_loops_it_can_be_paused_and_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    common = 50.0
    for module in (throttle, host):
        monkeypatch.setattr(module, "monotonic", lambda: common)
    limit = RateLimit(1)
    times = []

    async def main() -> None:
        starts = Starts(limit)
        await starts("a")
        await starts("b")
        times.extend(starts.at.values())

    anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})
    limit.rate = 0.5
    limit.pause(4)
    common += 1
    assert limit.statistics().paused == 3
    assert limit.statistics().available == 0.5
    anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})
    assert times == [0, 1, 3, 5]


def test_loops_of_several_threads_share_it_and_notice_a_new_rate() -> None:
    limit = RateLimit(1, per=1e6)
    through: list[int] = []

    async def main() -> None:
        for number in range(3):
            await limit.acquire()
            through.append(number)

    threads = [
        threading.Thread(target=anyio.run, args=[main], kwargs={"backend": backend}, daemon=True)
        for backend in ("asyncio", "asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    while limit.statistics().waiting < 3:
        time.sleep(0)  # for the threads to run
    assert through == [0]  # one burst for all
    limit.rate = 1e15
    for thread in threads:
        thread.join(20)
    assert sorted(through) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert limit.statistics().waiting == 0


# --- stages


class Calls:
    """A function that notes when each of its calls starts."""

    def __init__(self, work: Callable[[Any], float] | None = None) -> None:
        self.starts: list[tuple[float, Any]] = []
        self._work = work

    async def __call__(self, item: Any) -> Any:
        self.starts.append((anyio.current_time(), item))
        if self._work is not None:
            await anyio.sleep(self._work(item))
        return item

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.starts]


@in_both_modes
@pytest.mark.virtual_time
async def test_a_stage_starts_its_calls_at_the_rate(mode: str) -> None:
    calls = Calls(lambda item: 10 - item)
    task = single_task(rate_limit=RateLimit(10, burst=2))(calls)
    results = await task.with_execution_mode(mode)(range(6)).collect()
    assert calls.starts == [(0, 0), (0, 1), (0.1, 2), (0.2, 3), (0.3, 4), (0.4, 5)]
    assert results == (list(range(6)) if mode == "ordered" else [5, 4, 3, 2, 1, 0])


@shuffled
@given(
    limit=limits,
    requests=st.lists(st.tuples(gaps, costs, gaps), min_size=1, max_size=12),
    mode=st.sampled_from(("ordered", "as_completed")),
    random=st.random_module(),
)
async def test_a_stage_starts_its_calls_when_the_model_says(
    limit: tuple[float, float, float],
    requests: list[tuple[float, float, float]],
    mode: str,
    random: Any,
) -> None:
    arrivals: list[tuple[float, float]] = []

    async def source() -> AsyncIterator[int]:
        for number, (gap, cost, _) in enumerate(requests):
            await anyio.sleep(gap)
            arrivals.append((anyio.current_time() - begin, cost))
            yield number

    begin = anyio.current_time()
    calls = Calls(lambda item: requests[item][2])
    task = single_task(
        rate_limit=RateLimit(*limit),
        cost=lambda item: requests[item][1],
        concurrency_limit=math.inf,
    )(calls)
    results = await task.with_execution_mode(mode)(source()).collect()
    assert sorted(results) == list(range(len(requests)))
    starts = Model(*limit).starts(arrivals)
    assert calls.starts == [(begin + start, number) for number, start in enumerate(starts)]


@shuffled
@given(
    rate=rates,
    burst=st.integers(1, 4),
    items=st.integers(1, 12),
    work=st.lists(st.sampled_from((0, 0.25, 1, 3)), min_size=1, max_size=4),
    failing=st.sets(st.integers(0, 11)),
    parallel=st.sampled_from((None, 1, 2, 3)),
    concurrency=st.integers(1, 5),
    random=st.random_module(),
)
async def test_whatever_shares_a_limit_keeps_to_it_together(
    rate: float,
    burst: int,
    items: int,
    work: list[float],
    failing: set[int],
    parallel: int | None,
    concurrency: int,
    random: Any,
) -> None:
    limit = RateLimit(rate, burst=burst)
    starts: list[tuple[float, float]] = []
    tries: dict[tuple[int, int], int] = {}

    def stage(place: int) -> Task[int, int]:
        async def call(item: int) -> int:
            starts.append((anyio.current_time(), 1))
            tries[place, item] = tries.get((place, item), 0) + 1
            await anyio.sleep(work[item % len(work)])
            if item in failing and tries[place, item] == 1:
                raise ConnectionError
            return item

        return single_task(
            rate_limit=limit,
            retry_attempts=2,
            retry_delay=0.5,
            retry_jitter=False,
            concurrency_limit=concurrency,
        )(call)

    async def run(place: int) -> None:
        pipeline = stage(place) | passing | stage(place + 1)
        if parallel is not None:
            pipeline = pipeline.with_context(max_parallelism=parallel)
        assert await pipeline(range(items)).collect() == list(range(items))

    async with anyio.create_task_group() as group:
        group.start_soon(run, 0)
        group.start_soon(run, 2)
    assert len(starts) == 4 * (items + len([item for item in failing if item < items]))
    assert keeps_the_law(starts, rate, 1, burst)
    waiting = limit.statistics().waiting
    assert waiting == 0


def test_the_law_is_broken_by_one_call_too_many() -> None:
    assert keeps_the_law([(0, 1), (0, 1), (1, 1), (1.5, 1)], 2, 1, 2)
    assert not keeps_the_law([(0, 1), (0, 1), (1, 1), (1, 1), (1, 1)], 2, 1, 2)
    assert not keeps_the_law([(5, 1), (5.25, 1)], 2, 1, 1)


@pytest.mark.virtual_time
async def test_stages_of_one_pipeline_share_a_limit() -> None:
    limit = RateLimit(1)
    first, second = Calls(), Calls()
    pipeline = single_task(rate_limit=limit)(first) | single_task(rate_limit=limit)(second)
    assert await pipeline(range(3)).collect() == [0, 1, 2]
    assert sorted(first.times + second.times) == [0, 1, 2, 3, 4, 5]
    assert [item for _, item in first.starts] == [item for _, item in second.starts] == [0, 1, 2]


@pytest.mark.virtual_time
async def test_copies_of_a_task_share_its_limit_and_runs_do() -> None:
    calls = Calls()
    task = single_task(rate_limit=RateLimit(2))(calls)
    await task([0, 1]).collect()
    await task.with_options(task_name="other")([2]).collect()
    await task.with_options(rate_limit=None)([3]).collect()
    assert calls.starts == [(0, 0), (0.5, 1), (1, 2), (1, 3)]


@pytest.mark.virtual_time
async def test_a_source_may_share_it() -> None:
    limit = RateLimit(1)
    calls = Calls()
    pages: list[float] = []

    async def source() -> AsyncIterator[int]:
        for page in range(2):
            await limit.acquire()
            pages.append(anyio.current_time())
            yield page

    await single_task(rate_limit=limit)(calls)(source()).collect()
    assert sorted(pages + calls.times) == [0, 1, 2, 3]


@pytest.mark.virtual_time
async def test_each_try_costs() -> None:
    calls: list[float] = []

    @single_task(rate_limit=RateLimit(1), retry_attempts=3, retry_delay=0.25, retry_jitter=False)
    async def flaky(item: int) -> int:
        calls.append(anyio.current_time())
        if len(calls) < 3:
            raise ConnectionError
        return item

    assert await flaky([7]).collect() == [7]
    assert calls == [0, 1, 2]


@pytest.mark.virtual_time
async def test_a_batch_costs_what_a_function_of_the_list_says() -> None:
    each, whole = Calls(), Calls()
    await batch_task(max_size=4, rate_limit=RateLimit(2, burst=4), cost=len)(each)(
        range(10)
    ).drain()
    assert each.starts == [(0, [0, 1, 2, 3]), (2, [4, 5, 6, 7]), (3, [8, 9])]
    await batch_task(max_size=4, rate_limit=RateLimit(2))(whole)(range(10)).drain()
    assert whole.times == [3, 3.5, 4]


@pytest.mark.virtual_time
async def test_each_half_of_a_batch_costs() -> None:
    calls: list[tuple[float, list[int]]] = []

    @batch_task(max_size=4, rate_limit=RateLimit(1, burst=4), cost=len, on_error="skip_item")
    async def store(items: list[int]) -> list[int]:
        calls.append((anyio.current_time(), items))
        if 2 in items:
            raise ValueError
        return items

    assert await store(range(4)).collect() == [0, 1, 3]
    assert calls == [(0, [0, 1, 2, 3]), (2, [0, 1]), (4, [2, 3]), (5, [2]), (6, [3])]


@pytest.mark.virtual_time
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_generator_costs_once(asynchronous: bool) -> None:
    starts: list[float] = []

    def plain(item: int) -> Iterator[int]:
        starts.append(anyio.current_time())
        yield from range(3)

    async def other(item: int) -> AsyncIterator[int]:
        for value in plain(item):
            yield value

    function: Any = other if asynchronous else plain
    task = single_task(rate_limit=RateLimit(1))(function)
    assert await task([0, 1]).collect() == [0, 1, 2] * 2
    assert starts == [0, 1]


@pytest.mark.virtual_time
async def test_the_time_out_begins_when_the_call_starts() -> None:
    calls = Calls(lambda item: 0.5 if item < 3 else 2)
    task = single_task(rate_limit=RateLimit(1, per=10), timeout=1, on_error="emit_failure")(calls)
    results = await timed(task(range(4)))
    assert [time for time, _ in results] == [0.5, 10.5, 20.5, 31]
    assert [result for _, result in results[:3]] == [0, 1, 2]
    failure = results[3][1]
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, TimeoutError)


# --- settling


@pytest.mark.virtual_time
async def test_what_was_not_used_is_given_back_and_what_was_used_more_is_owed() -> None:
    estimates = [4, 4, 1, 1, 1]
    actual = [1, 1, 8, 0, 1]
    work = [1, 0, 0, 0, 0]
    limit = RateLimit(1, burst=4)
    calls = Calls(lambda item: work[item])
    task = single_task(
        rate_limit=limit,
        cost=lambda item: estimates[item],
        settle=lambda item, result: actual[item] if item == result else -1,
        concurrency_limit=1,
    )(calls)
    assert await task(range(5)).collect() == [0, 1, 2, 3, 4]
    # 0 leaves nothing. At 1 it gives back three, and with one that has come since that is four. 1
    # takes them at once and gives back three, of which 2 takes one, and owes seven: five too few.
    # Six seconds later there is one for 3, which gives it back, and 4 takes it.
    assert calls.times == [0, 1, 1, 7, 7]
    assert limit.statistics().available == 0


@pytest.mark.virtual_time
async def test_who_waits_notices_at_once_what_is_given_back() -> None:
    calls = Calls(lambda item: 1)
    task = single_task(rate_limit=RateLimit(1, burst=8), cost=8, settle=lambda item, result: 2)(
        calls
    )
    await task(range(4)).drain()
    # A second after each start six come back, and with the two that come in two seconds it is full.
    assert calls.times == [0, 2, 4, 6]


@pytest.mark.virtual_time
async def test_what_is_given_back_never_makes_more_than_the_burst() -> None:
    limit = RateLimit(1, burst=2)
    calls = Calls(lambda item: 100)
    await single_task(rate_limit=limit, cost=2, settle=lambda item, result: 0)(calls)([0]).drain()
    assert limit.statistics().available == 2


@pytest.mark.virtual_time
async def test_what_was_filtered_out_is_settled_as_well() -> None:
    settled: list[tuple[int, Any]] = []

    def settle(item: int, result: Any) -> float:
        settled.append((item, result))
        return 1

    def odd(item: int) -> int | None:
        return item if item % 2 else None

    task = single_task(rate_limit=RateLimit(1), settle=settle)(odd)
    assert await task(range(4)).collect() == [1, 3]
    assert settled == [(0, None), (1, 1), (2, None), (3, 3)]


@pytest.mark.virtual_time
async def test_a_try_that_failed_is_not_settled() -> None:
    limit = RateLimit(1, burst=3)

    @single_task(rate_limit=limit, cost=2, settle=lambda item, result: 0, on_error="skip_item")
    async def fail(item: int) -> int:
        raise ValueError

    await fail([1]).drain()
    assert limit.statistics().available == 1


# --- retry_after


class SlowDown(Exception):  # noqa: N818 - short, as it stands in every example
    """What a service answers that is asked too often."""

    def __init__(self, retry_after: Any) -> None:
        self.retry_after = retry_after


@pytest.mark.virtual_time
async def test_an_error_that_says_when_to_retry_pauses_all_users() -> None:
    limit = RateLimit(1, burst=2)
    tries: list[tuple[float, int]] = []

    @single_task(rate_limit=limit, retry_attempts=2, retry_delay=0.5, retry_jitter=False)
    async def ask(item: int) -> int:
        first = item not in [tried for _, tried in tries]
        tries.append((anyio.current_time(), item))
        await anyio.sleep(0.5)
        if item == 0 and first:
            raise SlowDown(10)
        return item

    other = Calls()
    async with anyio.create_task_group() as group:
        group.start_soon(ask(range(3)).drain)
        await anyio.sleep(2)
        await single_task(rate_limit=limit)(other)(["other"]).drain()
    # Nobody goes until 10.5, and then, after the burst, in the order in which they came.
    assert tries == [(0, 0), (0, 1), (10.5, 2), (10.5, 0)]
    assert other.starts == [(11.5, "other")]


@pytest.mark.virtual_time
async def test_a_try_that_waits_longer_than_the_pause_does_so() -> None:
    tries: list[float] = []

    @single_task(rate_limit=RateLimit(100), retry_attempts=2, retry_delay=8, retry_jitter=False)
    async def ask(item: int) -> int:
        tries.append(anyio.current_time())
        if len(tries) == 1:
            raise SlowDown(2.5)
        return item

    assert await ask([1]).collect() == [1]
    assert tries == [0, 8]


@pytest.mark.virtual_time
async def test_the_last_try_and_a_generator_pause_it_too() -> None:
    limit = RateLimit(1)

    @single_task(rate_limit=limit, on_error="skip_item")
    async def late(item: int) -> AsyncIterator[int]:
        yield item
        raise SlowDown(30)

    assert await late([1]).collect() == [1]
    assert limit.statistics().paused == 30


@pytest.mark.virtual_time
@pytest.mark.parametrize("value", ["30", None, math.inf, math.nan, -1, 0, True, [1]])
async def test_what_is_no_number_of_seconds_pauses_nothing(value: Any) -> None:
    limit = RateLimit(1)

    @single_task(rate_limit=limit)
    async def ask(item: int) -> int:
        raise SlowDown(value)

    error = await error_of(ask([1]).collect())
    assert isinstance(error, SlowDown)
    assert limit.statistics().paused == 0


# --- errors in the user's functions


def broken(*args: Any) -> float:
    raise LookupError("no price")


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", ["cost", "settle"])
@pytest.mark.parametrize("kind", ["single", "batch"])
async def test_an_error_in_cost_or_settle_is_an_error_of_the_item(name: str, kind: str) -> None:
    options: dict[str, Any] = {"rate_limit": RateLimit(8), name: broken, "task_name": "ask"}
    task: Task[Any, Any] = (
        single_task(**options)(lambda item: item)
        if kind == "single"
        else batch_task(max_size=1, **options)(lambda items: items)
    )
    results, error = await results_and_error(task([1, 2]))
    assert results == []
    assert isinstance(error, LookupError)
    assert error.__notes__ == [
        f"in the {name} of task 'ask'",
        "stage 'ask' (1 of 1), item 0",
    ]
    # Policies and retries see it.
    stream = task.with_options(on_error="skip_item", retry_attempts=2, retry_delay=0)([1, 2])
    assert await stream.collect() == []
    counts = stream.statistics().stages[0]
    assert (counts.skipped, counts.retried) == (2, 2)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *[("cost", value, ValueError) for value in (0, -1, math.nan, math.inf)],
        *[("cost", value, TypeError) for value in (None, "3", True)],
        *[("settle", value, ValueError) for value in (-1, math.nan, math.inf)],
        *[("settle", value, TypeError) for value in (None, "3", True)],
    ],
)
async def test_what_they_return_must_be_a_number(
    name: str, value: Any, error: type[Exception]
) -> None:
    options: dict[str, Any] = {name: lambda *args: value}
    task = single_task(rate_limit=RateLimit(8), task_name="ask", **options)(lambda item: item)
    caught = await error_of(task([1]).collect())
    assert type(caught) is error
    allowed = "of at least 0" if name == "settle" else "above 0"
    assert str(caught) == (
        f"what {name} of task 'ask' returns must be a finite number {allowed}, not {value!r}"
    )
    assert f"in the {name} of task 'ask'" in caught.__notes__


@pytest.mark.virtual_time
async def test_a_function_that_turns_out_to_be_async_is_refused_without_a_warning() -> None:
    async def price(item: int) -> float:
        return 1

    cost: Any = lambda item: price(item)  # noqa: E731 - what cannot be seen when it is decorated
    task = single_task(rate_limit=RateLimit(8), cost=cost)(lambda item: item)
    error = await error_of(task([1]).collect())
    assert isinstance(error, TypeError)
    assert "coroutine" in str(error)


@pytest.mark.virtual_time
async def test_a_generator_that_is_to_be_settled_is_refused() -> None:
    task = single_task(
        rate_limit=RateLimit(8), settle=lambda item, result: 1, on_error="emit_failure"
    )(lambda item: (value for value in [item]))
    (failure,) = await task([1]).collect()
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, TypeError)
    assert "generator" in str(failure.error)


@pytest.mark.virtual_time
async def test_who_fails_to_say_its_cost_keeps_nobody_waiting() -> None:
    calls = Calls()

    def cost(item: int) -> float:
        if item % 2:
            raise LookupError
        return 1

    task = single_task(rate_limit=RateLimit(1), cost=cost, on_error="skip_item")(calls)
    assert await task(range(6)).collect() == [0, 2, 4]
    assert calls.times == [0, 1, 2]


# --- beside other options


@pytest.mark.virtual_time
async def test_who_waits_for_the_rate_takes_no_place_of_other_stages() -> None:
    pipeline = single_task(rate_limit=RateLimit(1))(Calls()) | passing
    stream = pipeline.with_context(max_parallelism=1)(range(4))
    assert await timed(stream) == [(0, 0), (1, 1), (2, 2), (3, 3)]


@pytest.mark.virtual_time
async def test_who_waits_for_a_place_of_the_run_starts_no_faster_afterwards() -> None:
    calls = Calls(lambda item: 2.5 if item == 0 else 0)
    task = single_task(rate_limit=RateLimit(1))(calls).with_context(max_parallelism=1)
    await task(range(4)).drain()
    assert calls.times == [0, 2.5, 3.5, 4.5]


@pytest.mark.virtual_time
async def test_who_waits_for_a_place_keeps_nobody_else_from_going() -> None:
    limit = RateLimit(1)
    calls = Calls()
    inner = single_task(rate_limit=limit)(calls)

    @single_task(rate_limit=limit)
    async def outer(item: int) -> list[int]:
        calls.starts.append((anyio.current_time(), "outer"))
        return await inner([item]).collect()

    stream = outer.with_context(max_parallelism=1)(range(3))
    assert await stream.collect() == [[0], [1], [2]]
    assert calls.times == [0, 1, 2, 3, 4, 5]


@pytest.mark.virtual_time
async def test_who_had_to_wait_for_a_place_does_not_have_to_queue_again() -> None:
    limit = RateLimit(1)
    calls = Calls(lambda item: 2.5 if item == 0 else 0)
    others = Starts(limit)
    async with anyio.create_task_group() as group:
        stream = single_task(rate_limit=limit)(calls).with_context(max_parallelism=1)([0, 1])
        group.start_soon(stream.drain)
        await anyio.sleep(2)
        await others("a")
        await others("b")
    assert calls.times == [0, 3]
    assert others.at == {"a": 2, "b": 4}


@pytest.mark.virtual_time
async def test_who_is_cancelled_gives_back_its_place_in_the_run() -> None:
    limit = RateLimit(1)
    slots = anyio.Semaphore(1)
    meter = Meter(single_task(rate_limit=limit)(function).spec, slots, anyio.current_time)
    async with anyio.create_task_group() as group:
        await slots.acquire()
        group.start_soon(meter.enter, 1)
        await all_blocked()
        assert limit.statistics().available == 1  # it waits for the place alone
        await limit.acquire()
        slots.release()
        await all_blocked()
        assert (slots.value, meter.waiting, limit.statistics().waiting) == (0, 1, 1)
        group.cancel_scope.cancel()
    assert (slots.value, meter.waiting, limit.statistics().waiting) == (1, 0, 0)


@pytest.mark.virtual_time
async def test_who_waits_is_counted() -> None:
    limit = RateLimit(1)
    task = single_task(rate_limit=limit, concurrency_limit=3)(Calls(lambda item: 1.5))
    async with task(range(5)) as stream:
        assert await anext(stream) == 0
        counts = stream.statistics().stages[0]
        assert anyio.current_time() == 1.5
        # 1 runs since 1; 2 waits, and so does 3, since 0 is done.
        assert (counts.running, counts.throttled) == (3, 2)
        assert limit.statistics().waiting == 2
    assert limit.statistics().waiting == 0
    assert unread(passing([])).statistics().stages[0].throttled == 0


@in_both_modes
@pytest.mark.virtual_time
async def test_leaving_a_stream_ends_the_waits(mode: str) -> None:
    limit = RateLimit(1, per=1000)
    task = single_task(rate_limit=limit)(Calls()).with_execution_mode(mode)
    async with task(range(10)) as stream:
        assert await anext(stream) == 0
    assert anyio.current_time() == 0
    assert limit.statistics().waiting == 0
    assert limit.statistics().available == 0  # nothing spent but by the one


@pytest.mark.virtual_time
async def test_an_error_in_order_lets_go_who_waited_behind_it() -> None:
    limit = RateLimit(1)

    @single_task(rate_limit=limit)
    async def fail(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        return item

    results, error = await results_and_error(fail(range(10)))
    assert (results, str(error)) == ([0], "one")
    assert (anyio.current_time(), limit.statistics().waiting) == (1, 0)


@pytest.mark.virtual_time
async def test_callbacks_see_the_run() -> None:
    seen: list[Any] = []

    def cost(item: int) -> float:
        context = get_current_context()
        assert context is not None
        seen.append(context.data["who"])
        return 1

    task = single_task(rate_limit=RateLimit(8), cost=cost)(passing.func)
    await task.with_context(who="me")([1, 2]).drain()
    assert seen == ["me", "me"]


async def test_on_every_loop_a_high_rate_lets_all_through() -> None:
    limit = RateLimit(1e6, burst=10)
    pipeline = single_task(rate_limit=limit)(passing.func) | single_task(
        rate_limit=limit, cost=lambda item: 0.5, settle=lambda item, result: 0.25
    )(passing.func)
    assert await pipeline(range(50)).collect() == list(range(50))
    assert limit.statistics().waiting == 0


def test_without_a_limit_the_bare_function_is_called() -> None:
    task = single_task(passing.func)
    assert Caller(task.spec, None, time.perf_counter, None).plan() is passing.func
    limited = task.with_options(rate_limit=RateLimit(1))
    assert Caller(limited.spec, None, time.perf_counter, None).plan() is not passing.func


# --- what is refused at decoration


def function(item: Any) -> Any:
    return item


async def asynchronous(*args: Any) -> float:
    return 1


def generator(item: Any) -> Iterator[Any]:
    yield item


LIMIT = RateLimit(10)
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"rate_limit": 10}, TypeError, "rate_limit must be a RateLimit or None, not 10: write"),
    ({"rate_limit": RateLimit}, TypeError, "rate_limit must be a RateLimit or None, not <class"),
    ({"cost": 2}, ValueError, "cost is for tasks with a rate_limit, not 2 without"),
    ({"cost": len}, ValueError, "cost is for tasks with a rate_limit, not <built-in"),
    ({"settle": function}, ValueError, "settle is for tasks with a rate_limit, not <function"),
    ({"rate_limit": LIMIT, "cost": 0}, ValueError, "must be a finite number above 0, not 0"),
    ({"rate_limit": LIMIT, "cost": -1}, ValueError, "must be a finite number above 0, not -1"),
    ({"rate_limit": LIMIT, "cost": math.inf}, ValueError, "cost, if it is no function, must be"),
    ({"rate_limit": LIMIT, "cost": "1"}, TypeError, "must be a finite number above 0, not '1'"),
    ({"rate_limit": LIMIT, "cost": True}, TypeError, "must be a finite number above 0, not True"),
    ({"rate_limit": LIMIT, "cost": asynchronous}, TypeError, "cost must be a plain function"),
    ({"rate_limit": LIMIT, "settle": asynchronous}, TypeError, "settle must be a plain function"),
    ({"rate_limit": LIMIT, "settle": 3}, TypeError, "the item and the result, or None, not 3"),
]


@pytest.mark.parametrize("decorate", [single_task, lambda **o: batch_task(max_size=2, **o)])
@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_options_are_refused(
    decorate: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        decorate(**options)(function)
    with pytest.raises(error, match=re.escape(message)):
        decorate()(function).with_options(**options)


def test_settle_is_refused_for_generator_functions() -> None:
    with pytest.raises(TypeError, match="'generator' is a generator function"):
        single_task(rate_limit=LIMIT, settle=lambda item, result: 1)(generator)


def test_a_limit_cannot_be_taken_away_from_what_needs_it() -> None:
    task = single_task(rate_limit=LIMIT, cost=2)(function)
    with pytest.raises(ValueError, match="cost is for tasks with a rate_limit"):
        task.with_options(rate_limit=None)
    task.with_options(rate_limit=None, cost=None)
