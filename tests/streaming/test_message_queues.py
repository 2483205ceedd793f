"""What the page on scaling out says of brokers holds, with one that is as strict as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest

from conveyor import Failure, Stream, batch_task, single_task

pytestmark = pytest.mark.virtual_time


@dataclass(eq=False)
class Message:
    broker: Broker
    number: int
    pages: list[int] = field(default_factory=list)

    def settle(self, how: list[int]) -> None:
        assert self.broker.connected
        self.broker.in_hand.remove(self)
        self.broker.room.release()
        how.append(self.number)

    async def acknowledge(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.settle(self.broker.acknowledged)

    async def reject(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.settle(self.broker.rejected)


class Broker:
    """Hands out `prefetch` messages, and no more before some are settled."""

    def __init__(self, prefetch: int) -> None:
        self.connected = False
        self.room = anyio.Semaphore(prefetch)
        self.waiting = deque(range(100))
        self.in_hand: list[Message] = []
        self.acknowledged: list[int] = []
        self.rejected: list[int] = []

    async def __aenter__(self) -> Broker:
        self.connected = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.connected = False

    def __aiter__(self) -> Broker:
        return self

    async def __anext__(self) -> Message:
        await anyio.sleep(0.125)
        await self.room.acquire()
        self.in_hand.append(Message(self, self.waiting.popleft()))
        return self.in_hand[-1]

    async def aclose(self) -> None:
        self.connected = False


async def read(broker: Broker) -> AsyncIterator[Message]:
    async for message in broker:
        yield message


async def settle(stream: Stream[Message], enough: int) -> None:
    async for message in stream:
        if isinstance(message, Failure):
            await message.item.reject()
            continue
        await message.acknowledge()
        if len(message.broker.acknowledged) == enough:
            stream.stop()


@single_task(on_error="emit_failure", concurrency_limit=20)
async def store(message: Message) -> Message:
    await anyio.sleep(message.number % 5)
    if message.number % 7 == 0:
        raise ValueError("no such page")
    return message


async def test_what_was_handed_out_is_settled_before_the_connection_is_closed() -> None:
    async with Broker(prefetch=10) as broker:
        await settle(store.as_completed(read(broker)), enough=30)
        assert broker.connected
        assert broker.in_hand == []
    handed_out = set(range(100)) - set(broker.waiting)
    assert set(broker.rejected) == {number for number in handed_out if number % 7 == 0}
    assert sorted(broker.acknowledged + broker.rejected) == sorted(handed_out)
    assert len(broker.acknowledged) >= 30


@pytest.mark.parametrize("options", [{"max_wait": 1.0}, {"flush_when_idle": True}])
async def test_batches_that_start_with_what_is_there_do_not_wait_for_the_broker(
    options: dict[str, float],
) -> None:
    @batch_task(max_size=20, **options)  # type: ignore[call-overload]  # either option
    async def index(messages: list[Message]) -> list[Message]:
        await anyio.sleep(1)
        return messages

    async with Broker(prefetch=10) as broker:
        await settle((store | index).as_completed(read(broker)), enough=30)
        assert broker.in_hand == []


async def test_others_do() -> None:
    index = batch_task(max_size=20)(list)
    async with Broker(prefetch=10) as broker:
        with anyio.move_on_after(1000):
            await settle((store | index).as_completed(read(broker)), enough=30)
        assert broker.acknowledged == []
