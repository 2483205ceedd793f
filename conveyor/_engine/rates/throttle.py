"""Who waits for a rate, and in which order: the waiting part of a `RateLimit`.

One bucket serves all loops, also those of other threads, and each loop has a queue of its own.
Whoever is first in a queue sleeps until the bucket has enough, takes it, and wakes the next. So
the rule is: *the first of a queue sleeps until it is due, and no longer*, and whatever may make
it due earlier wakes it.
"""

from __future__ import annotations

import math
from threading import RLock
from time import monotonic

from anyio import CancelScope, Event

from ..._model.figures import RateLimitStatistics
from ..loop import host
from .bucket import Bucket


class Waiter:
    """A call that waits."""

    __slots__ = ("cost", "looks")

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.looks = Event()  # set to make it look whether it may go


class Queue:
    """The calls of one loop that wait, first come, first served."""

    __slots__ = ("call_soon", "waiters")

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self.call_soon = host.soon()

    def wake(self) -> None:
        """Make the first look whether it may go."""
        if self.waiters:
            self.waiters[0].looks.set()


class Throttle:
    """Lets calls go at a rate, in any loop and thread.

    The bucket's times are those of the loop that used it last, or outside of loops of
    `time.monotonic`, which also says how long it has been when another loop comes: no two loops
    need to have the same clock.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        # Never held across an await. A signal's handler or a finalizer may come in between.
        self._lock = RLock()
        self._queues: dict[object, Queue] = {}  # of the loops in which somebody waits
        self._loop: object = None  # which used it last
        self._time = 0.0  # that it was then, by that loop's clock
        self._monotonic = 0.0  # and by the one that all have in common

    async def acquire(self, cost: float, *, first: bool = False) -> None:
        """Wait until `cost` may be taken, and take it.

        A checkpoint if it waits. Cancelled, it has taken nothing.

        Args:
            cost: How much.
            first: Go before all others that wait in this loop.
        """
        with self._lock:
            now = self._now()
            loop = self._loop
            queue = self._queues.get(loop)
            if queue is None:
                if self._bucket.due(cost, now) <= now:
                    self._bucket.take(cost, now)
                    return
                queue = self._queues[loop] = Queue()
        waiter = Waiter(cost)
        queue.waiters.insert(0 if first else len(queue.waiters), waiter)
        try:
            await self._wait(queue, waiter)
        finally:
            queue.waiters.remove(waiter)
            if not queue.waiters:
                with self._lock:
                    del self._queues[loop]
            queue.wake()

    async def _wait(self, queue: Queue, waiter: Waiter) -> None:
        while True:  # noqa: ASYNC913 - who need not wait has come to its end
            waiter.looks = Event()  # before it looks, so that nothing that happens then is missed
            due = math.inf
            if queue.waiters[0] is waiter:
                with self._lock:
                    now = self._now()
                    due = self._bucket.due(waiter.cost, now)
                    if due <= now:
                        self._bucket.take(waiter.cost, now)
                        return
            with CancelScope(deadline=due):
                await waiter.looks.wait()

    def settle(self, difference: float) -> None:
        """Take out `difference` more, or give it back if it is below 0."""
        with self._lock:
            self._bucket.take(difference, self._now())
            if difference < 0:
                self._look()

    def change(self, rate: float) -> None:
        """Go on at this rate."""
        with self._lock:
            self._bucket.change(rate, self._now())
            self._look()

    def pause(self, seconds: float) -> None:
        """Let nothing go for that long."""
        with self._lock:
            now = self._now()
            self._bucket.hold(now + seconds, now)

    def paused(self) -> float:
        """Return for how many seconds nothing was let go by now, in all pauses together."""
        if not self._bucket.has_paused:
            return 0.0
        with self._lock:
            return self._bucket.paused(self._now())

    def statistics(self) -> RateLimitStatistics:
        with self._lock:
            bucket, now = self._bucket, self._now()
            return RateLimitStatistics(
                rate=bucket.rate,
                per=bucket.per,
                burst=bucket.burst,
                available=bucket.level(now),
                paused=max(bucket.held_until - now, 0.0),
                waiting=sum(len(queue.waiters) for queue in self._queues.values()),
            )

    def _now(self) -> float:
        """Return the time here, and see that the bucket goes by the same clock."""
        loop, now = host.here()
        common = monotonic()
        if loop is not self._loop:
            self._bucket.shift(now - (self._time + common - self._monotonic))
            self._loop = loop
        self._time, self._monotonic = now, common
        return now

    def _look(self) -> None:
        """Have the first of each queue look whether it may go by now."""
        for loop, queue in self._queues.items():
            if loop is self._loop:
                queue.wake()
            else:
                queue.call_soon(queue.wake)
