"""anyio by hand: workers and memory object streams in one task group, with no library."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

from anyio import create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .base import Data, Engine, Function, Stage, Take

Numbered = tuple[int, Any]
Sender = MemoryObjectSendStream[Numbered]
Receiver = MemoryObjectReceiveStream[Numbered]
BUFFER = 100


async def feed(data: Data, sender: Sender) -> None:
    with sender:
        if isinstance(data, Iterable):
            for numbered in enumerate(data):
                await sender.send(numbered)
        else:
            await feed_from(data, sender)


async def feed_from(data: AsyncIterable[Any], sender: Sender) -> None:
    number = 0
    async for item in data:
        await sender.send((number, item))
        number += 1


async def work(function: Function, receiver: Receiver, sender: Sender) -> None:
    with receiver, sender:
        async for number, item in receiver:
            await sender.send((number, await function(item)))


class InOrder:
    """Keeps results until all before them are there."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, Any] = {}

    def add(self, number: int, result: Any) -> Iterator[Any]:
        """Yield what is due now."""
        self._waiting[number] = result
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1


class ByHand(Engine):
    name = "anyio by hand"
    distribution = "anyio"
    module = "anyio"
    slow = True

    async def _run(
        self,
        stages: list[Stage],
        data: Data,
        limit: int,
        consume: Callable[[Receiver], Awaitable[None]],
    ) -> None:
        async with create_task_group() as group:
            sender, receiver = create_memory_object_stream[Numbered](BUFFER)
            group.start_soon(feed, data, sender)
            for stage in stages:
                sender, following = create_memory_object_stream[Numbered](BUFFER)
                with receiver, sender:
                    for _ in range(limit):
                        group.start_soon(work, stage.function, receiver.clone(), sender.clone())
                receiver = following
            with receiver:
                await consume(receiver)
                group.cancel_scope.cancel()  # where the consumer had enough

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        results: list[Any] = []

        async def consume(receiver: Receiver) -> None:
            if not ordered:
                async for _, result in receiver:
                    results.append(result)
                return
            in_order = InOrder()
            async for number, result in receiver:
                results.extend(in_order.add(number, result))

        await self._run(stages, data, limit, consume)
        return results

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        async def consume(receiver: Receiver) -> None:
            in_order = InOrder()
            async for number, result in receiver:
                for due in in_order.add(number, result) if ordered else (result,):
                    if await take(due):
                        return

        await self._run(stages, data, limit, consume)
