"""conveyor-streaming, the earlier library of the name, from an environment of its own."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from .base import Data, Iterating, Stage


class ConveyorStreaming(Iterating):
    name = "conveyor-streaming"
    distribution = "conveyor-streaming"
    module = "conveyor"
    backends = ("asyncio", "uvloop")
    batches = True
    slow = True

    def __init__(self) -> None:
        import conveyor

        if hasattr(conveyor, "Failure"):
            raise ImportError("the `conveyor` found here is not that of conveyor-streaming")
        self._conveyor: Any = conveyor
        self._pipelines: dict[object, Any] = {}

    def results(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> AsyncIterable[Any]:
        key = (*stages, limit, ordered)
        if key not in self._pipelines:
            self._pipelines[key] = self._make(stages, limit, ordered)
        pipeline = self._pipelines[key]
        # When called with an async iterable it takes that for an argument of the first stage,
        # though it could read it.
        if isinstance(data, list):
            results: AsyncIterable[Any] = pipeline(data)
        else:
            results = pipeline._run_pipeline(data)
        return results

    def _make(self, stages: list[Stage], limit: int, ordered: bool) -> Any:
        pipeline = self._conveyor.Pipeline()
        for stage in stages:
            make = (
                self._conveyor.single_task(concurrency_limit=limit)
                if stage.batch is None
                else self._conveyor.batch_task(max_size=stage.batch)
            )
            pipeline.add(make(stage.function))
        return pipeline if ordered else pipeline.with_execution_mode("as_completed")
