"""pyper: workers and queues, whose size it calls `throttle`. It keeps no order."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any

from .base import Data, Iterating, Stage, Take


class Pyper(Iterating):
    name = "pyper"
    distribution = "python-pyper"
    module = "pyper"
    backends = ("asyncio", "uvloop")
    ordered = False
    streams_in_order = False

    def __init__(self) -> None:
        from pyper import task

        self._task: Any = task
        self._tasks: dict[object, Any] = {}

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        # Its generator fails if it is closed early, so that is left to the end of the loop.
        async for result in self.results(stages, data, limit=limit, ordered=ordered):
            if await take(result):
                break

    def results(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> AsyncIterable[Any]:
        def plain() -> Any:
            yield from data  # type: ignore[misc]  # the other one is for an async iterable

        async def source() -> Any:  # noqa: ASYNC900 - read to its end
            async for item in data:  # type: ignore[union-attr]
                yield item

        first = plain if isinstance(data, Iterable) else source
        pipeline = self._task(first, branch=True, throttle=limit)
        for stage in stages:
            key = (stage, limit)
            if key not in self._tasks:
                self._tasks[key] = self._task(stage.function, workers=limit, throttle=limit)
            pipeline |= self._tasks[key]
        results: AsyncIterable[Any] = pipeline()
        return results
