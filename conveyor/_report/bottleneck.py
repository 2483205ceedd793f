"""What limits a run, and how one can tell. Pure: a snapshot in, a sentence out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from .words import count_text, part_of, plain, seconds_text, share_text, shortened, slots_text

if TYPE_CHECKING:
    from .._stats import StageStatistics, StreamStatistics

ENOUGH = 0.5  # what takes a smaller share of the time than this limits nothing by itself
SHORT = 0.01  # seconds: in a shorter run the time goes into beginning and ending
WORTH_A_WORD = 0.05  # shares below this are not told of
QUICK = 1e-5  # seconds: with no more for an item at a stage, the event loop has no time left
# A stage that computes, or waits for a rate, mostly has all its slots in use as well. Then this is
# the better reason, also where it explains a little less of the time.
BETTER = 0.1


class Kind(Enum):
    """What may limit a run."""

    SLOTS = "slots"
    LOOP = "event loop"
    RATE = "rate limit"
    PARALLELISM = "max_parallelism"
    ORDER = "order"
    INPUT = "input"
    CONSUMER = "consumer"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits a run.

    Attributes:
        kind: What it is.
        sentence: That and the reason, without a full stop.
        advice: What helps, as a sentence or two; empty if there is nothing to say.
        share: For which share of the time it did so, from 0 to 1.
        stage: Where, if it is in a stage; counted from 0.
    """

    kind: Kind
    sentence: str
    advice: str = ""
    share: float = 0.0
    stage: int | None = None


def find_bottleneck(statistics: StreamStatistics) -> Bottleneck:
    """Return what took most of the time, of all that can limit a run."""
    elapsed = statistics.elapsed
    if not statistics.timed:
        return _nothing("nothing is known of what limits this run, as it was not timed")
    if elapsed <= 0:
        return _nothing("nothing has run" if statistics.over else "nothing has run yet")
    if elapsed < SHORT:
        return _nothing(f"{seconds_text(elapsed)} are too short to tell what limits this run")
    found = max(_candidates(statistics), key=_weight, default=None)
    if found is None or found.share < ENOUGH:
        return _no_limit(statistics)
    return found


def _nothing(sentence: str) -> Bottleneck:
    return Bottleneck(Kind.NOTHING, sentence)


def _weight(found: Bottleneck) -> float:
    better = found.kind in (Kind.LOOP, Kind.RATE, Kind.PARALLELISM)
    return found.share + better * BETTER


def _candidates(statistics: StreamStatistics) -> Iterator[Bottleneck]:
    yield _loop(statistics)
    yield _parallelism(statistics)
    for index, stage in enumerate(statistics.stages):
        yield _rate(statistics, index, stage)
    yield _consumer(statistics)
    for index, stage in enumerate(statistics.stages):
        yield _order(statistics, index, stage)
        yield _waits_in_slots(statistics, index, stage)
        yield _slots(statistics, index, stage)
    yield _input(statistics)


# What there may be


def _slots(statistics: StreamStatistics, index: int, stage: StageStatistics) -> Bottleneck:
    share = part_of(stage.full, statistics.elapsed)
    call = _median(stage)
    if stage.batches:
        advice = f"Raise its concurrency_limit, or its max_size if larger batches are cheaper{call}"
    else:
        advice = f"Raise its concurrency_limit, or make its calls quicker{call}"
    return Bottleneck(
        Kind.SLOTS,
        f"{_name(stage)}: {slots_text(stage.slots)} busy {share_text(share)} of the time"
        + _around(statistics, index),
        advice + ".",
        share * _at_work(stage),
        index,
    )


def _at_work(stage: StageStatistics) -> float:
    """Return which share of the time in its slots a stage spent on its calls.

    A generator keeps its slot while there is no room for its next value: that is not its doing.
    """
    if stage.retried or stage.cancelled or not stage.occupied:
        return 1.0  # then there are pauses, and calls that were not measured
    work = stage.latency.total + stage.throttled_for + stage.crowded_for
    return part_of(work, stage.occupied)


def _loop(statistics: StreamStatistics) -> Bottleneck:
    elapsed = statistics.elapsed
    held = [stage.held for stage in statistics.stages]
    share = part_of(sum(held), elapsed)
    index = held.index(max(held))
    stage = statistics.stages[index]
    alone = part_of(held[index], elapsed)
    if share - alone < WORTH_A_WORD:
        sentence = f"{_name(stage)}: computes {share_text(alone)} of the time on the event loop"
        sentence += ", where nothing else runs meanwhile"
    else:
        sentence = (
            f"the event loop: functions that never wait keep it busy {share_text(share)} of the "
            f"time, {_name(stage)} alone {share_text(alone)}"
        )
    if stage.latency.p50 < 0.0005:
        advice = "Its calls are too short to be moved one by one: a batch task with executor= can."
    else:
        advice = f"With executor= its calls run in threads or processes{_median(stage)}."
    return Bottleneck(Kind.LOOP, sentence, advice, share, index)


def _rate(statistics: StreamStatistics, index: int, stage: StageStatistics) -> Bottleneck:
    waited = min(stage.throttled_for, stage.busy + stage.blocked)
    share = part_of(waited, statistics.elapsed)
    if stage.throttled_for < WORTH_A_WORD * stage.occupied:
        share = 0.0  # many waited, for a moment
    return Bottleneck(
        Kind.RATE,
        f"{_name(stage)}: its rate_limit holds it back {share_text(share)} of the time"
        + _around(statistics, index),
        "A higher rate alone helps, or fewer calls, as batches make.",
        share,
        index,
    )


def _parallelism(statistics: StreamStatistics) -> Bottleneck:
    waited = [stage.crowded_for for stage in statistics.stages]
    share = part_of(sum(waited), statistics.elapsed)
    if sum(waited) < WORTH_A_WORD * sum(stage.occupied for stage in statistics.stages):
        share = 0.0
    most = waited.index(max(waited))
    allowed = statistics.max_parallelism
    if allowed is not None and statistics.over:  # no call is on, so all of them were measured
        ran = sum(stage.latency.total for stage in statistics.stages)
        share = min(share, part_of(ran, allowed * statistics.elapsed))
    slots = "the run's one slot" if allowed == 1 else f"all {allowed} slots of the run"
    return Bottleneck(
        Kind.PARALLELISM,
        f"max_parallelism: {slots} busy {share_text(share)} of the time; "
        f"calls of {_name(statistics.stages[most])} waited most",
        "Raise max_parallelism, if what it protects allows that.",
        share,
    )


def _order(statistics: StreamStatistics, index: int, stage: StageStatistics) -> Bottleneck:
    # While the stage could not give its results, who takes them had nothing to do: so it
    # was the order that kept them. Both at once took at least so long:
    hungry = _starved_behind(statistics, index)
    share = part_of(stage.blocked + hungry - statistics.elapsed, statistics.elapsed)
    latency = stage.latency
    slow = ""
    if latency.longest > 2 * latency.p50:
        slow = f": the longest call took {seconds_text(latency.longest)}"
        slow += f", and half of them {seconds_text(latency.p50)} or less"
    return Bottleneck(
        Kind.ORDER,
        f"{_name(stage)}: results wait {share_text(share)} of the time for a slow one before them"
        + slow,
        "As completed nothing waits for it; in order, a larger buffer_size lets more go past, and "
        "a timeout ends it.",
        share,
        index,
    )


def _input(statistics: StreamStatistics) -> Bottleneck:
    share = part_of(statistics.input_waited, statistics.elapsed)
    first = statistics.stages[0]
    sentence = f"the input: the run waits for it {share_text(share)} of the time"
    if first.starved > WORTH_A_WORD * statistics.elapsed:
        sentence += f"; {_name(first)} was starved {seconds_text(first.starved)}"
    return Bottleneck(
        Kind.INPUT,
        sentence,
        "Let it give what is to be read, and read that in a first task, many at once.",
        share,
    )


def _consumer(statistics: StreamStatistics) -> Bottleneck:
    elapsed = statistics.elapsed
    share = part_of(elapsed - statistics.consumer_waited, elapsed)
    if not statistics.delivered and not statistics.queued:
        share = 0.0  # it does not wait, but there was nothing for it either
    last = statistics.stages[-1]
    sentence = f"the consumer: busy {share_text(share)} of the time with the results that it has"
    if last.blocked > WORTH_A_WORD * elapsed:
        sentence += f"; {_name(last)} was blocked {seconds_text(last.blocked)}"
    return Bottleneck(
        Kind.CONSUMER,
        sentence,
        "Make what it does with a result one more task: that works on many at once.",
        share,
    )


def _waits_in_slots(statistics: StreamStatistics, index: int, stage: StageStatistics) -> Bottleneck:
    # Its slots were full while there was room behind it: of generators whose turn had not come.
    full = stage.full + _starved_behind(statistics, index) - statistics.elapsed
    share = part_of(full, statistics.elapsed) * (1 - _at_work(stage))
    if statistics.execution_mode != "ordered":
        share = 0.0
    return Bottleneck(
        Kind.ORDER,
        f"{_name(stage)}: {slots_text(stage.slots)} taken, mostly by generators that wait for "
        "those before them",
        "As completed none of them waits; in order, only what they do before their first value "
        "is done side by side.",
        share,
        index,
    )


def _no_limit(statistics: StreamStatistics) -> Bottleneck:
    elapsed = statistics.elapsed
    handed_on = sum(stage.received for stage in statistics.stages)
    if handed_on * QUICK > elapsed:
        return Bottleneck(
            Kind.LOOP,
            f"the event loop: busy with handing on {_rough(handed_on / elapsed)} items a second",
            "Each costs a microsecond or so at each stage: put several small things into one item.",
            1.0,
        )
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
    if used < 0.5 and _follow_one_another(stage, elapsed):
        advice = "Its items follow one another: few keys do that, or items that come one by one."
    return Bottleneck(
        Kind.NOTHING,
        f"no limit is reached for long: {_name(stage)} works {share_text(share)} of the time, with "
        + in_use,
        advice,
        stage=index,
    )


def _follow_one_another(stage: StageStatistics, elapsed: float) -> bool:
    """Whether a stage that worked all the time would have been done long before, side by side."""
    if stage.busy < ENOUGH * elapsed or not stage.latency.count:
        return False
    side_by_side = min(stage.slots, stage.latency.count)
    return 3 * max(stage.latency.longest, stage.latency.total / side_by_side) < stage.busy


def _rough(number: float) -> str:
    """Return a large number to two digits."""
    return count_text(round(number, 1 - math.floor(math.log10(number))))


# Evidence


def _around(statistics: StreamStatistics, index: int) -> str:
    """Return what the neighbours of a stage did meanwhile: ``; fetch was blocked 41 s``."""
    least = WORTH_A_WORD * statistics.elapsed
    if index:
        before = statistics.stages[index - 1]
        if before.blocked > least:
            return f"; {_name(before)} was blocked {seconds_text(before.blocked)}"
    hungry = _starved_behind(statistics, index)
    if hungry <= least:
        return ""
    if index + 1 == len(statistics.stages):
        return f"; the consumer waited {seconds_text(hungry)}"
    return f"; {_name(statistics.stages[index + 1])} was starved {seconds_text(hungry)}"


def _starved_behind(statistics: StreamStatistics, index: int) -> float:
    """Return how long those who take a stage's results had none."""
    if index + 1 < len(statistics.stages):
        return statistics.stages[index + 1].starved
    return statistics.consumer_waited


def _median(stage: StageStatistics) -> str:
    p50 = stage.latency.p50
    return f" (half of them take {seconds_text(p50)} or more)" if p50 else ""


def _name(stage: StageStatistics) -> str:
    return shortened(plain(stage.name), 40)
