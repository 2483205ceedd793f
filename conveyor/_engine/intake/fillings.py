"""When a batch is full, due or over. Pure: no waiting, time comes as an argument."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable
from typing import Any

from ..._model.batch_info import Trigger
from ..._model.spec import BatchSpec


class Filling:
    """A batch that is being filled, and then closed.

    Attributes:
        key: What its items have in common.
        since: When the oldest of its items arrived; ``math.inf`` where nobody asks.
        items: Its items.
        numbers: Theirs, where they need not follow one another; else empty.
        weight: That of all its items.
        trigger: Why it was closed.
    """

    __slots__ = ("items", "key", "numbers", "since", "trigger", "weight")

    def __init__(self, key: Hashable, since: float) -> None:
        self.key = key
        self.since = since
        self.items: list[Any] = []
        self.numbers: list[int] = []
        self.weight: float = 0
        self.trigger: Trigger = "size"


class Fillings:
    """The batches that are being filled: one, or one for each key.

    ``len(open) <= max_open``, the oldest first. Each has from 1 to ``max_size - 1`` items, and a
    weight below ``max_weight``. `full` are those that can take no more, in the order in which they
    are to start.
    """

    __slots__ = ("_max_open", "_max_size", "_max_wait", "_max_weight", "_min_size", "full", "open")

    def __init__(self, spec: BatchSpec) -> None:
        self._max_size = spec.max_size
        self._min_size = spec.min_size
        self._max_wait = spec.max_wait
        self._max_weight = math.inf if spec.max_weight is None else spec.max_weight
        self._max_open = spec.open_limit
        self.open: dict[Hashable, Filling] = {}
        self.full: deque[Filling] = deque()

    def add(
        self, item: Any, number: int, arrived: float, *, key: Hashable = None, weight: float = 0
    ) -> None:
        """Add an item that came at `arrived`, a time of the loop's clock.

        If it does not fit into the batch of its key, that is closed before.
        """
        filling = self.open.get(key)
        if filling is not None and filling.weight + weight > self._max_weight:
            self.full.append(self.close(filling, "weight"))
            filling = None
        if filling is None:
            filling = self.open[key] = Filling(key, arrived)
        filling.items.append(item)
        filling.numbers.append(number)
        filling.weight += weight
        if len(filling.items) == self._max_size:
            self.full.append(self.close(filling, "size"))
        elif filling.weight >= self._max_weight:
            self.full.append(self.close(filling, "weight"))
        elif len(self.open) > self._max_open:
            self.full.append(self.close(self.oldest(), "open"))

    @property
    def room(self) -> int:
        """How many items the batch takes, where there is but one."""
        filling = self.open.get(None)
        return self._max_size if filling is None else self._max_size - len(filling.items)

    def extend(self, items: Collection[Any], arrived: float) -> None:
        """Add items to the one batch, for which there must be room; the first came at `arrived`."""
        filling = self.open.get(None)
        if filling is None:
            filling = self.open[None] = Filling(None, arrived)
        filling.items += items
        if len(filling.items) == self._max_size:
            self.full.append(self.close(filling, "size"))

    def close(self, filling: Filling, trigger: Trigger) -> Filling:
        """Return an open batch to which nothing is to be added any more."""
        del self.open[filling.key]
        filling.trigger = trigger
        return filling

    def oldest(self) -> Filling:
        """Return the open batch that was opened first; there must be one."""
        return next(iter(self.open.values()))

    def ripe(self) -> Filling | None:
        """Return the oldest open batch with at least ``min_size`` items."""
        for filling in self.open.values():
            if len(filling.items) >= self._min_size:
                return filling
        return None

    def is_remainder(self, filling: Filling) -> bool:
        """Say whether a batch, if it were the last, would be smaller than ``min_size``."""
        return len(filling.items) < self._min_size

    @property
    def due(self) -> float:
        """When an open batch is to start as it is; ``math.inf`` if none is without more items."""
        if self._max_wait is None:
            return math.inf
        filling = self.ripe()
        return math.inf if filling is None else filling.since + self._max_wait

    def next(self, now: float) -> Filling | None:
        """Return a batch that is to start by `now`, the oldest of those that are full and due.

        So a full batch of one key does not make a due one of another key wait for ever.
        """
        if self._max_wait is not None:
            filling = self.ripe()
            if (
                filling is not None
                and filling.since + self._max_wait <= now
                and (not self.full or filling.numbers[:1] < self.full[0].numbers[:1])
            ):
                return self.close(filling, "time")
        return self.full.popleft() if self.full else None
