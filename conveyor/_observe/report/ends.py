"""What is around the stages: the input, the consumer, and the order of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .evidence import (
    ENOUGH,
    WORTH_A_WORD,
    handing_on,
    name_of,
    on_the_loop,
    only_waits,
    starved_behind,
)
from .finding import Bottleneck, Kind
from .words import part_of, seconds_text, share_text, slots_text

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures


def waited_for_input(statistics: StreamFigures) -> Bottleneck:
    share = part_of(statistics.input_waited, statistics.elapsed)
    return Bottleneck(
        Kind.INPUT,
        f"the input: the run waits for it {share_text(share)} of the time"
        + _starved_by_input(statistics),
        "Let it give what is to be read, and read that in a first task, many at once.",
        share,
    )


def input_on_loop(statistics: StreamFigures) -> Bottleneck:
    held = statistics.input_held
    share = part_of(held, statistics.elapsed)
    advice = (
        "Read it in a thread: give an async generator that awaits "
        "anyio.to_thread.run_sync(next, iterator, None) for each item, or for a list of them."
    )
    if statistics.cpu_time and not only_waits(statistics, held):
        advice = (
            "Let it give what it computes from, and do that in a first task with executor=, "
            "many at once."
        )
    return Bottleneck(
        Kind.INPUT,
        f"the input: {on_the_loop(statistics, held, share)}" + _starved_by_input(statistics),
        advice,
        share,
    )


def _starved_by_input(statistics: StreamFigures) -> str:
    first = statistics.stages[0]
    if first.starved > WORTH_A_WORD * statistics.elapsed:
        return f"; {name_of(first)} was starved {seconds_text(first.starved)}"
    return ""


def consumer(statistics: StreamFigures) -> Bottleneck:
    elapsed = statistics.elapsed
    share = part_of(elapsed - statistics.consumer_waited, elapsed)
    if not statistics.delivered and not statistics.queued:
        share = 0.0  # it does not wait, but there was nothing for it either
    last = statistics.stages[-1]
    sentence = f"the consumer: busy {share_text(share)} of the time with the results that it has"
    if last.blocked > WORTH_A_WORD * elapsed:
        sentence += f"; {name_of(last)} was blocked {seconds_text(last.blocked)}"
    advice = "Make what it does with a result one more task: that works on many at once."
    others = sum(stage.held for stage in statistics.stages) + statistics.input_held
    if statistics.loop_cpu_time - others > ENOUGH * elapsed:
        advice = (
            "If it computes, make that one more task, with executor=: on the event loop nothing "
            "else runs meanwhile."
        )
    return Bottleneck(Kind.CONSUMER, sentence, advice, share)


def order(statistics: StreamFigures, index: int, stage: StageStatistics) -> Bottleneck:
    # While the stage could not give its results, who takes them had nothing to do: so it
    # was the order that kept them. Both at once took at least so long:
    hungry = starved_behind(statistics, index)
    share = part_of(stage.blocked + hungry - statistics.elapsed, statistics.elapsed)
    latency = stage.latency
    slow = ""
    if latency.longest > 2 * latency.p50:
        slow = f": the longest call took {seconds_text(latency.longest)}"
        slow += f", and half of them {seconds_text(latency.p50)} or less"
    return Bottleneck(
        Kind.ORDER,
        f"{name_of(stage)}: results wait {share_text(share)} of the time for a slow one before them"
        + slow,
        "As completed nothing waits for it; in order, a larger buffer_size lets more go past, and "
        "a timeout ends it.",
        share,
        index,
    )


def turns(statistics: StreamFigures, index: int, stage: StageStatistics) -> Bottleneck:
    # It was at work while there was room behind it: for generators whose turn had not come.
    at_work = stage.busy + starved_behind(statistics, index) - statistics.elapsed
    waits = part_of(handing_on(stage), stage.occupied)
    share = part_of(at_work, statistics.elapsed) * waits
    if statistics.execution_mode != "ordered":
        share = 0.0
    if stage.full > ENOUGH * statistics.elapsed:
        sentence = f"{slots_text(stage.slots)} taken, mostly by generators that wait for those"
    else:
        sentence = f"its generators spend {share_text(waits)} of the time on waiting for those"
    return Bottleneck(
        Kind.ORDER,
        f"{name_of(stage)}: {sentence} before them",
        "As completed none of them waits; in order, a larger buffer_size lets them work further "
        "ahead.",
        share,
        index,
    )
