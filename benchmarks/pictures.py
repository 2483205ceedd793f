"""The pictures of the documentation, readable on a light ground and on a dark one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .figures import OURS, Figures
from .questions import memory, overhead, scaling, waiting
from .questions.base import Question

GREY, OTHER, OWN = "#808080", "#9aa5b1", "#e8833a"
STYLE: Any = {  # its keys are typed one by one by matplotlib, where that is installed
    "svg.hashsalt": "conveyor",  # the same figures make the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def bars(figures: Figures, case: str, *, factor: float, label: str, log: bool) -> Any:
    """Draw a bar for each engine on asyncio, the shortest on top."""
    medians = {
        engine: median * factor
        for engine in figures.engines
        if (median := figures.median(case, "asyncio", engine)) is not None
    }
    names = sorted(medians, key=lambda name: -medians[name])
    figure = Figure(figsize=(6, 0.28 * len(names) + 0.6))
    axes = figure.subplots()
    drawn = axes.barh(
        names,
        [medians[name] for name in names],
        color=[OWN if name == OURS else OTHER for name in names],
    )
    axes.bar_label(drawn, fmt="{:.3g}", padding=3, color=GREY)
    axes.set_xlabel(label)
    axes.margins(x=0.12)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    return figure


def lines(series: Mapping[str, tuple[list[float], list[float]]], *, x: str, y: str) -> Any:
    """Draw a line for each series."""
    figure = Figure(figsize=(6, 2.6))
    axes = figure.subplots()
    for number, (name, (places, values)) in enumerate(series.items()):
        own = name.startswith(OURS) or len(series) == 1 or "asyncio" in name
        axes.plot(
            places,
            values,
            marker="o",
            markersize=3.5,
            label=name,
            color=OWN if own else OTHER,
            linestyle="-" if own else ("--", ":", "-.")[number % 3],
        )
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, 1.25 * max(value for _, values in series.values() for value in values))
    axes.legend()
    return figure


def points(
    figures: Figures, cases: list[str], engine: str, backend: str, factor: float
) -> tuple[list[float], list[float]]:
    """Return the places along the axis that the cases' labels name, and the medians there."""
    places, values = [], []
    for case in cases:
        median = figures.median(case, backend, engine)
        if median is not None:
            number = case.rpartition(":")[2].split()[0]
            places.append(float(number.replace(",", "")))
            values.append(median * factor)
    return places, values


def draw_overhead(figures: Figures) -> Any:
    label = "µs an item, three stages that return at once, in order"
    return bars(figures, "ordered", factor=1e6, label=label, log=True)


def draw_waiting(figures: Figures) -> Any:
    label = "ms, 3000 items through three stages that wait 5 ms, in order"
    return bars(figures, "ordered", factor=1e3, label=label, log=False)


def draw_memory(figures: Figures) -> Any:
    series = {
        engine: points(figures, figures.cases, engine, "asyncio", 1e-6)
        for engine in figures.engines
    }
    chosen = {name: line for name, line in series.items() if name == OURS or len(line[0]) > 1}
    return lines(chosen, x="items", y="peak, MB")


def draw_scaling(figures: Figures) -> Any:
    cases = [case for case in figures.cases if case.startswith(scaling.ITEMS + ":")]
    series = {backend: points(figures, cases, OURS, backend, 1e6) for backend in figures.backends}
    return lines(series, x="items", y="µs an item and stage")


PICTURES: dict[type[Question], tuple[str, Callable[[Figures], Any]]] = {
    overhead.Overhead: ("overhead.svg", draw_overhead),
    waiting.Waiting: ("waiting.svg", draw_waiting),
    memory.Memory: ("memory.svg", draw_memory),
    scaling.Scaling: ("scaling.svg", draw_scaling),
}


def draw(all_figures: Mapping[Question, Figures], folder: Path) -> list[Path]:
    """Write the pictures of the questions that were asked on asyncio, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        for question, figures in all_figures.items():
            if type(question) not in PICTURES or "asyncio" not in figures.backends:
                continue
            name, make = PICTURES[type(question)]
            figure = make(figures)
            figure.savefig(folder / name, transparent=True, metadata={"Date": None})
            written.append(folder / name)
    return written
