"""How much is read when something is slow?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from math import inf
from typing import Any

import anyio

from ..engines.base import Engine, Stage
from ..figures import Case, Figures, Verdict, judge
from ..tables import Table, by_case
from ..work import at_once
from .base import LIMIT, Question, Run, able

CONSUMER, HEAD, SOURCE = "slow consumer", "slow head", "slow source"
BUFFER = 100  # between two stages, as everywhere
ITEMS = 20_000
GIVEN = 2  # seconds for the first result of the slow source


def bound(stages: int) -> int:
    """Return how many items a run of Conveyor may hold, as its documentation says."""
    return stages * (LIMIT + BUFFER) + (stages + 1) * BUFFER + 1


class Bounds(Question):
    name = "bounds"
    work = (
        "Items read from a source of 20,000. Slow consumer: two stages that return at once, and "
        "the consumer pauses after 3 results. Slow head: one stage in order, and the first item "
        "takes until nothing moves any more. Slow source: three stages, an item every 0.1 s, until "
        "the first result is there."
    )

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for label, mode in ((CONSUMER, None), (HEAD, "ordered"), (SOURCE, None)):
            for backend in self.backends:
                yield Case(
                    label,
                    backend,
                    able(backend=backend, mode=mode, streams=True),
                    {"kind": label, "pause": 0.1 if quick else 0.5},
                    rounds=1,
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        return float(
            run(getattr(self, "_" + params["kind"].replace(" ", "_")), engine, params["pause"])
        )

    async def _slow_consumer(self, engine: Engine, pause: float) -> int:
        source, taken, read = Source(), 0, 0

        async def take(_: Any) -> bool:
            nonlocal taken, read
            taken += 1
            if taken == 3:
                read = await source.at_rest(pause)
            return taken == 3

        await engine.each(
            [Stage(at_once)] * 2, source, take, limit=LIMIT, ordered=engine.streams_in_order
        )
        return read

    async def _slow_head(self, engine: Engine, pause: float) -> int:
        source, read = Source(), 0

        async def first_slow(item: int) -> int:
            nonlocal read
            if item == 0:
                read = await source.at_rest(pause)
            return item

        async def take(_: Any) -> bool:  # noqa: ASYNC124 - a consumer may wait
            return True

        await engine.each([Stage(first_slow)], source, take, limit=LIMIT, ordered=True)
        return read

    async def _slow_source(self, engine: Engine, pause: float) -> int:
        source, read = Source(every=0.1), 0

        async def take(_: Any) -> bool:  # noqa: ASYNC124 - a consumer may wait
            nonlocal read
            read = source.read
            return True

        with anyio.move_on_after(GIVEN):
            await engine.each(
                [Stage(at_once)] * 3, source, take, limit=LIMIT, ordered=engine.streams_in_order
            )
        return read or source.read

    def verdicts(self, figures: Figures) -> list[Verdict]:
        def read(case: str) -> dict[str, float | None]:
            return {backend: figures.median(case, backend) for backend in figures.backends}

        one, two = (
            bound(1) - BUFFER,
            3 + bound(2),
        )  # an item that is held up leaves the last link empty
        return [
            judge(f"slow consumer: at most {two} items", read(CONSUMER), most=two, unit=count),
            judge(f"slow head: at most {one} items", read(HEAD), most=one, unit=count),
            judge("slow source: first result at the first item", read(SOURCE), most=1, unit=count),
        ]

    def table(self, figures: Figures) -> Table:
        backend = figures.backends[0]
        table = by_case(figures, count, backend=backend, unit=f"Items read, on {backend}")
        remark = f"The slow source was given up after {GIVEN} s, which is about 20 items."
        return Table(table.headings, table.rows, [*table.remarks, remark])


def count(number: float) -> str:
    return f"{number:,.0f}" + (" = all" if number >= ITEMS else "")


class Source:
    """Counts what is read of it."""

    def __init__(self, every: float = 0) -> None:
        self.read = 0
        self._every = every

    async def __aiter__(self) -> AsyncIterator[int]:  # noqa: ASYNC900 - an input
        while self.read < ITEMS:
            if self._every:
                await anyio.sleep(self._every)
            self.read += 1
            yield self.read - 1

    async def at_rest(self, pause: float) -> int:
        """Wait until nothing is read any more, and return how much was."""
        before = -inf
        while before != self.read < ITEMS:
            before = self.read
            await anyio.sleep(pause)
        return self.read
