"""Which item of a stage with keys may start: those of one key follow one another. No waiting."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Any

from ..._model.spec import SingleSpec
from ..link import Link
from ..log import annotate
from ..order import Order
from ..signals import Bypass, Failed
from .items import EMPTY


class Lane:
    """A key with items at work.

    Attributes:
        key: The key.
        running: How many of its items are at work.
        waiting: Those set aside meanwhile, in the order in which they came.
    """

    __slots__ = ("key", "running", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.running = 0
        self.waiting: deque[Entry] = deque()


class Entry:
    """An item, and its place among all that came.

    Attributes:
        item: The item, or a `Bypass`.
        position: Counted from 0.
        number: The same, among the items alone.
        lane: Where it belongs; ``None`` if it passes by or has no key.
        failed: Why it has no key.
    """

    __slots__ = ("failed", "item", "lane", "number", "position")

    def __init__(self, item: Any, position: int, number: int) -> None:
        self.item = item
        self.position = position
        self.number = number
        self.lane: Lane | None = None
        self.failed: Failed | None = None


class Keyed:
    """Takes items from a link, and sets aside those whose key is at its limit.

    ``set_aside == sum(len(lane.waiting)) + len(ready) <= room``, and in order, with results
    that wait for their turn, ``admitted - order.next <= window``. A lane is there as long as one of
    its items is at work, or ready for it.

    Args:
        link: Where items come from.
        spec: The task.
        room: How many items may be set aside.
        window: How many items may be in the stage, while results keep an order.
        order: That of the results, ``None`` as completed.
    """

    due = math.inf
    dropped = 0

    def __init__(
        self, link: Link, spec: SingleSpec, *, room: int, window: float, order: Order[Any] | None
    ) -> None:
        self._link = link
        assert spec.key is not None
        self._key = spec.key
        self._per_key = spec.per_key
        self._name = spec.name
        self._room = room
        self._window = window
        self._order = order
        self._lanes: dict[Hashable, Lane] = {}
        self._last: Entry | None = None  # the error that ends the run, once it is here
        self._cut = False
        self._passed = 0
        self.admitted = 0
        self.set_aside = 0
        self.ready: deque[Entry] = deque()  # set aside before, and may start now

    @property
    def received(self) -> int:
        """How many items have been taken."""
        return self.admitted - self._passed

    @property
    def is_full(self) -> bool:
        """Whether there is nothing to start, whatever comes, before one at work is done."""
        if self.ready:
            return False
        if self._cut:
            return True
        order = self._order
        return self.set_aside >= self._room or (
            order is not None and self.admitted - order.next >= self._window
        )

    def take(self) -> Any:
        """Return an `Entry` that may start, or `EMPTY`."""
        if self.ready:
            self.set_aside -= 1
            return self.ready.popleft()
        taken = self._link.taken
        while self._last is None and not self._cut and not self.is_full:
            if not taken and not self._link.refill():
                break
            entry = self._admit(taken.popleft())
            if entry is not None:
                return entry
        if self._last is not None and not self.set_aside:
            last, self._last = self._last, None
            return last
        return EMPTY

    def _admit(self, item: Any) -> Entry | None:
        entry = Entry(item, self.admitted, self.received)
        self.admitted += 1
        if type(item) is Bypass:
            self._passed += 1
            if item.error is None:
                return entry
            self._last = entry  # after all that was before it has started
            return None
        try:
            key = self._key(item)
            lane = self._lanes.get(key)
        except Exception as error:
            annotate(error, f"in the key of task {self._name!r}")
            entry.failed = Failed(error, 1)
            return entry
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        entry.lane = lane
        if lane.running < self._per_key:
            lane.running += 1
            return entry
        lane.waiting.append(entry)
        self.set_aside += 1
        return None

    def done(self, entry: Entry) -> None:
        """Say that `entry`, which `take` returned, is done: the next of its key may start."""
        lane = entry.lane
        if lane is None:
            return
        if lane.waiting:
            self.ready.append(lane.waiting.popleft())
            return
        lane.running -= 1
        if not lane.running:
            del self._lanes[lane.key]

    def forget(self) -> None:
        """Let go of all items. The run is over."""
        self.ready.clear()
        for lane in self._lanes.values():
            lane.waiting.clear()  # entries know their lane
        self._lanes.clear()
        self._last = None

    def cut(self, position: int) -> None:
        """Take nothing more, and forget what is behind `position`: the run ends there."""
        self._cut = True
        self._last = None
        for queue in [self.ready, *(lane.waiting for lane in self._lanes.values())]:
            kept = [entry for entry in queue if entry.position < position]
            self.set_aside -= len(queue) - len(kept)
            queue.clear()
            queue.extend(kept)
