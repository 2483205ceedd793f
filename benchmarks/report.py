"""The results as text for a terminal, and as the page RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .figures import Cell, Figures, Verdict, from_json, to_json
from .questions import QUESTIONS
from .questions.base import Question
from .tables import ABSENT, Table


@dataclass
class Results:
    """A whole run: the figures, and where they come from."""

    date: str
    rounds: int
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    cells: list[Cell]

    def figures(self) -> dict[Question, Figures]:
        """Return the figures of each question that was asked."""
        by_question = {
            question: [cell for cell in self.cells if cell.question == name]
            for name, question in QUESTIONS.items()
        }
        return {question: Figures(cells) for question, cells in by_question.items() if cells}

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "cells": [to_json(cell) for cell in self.cells]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Results:
        return cls(**{**data, "cells": [from_json(cell) for cell in data["cells"]]})


def plain(question: Question, figures: Figures) -> str:
    """Return a question's table and verdicts for a terminal."""
    verdicts = "\n".join(
        f"  {verdict.word:>10}  {verdict.target}: {verdict.reached}"
        for verdict in question.verdicts(figures)
    )
    work = question.work + (f"\n{note}" if (note := fewer(figures)) else "")
    return f"== {question.name}\n{work}\n\n{question.table(figures).plain()}\n\n{verdicts}\n"


def targets(verdicts: Iterable[tuple[str, Verdict]]) -> Table:
    return Table(
        ["question", "target", "reached", "met"],
        [
            [
                name,
                verdict.target,
                verdict.reached,
                {True: "yes", False: "**no**", None: ABSENT}[verdict.met],
            ]
            for name, verdict in verdicts
        ],
        texts=4,
    )


def fewer(figures: Figures) -> str:
    """Say who had fewer items than others, which only figures per item allow for."""
    most = max((cell.items or 0 for cell in figures.cells), default=0)
    given: dict[int, list[str]] = {}
    for cell in figures.cells:
        everyone = {other.items for other in figures.cells if other.case == cell.case}
        if cell.items and len(everyone) > 1 and cell.items < most:
            names = given.setdefault(cell.items, [])
            if cell.engine not in names:
                names.append(cell.engine)
    return " ".join(f"{items:,} items only: {', '.join(names)}." for items, names in given.items())


def page(results: Results) -> str:
    """Return RESULTS.md."""
    machine, versions = results.machine, results.versions
    all_figures = results.figures()
    verdicts = {question: question.verdicts(figures) for question, figures in all_figures.items()}
    parts = [
        "# Results",
        "Written by `make bench`; do not edit. What the words mean is in [README.md](README.md).",
        f"{results.date}, {results.rounds} rounds. {', '.join(machine.values())}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "## Targets",
        targets(
            (question.name, verdict) for question in verdicts for verdict in verdicts[question]
        ).markdown(),
    ]
    for question, figures in all_figures.items():
        parts += [f"## {question.name.capitalize()}", question.work]
        if note := fewer(figures):
            parts.append(note)
        parts.append(question.table(figures).markdown())
    return "\n\n".join(parts) + "\n"
