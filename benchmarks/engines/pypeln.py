"""pypeln's tasks: a task for each item, up to `workers`, and queues in between."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from .base import Data, Iterating, Stage


class Pypeln(Iterating):
    name = "pypeln"
    distribution = "pypeln"
    module = "pypeln"
    backends = ("asyncio", "uvloop")
    streams_in_order = False  # it collects everything, and sorts
    slow = True

    def __init__(self) -> None:
        import pypeln

        self._task: Any = pypeln.task

    def results(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> AsyncIterable[Any]:
        # It reads a plain iterable in a thread, which costs more than this.
        pipeline: Any = given(data) if isinstance(data, Iterable) else data
        for stage in stages:
            pipeline = self._task.map(stage.function, pipeline, workers=limit, maxsize=limit)
        if ordered:
            pipeline = self._task.ordered(pipeline)
        results: AsyncIterable[Any] = pipeline
        return results


async def given(data: Iterable[Any]) -> AsyncIterator[Any]:  # noqa: ASYNC900, ASYNC124 - read to its end
    for item in data:
        yield item
