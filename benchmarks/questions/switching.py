"""What does it cost when functions give way?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engines import BareTasks
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge, medians
from ..tables import Table, by_engine, micro
from ..work import switch
from .base import MODES, Question, Run, able, fewer_for_peers, timed


class Switching(Question):
    name = "switching"
    work = (
        "Three stages that each pass one checkpoint, 10,000 items, a figure per item. "
        "The bare tasks, 100 a stage, pass as many."
    )

    def cases(self, *, quick: bool) -> Iterable[Case]:
        items, peers = (1000, 500) if quick else (10_000, 10_000)
        for mode in MODES:
            for backend in self.backends:
                yield Case(
                    mode,
                    backend,
                    (*able(backend=backend, mode=mode), BareTasks.name),
                    {"items": items, "ordered": mode == "ordered"},
                    fewer_for_peers(items, peers),
                    warm={"items": min(items, 1000)},
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))

        async def once() -> float:
            return await timed(engine, [Stage(switch)] * 3, data, data, ordered=params["ordered"])

        return float(run(once)) / len(data)

    def verdicts(self, figures: Figures) -> list[Verdict]:
        ratios = {
            f"{mode}, {backend}": figures.ratio(mode, backend, OURS, to=BareTasks.name)
            for mode in figures.cases
            for backend in figures.backends
        }
        return [
            judge("at most 2x bare tasks that pass the same checkpoints", medians(ratios), most=2)
        ]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, micro, unit="Per item")
