"""Tables as plain text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .figures import OURS, Cell, Figures

ABSENT = "\N{EN DASH}"


@dataclass(frozen=True)
class Table:
    """Headings, rows of cells, and remarks below."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str] = ()
    texts: int = 1  # how many columns are text; those after them are figures

    def plain(self) -> str:
        lines = [self.headings, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        text = [
            "  ".join(
                cell.ljust(width) if place < self.texts else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*text, *self.remarks])

    def markdown(self) -> str:
        rule = ["---" if place < self.texts else "---:" for place in range(len(self.headings))]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
            for line in (self.headings, rule, *self.rows)
        ]
        return "\n".join([*lines, *("\n" + remark for remark in self.remarks)])


def shown(cell: Cell | None, write: Callable[[float], str]) -> str:
    """Write a cell's median, or why there is none."""
    if cell is None:
        return ABSENT
    if cell.note is not None:
        return cell.note
    return ABSENT if cell.median is None else write(cell.median)


def by_engine(
    figures: Figures,
    write: Callable[[float], str],
    *,
    unit: str,
    case: Callable[[str], str] = str,
) -> Table:
    """A row for each case and engine, a column for each backend.

    Beside a median stands the ratio to Conveyor in the same round: its median and extremes.
    """
    rows = []
    for label in figures.cases:
        for engine in figures.engines:
            cells = [figures.cell(label, backend, engine) for backend in figures.backends]
            if not any(cells):
                continue
            row = [f"{case(label)}: {engine}" if len(figures.cases) > 1 else engine]
            for backend, cell in zip(figures.backends, cells, strict=True):
                text = shown(cell, write)
                ratio = figures.ratio(label, backend, engine, to=OURS)
                if ratio is not None and engine != OURS:
                    text += f" = {ratio}"
                row.append(text)
            rows.append(row)
    return Table(
        ["", *figures.backends],
        rows,
        [f"{unit}, median of the rounds = times Conveyor (smallest to largest)."],
    )


def by_case(figures: Figures, write: Callable[[float], str], *, backend: str, unit: str) -> Table:
    """A row for each engine, a column for each case."""
    rows = [
        [engine, *(shown(figures.cell(case, backend, engine), write) for case in figures.cases)]
        for engine in figures.engines
    ]
    return Table(["", *figures.cases], rows, [f"{unit}, median of the rounds."])


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} µs" if seconds < 1e-5 else f"{seconds * 1e6:.0f} µs"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 1e-2 else f"{seconds * 1e3:.0f} ms"


def growth(costs: Sequence[float]) -> float:
    """Return how much dearer a later one is than an earlier one, at most."""
    cheapest, most = costs[0], 1.0
    for cost in costs[1:]:
        most = max(most, cost / cheapest)
        cheapest = min(cheapest, cost)
    return most
