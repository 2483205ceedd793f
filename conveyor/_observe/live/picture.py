"""A run as rich draws it: a row of boxes, a list where the row has no room, or one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..report.words import ELLIPSIS, count_text, plain, shortened, width
from .line import Part, fitting, parts, rate_text, short_text, slots_text, troubles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from ..._model.figures import StageStatistics
    from .rates import Moment

QUEUE = 5  # columns between two boxes
INNER = 14, 24  # columns inside a box, at least and at most
FRAME = 4  # columns that a box takes beside what is in it
GAPS = 2  # columns around a name in the frame
CELLS = 6  # for the slots of a stage; many slots share a cell
BAR = 8, 40

TROUBLE = {"failed": "red", "skipped": "red", "retried": "yellow", "dropped": "yellow"}
NAME = "bold not dim default"  # not as the frame around it
STYLES = {"share": "bold", "elapsed": "yellow", "left": "cyan", **TROUBLE}


class Signs:
    """The characters of the picture, and what stands for them where there is only ASCII."""

    def __init__(self, options: ConsoleOptions) -> None:
        self._ascii = options.ascii_only
        self.arrow = ">" if self._ascii else "▸"
        self.used, self.free = ("#", "-") if self._ascii else ("■", "□")
        self.infinity = "inf" if self._ascii else "∞"

    def name(self, stage: StageStatistics) -> str:
        name = plain(stage.name)
        return name.encode("ascii", "backslashreplace").decode() if self._ascii else name

    def short(self, name: str, columns: int) -> str:
        name = shortened(name, columns)
        return name.replace(ELLIPSIS, "~") if self._ascii else name

    def cut(self, text: Text, columns: int) -> Text:
        text.truncate(columns, overflow="crop" if self._ascii else "ellipsis")
        text.no_wrap = True
        return text


class Line:
    """The whole run in one line: a bar where the end is known, and figures."""

    def __init__(self, moment: Moment, *, trouble: bool = True) -> None:
        self._moment = moment
        self._trouble = trouble  # whether it is told of here

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        found = parts(self._moment)
        if not self._trouble:
            found = [part for part in found if part.kind not in TROUBLE]
        share = self._moment.statistics.progress
        words = _words(fitting(found, room if share is None else room - BAR[0] - 2))
        bar = min(room - words.cell_len - 2, BAR[1])
        if share is None or bar < BAR[0]:  # there is no end to be seen, or hardly a column
            yield Signs(options).cut(words, room)
            return
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(total=1.0, completed=share, width=bar), words)
        yield grid


class Picture:
    """The stages with the queues between them, and below them the line."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = Signs(options)
        stages = self._moment.statistics.stages
        inner = box_width([signs.name(stage) for stage in stages], options.max_width)
        if inner is not None:
            yield self._row(signs, inner)
        else:
            # One line below it, and one where the cursor is when all is over.
            yield from self._list(signs, options.max_width, options.size.height - 2)
        yield Line(self._moment, trouble=inner is None)

    # A row of boxes

    def _row(self, signs: Signs, inner: int) -> RenderableType:
        moment = self._moment
        stages = moment.statistics.stages
        notes = [_notes(stage) for stage in stages]
        height = max(map(len, notes), default=0)
        cells: list[RenderableType] = []
        for stage, rate, lines in zip(stages, moment.rates, notes, strict=True):
            cells.append(_queue(stage.queued, signs))
            full = is_full(stage)
            total = short_text(stage.emitted)
            content = [
                _slots(stage, signs),
                Text(f"{rate_text(rate):<{inner - len(total)}}{total}"),
                *([_transient(stage)] if moment.held_up else []),
                *lines,
                *[Text()] * (height - len(lines)),
            ]
            cells.append(
                Panel(
                    Text("\n").join(signs.cut(line, inner) for line in content),
                    title=Text(signs.short(signs.name(stage), inner - GAPS), NAME),
                    title_align="left",
                    width=inner + FRAME,
                    border_style="yellow" if full else "dim",
                )
            )
        cells.append(_queue(moment.statistics.queued, signs))
        grid = Table.grid()
        for place in range(len(cells)):
            grid.add_column(no_wrap=True, width=QUEUE if place % 2 == 0 else inner + FRAME)
        grid.add_row(*cells)
        return grid

    # A list of lines

    def _list(self, signs: Signs, columns: int, height: int) -> Iterator[RenderableType]:
        moment = self._moment
        stages = moment.statistics.stages
        names = [signs.name(stage) for stage in stages]
        slots = max(len(slots_text(stage, infinity=signs.infinity)) for stage in stages)
        cells = CELLS + 1 if columns >= 64 else 0
        notes = 20 if columns >= 80 else 0
        # A queue and its arrow, a name, slots, a rate of at most eight characters, two gaps.
        taken = 7 + 1 + cells + slots + 2 + 8 + (2 + notes if notes else 0)
        name = max(4, min(max(map(width, names)), columns - taken))
        shown = len(stages) if len(stages) < height else max(1, height - 2)
        for index in range(shown):
            stage = stages[index]
            line = Text(no_wrap=True)
            line.append_text(_queue(stage.queued, signs, above=0))
            line.append(" ")
            line.append(
                signs.short(names[index], name), "bold yellow" if is_full(stage) else "bold"
            )
            line.pad_right(max(0, 6 + name - line.cell_len))
            line.append(" ")
            if cells:
                line.append_text(_cells(stage, signs))
                line.pad_right(max(0, 7 + name + cells - line.cell_len))
            line.append(f"{slots_text(stage, infinity=signs.infinity):>{slots}}")
            line.append(f"{rate_text(moment.rates[index]):>10}")
            if notes:
                line.append("  ")
                line.append_text(_notes_in_line(stage))
            yield signs.cut(line, columns)
        if shown < len(stages):
            hidden = stages[shown:]
            running = sum(stage.running for stage in hidden)
            text = f"      and {len(hidden)} more, {count_text(running)} running"
            yield signs.cut(Text(text, "dim"), columns)
        yield _queue(moment.statistics.queued, signs, above=0)


def box_width(names: Sequence[str], columns: int) -> int | None:
    """Return how wide the boxes are inside, or ``None`` if there is no room for all in a row."""
    number = max(len(names), 1)
    room = (columns - QUEUE * (number + 1)) // number - FRAME
    least, most = INNER
    if room < least:
        return None
    longest = max(map(width, names), default=0) + GAPS
    return min(room, max(least, min(longest, most)))


def is_full(stage: StageStatistics) -> bool:
    """Say whether all slots of a stage are in use."""
    return stage.running >= stage.slots


def used_cells(stage: StageStatistics) -> tuple[int, int]:
    """Return how many cells are used, of how many: all only if all slots are, none if none."""
    number = int(min(stage.slots, CELLS))
    if stage.slots == math.inf:
        return min(stage.running, CELLS), CELLS
    if stage.running >= stage.slots:
        return number, number
    return min(math.ceil(stage.running * number / stage.slots), max(number - 1, 0)), number


def _cells(stage: StageStatistics, signs: Signs) -> Text:
    used, number = used_cells(stage)
    text = Text().append(signs.used * used, "yellow" if is_full(stage) else "green")
    return text.append(signs.free * (number - used), "dim")


def _slots(stage: StageStatistics, signs: Signs) -> Text:
    return _cells(stage, signs).append(f" {slots_text(stage, infinity=signs.infinity)}", "default")


def _queue(number: int, signs: Signs, *, above: int = 1) -> Text:
    """Return how many items wait, and where they go."""
    text = Text("\n" * above)
    return text.append(f"{short_text(number):>4}", "default" if number else "dim").append(
        signs.arrow, "default" if number else "dim"
    )


def _transient(stage: StageStatistics) -> Text:
    """Return what is so at this moment and may be over at the next."""
    if stage.throttled:
        return Text(f"{count_text(stage.throttled)} throttled", "cyan")
    return Text(f"{count_text(stage.waiting)} waiting" if stage.waiting else "", "dim")


def _notes(stage: StageStatistics) -> list[Text]:
    return [Text(f"{count_text(n)} {what}", TROUBLE[what]) for what, n in troubles((stage,))]


def _notes_in_line(stage: StageStatistics) -> Text:
    transient = _transient(stage)
    return Text(", ").join([*_notes(stage), *([transient] if transient else [])])


def _words(chosen: Sequence[Part]) -> Text:
    return Text("  ").join(Text(part.text, STYLES.get(part.kind, "default")) for part in chosen)
