"""What a picture is drawn from: a snapshot, and how much came in the last seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..statistics import StreamStatistics

SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A run at one moment.

    Attributes:
        statistics: The snapshot.
        rate: Results that were delivered, per second.
        rates: Results that left each stage, per second.
        held_up: Whether a call or a result has had to wait inside a stage, up to now.
    """

    statistics: StreamStatistics
    rate: float
    rates: tuple[float, ...]
    held_up: bool


class Rates:
    """Rates over the last seconds, and over the whole run once it has ended.

    They are taken from snapshots alone, by the clock of the run. Where the run is younger, or the
    last look at it was longer ago, they are means since then.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._held_up = False
        self._start = (0.0, ())
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque([self._start])

    def at(self, statistics: StreamStatistics) -> Moment:
        """Return the moment of the next snapshot."""
        now = statistics.elapsed
        counts = (statistics.delivered, *(stage.emitted for stage in statistics.stages))
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - self._seconds:
            samples.popleft()
        time, before = self._start if statistics.over else samples[0]
        if now - samples[-1][0] >= self._seconds / 50:  # however often it is looked at
            samples.append((now, counts))
        before = before or (0,) * len(counts)
        over = now - time
        rates = tuple(
            (count - then) / over if over > 0 else 0.0
            for count, then in zip(counts, before, strict=True)
        )
        if any(stage.waiting or stage.throttled for stage in statistics.stages):
            self._held_up = True
        return Moment(statistics, rates[0], rates[1:], self._held_up)
