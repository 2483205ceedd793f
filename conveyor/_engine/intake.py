"""What one call of a stage's function is given: an item, or a batch. No waiting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from .._spec import BatchSpec
from .batch import Filling
from .link import Link, TimedLink
from .log import logger
from .signals import Bypass

EMPTY: Any = object()


class Intake(Protocol):
    """Makes units of what a link holds.

    Attributes:
        received: Items taken so far, where a unit is not an item.
        dropped: Items left out at the end.
    """

    received: int
    dropped: int

    def take(self) -> Any:
        """Return the next unit, a `Bypass`, or `EMPTY`."""
        ...

    @property
    def due(self) -> float:
        """When there may be a unit though nothing more comes; ``math.inf`` for never."""
        ...


class Items:
    """Every item is a unit."""

    due = math.inf
    received = 0
    dropped = 0

    def __init__(self, link: Link) -> None:
        self._link = link
        self._taken = link.taken

    def take(self) -> Any:
        if not self._taken and not self._link.refill():
            return EMPTY
        return self._taken.popleft()


class Batches:
    """A unit is a list of items.

    Items stay in the link until a worker is free to fill a batch with them, so the batch
    being filled is the only one that waits.
    """

    def __init__(self, link: Link, spec: BatchSpec, clock: Callable[[], float]) -> None:
        self._link = link
        self._stamps = link.stamps if isinstance(link, TimedLink) else None
        self._clock = clock
        self._filling = Filling(spec)
        self._drop_remainder = spec.drop_remainder
        self._name = spec.name
        self._last: Bypass | None = None  # the error that ends the run, once it is here
        self.received = 0
        self.dropped = 0

    @property
    def due(self) -> float:
        return self._filling.due

    def take(self) -> Any:
        taken, stamps, filling = self._link.taken, self._stamps, self._filling
        while self._last is None and (taken or self._link.refill()):
            if not self._link.bypasses:
                self._take_many()
                if not filling.room:
                    return filling.take()
                continue
            item = taken.popleft()
            arrived = stamps.popleft() if stamps is not None else math.inf
            if type(item) is not Bypass:
                self.received += 1
                filling.add(item, arrived)
                if not filling.room:
                    return filling.take()
            elif item.error is None:
                return item  # a failure overtakes the batch, and does not close it
            else:
                self._last = item
        if self._last is not None or self._link.closed:
            return self._end()
        if filling.due != math.inf and filling.due <= self._clock():
            return filling.take()
        return EMPTY

    def _take_many(self) -> None:
        """The fast twin of what `take` does with each item, for when all of them are items."""
        taken, stamps, filling = self._link.taken, self._stamps, self._filling
        count = min(filling.room, len(taken))
        self.received += count
        arrived = stamps[0] if stamps is not None else math.inf
        if count == len(taken):
            filling.add_all(taken, arrived)
            taken.clear()
        else:
            filling.add_all([taken.popleft() for _ in range(count)], arrived)
        if stamps is not None:
            for _ in range(count):
                stamps.popleft()

    def _end(self) -> Any:
        filling = self._filling
        if filling.items and filling.is_remainder and self._drop_remainder:
            remainder = len(filling.take())
            self.dropped += remainder
            logger.warning(
                "task %r: dropped a remainder of %d, smaller than min_size", self._name, remainder
            )
        if filling.items:
            return filling.take()
        last, self._last = self._last, None
        return EMPTY if last is None else last
