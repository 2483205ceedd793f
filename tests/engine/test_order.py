"""`Order` without a loop: results back into the order of their positions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from conveyor._engine.order import Order


class Output:
    """Settles positions as a stage does: at once if it is their turn, else held until it is."""

    def __init__(self) -> None:
        self.order: Order[Any] = Order()
        self.given: list[Any] = []

    def settle(self, position: int, entry: Any) -> None:
        order = self.order
        if position != order.next:
            order.hold(position, entry)
            return
        self.given.append(entry)
        order.settle()
        while (held := order.pop()) is not None:
            self.given.append(held)
            order.settle()


def test_a_new_order_waits_for_position_0() -> None:
    order: Order[str] = Order()
    assert order.next == 0
    assert order.pop() is None
    assert order.waiting == {}


def test_what_is_in_turn_is_never_held() -> None:
    output = Output()
    for position in range(5):
        output.settle(position, position)
        assert output.order.waiting == {}
        assert output.given == list(range(position + 1))


def test_what_is_too_early_waits_for_all_before_it() -> None:
    output = Output()
    output.settle(2, "c")
    output.settle(1, "b")
    assert output.given == []
    assert output.order.waiting == {1: "b", 2: "c"}
    output.settle(0, "a")
    assert output.given == ["a", "b", "c"]
    assert output.order.waiting == {}
    assert output.order.next == 3


def test_what_is_popped_keeps_its_turn_until_it_is_settled() -> None:
    # A generator gives its values one by one, and its turn is over when the last is out.
    order: Order[str] = Order()
    order.hold(0, "a")
    order.hold(1, "b")
    assert order.pop() == "a"
    assert order.next == 0
    assert order.pop() is None
    order.settle()
    assert order.pop() == "b"


def test_what_is_held_may_be_anything_but_none() -> None:
    output = Output()
    entries: list[Any] = [0, "", [], (), False]
    for position in reversed(range(len(entries))):
        output.settle(position, entries[position])
    assert output.given == entries


@given(st.integers(0, 40).flatmap(lambda count: st.permutations(range(count))))
def test_whatever_the_order_of_arrival_everything_leaves_once_and_in_order(
    arrivals: list[int],
) -> None:
    output = Output()
    for number, position in enumerate(arrivals):
        output.settle(position, position)
        # All that can have left has left.
        here = set(arrivals[: number + 1])
        ready = next(gap for gap in range(len(arrivals) + 1) if gap not in here)
        assert output.given == list(range(ready))
        assert output.order.waiting.keys() == here - set(range(ready))
    assert output.given == sorted(arrivals)
    assert output.order.waiting == {}


@pytest.mark.parametrize("position", range(6))
def test_cut_forgets_what_comes_after_a_position_and_nothing_else(position: int) -> None:
    order: Order[str] = Order()
    for held in (1, 2, 4):
        order.hold(held, str(held))
    order.cut(position)
    assert order.waiting == {held: str(held) for held in (1, 2, 4) if held <= position}
    assert order.next == 0


@given(
    st.integers(1, 30).flatmap(
        lambda count: st.tuples(st.permutations(range(count)), st.integers(0, count - 1))
    )
)
def test_after_a_cut_all_before_it_still_leaves_in_order(case: tuple[list[int], int]) -> None:
    arrivals, failing = case
    output = Output()
    failed = False
    for position in arrivals:
        if position == failing:
            output.order.cut(position)
            failed = True
        elif not failed or position < failing:
            output.settle(position, position)
    assert output.given == list(range(failing))
    assert output.order.next == failing
    assert output.order.waiting == {}


class OrderMachine(RuleBasedStateMachine):
    """Whatever happens to an `Order`, it is a dict and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.output = Output()
        self.settled: set[int] = set()
        self.admitted = 0
        self.end: int | None = None

    @property
    def open(self) -> list[int]:
        """The positions that may still be settled."""
        end = self.admitted if self.end is None else min(self.end, self.admitted)
        return [position for position in range(end) if position not in self.settled]

    @rule(count=st.integers(1, 5))
    def admit(self, count: int) -> None:
        self.admitted += count

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(self.open))
        self.settled.add(position)
        self.output.settle(position, position)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.end = data.draw(st.sampled_from(self.open))
        self.output.order.cut(self.end)

    @invariant()
    def all_that_may_leave_has_left(self) -> None:
        expected = 0
        while expected in self.settled and (self.end is None or expected < self.end):
            expected += 1
        assert self.output.given == list(range(expected))
        assert self.output.order.next == expected

    @invariant()
    def what_waits_is_above_the_next(self) -> None:
        waiting = self.output.order.waiting
        assert all(position > self.output.order.next for position in waiting)
        if self.end is not None:
            assert all(position <= self.end for position in waiting)


TestOrderMachine = OrderMachine.TestCase
