"""How soon is the first result there?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

import anyio

from ..engines import PEERS
from ..engines.base import Engine, Stage
from ..figures import Case, Figures, Verdict, judge
from ..tables import Table, by_engine, milli
from ..work import WrongResultError, at_once
from .base import LIMIT, Question, Run, able

PATIENCE = 0.5  # seconds until the second item; who needs it does not give the first result at once


class FirstResult(Question):
    name = "first result"
    work = (
        "1, 3 and 10 stages that return at once, in order where an engine streams in order, and a "
        "source that gives one item and then nothing: the time until the first result is there."
    )
    backends = ("asyncio", "trio")

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for stages in (1, 3) if quick else (1, 3, 10):
            for backend in self.backends:
                yield Case(
                    f"{stages} stage{'s' if stages > 1 else ''}",
                    backend,
                    able(backend=backend, streams=True),
                    {"stages": stages, "repeats": 3 if quick else 50},
                    own={name: {"repeats": 3 if quick else 10} for name in PEERS},
                    warm={"repeats": 3},
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        async def first() -> float:
            seconds = 0.0

            async def source() -> AsyncIterator[int]:  # noqa: ASYNC900 - an input
                yield 0
                await anyio.sleep(PATIENCE)
                yield 1

            async def take(_: Any) -> bool:  # noqa: ASYNC124 - a consumer may wait
                nonlocal seconds
                seconds = perf_counter() - start
                return True

            start = perf_counter()
            stages = [Stage(at_once)] * params["stages"]
            await engine.each(stages, source(), take, limit=LIMIT, ordered=engine.streams_in_order)
            if seconds >= PATIENCE:
                raise WrongResultError("waits for more input")
            return seconds

        return float(median(run(first) for _ in range(params["repeats"])))

    def verdicts(self, figures: Figures) -> list[Verdict]:
        seconds = {}
        for case in figures.cases:
            for backend in figures.backends:
                taken = figures.median(case, backend)
                seconds[f"{case}, {backend}"] = (
                    None if taken is None else taken / int(case.split()[0])
                )
        waits = [cell.engine for cell in figures.cells if cell.note and cell.engine == "conveyor"]
        return [
            judge("under 0.2 ms a stage", seconds, most=0.0002, unit=milli),
            Verdict("never behind the next input item", waits[0] if waits else "never", not waits),
        ]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, milli, unit="Until the first result")
