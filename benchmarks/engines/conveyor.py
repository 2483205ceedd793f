"""Conveyor itself."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from .base import Data, Iterating, Stage


class Conveyor(Iterating):
    name = "conveyor"
    distribution = "conveyor"
    module = "conveyor"
    batches = True

    buffer_size: int | None = None  # where a question asks for another than usual
    timing = True  # likewise

    def __init__(self) -> None:
        from conveyor import Pipeline, batch_task, single_task

        self._pipeline = Pipeline
        self._single_task = single_task
        self._batch_task = batch_task
        self._pipelines: dict[object, Any] = {}

    def results(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> AsyncIterable[Any]:
        key = (*stages, limit, self.buffer_size, self.timing)
        if key not in self._pipelines:
            self._pipelines[key] = self._make(stages, limit)
        pipeline = self._pipelines[key]
        stream: AsyncIterable[Any] = pipeline(data) if ordered else pipeline.as_completed(data)
        return stream

    def _make(self, stages: list[Stage], limit: int) -> Any:
        tasks: list[Any] = [
            self._single_task(concurrency_limit=limit)(stage.function)
            if stage.batch is None
            else self._batch_task(max_size=stage.batch, concurrency_limit=limit)(stage.function)
            for stage in stages
        ]
        pipeline: Any = self._pipeline(*tasks)
        if self.buffer_size is not None:
            pipeline = pipeline.with_context(buffer_size=self.buffer_size)
        if not self.timing:
            pipeline = pipeline.with_context(timing=False)
        return pipeline
