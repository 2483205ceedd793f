"""Quantiles: within one per cent of the true ones, whatever comes, in bounded memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor._engine.books.sketch import ACCURACY, LEAST, MOST, Sketch

SHARES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)
durations = st.just(0.0) | st.floats(LEAST, MOST)


def true_quantile(numbers: list[float], share: float) -> float:
    return sorted(numbers)[int(share * (len(numbers) - 1))]


def check(sketch: Sketch, numbers: list[float]) -> None:
    assert sketch.count == len(numbers)
    assert sketch.longest == max(numbers, default=0.0)
    assert sketch.total == pytest.approx(math.fsum(numbers))
    for share in SHARES if numbers else ():
        exact = true_quantile(numbers, share)
        assert abs(sketch.quantile(share) - exact) <= ACCURACY * exact * (1 + 1e-9)


@given(numbers=st.lists(durations, max_size=200))
def test_each_quantile_is_within_the_promised_accuracy(numbers: list[float]) -> None:
    one_by_one, together = Sketch(), Sketch()
    for number in numbers:
        one_by_one.add(number)
    assert together.extend(numbers) == sum(numbers)
    check(one_by_one, numbers)
    check(together, numbers)
    assert one_by_one.statistics().p95 == together.statistics().p95


@given(numbers=st.lists(st.tuples(durations, st.integers(1, 50)), max_size=50))
def test_a_number_may_be_added_many_times_at_once(numbers: list[tuple[float, int]]) -> None:
    sketch = Sketch()
    for number, count in numbers:
        sketch.add(number, count)
    check(sketch, [number for number, count in numbers for _ in range(count)])


def test_nothing_gives_zeros() -> None:
    assert Sketch().statistics() == type(Sketch().statistics())()
    empty = Sketch()
    assert empty.extend([]) == 0
    assert empty.count == 0


def test_one_duration_again_and_again_is_exact() -> None:
    sketch = Sketch()
    sketch.extend([0.25] * 1000)
    found = sketch.statistics()
    assert (found.p50, found.p95, found.p99, found.longest) == (0.25, 0.25, 0.25, 0.25)
    assert (found.count, found.total) == (1000, 250)


def test_memory_is_bounded_whatever_comes() -> None:
    sketch = Sketch()
    number = LEAST / 1000
    while number < MOST * 1000:
        sketch.add(number)
        number *= 1.001
    assert len(sketch._bins) <= 2076
    assert sketch.quantile(1.0) <= sketch.longest
    assert sketch.quantile(0.0) == 0.0  # what no clock can tell from nothing
