"""Does a stage that computes use the cores?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any

from ..engines import BareLoop
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge
from ..tables import Table, by_engine, milli
from ..work import check, compute
from .base import Question, Run, timed

CORES = os.cpu_count() or 1
POINTS = sorted({1, max(CORES // 2, 1), CORES})


def at_once(number: int) -> str:
    return f"{number} at once"


class Cores(Question):
    name = "cores"
    work = (
        "400 items, one stage that computes for some milliseconds in pure Python, in order, in "
        'worker processes (`executor="process"`) that run already. The bare loop computes in its '
        "own process."
    )
    backends = ("asyncio", "trio")

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for backend in self.backends:
            for number in POINTS:
                yield Case(
                    at_once(number),
                    backend,
                    (OURS, BareLoop.name) if number == 1 else (OURS,),
                    {"items": 40 if quick else 400, "limit": number},
                    warm={"items": 4},
                    seconds=60,
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))
        expected = [compute(0)] * len(data)
        if isinstance(engine, BareLoop):

            async def computed(item: int) -> int:  # noqa: ASYNC124 - as the loop wants it
                return compute(item)

            async def once() -> float:
                return await timed(engine, [Stage(computed)], data, expected)

            return float(run(once))
        return float(run(self._in_processes, data, expected, params["limit"]))

    async def _in_processes(self, data: list[int], expected: list[int], limit: int) -> float:
        from conveyor import single_task

        task = single_task(executor="process", concurrency_limit=limit)(compute)
        await task(range(4 * limit)).drain()  # starts them
        start = perf_counter()
        results = await task(data).collect()
        seconds = perf_counter() - start
        check(results, expected, ordered=True)
        return seconds

    def verdicts(self, figures: Figures) -> list[Verdict]:
        gained, added = {}, {}
        one, all_of_them = at_once(1), at_once(CORES)
        for backend in figures.backends:
            ratio = figures.ratio(one, backend, OURS, to=OURS, to_case=all_of_them)
            gained[backend] = ratio and ratio.median
            ratio = figures.ratio(one, backend, OURS, to=BareLoop.name)
            added[backend] = ratio and ratio.median
        least = 1 if CORES == 1 else 0.75 * CORES
        return [
            judge(f"{CORES} at once: at least {least:g}x as fast as one", gained, least=least),
            judge("one at once: at most 1.2x the bare loop", added, most=1.2),
        ]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, milli, unit="A whole run")
