"""aiometer: it has no stages, so one function calls all, for as many items as all stages hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from .base import Data, Engine, Stage, Take
from .chain import chained


class Aiometer(Engine):
    name = "aiometer"
    distribution = "aiometer"
    module = "aiometer"
    streams = False  # it wants to know the number of items beforehand

    def __init__(self) -> None:
        import aiometer

        self._aiometer: Any = aiometer

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        assert isinstance(data, Sequence)
        chain = chained(stages, limit)
        at_once = limit * len(stages)
        if not ordered:
            async with self._aiometer.amap(chain, data, max_at_once=at_once) as results:
                return [result async for result in results]
        jobs = [partial(chain, item) for item in data]
        in_order: list[Any] = await self._aiometer.run_all(jobs, max_at_once=at_once)
        return in_order

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        for result in await self.collect(stages, data, limit=limit, ordered=ordered):
            if await take(result):
                break
