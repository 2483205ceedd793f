"""What one call of a stage's function is given, and the simplest case: an item. No waiting."""

from __future__ import annotations

import math
from typing import Any, Protocol

from ..link import Link

EMPTY: Any = object()


class Intake(Protocol):
    """Makes units of what a link holds."""

    @property
    def received(self) -> int:
        """How many items have been taken, where a unit is not an item."""
        ...

    @property
    def dropped(self) -> int:
        """How many items were left out at the end."""
        ...

    def take(self) -> Any:
        """Return the next unit, a `Bypass`, or `EMPTY`."""
        ...

    @property
    def due(self) -> float:
        """When there may be a unit though nothing more comes; ``math.inf`` for never."""
        ...

    def forget(self) -> None:
        """Let go of all items. The run is over."""
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

    def forget(self) -> None:
        """Let go of all items, of which none is here."""
