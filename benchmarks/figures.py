"""What is asked and what comes back, as the driver, the workers and the tables know it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from .engines import ENGINES

OURS = "conveyor"


@dataclass(frozen=True)
class Case:
    """One setting of a question, put to several engines in turn."""

    label: str
    backend: str
    engines: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # params of one engine alone
    warm: Mapping[str, Any] | None = None  # what differs in a round that is not counted, if any is
    rounds: int | None = None  # at most so many
    fresh: bool = False  # a new process for every round
    seconds: float = 30  # time limit of a round

    def params_of(self, engine: str) -> dict[str, Any]:
        return {**self.params, **self.own.get(engine, {})}


@dataclass
class Cell:
    """What one engine reached in one case: a value a round, or a note why there is none."""

    question: str
    case: str
    backend: str
    engine: str
    items: int | None = None
    values: list[float] = field(default_factory=list)
    note: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values and self.note is None else None


class Ratio(NamedTuple):
    """The median of the rounds' ratios, with the smallest and the largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return times(self.median)
        return f"{times(self.median)} ({times(self.low)[:-1]} to {times(self.high)[:-1]})"


def times(ratio: float) -> str:
    """Write a ratio with three digits at most."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"


class Figures:
    """The cells of one question."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = list(cells)
        self._by_place = {(cell.case, cell.backend, cell.engine): cell for cell in self.cells}

    def cell(self, case: str, backend: str, engine: str = OURS) -> Cell | None:
        return self._by_place.get((case, backend, engine))

    def median(self, case: str, backend: str, engine: str = OURS) -> float | None:
        cell = self.cell(case, backend, engine)
        return None if cell is None else cell.median

    def ratio(
        self, case: str, backend: str, engine: str, to: str, to_case: str = ""
    ) -> Ratio | None:
        """Return how much more `engine` needs than `to`: each round is compared with itself."""
        one, other = self.cell(case, backend, engine), self.cell(to_case or case, backend, to)
        if one is None or other is None or one.median is None or other.median is None:
            return None
        # A case may have had fewer rounds than the other.
        ratios = [a / b for a, b in zip(one.values, other.values, strict=False) if b > 0]
        if not ratios:
            return None
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def _distinct(self, name: str) -> list[str]:
        return list(dict.fromkeys(getattr(cell, name) for cell in self.cells))

    @property
    def cases(self) -> list[str]:
        return self._distinct("case")

    @property
    def backends(self) -> list[str]:
        return self._distinct("backend")

    @property
    def engines(self) -> list[str]:
        present = self._distinct("engine")
        return [name for name in ENGINES if name in present]


class Verdict(NamedTuple):
    """A target, what was reached, and whether that will do; None if there is nothing to judge."""

    target: str
    reached: str
    met: bool | None

    @property
    def word(self) -> str:
        return "not judged" if self.met is None else "met" if self.met else "MISSED"


def judge(target: str, reached: Mapping[str, float | None], *, most: float | None = None,
          least: float | None = None, unit: Any = times) -> Verdict:  # fmt: skip
    """Hold every figure to the same bounds, and tell the worst and the place where it was.

    `unit` writes a figure. A figure that is missing misses the target.
    """
    if not reached:
        return Verdict(target, "nothing to compare", None)
    if missing := [place for place, value in reached.items() if value is None]:
        return Verdict(target, f"no figure for {', '.join(missing)}", met=False)
    figures = {place: value for place, value in reached.items() if value is not None}
    worst = (max if least is None else min)(figures, key=lambda place: figures[place])
    met = (most is None or figures[worst] <= most) and (least is None or figures[worst] >= least)
    text = unit(figures[worst]) + (f" at worst ({worst})" if len(figures) > 1 else f" ({worst})")
    failing = [
        place
        for place, value in figures.items()
        if (most is not None and value > most) or (least is not None and value < least)
    ]
    if 1 < len(failing) < len(figures):
        text += f"; missed in {len(failing)} of {len(figures)}"
    return Verdict(target, text, met)


def medians(ratios: Mapping[str, Ratio | None]) -> dict[str, float | None]:
    return {place: ratio and ratio.median for place, ratio in ratios.items()}


def to_json(cell: Cell) -> dict[str, Any]:
    return asdict(cell)


def from_json(data: Mapping[str, Any]) -> Cell:
    return Cell(**data)
