"""Limits that somebody has set, or a service: slots, rates, pauses between tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .evidence import (
    ENOUGH,
    PROCESSES,
    SOME,
    THREADS,
    WORTH_A_WORD,
    around,
    elsewhere,
    idle,
    in_processes,
    may_be_gil,
    median,
    name_of,
    with_article,
)
from .finding import Bottleneck, Kind
from .words import count_text, part_of, share_text, slots_text

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures


def slots(statistics: StreamFigures, index: int, stage: StageStatistics) -> Bottleneck:
    share = part_of(stage.full, statistics.elapsed)
    return Bottleneck(
        Kind.SLOTS,
        f"{name_of(stage)}: {slots_text(stage.slots)} busy {share_text(share)} of the time"
        + around(statistics, index),
        _more_slots(statistics, stage),
        share * (1 - idle(stage)),
        index,
    )


def _more_slots(statistics: StreamFigures, stage: StageStatistics) -> str:
    """Return what helps a stage whose slots are all busy: more of them, unless they cannot."""
    call, processors, executor = median(stage), statistics.processors, stage.executor
    larger = "or its max_size if larger batches are cheaper" if stage.batches else ""
    quicker = larger or "or make its calls quicker"
    if executor not in (*THREADS, *PROCESSES):
        return (
            f"Its calls run in {with_article(executor)}, whose size is not known here: a higher "
            f"concurrency_limit helps if that has workers to spare{call}."
        )
    if executor in PROCESSES and processors is not None:
        if in_processes(statistics) >= 0.9 * processors or stage.slots >= processors:
            return f"{all_in_use(processors)}{call}."
        return f"Raise its concurrency_limit, up to the {processors} processors, {quicker}{call}."
    if executor in PROCESSES:
        return f"Raise its concurrency_limit, if there are more processors, {quicker}{call}."
    if part_of(elsewhere(statistics), statistics.elapsed) >= SOME and may_be_gil(statistics):
        return (
            f"Raise its concurrency_limit if its calls mostly wait, {quicker}{call}. Python "
            'computes in one thread at a time: for more of that there is executor="process".'
        )
    computes = part_of(statistics.loop_cpu_time, statistics.elapsed)
    advice = f"Raise its concurrency_limit, {quicker}{call}."
    if computes >= ENOUGH:
        advice += (
            f" The event loop computes {share_text(computes)} of the time already, so that makes "
            f"it at most {1 / computes:.1f} times as fast."
        )
    return advice


def all_in_use(processors: int) -> str:
    has = "is 1 processor" if processors == 1 else f"are {processors} processors"
    return f"There {has}: more calls at once help if these wait, quicker ones if they compute"


def parallelism(statistics: StreamFigures) -> Bottleneck:
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
    advice = "Raise max_parallelism, if what it protects allows that."
    processors = statistics.processors
    if processors is not None and statistics.stages[most].executor in PROCESSES:
        ran = sum(s.latency.total for s in statistics.stages if s.executor in PROCESSES)
        if ran >= 0.9 * processors * statistics.elapsed:
            advice = f"{all_in_use(processors)}."
    return Bottleneck(
        Kind.PARALLELISM,
        f"max_parallelism: {slots} busy {share_text(share)} of the time; "
        f"calls of {name_of(statistics.stages[most])} waited most",
        advice,
        share,
    )


def rate(statistics: StreamFigures, index: int, stage: StageStatistics) -> Bottleneck:
    throttled, paused = stage.throttled_for, stage.paused_for
    waited = min(throttled, stage.busy + stage.blocked)
    share = part_of(waited, statistics.elapsed) * (1 - part_of(paused, throttled + paused))
    if throttled < WORTH_A_WORD * stage.occupied:
        share = 0.0  # many waited, for a moment
    return Bottleneck(
        Kind.RATE,
        f"{name_of(stage)}: its rate_limit holds it back {share_text(share)} of the time"
        + around(statistics, index),
        "A higher rate alone helps, or fewer calls, as batches make.",
        share,
        index,
    )


def pause(statistics: StreamFigures, index: int, stage: StageStatistics) -> Bottleneck:
    paused, throttled = stage.paused_for, stage.throttled_for
    at_work = part_of(stage.busy + stage.blocked, statistics.elapsed)
    alone = at_work * part_of(paused, stage.occupied)
    # What then waits for the rate as well would not be there without the pause.
    waited = paused + throttled if paused >= throttled else paused
    share = at_work * part_of(waited, stage.occupied)
    return Bottleneck(
        Kind.PAUSE,
        f"{name_of(stage)}: pauses hold it back {share_text(alone)} of the time, as the service "
        "asks for them (retry_after, or RateLimit.pause)" + around(statistics, index),
        "A higher rate or limit only makes it ask for more. Fewer calls help, as batches make, or "
        "a rate_limit that the service accepts.",
        share,
        index,
    )


def retries(statistics: StreamFigures, index: int, stage: StageStatistics) -> Bottleneck:
    delayed = part_of(stage.delayed_for, stage.occupied)
    times = "once" if stage.retried == 1 else f"{count_text(stage.retried)} times"
    return Bottleneck(
        Kind.RETRIES,
        f"{name_of(stage)}: its calls fail, and spend {share_text(delayed)} of the time on waiting "
        f"for the next try (retried {times})",
        "See why they fail. What waits keeps its slot: where others would not fail, a higher "
        "concurrency_limit lets them go past.",
        delayed * part_of(stage.busy + stage.blocked, statistics.elapsed),
        index,
    )
