"""What a question is to the driver and to the workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any, ClassVar

from ..engines import ENGINES, PEERS
from ..engines.base import Data, Engine, Stage
from ..figures import OURS, Case, Figures, Verdict
from ..tables import Table
from ..work import check

BACKENDS = ("asyncio", "uvloop", "trio")
MODES = ("ordered", "as completed")
LIMIT = 100  # a stage, unless the question says otherwise
Run = Callable[..., Any]  # of an async function and its arguments, in a new loop


class Question(ABC):
    """The driver asks for its cases, a worker measures one round, and the driver judges."""

    name: ClassVar[str]
    work: ClassVar[str]  # what is run and what is counted, in a sentence or two
    backends: ClassVar[tuple[str, ...]] = BACKENDS
    quick_backends: ClassVar[tuple[str, ...]] = ("asyncio", "trio")

    @abstractmethod
    def cases(self, *, quick: bool) -> Iterable[Case]:
        """Return what is to be measured, small if `quick`."""

    @abstractmethod
    def measure(self, engine: Engine, params: Mapping[str, Any], run: Run) -> float:
        """Run one round and return its figure. In a worker.

        Raises:
            WrongResultError: If the engine did not do what it was asked for.
        """

    @abstractmethod
    def verdicts(self, figures: Figures) -> list[Verdict]:
        """Hold the figures to what must be reached."""

    @abstractmethod
    def table(self, figures: Figures) -> Table:
        """Show the figures."""


def able(
    *, backend: str, mode: str | None = None, only: Sequence[str] | None = None, **abilities: bool
) -> tuple[str, ...]:
    """Return the engines, of all or of `only` some, that can do what is named."""
    names = (OURS, *PEERS) if only is None else only
    return tuple(
        name
        for name in names
        if backend in ENGINES[name].backends
        and (mode != "ordered" or ENGINES[name].ordered)
        and (mode != "as completed" or ENGINES[name].as_completed)
        and all(getattr(ENGINES[name], ability) == value for ability, value in abilities.items())
    )


def fewer_for_peers(items: int, peers: int) -> dict[str, dict[str, int]]:
    """Give peers no more than `peers` items, where costs are counted per item; half if slow."""
    return {
        name: {"items": min(items, peers // 2 if ENGINES[name].slow else peers)} for name in PEERS
    }


async def timed(
    engine: Engine,
    stages: list[Stage],
    data: Data,
    expected: list[Any],
    *,
    limit: int = LIMIT,
    ordered: bool = True,
) -> float:
    """Return the seconds that a run takes, the results being complete and in order."""
    start = perf_counter()
    results = await engine.collect(stages, data, limit=limit, ordered=ordered)
    seconds = perf_counter() - start
    # Tasks that share nothing are done when they are done.
    check(results, expected, ordered=ordered and engine.ordered)
    return seconds
