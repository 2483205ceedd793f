"""The report as plain text: a table, and what limits the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bottleneck import find_bottleneck
from .finding import Kind
from .words import count_text, padded, plain, seconds_text, shortened, width, wrapped

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures

COLUMNS = 100  # how wide a table gets
NAME = 32  # how wide the column of the names
GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table.

    Attributes:
        title: What stands above it.
        value: A stage's number; a column in which all are 0 is left out.
        text: How it is written.
        always: Whether it is there in any case.
    """

    title: str
    value: Callable[[StageStatistics], float]
    text: Callable[[StageStatistics], str]
    always: bool = False


def _counter(name: str, *, always: bool = False) -> Column:
    def value(stage: StageStatistics) -> float:
        number: int = getattr(stage, name)
        return number

    return Column(name, value, lambda stage: count_text(value(stage)), always)


def _time(name: str, value: Callable[[StageStatistics], float]) -> Column:
    return Column(name, value, lambda stage: seconds_text(value(stage)))


def _slots(elapsed: float) -> Column:
    def text(stage: StageStatistics) -> str:
        return f"{stage.occupied / elapsed:.1f}/{count_text(stage.slots)}"

    return Column("in use", lambda stage: stage.occupied if elapsed > 0 else 0.0, text)


ITEMS = [
    _counter("received", always=True),
    _counter("emitted", always=True),
    *map(
        _counter,
        ("filtered", "skipped", "failed", "retried", "dropped", "cancelled", "batches"),
    ),
    *map(_counter, ("queued", "filling", "running", "throttled", "waiting")),
]
TIMES = [
    _time("busy", lambda stage: stage.busy),
    _time("full", lambda stage: stage.full),
    _time("starved", lambda stage: stage.starved),
    _time("blocked", lambda stage: stage.blocked),
    _time("held", lambda stage: stage.held),
    _time("throttled for", lambda stage: stage.throttled_for),
    _time("crowded for", lambda stage: stage.crowded_for),
    _time("paused for", lambda stage: stage.paused_for),
    _time("delayed for", lambda stage: stage.delayed_for),
]
CALLS = [
    _time("P50", lambda stage: stage.latency.p50),
    _time("P95", lambda stage: stage.latency.p95),
    _time("P99", lambda stage: stage.latency.p99),
    _time("longest", lambda stage: stage.latency.longest),
]
GROUPS = [
    {column.title for column in ITEMS},
    {"in use", *(column.title for column in TIMES)},
    {column.title for column in CALLS},
]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as texts: the titles, and one row a stage, which begins with its name."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def widths(self) -> list[int]:
        """How wide each column is."""
        columns = zip(self.titles, *self.rows, strict=True)
        return [max(map(width, column)) for column in columns]

    def part(self, columns: Sequence[int]) -> Table:
        """Return a table of these columns alone."""
        return Table(
            [self.titles[index] for index in columns],
            [[row[index] for index in columns] for row in self.rows],
        )


def report_text(statistics: StreamFigures) -> str:
    """Return all of the report."""
    said = "\n".join(wrapped(line, COLUMNS) for line in verdict(statistics))
    return "\n\n".join(
        [wrapped(headline(statistics), COLUMNS), *map(_lines, tables(statistics)), said]
    )


def headline(statistics: StreamFigures) -> str:
    """Return how far the run is, in one line."""
    if statistics.over:
        state = "over"
    elif statistics.elapsed or statistics.read:
        state = "running"
    else:
        state = "not started"
    read = count_text(statistics.read)
    if statistics.total is not None:
        read += f" of {count_text(statistics.total)}"
    counts = f"{read} read, {count_text(statistics.delivered)} delivered"
    if statistics.queued:
        counts += f", {count_text(statistics.queued)} wait for the consumer"
    name = statistics.pipeline_id if statistics.named else ""  # a made-up one says nothing
    words = [f"run {shortened(plain(name), 40)}" * bool(name)]
    since = f" after {seconds_text(statistics.elapsed)}" if statistics.elapsed else ""
    words.append(f"{state}{since}: {counts}")
    return " ".join(word for word in words if word)


def verdict(statistics: StreamFigures) -> list[str]:
    """Return what limits the run, and what helps, if there is anything to say."""
    found = find_bottleneck(statistics)
    sentence = found.sentence
    if found.kind is Kind.NOTHING:
        sentence = sentence[0].upper() + sentence[1:]
    else:
        sentence = f"Bottleneck: {sentence}"
    return [f"{sentence}.", found.advice] if found.advice else [f"{sentence}."]


def whole_table(statistics: StreamFigures) -> Table:
    """Return all columns that say something, however many."""
    stages = statistics.stages
    columns = [
        column
        for column in (*ITEMS, _slots(statistics.elapsed), *TIMES, *CALLS)
        if column.always or any(column.value(stage) for stage in stages)
    ]
    return Table(
        ["stage", *(column.title for column in columns)],
        [
            [
                shortened(plain(stage.name), NAME),
                *(
                    column.text(stage) if column.always or column.value(stage) else ""
                    for column in columns
                ),
            ]
            for stage in stages
        ],
    )


def tables(statistics: StreamFigures, columns: float = COLUMNS) -> list[Table]:
    """Return the table in as many parts as it takes to fit into so many columns.

    Each begins with the names. Where one is not enough, what belongs together stays together.
    """
    table = whole_table(statistics)
    needed = [len(GAP) + each for each in table.widths]
    if sum(needed) - len(GAP) <= columns:
        return [table]
    parts: list[list[int]] = []
    room = 0.0
    for titles in GROUPS:
        group = [index for index, title in enumerate(table.titles) if index and title in titles]
        fits = sum(needed[index] for index in group) <= room
        for index in group:
            if not parts or needed[index] > room or (not fits and index == group[0]):
                parts.append([0])
                room = columns - needed[0] + len(GAP)
            parts[-1].append(index)
            room -= needed[index]
    return [table.part(part) for part in parts]


def _lines(table: Table) -> str:
    widths = table.widths
    return "\n".join(
        GAP.join(
            padded(cell, columns, right=index > 0)
            for index, (cell, columns) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (table.titles, *table.rows)
    )
