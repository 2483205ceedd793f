"""When a batch is full, due or over. Pure: no waiting, time comes as an argument."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .._spec import BatchSpec


class Filling:
    """The batch that is being filled.

    ``len(items) <= max_size``; `since` is when the oldest of them arrived,
    and means nothing while there are none.
    """

    __slots__ = ("_max_size", "_max_wait", "_min_size", "items", "since")

    def __init__(self, spec: BatchSpec) -> None:
        self._max_size = spec.max_size
        self._min_size = spec.min_size
        self._max_wait = spec.max_wait
        self.items: list[Any] = []
        self.since = math.inf

    def add(self, item: Any, arrived: float) -> None:
        """Add an item that came at `arrived`, a time of the loop's clock."""
        if not self.items:
            self.since = arrived
        self.items.append(item)

    def add_all(self, items: Iterable[Any], arrived: float) -> None:
        """Add items, for which there must be room, the first of which came at `arrived`."""
        if not self.items:
            self.since = arrived
        self.items.extend(items)

    @property
    def room(self) -> int:
        return self._max_size - len(self.items)

    @property
    def due(self) -> float:
        """When the batch starts as it is; ``math.inf`` if it does not without more items."""
        if self._max_wait is None or len(self.items) < self._min_size:
            return math.inf
        return self.since + self._max_wait

    @property
    def is_remainder(self) -> bool:
        """Whether the batch, if it were the last, would be smaller than ``min_size``."""
        return len(self.items) < self._min_size

    def take(self) -> list[Any]:
        """Return the batch and begin another."""
        batch, self.items = self.items, []
        return batch
