"""The limits: what the work itself costs, with nothing that could be called an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from anyio import create_task_group

from .base import Data, Engine, Function, Stage, Take


class Bare(Engine):
    """Neither limit has a stream of results."""

    streams = False

    async def each(
        self, stages: list[Stage], data: Data, take: Take, *, limit: int, ordered: bool
    ) -> None:
        raise NotImplementedError


class BareLoop(Bare):
    """Awaits the functions one after another. Nothing runs at the same time."""

    name = "bare loop"

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        assert isinstance(data, Iterable)
        functions = [stage.function for stage in stages]
        results = []
        for item in data:
            for function in functions:
                item = await function(item)
            results.append(item)
        return results


class BareTasks(Bare):
    """`limit` tasks a stage call its function as often, and hand nothing from one to the next."""

    name = "bare tasks"
    ordered = False

    async def collect(
        self, stages: list[Stage], data: Data, *, limit: int, ordered: bool
    ) -> list[Any]:
        assert isinstance(data, list)
        results: list[Any] = []

        async def call(function: Function, items: Iterator[Any], results: list[Any]) -> None:
            for item in items:
                results.append(await function(item))  # noqa: PERF401 - what is done when it fails

        async with create_task_group() as group:
            for stage in stages:
                results = []  # those of the last stage count
                items = iter(data)
                for _ in range(min(limit, len(data))):
                    group.start_soon(call, stage.function, items, results)
        return results
