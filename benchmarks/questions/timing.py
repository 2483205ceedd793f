"""What does it cost to measure where the time goes?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from ..engines.base import Engine, Stage
from ..engines.conveyor import Conveyor
from ..figures import OURS, Case, Figures, Verdict, judge, times
from ..tables import Table, by_engine
from ..work import at_once, switch
from .base import BACKENDS, MODES, Question, Run, timed

AT_ONCE, GIVING_WAY = "at once", "giving way"


class Timing(Question):
    name = "timing"
    work = (
        "The work of overhead, and that of switching, by turns with the report's times on (as they "
        "are by default) and off, in one process: how many times as long it takes with them on."
    )
    quick_backends = BACKENDS

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for kind, items in ((AT_ONCE, 20_000), (GIVING_WAY, 4000)):
            for mode in MODES:
                for backend in self.backends:
                    yield Case(
                        f"{kind}, {mode}",
                        backend,
                        (OURS,),
                        {
                            "items": 1000 if quick else items,
                            "turns": 2 if quick else 9,
                            "ordered": mode == "ordered",
                            "switch": kind == GIVING_WAY,
                        },
                        warm={"turns": 1},
                    )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        assert isinstance(engine, Conveyor)
        data = list(range(params["items"]))
        stages = [Stage(switch if params["switch"] else at_once)] * 3
        seconds: dict[bool, list[float]] = {True: [], False: []}

        async def once() -> float:
            return await timed(engine, stages, data, data, ordered=params["ordered"])

        try:
            for turn in range(params["turns"]):
                for engine.timing in (turn % 2 == 0, turn % 2 != 0):
                    seconds[engine.timing].append(run(once))
        finally:
            engine.timing = True
        return median(seconds[True]) / median(seconds[False])

    def verdicts(self, figures: Figures) -> list[Verdict]:
        reached = {
            f"{case}, {backend}": figures.median(case, backend)
            for case in figures.cases
            for backend in figures.backends
        }
        first = {place: ratio for place, ratio in reached.items() if place.startswith(AT_ONCE)}
        rest = judge("", {place: reached[place] for place in reached.keys() - first.keys()})
        return [
            judge("functions that return at once: at most 1.05x", first, most=1.05),
            Verdict("functions that pass a checkpoint", rest.reached, None),
        ]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, times, unit="With times")
