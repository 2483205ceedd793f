"""The hand-over between two stages, without a stage."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from conveyor._engine.later import Later
from conveyor._engine.link import Link, TimedLink


async def quiet() -> None:
    for _ in range(10):
        await checkpoint()


async def test_the_first_item_wakes_the_receiver_and_the_next_ride_along() -> None:
    link = Link(3)
    woken = 0

    async def receive() -> None:
        nonlocal woken
        assert await link.receive()
        woken += 1

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await quiet()
        assert [link.send_nowait(item) for item in range(4)] == [True, True, True, False]
        assert len(link) == link.sent == 3
    assert woken == 1
    assert list(link.taken) == [0, 1, 2]
    assert not link.send_nowait(3)  # what is taken and not yet popped counts
    link.close()


async def test_a_busy_receiver_finds_the_newest_items_without_waiting() -> None:
    link = Link(10)
    link.send_nowait(1)
    assert link.refill()
    link.send_nowait(2)
    assert not link.taken.popleft() - 1
    assert link.refill()
    assert not link.refill()
    assert link.taken.popleft() == 2
    assert await link.receive()  # the list in which they came, empty by now
    assert not link.taken
    link.close()


async def test_one_item_wakes_one_receiver_and_a_nudge_wakes_one_more() -> None:
    link = Link(10)
    woken = 0

    async def receive() -> None:
        nonlocal woken
        if await link.receive():
            woken += 1

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(receive)
        await quiet()
        link.send_nowait(1)
        link.nudge()  # one is on its way already
        await quiet()
        assert woken == 1
        link.nudge()
        await quiet()
        assert woken == 2
        link.close()
        link.nudge()  # after the end there is nobody to wake
    assert woken == 2


@pytest.mark.parametrize("size", [1, 2, 3, 10])
async def test_a_full_link_lets_its_sender_go_on_when_it_is_half_empty(size: int) -> None:
    link = Link(size)
    for item in range(size):
        assert link.send_nowait(item)
    assert not link.send_nowait(size)
    link.refill()
    async with anyio.create_task_group() as group:
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
    assert link.send_nowait(size)
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


async def test_after_the_end_what_was_sent_is_still_there() -> None:
    link = Link(5)
    link.send_nowait(1)
    link.close_sender()
    assert await link.receive()
    assert not await link.receive()
    assert list(link.taken) == [1]
    link.close()
    assert not await link.receive()


async def test_a_receiver_that_is_cancelled_loses_nothing() -> None:
    link = Link(5)
    async with anyio.create_task_group() as group:
        group.start_soon(link.receive)
        await quiet()
        link.send_nowait(1)  # handed over, and cancelled before it can look
        group.cancel_scope.cancel()
    link.send_nowait(2)
    assert await link.receive()  # at once
    assert list(link.taken) == [1, 2]
    async with anyio.create_task_group() as group:
        group.start_soon(link.receive)
        await quiet()
        link.send_nowait(3)
    assert list(link.taken) == [1, 2, 3]
    link.close()


async def test_a_timed_link_knows_when_each_item_came() -> None:
    now = 0.0
    link = TimedLink(2, lambda: now)
    for now in 1.0, 2.5, 4.0:  # noqa: B007 - the clock reads it
        link.send_nowait("item")
    assert list(link.stamps) == [1.0, 2.5]
    link.close()


@given(
    steps=st.lists(st.sampled_from(["send", "pop", "refill", "receive", "cancel", "nudge"])),
    size=st.integers(1, 4),
    random=st.random_module(),
)
@pytest.mark.backends("asyncio-shuffled", "trio")
async def test_nothing_is_lost_doubled_or_out_of_order(
    steps: list[str], size: int, random: object
) -> None:
    link = Link(size)
    sent: list[int] = []
    received: list[int] = []
    async with anyio.create_task_group() as group:
        scopes: list[anyio.CancelScope] = []

        async def receive(scope: anyio.CancelScope) -> None:
            with scope:
                await link.receive()

        for number, step in enumerate(steps):
            if step == "send" and link.send_nowait(number):
                sent.append(number)
            elif step == "pop" and link.taken:
                received.append(link.taken.popleft())
            elif step == "refill":
                link.refill()
            elif step == "nudge":
                link.nudge()
            elif step == "receive":
                scopes.append(anyio.CancelScope())
                group.start_soon(receive, scopes[-1])
                await checkpoint()
            elif step == "cancel" and scopes:
                scopes.pop(0).cancel()
                if number % 2:
                    await checkpoint()
            assert len(link) <= size
            assert len(link) == len(sent) - len(received)
        await quiet()
        # Whoever looks finds everything, and whoever sleeps is woken by the next.
        link.refill()
        received += link.taken
        link.taken.clear()
        assert received == sent
        link.close()


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
