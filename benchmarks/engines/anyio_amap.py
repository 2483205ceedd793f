"""`anyio.amap`: a task for every item at once, and all results at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .base import Data, Engine, Stage, Take
from .chain import chained


class AnyioAmap(Engine):
    name = "anyio.amap"
    distribution = "anyio"
    as_completed = False
    streams = False

    def __init__(self) -> None:
        from anyio import amap

        self._amap: Any = amap

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        assert isinstance(data, Iterable)
        results: list[Any] = await self._amap(chained(stages, limit), data)
        return results

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        for result in await self.collect(stages, data, limit=limit, ordered=ordered):
            if await take(result):
                break
