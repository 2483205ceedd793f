"""What does it cost to gather items into batches and to spread them again?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge
from ..tables import Table, by_engine, micro
from ..work import at_once
from .base import Question, Run, able, fewer_for_peers, timed

SINGLE, BATCH = "three single stages", "single, batch of 100, single"


class Batches(Question):
    name = "batches"
    work = (
        "Single stage, batch stage of 100, single stage, 100,000 items in order, a figure per item."
    )

    def cases(self, *, quick: bool) -> Iterable[Case]:
        items, peers = (3000, 600) if quick else (100_000, 10_000)
        for backend in self.backends:
            for label, size in ((SINGLE, None), (BATCH, 100)):
                yield Case(
                    label,
                    backend,
                    able(backend=backend, batches=True),
                    {"items": items, "size": size},
                    fewer_for_peers(items, peers),
                    warm={"items": min(items, 1000)},
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))

        async def once() -> float:
            stages = [Stage(at_once), Stage(at_once, params["size"]), Stage(at_once)]
            return await timed(engine, stages, data, data)

        return float(run(once)) / len(data)

    def verdicts(self, figures: Figures) -> list[Verdict]:
        ratios = {}
        for backend in figures.backends:
            ratio = figures.ratio(BATCH, backend, OURS, to=OURS, to_case=SINGLE)
            ratios[backend] = ratio and ratio.median
        return [judge("no dearer than three single stages", ratios, most=1)]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, micro, unit="Per item")
