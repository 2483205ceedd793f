"""How streams, pipelines and reports show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .bottleneck import find_bottleneck
from .table import headline, verdict, whole_table
from .words import options_of, plain, shortened

if TYPE_CHECKING:
    from ..._model.figures import StreamFigures
    from ..._model.spec import Spec

NAME = 60  # how long a line in a box gets

# Colours come from the notebook, so that light and dark ones both fit.
BOX = "border:1px solid currentColor;border-radius:4px;padding:4px 8px;text-align:left"
ROW = "display:flex;flex-wrap:wrap;gap:6px;align-items:center"
BOLD = ' style="font-weight:bold"'


def report(statistics: StreamFigures) -> str:
    """Return a table and what limits the run."""
    table = whole_table(statistics)
    found = find_bottleneck(statistics)
    titles = "".join(
        f'<th style="text-align:{"right" if index else "left"}">{escape(title)}</th>'
        for index, title in enumerate(table.titles)
    )
    rows = "".join(
        f"<tr{BOLD if index == found.stage and found.share else ''}>"
        + "".join(
            f'<td style="text-align:{"right" if place else "left"}">{escape(cell)}</td>'
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for index, row in enumerate(table.rows)
    )
    sentence, *advice = verdict(statistics)
    return (
        f"<div><div>{escape(headline(statistics))}</div>"
        f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"
        f"<div><b>{escape(sentence)}</b></div>"
        + "".join(f"<div>{escape(line)}</div>" for line in advice)
        + "</div>"
    )


def pipeline(specs: Sequence[Spec]) -> str:
    """Return a row of boxes: the tasks, with their options that differ from the defaults."""
    boxes = " &rarr; ".join(_box(spec) for spec in specs)
    return f'<div style="{ROW}">{boxes}</div>'


def _box(spec: Spec) -> str:
    options = "".join(
        f"<div><small>{escape(f'{name}={value}')}</small></div>"
        for name, value in options_of(spec).items()
    )
    return f'<div style="{BOX}"><b>{escape(shortened(plain(spec.name), NAME))}</b>{options}</div>'


def stream(specs: Sequence[Spec], state: str, statistics: StreamFigures) -> str:
    """Return a stream's stages and its state, and below them what has happened, if it has."""
    boxes = f"<div><div>Stream, {escape(state)}</div>{pipeline(specs)}"
    return boxes + (report(statistics) if statistics.read or statistics.elapsed else "") + "</div>"
