"""Does the cost per item and stage stay what it is, when everything grows?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engines import BareTasks
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge
from ..tables import Table, growth, micro, shown
from ..work import at_once, switch
from .base import LIMIT, Question, Run, timed

ITEMS, STAGES, CONCURRENCY, GIVING_WAY = (
    "items",
    "stages",
    "concurrency",
    "concurrency, functions that give way",
)
AXES = {
    ITEMS: (1000, 10_000, 100_000, 1_000_000),
    STAGES: (1, 2, 5, 10, 20),
    CONCURRENCY: (1, 10, 100, 1000, 10_000),
    GIVING_WAY: (1, 10, 100, 1000, 10_000),
}


class Scaling(Question):
    name = "scaling"
    work = (
        "Stages that return at once, in order, a figure per item and stage. Along one axis at a "
        "time, from 3 stages, 20,000 items and 100 at a time. Bare tasks only where functions "
        "give way."
    )
    backends = ("asyncio", "trio")

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for axis, points in AXES.items():
            for point in points[:3] if quick else points:
                params = {"items": 1000 if quick else 20_000, "stages": 3, "concurrency": LIMIT}
                name = CONCURRENCY if axis == GIVING_WAY else axis
                params |= {name: min(point, 3000) if quick else point}
                # Where nothing overlaps, each item waits for turns of the loop.
                if axis == GIVING_WAY and point == 1 and not quick:
                    params["items"] = 5000
                engines = (OURS, BareTasks.name) if axis == GIVING_WAY else (OURS,)
                for backend in self.backends:
                    yield Case(
                        f"{axis}: {point:,}",
                        backend,
                        engines,
                        {**params, "switch": axis == GIVING_WAY},
                        warm={"items": 1000},
                    )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data, stages = list(range(params["items"])), params["stages"]

        async def once() -> float:
            line = [Stage(switch if params["switch"] else at_once)] * stages
            return await timed(engine, line, data, data, limit=params["concurrency"])

        return float(run(once)) / (len(data) * int(stages))

    def verdicts(self, figures: Figures) -> list[Verdict]:
        verdicts = []
        for axis in AXES:
            grown = {
                backend: self._growth(figures, axis, backend, OURS) for backend in figures.backends
            }
            target = f"{axis}: an item's cost a stage grows by at most 20 %"
            verdicts.append(judge(target, grown, most=1.2))
        # What a task and a turn of the loop cost is in these figures, and differs along the axis.
        own = verdicts.pop()
        bare = {
            backend: self._growth(figures, GIVING_WAY, backend, BareTasks.name)
            for backend in figures.backends
        }
        reached = f"{own.reached}, and bare tasks {judge('', bare).reached}"
        return [*verdicts, Verdict(f"{GIVING_WAY}: it grows by", reached, None)]

    def _growth(self, figures: Figures, axis: str, backend: str, engine: str) -> float | None:
        costs = [
            figures.median(case, backend, engine)
            for case in figures.cases
            if case.startswith(axis + ":")
        ]
        present = [cost for cost in costs if cost is not None]
        return growth(present) if present and len(present) == len(costs) else None

    def table(self, figures: Figures) -> Table:
        rows = [
            [
                case,
                *(
                    shown(figures.cell(case, backend, engine), micro)
                    for backend in figures.backends
                    for engine in figures.engines
                ),
            ]
            for case in figures.cases
        ]
        headings = [
            f"{engine}, {backend}" for backend in figures.backends for engine in figures.engines
        ]
        return Table(["", *headings], rows, ["Per item and stage, median of the rounds."])
