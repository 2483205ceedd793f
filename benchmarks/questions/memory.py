"""Does memory stay flat?"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..engines import PEERS
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge
from ..tables import Table, by_case
from ..work import WrongResultError, at_once, generate
from .base import LIMIT, Question, Run, able

SIZES = (10_000, 100_000, 1_000_000)


class Memory(Question):
    name = "memory"
    work = (
        "Two stages that return at once, items from an async generator, results thrown away: the "
        "most memory that a fresh process ever had. A million items for Conveyor alone."
    )
    backends = ("asyncio", "trio")

    def cases(self, *, quick: bool) -> Iterable[Case]:
        for backend in self.backends:
            for items in (1000, 10_000) if quick else SIZES:
                peers = items <= (1000 if quick else 100_000)
                yield Case(
                    f"{items:,} items",
                    backend,
                    able(backend=backend, streams=True, only=(OURS, *(PEERS if peers else ()))),
                    {"items": items},
                    rounds=1 if quick or (peers and items > SIZES[0]) else 3,
                    fresh=True,
                    seconds=60,
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        taken = 0

        async def take(_: Any) -> bool:  # noqa: ASYNC124 - a consumer may wait
            nonlocal taken
            taken += 1
            return False

        async def once() -> None:
            source = generate(params["items"])
            await engine.each(
                [Stage(at_once)] * 2, source, take, limit=LIMIT, ordered=engine.streams_in_order
            )

        run(once)
        if taken != params["items"]:
            raise WrongResultError(f"{taken} of {params['items']} results")
        return peak()

    def verdicts(self, figures: Figures) -> list[Verdict]:
        grown: dict[str, float | None] = {}
        first, last = figures.cases[0], figures.cases[-1]
        for backend in figures.backends:
            few, many = figures.median(first, backend), figures.median(last, backend)
            grown[backend] = None if few is None or many is None else many - few
        target = f"flat: at most 5 MB between {first} and {last}"
        return [judge(target, grown, most=5e6, unit=megabytes)]

    def table(self, figures: Figures) -> Table:
        backend = figures.backends[0]
        return by_case(figures, megabytes, backend=backend, unit=f"Peak on {backend}")


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def peak() -> float:
    """Return the largest size of this process in bytes."""
    # Linux hands the parent's largest size down to `ru_maxrss`, and not to this.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # not on Windows

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
