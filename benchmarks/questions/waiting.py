"""Does waiting overlap as much as it may?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engines import PEERS, BareTasks
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge, medians
from ..tables import Table, by_engine, milli
from ..work import wait
from .base import MODES, Question, Run, able, timed


class Waiting(Question):
    name = "waiting"
    work = (
        "3000 items, three stages that wait 5 ms, 100 at a time each. "
        "The bare tasks, 100 a stage, wait as often, and none for what another stage gives."
    )

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for mode in MODES:
            for backend in self.backends:
                yield Case(
                    mode,
                    backend,
                    (*able(backend=backend, mode=mode), BareTasks.name),
                    {"items": 300 if quick else 3000, "ordered": mode == "ordered"},
                    warm={"items": 300},
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))

        async def once() -> float:
            stages = [Stage(wait(0.005))] * 3
            return await timed(engine, stages, data, data, ordered=params["ordered"])

        return float(run(once))

    def verdicts(self, figures: Figures) -> list[Verdict]:
        places = [(mode, backend) for mode in figures.cases for backend in figures.backends]
        bare = {
            f"{mode}, {backend}": figures.ratio(mode, backend, OURS, to=BareTasks.name)
            for mode, backend in places
        }
        peers = {
            f"{mode}, {backend}, {peer}": ratio
            for mode, backend in places
            for peer in PEERS
            if (ratio := figures.ratio(mode, backend, peer, to=OURS)) is not None
        }
        return [
            judge("at most 1.15x the bare tasks", medians(bare), most=1.15),
            judge("no peer faster", medians(peers), least=1),
        ]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, milli, unit="A whole run")
