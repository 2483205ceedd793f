"""`Filling` without a loop: when a batch is full, due or over."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor._engine.batch import Filling
from conveyor._spec import BatchSpec


def filling(**options: Any) -> Filling:
    """Return what fills batches of a task with these options."""
    return Filling(BatchSpec(func=print, **options))


def test_a_new_one_is_empty_and_nothing_is_due() -> None:
    fill = filling(max_size=3, max_wait=5)
    assert fill.items == []
    assert fill.room == 3
    assert fill.due == math.inf
    assert fill.is_remainder


def test_every_item_takes_room() -> None:
    fill = filling(max_size=3)
    for number in range(3):
        assert fill.room == 3 - number
        fill.add(number, 0)
    assert fill.room == 0
    assert fill.items == [0, 1, 2]


def test_a_batch_is_taken_once_and_the_next_begins() -> None:
    fill = filling(max_size=2)
    fill.add("a", 0)
    first = fill.take()
    fill.add("b", 0)
    second = fill.take()
    assert (first, second, fill.take()) == (["a"], ["b"], [])
    assert fill.room == 2


def test_without_max_wait_a_batch_is_never_due() -> None:
    fill = filling(max_size=3)
    fill.add("a", 1)
    assert fill.due == math.inf


def test_a_batch_is_due_when_its_oldest_item_has_waited() -> None:
    fill = filling(max_size=5, max_wait=4)
    fill.add("a", 10)
    assert fill.due == 14
    fill.add("b", 13)
    assert fill.due == 14


def test_the_oldest_item_of_the_next_batch_counts_for_that_batch() -> None:
    fill = filling(max_size=5, max_wait=4)
    fill.add("a", 10)
    fill.take()
    assert fill.due == math.inf
    fill.add("b", 13)
    assert fill.due == 17


def test_a_batch_below_min_size_is_not_due_and_then_it_is_since_its_oldest() -> None:
    fill = filling(max_size=5, min_size=3, max_wait=4)
    fill.add("a", 10)
    fill.add("b", 11)
    assert fill.due == math.inf
    fill.add("c", 20)
    assert fill.due == 14


@pytest.mark.parametrize(("count", "remainder"), [(0, True), (2, True), (3, False), (5, False)])
def test_a_remainder_is_what_is_smaller_than_min_size(count: int, remainder: bool) -> None:
    fill = filling(max_size=5, min_size=3)
    for number in range(count):
        fill.add(number, 0)
    assert fill.is_remainder is remainder


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    max_size = draw(st.integers(1, 8))
    return max_size, draw(st.integers(1, max_size))


@given(
    sizes=sizes(),
    max_wait=st.none() | st.integers(0, 10),
    steps=st.lists(st.tuples(st.integers(0, 5), st.booleans())),
)
def test_it_is_a_list_and_the_time_of_its_first_item(
    sizes: tuple[int, int], max_wait: int | None, steps: list[tuple[int, bool]]
) -> None:
    max_size, min_size = sizes
    fill = filling(max_size=max_size, min_size=min_size, max_wait=max_wait)
    model: list[tuple[int, int]] = []
    batches: list[list[int]] = []
    now = 0
    for number, (seconds, take) in enumerate(steps):
        now += seconds
        fill.add(number, now)
        model.append((number, now))
        assert fill.items == [item for item, _ in model]
        assert fill.room == max_size - len(model) >= 0
        assert fill.is_remainder is (len(model) < min_size)
        if max_wait is None or len(model) < min_size:
            assert fill.due == math.inf
        else:
            assert fill.due == model[0][1] + max_wait
        if take or not fill.room:
            batch = fill.take()
            assert batch == [item for item, _ in model]
            batches.append(batch)
            model.clear()
            assert fill.due == math.inf
    batches.append(fill.take())
    assert [item for batch in batches for item in batch] == list(range(len(steps)))
    assert len({id(batch) for batch in batches}) == len(batches)
