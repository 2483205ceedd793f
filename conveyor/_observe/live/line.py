"""A run in words: the parts of one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ..report.words import count_text, plain, share_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._model.figures import StageStatistics
    from .rates import Moment


class Part(NamedTuple):
    """A part of the line. Where there is little room, those of the least weight are left out."""

    kind: str
    text: str
    weight: int


def parts(moment: Moment) -> list[Part]:
    """Return what there is to say of the whole run, from left to right."""
    statistics = moment.statistics
    found: list[Part] = []
    share, left = statistics.progress, statistics.remaining
    if share is not None:
        found.append(Part("share", share_text(share), 10))
    if statistics.total is not None:
        read = f"{count_text(statistics.read)} of {count_text(statistics.total)} read"
        found.append(Part("read", read, 1))
    elif statistics.read:
        found.append(Part("read", f"{count_text(statistics.read)} read", 2))
    number = statistics.delivered
    found.append(Part("results", f"{count_text(number)} result{'s' * (number != 1)}", 6))
    found.append(Part("rate", rate_text(moment.rate), 3))
    weights = {"failed": 9, "skipped": 7}
    for kind, number in troubles(statistics.stages):
        found.append(Part(kind, f"{count_text(number)} {kind}", weights.get(kind, 4)))
    found.append(Part("elapsed", clock_text(statistics.elapsed), 5))
    if left is not None and not statistics.over:
        found.append(Part("left", f"{clock_text(left)} left", 8))
    return found


def fitting(found: Sequence[Part], columns: int, *, gap: int = 2) -> list[Part]:
    """Return the parts for which there is room, in their order."""
    chosen = list(found)
    while len(chosen) > 1 and sum(len(part.text) + gap for part in chosen) - gap > columns:
        chosen.remove(min(chosen, key=lambda part: part.weight))
    return chosen


def plain_line(moment: Moment, *, stages: bool) -> str:
    """Return the run as one line of text, with the stages and their queues in it or without."""
    texts = {part.kind: part.text for part in parts(moment)}
    elapsed = texts.pop("elapsed") + (", over" if moment.statistics.over else "")
    text = ", ".join([elapsed, *texts.values()])
    if stages:
        chain = [
            f"{count_text(stage.queued)} > {plain(stage.name)} {slots_text(stage)}"
            for stage in moment.statistics.stages
        ]
        text += "; " + " > ".join([*chain, count_text(moment.statistics.queued)])
    return text


def troubles(stages: Sequence[StageStatistics]) -> list[tuple[str, int]]:
    """Return what went wrong in the stages, and how often; nothing of what did not."""
    failed = sum(stage.failed for stage in stages)
    skipped = sum(stage.skipped for stage in stages)
    counts = {
        "failed": failed if failed > skipped else 0,  # else these are those that were skipped
        "skipped": skipped,
        "retried": sum(stage.retried for stage in stages),
        "dropped": sum(stage.dropped for stage in stages),
    }
    return [(what, number) for what, number in counts.items() if number]


def slots_text(stage: StageStatistics, *, infinity: str = "inf") -> str:
    """Return how many slots are in use, of how many."""
    return f"{stage.running}/{infinity if stage.slots == math.inf else f'{stage.slots:.0f}'}"


def rate_text(rate: float) -> str:
    """Return a rate in the unit in which it is not too small a number: ``83/s``, ``2.5/min``."""
    for unit, seconds in ("s", 1), ("min", 60):
        if rate * seconds >= 0.95:
            return f"{short_text(rate * seconds)}/{unit}"
    return f"{short_text(rate * 3600)}/h" if rate else "0/s"


def short_text(number: float) -> str:
    """Return a number in at most four characters: ``0.3``, ``83``, ``1.2k``, ``35M``."""
    unit = ""
    for following in "k", "M", "G", "T":
        if number < 999.5:
            break
        number, unit = number / 1000, following
    places = 1 if 0 < number < 9.95 else 0
    return f"{number:.{places}f}".removesuffix(".0") + unit


def clock_text(seconds: float) -> str:
    """Return a time as a clock shows it: ``0:05``, ``12:34``, ``1:02:03``."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
