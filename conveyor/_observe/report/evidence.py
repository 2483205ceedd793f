"""What the figures of a run say, and how it is put: shares, neighbours, names. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .words import part_of, plain, seconds_text, share_text, shortened

if TYPE_CHECKING:
    from ..._model.figures import StageStatistics, StreamFigures

# Shares of the time. What computes for less than `SOME` is not worth a thought; what takes less
# than `ENOUGH` limits nothing by itself; and what computes for more than `MOST` does nothing else.
SOME = 0.2
ENOUGH = 0.5
MOST = 0.85
WORTH_A_WORD = 0.05  # shares below this are not told of
QUICK = 1e-5  # seconds: with no more for an item at a stage, the event loop has no time left
FEW = 1.25  # processors: with more in use, threads compute outside of Python as well
PROCESSES = ("process", "interpreter")  # each of their calls has a processor to itself
THREADS = (None, "thread", "ThreadPoolExecutor")  # or may call functions in threads themselves

# What stages did


def idle(stage: StageStatistics) -> float:
    """Return which share of the time in its slots a stage spent on neither calls nor limits."""
    waits = stage.paused_for + stage.delayed_for
    return part_of(waits + handing_on(stage), stage.occupied)


def handing_on(stage: StageStatistics) -> float:
    """Return for how long generators kept slots though no call was on.

    They wait for their turn, or for room: neither is the stage's doing.
    """
    if not stage.generators or stage.cancelled:
        return 0.0  # what was cut off was not measured
    waits = stage.throttled_for + stage.crowded_for + stage.paused_for + stage.delayed_for
    return max(stage.occupied - stage.latency.total - waits, 0.0)


def handed_on(statistics: StreamFigures) -> int:
    return sum(stage.received for stage in statistics.stages)


def in_processes(statistics: StreamFigures) -> float:
    """Return how many calls ran in processes of their own on average."""
    stages = [stage for stage in statistics.stages if stage.executor in PROCESSES]
    used = sum(stage.occupied * (1 - idle(stage)) for stage in stages)
    return used / statistics.elapsed


def starved_behind(statistics: StreamFigures, index: int) -> float:
    """Return how long those who take a stage's results had none."""
    if index + 1 < len(statistics.stages):
        return statistics.stages[index + 1].starved
    return statistics.consumer_waited


# What processors did


def elsewhere(statistics: StreamFigures) -> float:
    """Return for how many seconds threads computed, beside that of the event loop."""
    return max(statistics.cpu_time - statistics.loop_cpu_time, 0.0)


def may_be_gil(statistics: StreamFigures) -> bool:
    """Whether threads computed as they do in Python: one at a time, where there is room for more.

    Interpreters each have a lock of their own, so where there are some nothing can be said.
    """
    return (
        not statistics.free_threaded
        and statistics.processors != 1
        and statistics.cpu_time <= FEW * statistics.elapsed
        and not any("nterpreter" in (stage.executor or "") for stage in statistics.stages)
    )


def only_waits(statistics: StreamFigures, seconds: float) -> bool:
    """Whether somebody who had the event loop for these seconds cannot have computed for long."""
    return statistics.cpu_time > 0 and statistics.loop_cpu_time < 0.3 * seconds


# Words


def on_the_loop(statistics: StreamFigures, seconds: float, share: float) -> str:
    """Return what somebody did who had the event loop for these seconds, a share of the time."""
    if only_waits(statistics, seconds):
        return f"blocks the event loop {share_text(share)} of the time: nothing else runs meanwhile"
    return (
        f"computes {share_text(share)} of the time on the event loop, where nothing else runs "
        "meanwhile"
    )


def around(statistics: StreamFigures, index: int) -> str:
    """Return what the neighbours of a stage did meanwhile: ``; fetch was blocked 41 s``."""
    least = WORTH_A_WORD * statistics.elapsed
    if index:
        before = statistics.stages[index - 1]
        if before.blocked > least:
            return f"; {name_of(before)} was blocked {seconds_text(before.blocked)}"
    hungry = starved_behind(statistics, index)
    if hungry <= least:
        return ""
    if index + 1 == len(statistics.stages):
        return f"; the consumer waited {seconds_text(hungry)}"
    return f"; {name_of(statistics.stages[index + 1])} was starved {seconds_text(hungry)}"


def median(stage: StageStatistics) -> str:
    p50 = stage.latency.p50
    return f" (half of them take {seconds_text(p50)} or more)" if p50 else ""


def with_article(executor: str) -> str:
    name = shortened(plain(executor), 40)
    return f"an {name}" if name[:1] in ("A", "E", "I", "O", "U") else f"a {name}"


def name_of(stage: StageStatistics) -> str:
    return shortened(plain(stage.name), 40)
