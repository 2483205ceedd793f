"""Do slots stay busy behind a slow item?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import anyio

from ..engines.base import Engine, Stage
from ..engines.conveyor import Conveyor
from ..figures import OURS, Case, Figures, Verdict, judge
from ..tables import Table, by_engine, milli
from .base import Question, Run, able, timed

USUAL, COVERED, FREE = "ordered", "ordered, window of all items", "as completed"
FAST = 0.001


class MixedTimes(Question):
    name = "mixed times"
    work = (
        "3000 items, one stage, 100 at a time: 1 ms each, and 100 ms for one in a hundred. "
        "In order, the window of Conveyor is 200 items, or with a larger buffer all of them."
    )
    backends = ("asyncio", "trio")

    def cases(self, *, quick: bool) -> Iterable[Case]:
        items = 200 if quick else 3000
        for backend in self.backends:
            for label in (USUAL, COVERED, FREE):
                mode = FREE if label == FREE else "ordered"
                engines = (OURS,) if label == COVERED else able(backend=backend, mode=mode)
                yield Case(
                    label,
                    backend,
                    engines,
                    {
                        "items": items,
                        "ordered": mode == "ordered",
                        "buffer": items if label == COVERED else None,
                    },
                    warm={"items": 50},
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))
        slow = frozenset(Random(1).sample(data, len(data) // 100))

        async def uneven(item: int) -> int:
            await anyio.sleep(100 * FAST if item in slow else FAST)
            return item

        if isinstance(engine, Conveyor):
            engine.buffer_size = params["buffer"]

        async def once() -> float:
            return await timed(engine, [Stage(uneven)], data, data, ordered=params["ordered"])

        try:
            return float(run(once))
        finally:
            if isinstance(engine, Conveyor):
                engine.buffer_size = None

    def verdicts(self, figures: Figures) -> list[Verdict]:
        ratios = {}
        for backend in figures.backends:
            ratio = figures.ratio(COVERED, backend, OURS, to=OURS, to_case=FREE)
            ratios[backend] = ratio and ratio.median
        return [judge("a window of all items: within 1.2x of as completed", ratios, most=1.2)]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, milli, unit="A whole run")
