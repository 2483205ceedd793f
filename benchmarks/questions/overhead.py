"""What does the machinery itself cost?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engines import PEERS, BareLoop, ConveyorStreaming
from ..engines.base import Engine, Stage
from ..figures import OURS, Case, Figures, Verdict, judge, medians
from ..tables import Table, by_engine, micro
from ..work import at_once
from .base import BACKENDS, MODES, Question, Run, able, fewer_for_peers, timed


class Overhead(Question):
    name = "overhead"
    work = "Three async stages that return at once, 100,000 items, a figure per item."
    quick_backends = BACKENDS

    def cases(self, *, quick: bool) -> Iterable[Case]:
        items, peers = (3000, 600) if quick else (100_000, 10_000)
        for mode in MODES:
            for backend in self.backends:
                yield Case(
                    mode,
                    backend,
                    (*able(backend=backend, mode=mode), BareLoop.name),
                    {"items": items, "ordered": mode == "ordered"},
                    fewer_for_peers(items, peers),
                    warm={"items": min(items, 1000)},
                )

    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        data = list(range(params["items"]))

        async def once() -> float:
            return await timed(engine, [Stage(at_once)] * 3, data, data, ordered=params["ordered"])

        return float(run(once)) / len(data)

    def verdicts(self, figures: Figures) -> list[Verdict]:
        places = [(mode, backend) for mode in figures.cases for backend in figures.backends]
        loop = {
            f"{mode}, {backend}": figures.ratio(mode, backend, OURS, to=BareLoop.name)
            for mode, backend in places
        }
        peers = {
            f"{mode}, {backend}, {peer}": ratio
            for mode, backend in places
            for peer in PEERS
            if (ratio := figures.ratio(mode, backend, peer, to=OURS)) is not None
        }
        earlier = {
            place: ratio for place, ratio in peers.items() if place.endswith(ConveyorStreaming.name)
        }
        return [
            judge("at most 8x the bare loop", medians(loop), most=8),
            judge("at least 8x faster than the fastest peer", medians(peers), least=8),
            judge("at least 20x faster than conveyor-streaming", medians(earlier), least=20),
        ]

    def table(self, figures: Figures) -> Table:
        return by_engine(figures, micro, unit="Per item")
