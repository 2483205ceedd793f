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
    """Who of a run works, and since when."""

    __slots__ = ("_hops", "_since", "holder")

    def __init__(self, hops: int) -> None:
        self._hops = hops  # checkpoints that a result needs from the source to the consumer
        self._since = 0.0
        self.holder: object = None

    def is_over(self, holder: object) -> bool:
        """Say whether `holder` has worked for a slice with nobody else of the run between."""
        if self.holder is not holder:
            self.holder = holder
            self._since = perf_counter()
            return False
        return perf_counter() - self._since > SLICE

    async def give_way(self) -> None:
        """Let what has been made travel on. A checkpoint."""
        for _ in range(self._hops):
            await checkpoint()
        self.holder = None
