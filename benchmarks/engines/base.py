"""What an engine is to a question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

Function = Callable[[Any], Awaitable[Any]]
Data = Iterable[Any] | AsyncIterable[Any]
# Gets a result, and returns whether it was the last one that is wanted.
Take = Callable[[Any], Awaitable[bool]]


@dataclass(frozen=True)
class Stage:
    """A function, and how many items it gets at a time: one, or a list of `batch`."""

    function: Function
    batch: int | None = None


class Engine(ABC):
    """Runs stages over data in the way that its own documentation recommends.

    What can be made once and used for many runs is kept, as it would be in a program.

    What an engine can do stands on the class. Its library is imported when it is made, so that the
    driver knows all engines and has none of their libraries.
    """

    name: ClassVar[str]
    distribution: ClassVar[str | None] = None
    module: ClassVar[str | None] = None
    backends: ClassVar[tuple[str, ...]] = ("asyncio", "uvloop", "trio")
    ordered: ClassVar[bool] = True
    as_completed: ClassVar[bool] = True
    streams: ClassVar[bool] = True  # takes an async generator, and gives results before its end
    streams_in_order: ClassVar[bool] = True  # and in order as well
    batches: ClassVar[bool] = False
    slow: ClassVar[bool] = False  # gets fewer items where costs are counted per item

    @abstractmethod
    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        """Return all results."""

    @abstractmethod
    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        """Hand one result after another to `take`, until it has enough."""


class Iterating(Engine):
    """An engine that gives an async iterable."""

    @abstractmethod
    def results(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> AsyncIterable[Any]:
        """Return what there is to iterate over."""

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        return [result async for result in self.results(stages, data, limit=limit, ordered=ordered)]

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        results = aiter(self.results(stages, data, limit=limit, ordered=ordered))
        try:
            async for result in results:
                if await take(result):
                    break
        finally:
            if hasattr(results, "aclose"):
                await results.aclose()  # noqa: ASYNC102 - what is cancelled here ends with its process
