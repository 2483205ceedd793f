"""What limits a run, and how one can tell. Pure: a snapshot in, a sentence out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .computing import all_processors, event_loop, handing_on_items, threads
from .ends import consumer, input_on_loop, order, turns, waited_for_input
from .evidence import (
    ENOUGH,
    PROCESSES,
    QUICK,
    THREADS,
    WORTH_A_WORD,
    handed_on,
    idle,
    name_of,
    with_article,
)
from .finding import Bottleneck, Kind
from .limits import parallelism, pause, rate, retries, slots
from .words import count_text, part_of, seconds_text, share_text

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures

SHORT = 0.01  # seconds: in a shorter run the time goes into beginning and ending
# A stage that computes, or waits for a rate, mostly has all its slots in use as well. Then this is
# the better reason, also where it explains a little less of the time. And where all that there is
# of processors is in use, that is a better one still.
BETTER = 0.1
BEST = 0.2


def find_bottleneck(statistics: StreamFigures) -> Bottleneck:
    """Return what took most of the time, of all that can limit a run."""
    elapsed = statistics.elapsed
    if not statistics.timed:
        return _nothing("nothing is known of what limits this run, as it was not timed")
    if elapsed <= 0:
        return _nothing("nothing has run" if statistics.over else "nothing has run yet")
    if elapsed < SHORT:
        return _nothing(f"{seconds_text(elapsed)} are too short to tell what limits this run")
    candidates = [found for found in _candidates(statistics) if found[1].share >= ENOUGH]
    if not candidates:
        return _no_limit(statistics)
    return max(candidates, key=lambda found: found[0] + found[1].share)[1]


def _nothing(sentence: str) -> Bottleneck:
    return Bottleneck(Kind.NOTHING, sentence)


def _candidates(statistics: StreamFigures) -> Iterator[tuple[float, Bottleneck]]:
    """Yield what there may be, each with what is added to its share to compare it with others."""
    yield BETTER, event_loop(statistics)
    yield BEST, threads(statistics)
    yield BEST, all_processors(statistics)
    yield BETTER, parallelism(statistics)
    for index, stage in enumerate(statistics.stages):
        yield BETTER, rate(statistics, index, stage)
        yield BETTER, pause(statistics, index, stage)
    yield 0.0, consumer(statistics)
    for index, stage in enumerate(statistics.stages):
        yield 0.0, order(statistics, index, stage)
        yield 0.0, turns(statistics, index, stage)
        yield 0.0, retries(statistics, index, stage)
        yield 0.0, slots(statistics, index, stage)
    yield BETTER, input_on_loop(statistics)
    yield 0.0, waited_for_input(statistics)


def _no_limit(statistics: StreamFigures) -> Bottleneck:
    elapsed = statistics.elapsed
    items = handed_on(statistics)
    if items * QUICK > elapsed:
        return handing_on_items(items / elapsed, 1.0)
    busy = [stage.busy + stage.blocked for stage in statistics.stages]
    index = busy.index(max(busy))
    stage = statistics.stages[index]
    share = part_of(busy[index], elapsed)
    if share < WORTH_A_WORD:
        return _nothing("nothing limits this run for long")
    used = part_of(stage.occupied, elapsed * stage.slots)
    if stage.slots == 1:
        in_use = f"its one slot in use {share_text(used)}"
    elif stage.slots == math.inf:
        in_use = f"{stage.occupied / elapsed:.1f} slots in use"
    else:
        in_use = f"{stage.occupied / elapsed:.1f} of {count_text(stage.slots)} slots in use"
    advice = ""
    if stage.executor not in (*THREADS, *PROCESSES):
        advice = (
            f"Its calls run in {with_article(stage.executor)}, and whether all of its workers are "
            "busy is not known here."
        )
    elif used < 0.5 and _follow_one_another(stage, elapsed):
        why = "those of one key do, and there are few" if stage.keyed else "they come one by one"
        advice = f"Its items follow one another: {why}."
    return Bottleneck(
        Kind.NOTHING,
        f"no limit is reached for long: {name_of(stage)} works {share_text(share)} of the time, "
        f"with {in_use}",
        advice,
        stage=index,
    )


def _follow_one_another(stage: StageStatistics, elapsed: float) -> bool:
    """Whether a stage that worked all the time would have been done long before, side by side."""
    if stage.busy < ENOUGH * elapsed or not stage.latency.count or idle(stage) > ENOUGH:
        return False
    side_by_side = min(stage.slots, stage.latency.count)
    return 3 * max(stage.latency.longest, stage.latency.total / side_by_side) < stage.busy
