"""What computes: on the event loop, in threads, on all processors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .ends import consumer
from .evidence import (
    ENOUGH,
    MOST,
    QUICK,
    THREADS,
    WORTH_A_WORD,
    around,
    elsewhere,
    handed_on,
    may_be_gil,
    median,
    name_of,
    on_the_loop,
    only_waits,
)
from .finding import Bottleneck, Kind
from .limits import parallelism
from .words import count_text, part_of, share_text

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures


def event_loop(statistics: StreamFigures) -> Bottleneck:
    elapsed = statistics.elapsed
    held = [stage.held for stage in statistics.stages]
    share = part_of(sum(held), elapsed)
    index = held.index(max(held))
    stage = statistics.stages[index]
    alone = part_of(held[index], elapsed)
    computes = part_of(statistics.loop_cpu_time, elapsed)
    by_input = part_of(statistics.input_held, elapsed)
    if computes > 2 * (share + by_input):  # most of it is in functions that do wait, or in none
        return _loop_computes(statistics, computes)
    if by_input >= WORTH_A_WORD and share >= WORTH_A_WORD:
        both = part_of(sum(held) + statistics.input_held, elapsed)
        larger = f"{name_of(stage)} alone {share_text(alone)}"
        if by_input > alone:
            larger = f"the input alone {share_text(by_input)}"
        sentence = (
            "the event loop: the input and functions that never wait keep it busy "
            f"{share_text(both)} of the time, {larger}"
        )
        share = both
    elif share - alone < WORTH_A_WORD:
        sentence = f"{name_of(stage)}: {on_the_loop(statistics, sum(held), alone)}"
    else:
        sentence = (
            f"the event loop: functions that never wait keep it busy {share_text(share)} of the "
            f"time, {name_of(stage)} alone {share_text(alone)}"
        )
    return Bottleneck(Kind.LOOP, sentence, _off_the_loop(statistics, stage), share, index)


def _off_the_loop(statistics: StreamFigures, stage: StageStatistics) -> str:
    """Return what helps a stage whose function never waits."""
    call = median(stage)
    if stage.latency.p50 < 0.0005:
        return "Its calls are too short to be moved one by one: a batch task with executor= can."
    if not statistics.cpu_time:
        return f"With executor= its calls run in threads or processes{call}."
    if only_waits(statistics, stage.held):
        return f'With executor="thread" its calls wait in threads, many at once{call}.'
    if statistics.processors == 1:
        return (
            "There is 1 processor: quicker calls help, and executor= only lets others run "
            f"meanwhile{call}."
        )
    kind = "thread" if statistics.free_threaded else "process"
    return f'With executor="{kind}" its calls compute on other processors{call}.'


def _loop_computes(statistics: StreamFigures, share: float) -> Bottleneck:
    """Return what is to be said of a loop that is busy with more than functions that never wait."""
    elapsed = statistics.elapsed
    items = handed_on(statistics)
    if items * QUICK > elapsed:
        return handing_on_items(items / elapsed, share)
    explains = share
    if consumer(statistics).share >= share:
        explains = 0.0  # it may well be the consumer, and if not, it limits nothing
    return Bottleneck(
        Kind.LOOP,
        f"the event loop: its thread computes {share_text(share)} of the time, mostly in functions "
        "that also wait, or in what they call",
        "Move what computes into a task with executor=, or put several small things into one item.",
        explains,
    )


def handing_on_items(rate: float, share: float) -> Bottleneck:
    return Bottleneck(
        Kind.LOOP,
        f"the event loop: busy with handing on {_rough(rate)} items a second",
        "Each costs a microsecond or so at each stage: put several small things into one item.",
        share,
    )


def _rough(number: float) -> str:
    """Return a large number to two digits."""
    return count_text(round(number, 1 - math.floor(math.log10(number))))


def threads(statistics: StreamFigures) -> Bottleneck:
    elapsed = statistics.elapsed
    computes = part_of(statistics.cpu_time, elapsed)
    index, alone = _in_threads(statistics)
    stage = None if index is None else statistics.stages[index]
    share = 0.0
    fullest = max((s.full for s in statistics.stages if s.executor in THREADS), default=0.0)
    if (
        any(s.occupied for s in statistics.stages if s.executor in THREADS)
        and computes >= ENOUGH
        and elsewhere(statistics) >= ENOUGH * statistics.cpu_time
        and may_be_gil(statistics)
    ):
        # That slots are busy is what comes of it: on a processor that others use as well it may
        # explain less of the time, and would still be the reason.
        share = max(computes, part_of(fullest, elapsed), parallelism(statistics).share)
    if stage is not None and stage.slots == 1 and alone:
        # One thread alone does not tell what would become of two.
        full = part_of(stage.full, elapsed)
        return Bottleneck(
            Kind.SLOTS,
            f"{name_of(stage)}: its one slot busy {share_text(full)} of the time, computing in a "
            "thread" + around(statistics, index or 0),
            "A higher concurrency_limit helps where it computes outside of Python, as NumPy, "
            "compression and hashing do; in Python only with "
            f'executor="process"{median(stage)}.',
            share,
            index,
        )
    sentence = (
        f"the GIL: threads compute {share_text(computes)} of the time, in Python one at a time"
    )
    if stage is not None:
        in_use = f"{stage.occupied / elapsed:.1f} of {count_text(stage.slots)} slots in use"
        sentence += f"; {name_of(stage)} has {in_use}"
    more = "do not help"
    if computes < MOST:
        more = f"make that at most {1 / max(computes, ENOUGH):.1f} times as fast"
    number = "other" if statistics.processors is None else f"all {statistics.processors}"
    call = "" if stage is None else median(stage)
    return Bottleneck(
        Kind.GIL,
        sentence,
        f'In Python more threads {more}: with executor="process" calls compute on {number} '
        f"processors{call}.",
        share,
        index,
    )


def _in_threads(statistics: StreamFigures) -> tuple[int | None, bool]:
    """Return which stage has its calls in threads, and whether no other can have.

    It is ``None`` if there are several, or if none says so and any may do it by itself.
    """
    used = [
        index
        for index, stage in enumerate(statistics.stages)
        if stage.executor in THREADS and stage.occupied > WORTH_A_WORD * statistics.elapsed
    ]
    surely = [index for index in used if statistics.stages[index].executor is not None]
    found = surely or used
    return (found[0] if len(found) == 1 else None), len(used) == 1


def all_processors(statistics: StreamFigures) -> Bottleneck:
    number = statistics.processors or 0
    share = part_of(statistics.cpu_time, number * statistics.elapsed)
    if share < 0.8 or elsewhere(statistics) < ENOUGH * statistics.cpu_time:
        share = 0.0  # there is room for more, or it is the event loop that computes
    all_of_them = "the processor: the one that there is" if number == 1 else "the processors: all "
    if number != 1:
        all_of_them += f"{number} that there are"
    return Bottleneck(
        Kind.PROCESSORS,
        f"{all_of_them}, busy {share_text(share)} of the time with what this process computes",
        "No higher limit helps: quicker calls do, or more processors.",
        share,
    )
