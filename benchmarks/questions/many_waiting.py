"""Can ten thousand calls wait at the same time?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engines import PEERS, BareTasks
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge, medians
from ..tables import Table, by_engine, growth, milli
from ..work import wait
from .base import Question, Run, able, timed

SECONDS = 0.05
COMPARED = 10_000


class ManyWaiting(Question):
    name = "many waiting"
    work = (
        "One stage that waits 50 ms, all items at the same time: a whole run of 10,000, and of "
        "1000, 3000 and 30,000 for Conveyor and the bare tasks. In order, where an engine can."
    )
    backends = ("asyncio", "trio")

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for backend in self.backends:
            for items in (300, 1000) if quick else (1000, 3000, COMPARED, 30_000):
                compared = items == (1000 if quick else COMPARED)
                yield Case(
                    f"{items:,} items",
                    backend,
                    able(
                        backend=backend,
                        only=(OURS, *(PEERS if compared else ()), BareTasks.name),
                    ),
                    {"items": items},
                    warm={"items": min(items, 1000)},
                    seconds=20,
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))

        async def once() -> float:
            stages = [Stage(wait(SECONDS))]
            return await timed(engine, stages, data, data, limit=len(data), ordered=engine.ordered)

        return float(run(once))

    def verdicts(self, figures: Figures) -> list[Verdict]:
        ratios, growths = {}, {}
        for backend in figures.backends:
            for case in figures.cases:
                if case == f"{COMPARED:,} items":
                    ratios[backend] = figures.ratio(case, backend, OURS, to=BareTasks.name)
            growths[backend] = self._growth(figures, backend)
        return [
            judge("10,000 items: no slower than bare tasks", medians(ratios), most=1),
            judge(
                "beyond the 50 ms, linear: an item's cost grows by at most 20 %", growths, most=1.2
            ),
        ]

    def _growth(self, figures: Figures, backend: str) -> float | None:
        costs = []
        for case in figures.cases:
            seconds = figures.median(case, backend)
            if seconds is None:
                return None
            items = int(case.split()[0].replace(",", ""))
            costs.append((seconds - SECONDS) / items)
        return growth(costs)

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, milli, unit="A whole run")
