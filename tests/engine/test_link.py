"""The hand-over between two stages, without a stage."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from conveyor._engine.link import Link, TimedLink
from conveyor._engine.loop.later import Later

on_any_schedule = pytest.mark.backends("asyncio", "asyncio-shuffled", "uvloop", "trio")


async def quiet() -> None:
    for _ in range(10):
        await checkpoint()


class Broken(Exception):  # noqa: N818 - short, as it stands in every test
    """What an iterator raises."""


def breaking(*items: Any) -> Iterator[Any]:
    """Give `items`, then raise."""
    yield from items
    raise Broken


class Sleepers:
    """Tasks that sleep on a link. Counts those that it woke, with and without an end in sight."""

    def __init__(self, link: Link, group: anyio.abc.TaskGroup) -> None:
        self.woken: list[anyio.CancelScope] = []
        self.told_of_the_end = 0
        self.inside = 0
        self._link = link
        self._group = group

    def add(self) -> anyio.CancelScope:
        """Start one more, which sleeps after the next checkpoint."""
        scope = anyio.CancelScope()
        self._group.start_soon(self._sleep, scope)
        return scope

    async def _sleep(self, scope: anyio.CancelScope) -> None:
        with scope:
            self.inside += 1
            try:
                if await self._link.sleep():
                    self.woken.append(scope)
                else:
                    self.told_of_the_end += 1
            finally:
                self.inside -= 1


# One after the other


async def test_a_link_takes_what_there_is_room_for() -> None:
    link = Link(3)
    assert [link.send_nowait(item) for item in range(4)] == [True, True, True, False]
    assert len(link) == link.sent == 3
    assert link.refill()
    assert list(link.taken) == [0, 1, 2]
    assert not link.send_nowait(3)  # what is taken and not yet popped counts
    link.taken.popleft()
    assert link.send_nowait(3)
    assert len(link) == 3
    assert link.sent == 4
    link.close()


async def test_the_open_list_is_there_only_while_something_is_in_it() -> None:
    link = Link(10)
    assert link.open is None
    assert not link.refill()
    link.send_nowait(1)
    assert link.open == [1]
    assert link.refill()
    assert link.open is None
    assert not link.refill()
    link.send_nowait(2)
    link.send_nowait(3)
    assert link.open == [2, 3]
    assert link.refill()
    assert list(link.taken) == [1, 2, 3]
    link.close()


async def test_what_an_appender_is_given_rides_along() -> None:
    link = Link(10)
    link.send_nowait(1)
    append = link.appender()
    append(2)
    append(3)
    assert len(link) == link.sent == 3
    link.refill()
    assert list(link.taken) == [1, 2, 3]
    assert link.sent == 3
    link.close()


async def test_after_both_ends_are_closed_what_was_sent_is_still_there() -> None:
    link = Link(5)
    link.send_nowait(1)
    link.refill()
    link.send_nowait(2)
    link.close()
    link.close()
    assert list(link.taken) == [1, 2]
    assert link.open is None
    assert link.sent == len(link) == 2


# Filling


@pytest.mark.parametrize("taken", [False, True])
async def test_a_link_is_filled_up_to_its_bound(taken: bool) -> None:
    for before, count in itertools.product(range(4), range(6)):
        link = Link(3)
        for item in range(before):
            link.send_nowait(item)
        if taken:  # so that filling sends a list of its own, if anything
            link.refill()
        items = iter(range(before, before + count))
        room = 3 - before
        assert link.fill(items) == (count >= room)  # at the very bound nobody knows yet
        there = before + min(count, room)
        assert len(link) == link.sent == there
        assert list(items) == list(range(there, before + count))  # not one was lost on the way
        assert link.open != []
        link.refill()
        assert list(link.taken) == list(range(there))
        link.close()


async def test_filling_with_nothing_sends_nothing() -> None:
    link = Link(3)
    called = 0

    def arrived() -> None:
        nonlocal called
        called += 1

    link.arrived = arrived
    assert not link.fill(iter(()))
    assert link.open is None
    assert called == 0
    assert link.fill(iter("abcd"))
    assert link.fill(iter("abcd"))  # no room: who knows
    assert called == 1
    link.close()


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("timed", [False, True])
async def test_what_an_iterator_gave_before_it_raised_is_not_lost(begun: bool, timed: bool) -> None:
    link = TimedLink(10, lambda: 0.0) if timed else Link(10)
    called: list[int] = []
    link.arrived = lambda: called.append(len(link))
    expected = ["first"] if begun else []
    for item in expected:
        link.send_nowait(item)
    with pytest.raises(Broken):
        link.fill(breaking(1, 2))
    expected += [1, 2]
    assert called == ([1] if begun else [2])  # whoever looks finds something
    assert link.sent == len(link) == len(expected)
    if isinstance(link, TimedLink):
        assert len(link.stamps) == len(expected)
    with pytest.raises(Broken):
        link.fill(breaking())
    link.refill()
    assert list(link.taken) == expected
    with pytest.raises(Broken):
        link.fill(breaking())
    assert link.open is None
    link.close()


# Sleeping


@on_any_schedule
async def test_the_first_item_wakes_the_receiver_and_the_next_ride_along() -> None:
    link = Link(3)
    found: list[Any] = []

    async def receive() -> None:
        assert await link.sleep()
        assert link.refill()
        found.extend(link.taken)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await quiet()
        for item in range(3):
            assert link.send_nowait(item)
        assert link.coming == 1
    assert found == [0, 1, 2]
    assert link.coming == 0
    link.close()


async def test_a_busy_receiver_finds_the_newest_items_without_waiting() -> None:
    link = Link(10)
    link.send_nowait(1)
    assert link.coming == 0  # nobody sleeps: whoever is busy will look
    assert link.refill()
    link.send_nowait(2)
    assert link.taken.popleft() == 1
    assert link.refill()
    assert link.taken.popleft() == 2
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        sleepers.add()
        await quiet()
        assert sleepers.inside == 1  # what is found leaves no trace that would wake it
        link.close()


@on_any_schedule
@pytest.mark.parametrize("way", ["send", "fill"])
async def test_a_new_list_wakes_one_sleeper_and_what_rides_along_wakes_none(way: str) -> None:
    link = Link(10)

    def send() -> None:
        if way == "send":
            assert link.send_nowait(1)
        else:
            assert not link.fill(iter((1,)))

    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        for _ in range(3):
            sleepers.add()
        await quiet()
        for expected in 1, 2:
            send()
            send()
            link.appender()(2)
            assert link.coming == 1
            assert len(link.sleepers) == 3 - expected
            await quiet()
            send()
            await quiet()
            assert len(sleepers.woken) == expected
            assert link.coming == 0
            assert link.refill()
        link.close()


async def test_who_is_woken_by_hand_is_counted_until_it_runs() -> None:
    link = Link(10)
    assert not link.wake()
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        sleepers.add()
        sleepers.add()
        await quiet()
        assert link.wake()
        assert link.wake()
        assert not link.wake()
        assert link.coming == 2
        await quiet()
        assert len(sleepers.woken) == 2
        assert link.coming == 0
    link.close()


async def test_the_receiver_may_do_better_than_wake_a_sleeper() -> None:
    link = Link(10)
    seen: list[list[Any] | None] = []
    link.arrived = lambda: seen.append(link.open)
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        sleepers.add()
        await quiet()
        link.send_nowait(1)
        link.send_nowait(2)
        await quiet()
        assert seen == [[1, 2]]  # called once, with the list in its place
        assert sleepers.woken == []
        link.close()


@on_any_schedule
async def test_though_who_was_woken_is_cancelled_one_looks() -> None:
    """Itself, as it could still go on, or another in its place."""
    link = Link(10)
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        scopes = [sleepers.add() for _ in range(3)]
        await quiet()
        link.send_nowait(1)
        assert link.coming == 1
        scopes[-1].cancel()
        scopes[0].cancel()
        await quiet()
        assert len(sleepers.woken) == 1
        assert link.coming == 0
        assert sleepers.inside == len(link.sleepers)
        link.close()


@on_any_schedule
async def test_who_is_cancelled_already_is_not_woken() -> None:
    link = Link(10)
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        scopes = [sleepers.add() for _ in range(4)]
        await quiet()
        for scope in scopes[:1] + scopes[2:]:
            scope.cancel()
        link.send_nowait(1)  # before the cancelled ones have run
        assert link.coming == 1
        await quiet()
        assert sleepers.woken == [scopes[1]]
        assert link.coming == sleepers.inside == len(link.sleepers) == 0
    link.close()


@pytest.mark.backends("asyncio", "asyncio-shuffled", "uvloop")
async def test_the_wake_passes_on_when_who_was_woken_is_cancelled() -> None:
    """`Task.cancel` may do that at a time when no scope would."""
    link = Link(10)
    tasks: dict[Any, asyncio.Task[None]] = {}
    woken: list[asyncio.Task[None]] = []

    def cancel_who_was_woken() -> None:
        assert link.coming == 1
        (sleeper,) = set(tasks) - set(link.sleepers)
        tasks.pop(sleeper).cancel()

    async def sleep() -> None:
        try:
            assert await link.sleep()
        except asyncio.CancelledError:
            if len(tasks) > 1:
                cancel_who_was_woken()
            raise
        woken.append(asyncio.current_task())  # type: ignore[arg-type]

    for _ in range(4):
        before = set(link.sleepers)
        task = asyncio.create_task(sleep())
        await quiet()
        (sleeper,) = set(link.sleepers) - before
        tasks[sleeper] = task
    link.send_nowait(1)
    cancel_who_was_woken()
    await quiet()
    assert woken == list(tasks.values())
    assert link.coming == len(link.sleepers) == 0
    link.close()


@on_any_schedule
async def test_when_the_only_one_is_cancelled_the_item_waits_for_the_next() -> None:
    link = Link(5)
    async with anyio.create_task_group() as group:
        Sleepers(link, group).add()
        await quiet()
        link.send_nowait(1)
        group.cancel_scope.cancel()
    assert link.coming == len(link.sleepers) == 0
    assert link.refill()
    assert list(link.taken) == [1]
    link.close()


async def test_a_sleeper_that_nobody_woke_is_cancelled_without_a_trace() -> None:
    link = Link(5)
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        scope, _ = sleepers.add(), sleepers.add()
        await quiet()
        scope.cancel()
        await quiet()
        assert len(link.sleepers) == sleepers.inside == 1
        assert sleepers.woken == []  # there is nothing to look for
        assert link.coming == 0
        link.close()


@pytest.mark.parametrize("both", [False, True])
async def test_the_end_wakes_everyone(both: bool) -> None:
    link = Link(5)
    async with anyio.create_task_group() as group:
        sleepers = Sleepers(link, group)
        for _ in range(3):
            sleepers.add()
        await quiet()
        assert not link.closed
        link.close() if both else link.close_sender()
        assert link.closed
        assert link.coming == 3
        await quiet()
        assert len(sleepers.woken) == 3  # they look once more
        assert link.coming == 0
        sleepers.add()
        await quiet()
        assert sleepers.told_of_the_end == 1
    assert not await link.sleep()
    link.close()


async def test_after_the_end_what_was_sent_is_still_there() -> None:
    link = Link(5)
    link.send_nowait(1)
    link.close_sender()
    assert not await link.sleep()
    assert link.refill()
    assert list(link.taken) == [1]
    assert not link.refill()
    link.close()


# Room


@pytest.mark.parametrize("size", [1, 2, 3, 10])
@pytest.mark.parametrize("senders", [1, 3])
async def test_a_full_link_lets_its_senders_go_on_when_it_is_half_empty(
    size: int, senders: int
) -> None:
    link = Link(size)
    assert link.low == size // 2
    assert link.fill(itertools.count())
    assert not link.send_nowait(size)
    link.refill()
    async with anyio.create_task_group() as group:
        for _ in range(senders):
            group.start_soon(link.wait_room)
        await quiet()
        assert link.blocked is not None
        while len(link) > size // 2 + 1:
            link.taken.popleft()
            link.unblock()
        assert link.blocked is not None
        link.taken.popleft()
        link.unblock()
        assert link.blocked is None
    await link.wait_room()  # there is room
    assert link.blocked is None
    assert link.send_nowait(size)
    link.close()


async def test_a_sender_that_finds_the_room_gone_waits_again() -> None:
    link = Link(2)
    through = False

    async def send() -> None:
        nonlocal through
        await link.wait_room()
        through = True

    link.fill(iter("ab"))
    link.refill()
    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await quiet()
        link.taken.popleft()
        link.unblock()
        link.send_nowait("c")  # somebody was faster
        await quiet()
        assert not through
        link.taken.popleft()
        link.unblock()
    assert through
    link.close()


async def test_waiting_for_room_can_be_cancelled() -> None:
    link = Link(1)
    link.send_nowait(1)
    async with anyio.create_task_group() as group:
        group.start_soon(link.wait_room)
        await quiet()
        group.cancel_scope.cancel()
    assert len(link) == 1
    link.refill()
    link.taken.popleft()
    link.unblock()
    await link.wait_room()
    link.close()


# Time


async def test_a_timed_link_knows_when_each_item_came() -> None:
    now = 0.0
    link = TimedLink(7, lambda: now)
    for now in 1.0, 2.5:  # noqa: B007 - the clock reads it
        link.send_nowait("sent")
    now = 3.0
    assert not link.fill(iter(["filled"] * 2))
    append = link.appender()
    for now in 4.0, 5.5:  # noqa: B007
        append("appended")
    now = 6.0
    assert link.fill(iter(["filled"] * 2))
    assert not link.send_nowait("no room")
    assert link.fill(iter(["no room"]))
    assert list(link.stamps) == [1.0, 2.5, 3.0, 3.0, 4.0, 5.5, 6.0]
    link.refill()
    assert list(link.taken) == ["sent"] * 2 + ["filled"] * 2 + ["appended"] * 2 + ["filled"]
    assert len(link.stamps) == len(link)
    link.close()


async def test_a_timed_link_stamps_what_begins_a_list() -> None:
    times = itertools.count()
    link = TimedLink(3, lambda: float(next(times)))
    assert not link.fill(iter("a"))
    link.refill()
    assert not link.fill(iter("b"))
    link.refill()
    link.send_nowait("c")
    assert list(link.stamps) == [0.0, 1.0, 2.0]
    link.close()


# All of it

STEPS = (
    "send",
    "append",
    "fill",
    "fill and raise",
    "pop",
    "refill",
    "receive",
    "wake",
    "cancel",
    "wait for room",
    "turn",
)


@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=40),
    size=st.integers(1, 4),
    timed=st.booleans(),
    random=st.random_module(),
)
@on_any_schedule
async def test_nothing_is_lost_doubled_or_out_of_order(
    steps: list[tuple[str, int]], size: int, timed: bool, random: object
) -> None:
    times = itertools.count()
    link = TimedLink(size, lambda: float(next(times))) if timed else Link(size)
    given: list[int] = []  # what an iterator gave counts as sent
    received: list[int] = []
    numbers = itertools.count()
    asleep = waiting = 0

    def items(count: int, *, raises: bool) -> Iterator[int]:
        for _ in range(count):
            given.append(next(numbers))
            yield given[-1]
        if raises:
            raise Broken

    async def receive(scope: anyio.CancelScope) -> None:
        nonlocal asleep
        with scope:
            # As all receivers do: look, and sleep only if there is nothing.
            while not link.taken and not link.refill():
                asleep += 1
                try:
                    if not await link.sleep():
                        return
                finally:
                    asleep -= 1

    async def wait_room() -> None:
        nonlocal waiting
        waiting += 1
        await link.wait_room()
        waiting -= 1

    async with anyio.create_task_group() as group:
        scopes: list[anyio.CancelScope] = []

        def take_step(step: str, number: int) -> None:
            nonlocal received
            was_open, coming = link.open is not None, link.coming
            room = size - len(link)
            match step:
                case "send" if link.send_nowait(number):
                    link.open[-1] = next(numbers)  # type: ignore[index]
                    given.append(link.open[-1])  # type: ignore[index]
                case "append" if was_open and room:
                    given.append(next(numbers))
                    link.appender()(given[-1])
                case "fill":
                    assert link.fill(items(number, raises=False)) == (number >= room)
                case "fill and raise":
                    try:
                        assert link.fill(items(number, raises=True))
                        assert number >= room
                    except Broken:
                        assert number < room
                case "pop" if link.taken:
                    received.append(link.taken.popleft())
                    if isinstance(link, TimedLink):
                        link.stamps.popleft()
                    link.unblock()
                case "refill":
                    assert link.refill() == was_open
                case "wake":
                    assert link.wake() == (link.coming > coming)
                case "receive":
                    scopes.append(anyio.CancelScope())
                    group.start_soon(receive, scopes[-1])
                case "cancel" if scopes:
                    scopes.pop(number % len(scopes)).cancel()
                case "wait for room":
                    group.start_soon(wait_room)
            if link.open is not None and not was_open:  # one is woken at once, if one sleeps
                assert link.coming == coming + 1 or not link.sleepers

        def check() -> None:
            assert link.open != []
            assert len(link) <= size
            assert link.sent == len(given)
            assert [*received, *link.taken, *(link.open or [])] == given
            if isinstance(link, TimedLink):
                assert len(link.stamps) == len(link)
                assert sorted(link.stamps) == list(link.stamps)
            # Who is inside sleeps still, or is on its way, or has just been cancelled.
            assert asleep >= len(link.sleepers) + link.coming

        def check_at_rest() -> None:
            assert link.coming == 0
            assert asleep == len(link.sleepers)
            assert link.open is None or not asleep  # nobody sleeps beside a new list
            assert not waiting or len(link) > link.low

        for step, number in steps:
            if step == "turn":
                await (quiet() if number == 0 else checkpoint())
                if number == 0:
                    check_at_rest()
            else:
                take_step(step, number)
            check()
        await quiet()
        check()
        check_at_rest()
        link.close()
        check()
        while link.taken:
            take_step("pop", 0)
        await quiet()
        assert asleep == waiting == link.coming == 0
        assert received == given


async def test_later_makes_its_coroutine_when_it_is_awaited() -> None:
    made: list[int] = []

    async def work(item: int) -> None:
        made.append(item)

    later = Later(work, 1)
    assert made == []
    await later
    assert made == [1]
    Later(work, 2).close()
    for step in later.send, later.throw:
        with pytest.raises(NotImplementedError):
            step(ValueError)
    assert made == [1]
