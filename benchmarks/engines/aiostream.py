"""aiostream: `pipe.map` with a task limit, streamed within `stream()` as it asks for."""

from __future__ import annotations

from typing import Any

from .base import Data, Engine, Stage, Take


class Aiostream(Engine):
    name = "aiostream"
    distribution = "aiostream"
    module = "aiostream"
    backends = ("asyncio", "uvloop")
    batches = True
    slow = True

    def __init__(self) -> None:
        from aiostream import pipe, stream

        self._iterate: Any = stream.iterate
        self._pipe: Any = pipe

    def _stream(self, stages: list[Stage], data: Data, limit: int, ordered: bool) -> Any:
        results = self._iterate(data)
        for stage in stages:
            if stage.batch is not None:
                results |= self._pipe.chunks(stage.batch)
            results |= self._pipe.map(stage.function, ordered=ordered, task_limit=limit)
            if stage.batch is not None:
                results |= self._pipe.map(self._iterate)
                results |= self._pipe.concat(task_limit=1)
        return results

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        async with self._stream(stages, data, limit, ordered).stream() as results:
            return [result async for result in results]

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        async with self._stream(stages, data, limit, ordered).stream() as results:
            async for result in results:
                if await take(result):
                    break
