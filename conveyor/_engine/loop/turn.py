"""Fairness among the tasks of a run that do not wait.

A stage drains what is in front of it without a switch, as long as its function does not
suspend. That is what makes it fast, and it must not make it late: a function that works
for a while would hold back results that are already made. So who has worked for longer
than a slice lets every other task run, often enough for a result to reach the consumer.
"""

from __future__ import annotations

from time import perf_counter

from anyio.lowlevel import checkpoint

SLICE = 0.0002  # seconds: a few dozen switches, so giving way costs a few per cent at most


class Turn:
    """Who of a run works, and until when that is fair.

    Attributes:
        holder: Who has worked last.
        end: When its slice is over, a time of `perf_counter`.
        waiting: How many let others run, and have more to give.
    """

    __slots__ = ("_hops", "end", "holder", "waiting")

    def __init__(self, hops: int) -> None:
        # Checkpoints in which an item gets from the source to the consumer: one a link, and
        # one more while the run is starting, when the stages are not waiting yet.
        self._hops = hops
        self.end = 0.0
        self.holder: object = None
        self.waiting = 0

    def begin(self, holder: object) -> None:
        """Note that `holder` works from now on."""
        self.holder = holder
        self.end = perf_counter() + SLICE

    def is_over(self, holder: object) -> bool:
        """Say whether `holder` has worked for a slice with nobody else of the run between."""
        if self.holder is not holder:
            self.begin(holder)
            return False
        return perf_counter() > self.end

    async def give_way(self) -> None:
        """Let what has been made travel on, and begin another slice. A checkpoint."""
        holder = self.holder
        self.waiting += 1
        try:
            for _ in range(self._hops):
                await checkpoint()
        finally:
            self.waiting -= 1
        self.begin(holder)
