"""The report in colour. Imported when rich asks for it, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from .bottleneck import find_bottleneck
from .table import headline, tables, verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..._model.figures import StreamFigures

# What stands out, if it is there at all.
STYLES = {"failed": "red", "skipped": "yellow", "dropped": "yellow", "cancelled": "yellow"}


def report(statistics: StreamFigures, columns: int) -> Iterator[RenderableType]:
    """Yield what rich renders, in so many columns. Texts are no markup, names least of all."""
    yield Text(headline(statistics), style="bold")
    found = find_bottleneck(statistics)
    for part in tables(statistics, columns):
        table = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for index, title in enumerate(part.titles):
            table.add_column(
                Text(title),
                justify="right" if index else "left",
                style=STYLES.get(title, ""),
                no_wrap=True,
            )
        for index, row in enumerate(part.rows):
            table.add_row(*map(Text, row), style="bold magenta" if index == found.stage else None)
        yield table
    sentence, *advice = verdict(statistics)
    yield Text(sentence, style="bold magenta" if found.share else "")
    for line in advice:
        yield Text(line)
