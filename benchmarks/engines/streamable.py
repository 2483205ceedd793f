"""streamable: `map` with a concurrency, which for async functions means tasks."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from .base import Data, Iterating, Stage


class Streamable(Iterating):
    name = "streamable"
    distribution = "streamable"
    module = "streamable"
    backends = ("asyncio", "uvloop")
    batches = True

    def __init__(self) -> None:
        from streamable import stream

        self._stream: Any = stream

    def results(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> AsyncIterable[Any]:
        stream = self._stream(data)
        for stage in stages:
            if stage.batch is not None:
                stream = stream.group(stage.batch)
            stream = stream.map(stage.function, concurrency=limit, as_completed=not ordered)
            if stage.batch is not None:
                stream = stream.flatten()
        results: AsyncIterable[Any] = stream
        return results
