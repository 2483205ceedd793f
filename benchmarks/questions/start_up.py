"""What does it cost to begin?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

from anyio import create_task_group

from ..engines import ENGINES, PEERS, BareTasks, ByHand
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge, medians
from ..tables import Table, by_engine, micro, milli
from ..work import at_once, check
from .base import LIMIT, Question, Run, able

IMPORT, NAMES, RUN = "import", "import of names", "a run over one item"
# What a module that uses it begins with: both put off what takes long until a name is used.
USED = {
    OURS: "from conveyor import batch_task, single_task",
    ByHand.name: "from anyio import create_memory_object_stream, create_task_group",
}
# Printed from within, so that the start of the interpreter does not count.
TIMED_IMPORT = """
from time import perf_counter
start = perf_counter()
{statement}
print(perf_counter() - start)
"""


class StartUp(Question):
    name = "start-up"
    work = (
        "`import` in a fresh interpreter, where by hand means `import anyio`; the same with the "
        "names that a module uses. And one item through one stage, in a loop that runs, where bare "
        "tasks mean a task group with one task."
    )

    def cases(self, *, quick: bool) -> Iterable[Case]:
        backends = self.backends
        importable = tuple(name for name in (OURS, *PEERS) if ENGINES[name].module)
        yield Case(
            IMPORT,
            backends[0],
            importable,
            {"repeats": 1 if quick else 5, "kind": IMPORT},
            warm={"repeats": 1},
        )
        yield Case(
            NAMES,
            backends[0],
            tuple(USED),
            {"repeats": 1 if quick else 5, "kind": NAMES},
            warm={"repeats": 1},
        )
        for backend in backends:
            yield Case(
                RUN,
                backend,
                (*able(backend=backend), BareTasks.name),
                {"repeats": 20 if quick else 500, "kind": RUN},
                own={name: {"repeats": 20 if quick else 100} for name in PEERS},
                warm={"repeats": 20},
            )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        repeats = range(params["repeats"])
        if params["kind"] == IMPORT:
            return median(self._import(f"import {engine.module}") for _ in repeats)
        if params["kind"] == NAMES:
            return median(self._import(USED[engine.name]) for _ in repeats)
        return float(run(self._runs, engine, repeats))

    def _import(self, statement: str) -> float:
        command = [sys.executable, "-I", "-c", TIMED_IMPORT.format(statement=statement)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout)

    async def _runs(self, engine: Engine, repeats: range) -> float:
        async def bare(results: list[Any]) -> None:
            results.append(await at_once(0))

        async def one() -> float:
            start = perf_counter()
            if isinstance(engine, ENGINES[BareTasks.name]):
                results: list[Any] = []
                async with create_task_group() as group:  # noqa: ASYNC112 - it is what is measured
                    group.start_soon(bare, results)
            else:
                stages = [Stage(at_once)]
                results = await engine.collect(stages, [0], limit=LIMIT, ordered=engine.ordered)
            seconds = perf_counter() - start
            check(results, [0], ordered=True)
            return seconds

        return median([await one() for _ in repeats])

    def verdicts(self, figures: Figures) -> list[Verdict]:
        imports, runs = {}, {}
        for backend in figures.backends:
            if figures.cell(IMPORT, backend):
                imports[backend] = figures.ratio(IMPORT, backend, OURS, to=ByHand.name)
            runs[backend] = figures.ratio(RUN, backend, OURS, to=BareTasks.name)
        return [
            judge("import: at most 1.3x `import anyio`", medians(imports), most=1.3),
            judge("a run: at most 6x a task group with one task", medians(runs), most=6),
        ]

    def table(self, figures: Figures) -> Table:
        def write(seconds: float) -> str:
            return milli(seconds) if seconds > 0.001 else micro(seconds)

        return by_engine(figures, write, unit="Import or run")
