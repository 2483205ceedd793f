"""`Fillings` without a loop: when batches are full, due or over."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor._engine.intake.fillings import Filling, Fillings
from conveyor._model.spec import BatchSpec


def fillings(**options: Any) -> Fillings:
    """Return what fills batches of a task with these options."""
    if "max_weight" in options:
        options["weight"] = abs
    if "max_open" in options:
        options["by"] = abs
    return Fillings(BatchSpec(func=print, **{"max_size": 5} | options))


def told(filling: Filling | None) -> tuple[Any, ...]:
    """Return why a batch was closed, its key and its items."""
    assert filling is not None
    return filling.trigger, filling.key, filling.items


def all_of(fill: Fillings, now: float = -1) -> list[tuple[Any, ...]]:
    """Return what is to start by `now`."""
    found = []
    while (filling := fill.next(now)) is not None:
        found.append(told(filling))
    return found


# --- one batch at a time


def test_a_new_one_is_empty_and_nothing_is_due() -> None:
    fill = fillings(max_size=3, max_wait=5)
    assert fill.open == {}
    assert fill.room == 3
    assert fill.due == math.inf
    assert fill.ripe() is None
    assert fill.next(math.inf) is None


def test_every_item_takes_room_and_a_full_batch_gives_it_back() -> None:
    fill = fillings(max_size=3)
    fill.extend("a", 0)
    assert fill.room == 2
    fill.extend("bc", 0)
    assert fill.room == 3
    fill.extend("d", 0)
    assert all_of(fill, 0) == [("size", None, ["a", "b", "c"])]
    assert fill.oldest().items == ["d"]


def test_to_add_items_one_by_one_comes_to_the_same() -> None:
    fill = fillings(max_size=3)
    for number in range(7):
        fill.add(number, number, 0)
    assert all_of(fill, 0) == [("size", None, [0, 1, 2]), ("size", None, [3, 4, 5])]
    assert fill.oldest().numbers == [6]


def test_without_max_wait_a_batch_is_never_due() -> None:
    fill = fillings()
    fill.extend("a", 1)
    assert fill.due == math.inf
    assert fill.next(1e9) is None


def test_a_batch_is_due_when_its_oldest_item_has_waited() -> None:
    fill = fillings(max_wait=4)
    fill.extend("a", 10)
    assert fill.due == 14
    fill.extend("b", 13)
    assert fill.due == 14
    assert fill.next(13.5) is None
    assert all_of(fill, 14) == [("time", None, ["a", "b"])]


def test_the_oldest_item_of_the_next_batch_counts_for_that_batch() -> None:
    fill = fillings(max_wait=4)
    fill.extend("a", 10)
    assert fill.next(14) is not None
    assert fill.due == math.inf
    fill.extend("b", 13)
    assert fill.due == 17


def test_a_batch_below_min_size_is_not_due_and_then_it_is_since_its_oldest() -> None:
    fill = fillings(min_size=3, max_wait=4)
    fill.extend("a", 10)
    fill.extend("b", 11)
    assert fill.due == math.inf
    fill.extend("c", 20)
    assert fill.due == 14


@pytest.mark.parametrize(("count", "remainder"), [(1, True), (2, True), (3, False), (4, False)])
def test_a_remainder_is_what_is_smaller_than_min_size(count: int, remainder: bool) -> None:
    fill = fillings(min_size=3)
    fill.extend(range(count), 0)
    assert fill.is_remainder(fill.oldest()) is remainder
    assert (fill.ripe() is None) is remainder


# --- weights


def weighed(*weights: float, **options: Any) -> list[tuple[str, list[Any]]]:
    """Return the batches of items with these weights, the open one as the last."""
    fill = fillings(**{"max_weight": 10, "max_size": 4} | options)
    for number, weight in enumerate(weights):
        fill.add(weight, number, 0, weight=weight)
    closed = [(trigger, items) for trigger, _, items in all_of(fill)]
    return closed + [("open", filling.items) for filling in fill.open.values()]


@pytest.mark.parametrize(
    ("weights", "batches"),
    [
        ([4, 5], [("open", [4, 5])]),
        ([4, 6], [("weight", [4, 6])]),
        ([4, 7], [("weight", [4]), ("open", [7])]),
        ([4, 7, 3, 1], [("weight", [4]), ("weight", [7, 3]), ("open", [1])]),
        ([4, 10, 1], [("weight", [4]), ("weight", [10]), ("open", [1])]),
        ([4, 11, 1], [("weight", [4]), ("weight", [11]), ("open", [1])]),
        ([99, 99], [("weight", [99]), ("weight", [99])]),
        ([1, 1, 1, 1, 1], [("size", [1, 1, 1, 1]), ("open", [1])]),
        ([4, 4, 1, 1], [("size", [4, 4, 1, 1])]),
        ([0, 0, 0, 0, 0], [("size", [0, 0, 0, 0]), ("open", [0])]),
        ([0, 11], [("weight", [0]), ("weight", [11])]),
        ([9.5, 0.5, 0.25], [("weight", [9.5, 0.5]), ("open", [0.25])]),
        ([math.inf, 1], [("weight", [math.inf]), ("open", [1])]),
    ],
)
def test_what_does_not_fit_begins_the_next_batch(
    weights: list[float], batches: list[tuple[str, list[float]]]
) -> None:
    assert weighed(*weights) == batches


@given(
    weights=st.lists(st.integers(0, 12)), max_weight=st.integers(1, 10), max_size=st.integers(1, 4)
)
def test_no_batch_is_too_heavy_and_none_is_closed_too_early(
    weights: list[int], max_weight: int, max_size: int
) -> None:
    batches = weighed(*weights, max_weight=max_weight, max_size=max_size)
    assert [weight for _, items in batches for weight in items] == weights
    after = itertools.chain((items for _, items in batches[1:]), [None])
    for (trigger, items), following in zip(batches, after, strict=False):
        assert 1 <= len(items) <= max_size
        assert sum(items) <= max_weight or len(items) == 1
        if trigger == "size":
            assert len(items) == max_size
        elif trigger == "weight":
            assert sum(items) >= max_weight or (
                following is not None and sum(items) + following[0] > max_weight
            )
        else:
            assert len(items) < max_size
            assert sum(items) < max_weight


# --- keys


def test_there_is_one_batch_for_each_key() -> None:
    fill = fillings(max_size=2)
    for number, key in enumerate("abacb"):
        fill.add(number, number, 0, key=key)
    assert all_of(fill, 0) == [("size", "a", [0, 2]), ("size", "b", [1, 4])]
    assert list(fill.open) == ["c"]  # of a key whose batch has started nothing is left


def test_the_batch_begun_first_is_closed_when_there_are_too_many() -> None:
    fill = fillings(max_open=2)
    for number, key in enumerate("abacad"):
        fill.add(number, number, 0, key=key)
        assert len(fill.open) <= 2
    # The second a begins no batch. The c closes the a, the third a the b, and the d the c.
    assert all_of(fill) == [("open", "a", [0, 2]), ("open", "b", [1]), ("open", "c", [3])]
    assert list(fill.open) == ["a", "d"]


def test_a_batch_that_is_full_at_once_takes_the_place_of_none() -> None:
    fill = fillings(max_open=1, max_weight=10)
    fill.add("light", 0, 0, key="a", weight=1)
    fill.add("heavy", 1, 0, key="b", weight=10)
    assert all_of(fill) == [("weight", "b", ["heavy"])]
    assert list(fill.open) == ["a"]


def test_of_several_keys_the_oldest_batch_is_due_first() -> None:
    fill = fillings(max_wait=10, min_size=2)
    for arrived, key in enumerate("abcbca"):
        fill.add(arrived, arrived, arrived, key=key)
        if arrived < 3:
            assert fill.due == math.inf
    # Since the last has come the a is large enough, and it is older than the b.
    assert fill.due == 10
    assert fill.next(9) is None
    assert told(fill.next(10)) == ("time", "a", [0, 5])
    assert fill.due == 11
    assert all_of(fill, 12) == [("time", "b", [1, 3]), ("time", "c", [2, 4])]


def test_a_full_batch_lets_an_older_one_that_is_due_go_first() -> None:
    fill = fillings(max_wait=10, max_size=2)
    fill.add("old", 0, 0, key="a")
    fill.add("full", 1, 1, key="b")
    fill.add("full", 2, 9, key="b")
    fill.add("young", 3, 9, key="c")
    assert told(fill.next(9)) == ("size", "b", ["full", "full"])
    fill.add("full", 4, 9, key="b")
    fill.add("full", 5, 9, key="b")
    assert all_of(fill, 12) == [("time", "a", ["old"]), ("size", "b", ["full", "full"])]
    assert all_of(fill, 19) == [("time", "c", ["young"])]


def test_of_two_begun_at_one_moment_the_first_is_the_older() -> None:
    fill = fillings(max_wait=10, max_weight=5)
    fill.add("a", 0, 0, weight=3)
    fill.add("b", 1, 0, weight=3)
    assert all_of(fill, 10) == [("weight", None, ["a"]), ("time", None, ["b"])]


# --- all of it, against a model


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    max_size = draw(st.integers(1, 5))
    return max_size, draw(st.integers(1, max_size))


@given(
    sizes=sizes(),
    max_wait=st.none() | st.integers(0, 10),
    max_weight=st.integers(1, 10),
    max_open=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from("abcd"), st.integers(0, 5)), max_size=30
    ),
)
def test_it_is_lists_and_the_times_of_their_first_items(
    sizes: tuple[int, int],
    max_wait: int | None,
    max_weight: int,
    max_open: int,
    steps: list[tuple[int, str, int]],
) -> None:
    max_size, min_size = sizes
    fill = fillings(
        max_size=max_size,
        min_size=min_size,
        max_wait=max_wait,
        max_weight=max_weight,
        max_open=max_open,
    )
    model: list[tuple[str, list[tuple[int, int, int]]]] = []  # key, (number, arrived, weight)
    now = 0
    for number, (seconds, key, weight) in enumerate(steps):
        now += seconds
        fill.add(number, number, now, key=key, weight=weight)
        expected: list[tuple[str, str, list[int]]] = []
        mine = [entry for entry in model if entry[0] == key]
        if mine and sum(w for *_, w in mine[0][1]) + weight > max_weight:
            model.remove(mine[0])
            expected.append(("weight", key, [n for n, *_ in mine.pop()[1]]))
        if not mine:
            mine.append((key, []))
            model.append(mine[0])
        mine[0][1].append((number, now, weight))
        items = mine[0][1]
        if len(items) == max_size or sum(w for *_, w in items) >= max_weight:
            model.remove(mine[0])
            trigger = "size" if len(items) == max_size else "weight"
            expected.append((trigger, key, [n for n, *_ in items]))
        elif len(model) > max_open:
            first = model.pop(0)
            expected.append(("open", first[0], [n for n, *_ in first[1]]))
        assert all_of(fill, -1) == expected
        assert [(k, f.items) for k, f in fill.open.items()] == [
            (k, [n for n, *_ in items]) for k, items in model
        ]
        if max_wait is None:
            assert fill.due == math.inf
            continue
        due = [(k, items) for k, items in model if len(items) >= min_size]
        assert fill.due == min((items[0][1] + max_wait for _, items in due), default=math.inf)
        over = [(k, items) for k, items in due if items[0][1] + max_wait <= now]
        assert all_of(fill, now) == [("time", k, [n for n, *_ in items]) for k, items in over]
        model = [entry for entry in model if entry not in over]
