"""What the tries of one stage cost, and when each of them may start."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from anyio import Semaphore, WouldBlock

from ..._model.checks import check_amount
from ..._model.spec import BatchSpec, Spec
from ..calls.backoff import asked_delay
from ..log import annotate
from .waits import Waits


class Meter:
    """Puts a stage's tries under its rate limit.

    Args:
        spec: The task, which has one.
        slots: What bounds the calls of the whole run; ``None`` if nothing does.
        clock: What durations are measured with.

    Attributes:
        crowded: How long tries have waited for their slot.
    """

    __slots__ = (
        "_clock",
        "_limit",
        "_paused",
        "_slots",
        "_spec",
        "_throttle",
        "_throttled",
        "crowded",
    )

    def __init__(self, spec: Spec, slots: Semaphore | None, clock: Callable[[], float]) -> None:
        assert spec.rate_limit is not None
        self._spec = spec
        self._limit = spec.rate_limit
        self._throttle = spec.rate_limit.throttle
        self._slots = slots
        self._clock = clock
        self._throttled = Waits()
        self._paused = Waits()  # the same tries, by a clock that goes while the limit is paused
        self.crowded = Waits()

    @property
    def waiting(self) -> int:
        """How many tries wait at this moment."""
        return self._throttled.number + self.crowded.number

    @property
    def paused_for(self) -> float:
        """How many seconds tries have waited for the end of a pause."""
        # If none waits, there is no need to know the time by this clock.
        return self._paused.total(self._throttle.paused() if self._paused.number else 0.0)

    @property
    def throttled_for(self) -> float:
        """How many seconds tries have waited for the rate, beside those."""
        return max(self._throttled.total(self._clock()) - self.paused_for, 0.0)

    def cost(self, unit: Any) -> float:
        """Return what a try with `unit` costs, as far as is known before."""
        cost = self._spec.cost
        if cost is None:
            return 1
        if not callable(cost):
            return cost
        return self._ask("cost", cost, unit)

    def settle(self, cost: float, unit: Any, result: Any) -> None:
        """Take or give back what a try that returned has cost more or less than `cost`."""
        settle = self._spec.settle
        if settle is not None:
            if isinstance(result, Generator | AsyncGenerator):
                raise TypeError(
                    f"settle of task {self._spec.name!r} is for functions that return, "
                    "and this one gave a generator: what that costs is what cost says"
                )
            actual = self._ask("settle", settle, unit, result)
            if actual != cost:
                self._throttle.settle(actual - cost)

    async def enter(self, cost: float) -> None:
        """Wait until a try may start, and take its cost and its slot. A checkpoint if it waits.

        Who waits for the rate holds no slot as a rule: other stages may use it. And who has to
        wait for a slot keeps nobody from going before.
        """
        await self._acquire(cost)
        if self._slots is None:
            return
        try:
            self._slots.acquire_nowait()
            return
        except WouldBlock:
            self._throttle.settle(-cost)  # or it would start later than the rate lets it
        self.crowded.begin(self._clock())
        try:
            await self._slots.acquire()
        finally:
            self.crowded.end(self._clock())
        try:
            await self._acquire(cost, first=True)
        except BaseException:
            self._slots.release()
            raise

    async def _acquire(self, cost: float, *, first: bool = False) -> None:
        self._throttled.begin(self._clock())
        self._paused.begin(self._throttle.paused())
        try:
            await self._throttle.acquire(cost, first=first)
        finally:
            self._throttled.end(self._clock())
            self._paused.end(self._throttle.paused())

    def failed(self, error: Exception) -> None:
        """Pause the limit if the error of a try asks for it."""
        if seconds := asked_delay(error):
            self._limit.pause(seconds)

    def _ask(self, name: str, function: Callable[..., Any], *args: Any) -> float:
        task = f"task {self._spec.name!r}"
        if isinstance(self._spec, BatchSpec):
            args = ([*args[0]], *args[1:])  # a list of its own, see `Caller`
        try:
            amount = function(*args)
            if inspect.iscoroutine(amount):
                amount.close()
            return check_amount(f"what {name} of {task} returns", amount, zero=name == "settle")
        except Exception as error:
            annotate(error, f"in the {name} of {task}")
            raise
