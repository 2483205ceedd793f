"""Which inputs the items inside a run have come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Lineage(Generic[T]):
    """Follows items through the stages by their numbers, as an `Instrument` is told of them.

    The n-th result that leaves a stage is item n of the next, and those that leave the last one
    are delivered in the same order. What is known of an item is forgotten when nothing more comes
    of it, so this holds no more than the run does.

    Args:
        stages: How many stages there are.
    """

    def __init__(self, stages: int) -> None:
        self._inside: list[dict[int, tuple[T, ...]]] = [{} for _ in range(stages)]
        self._came = [0] * stages  # to each stage
        self._left: deque[tuple[T, ...]] = deque()  # the last stage, and are to be delivered
        self._last: tuple[int, Sequence[int], tuple[T, ...]] | None = None

    def __len__(self) -> int:
        """How many items are known: those inside the run."""
        return sum(map(len, self._inside))

    def read(self, origin: T) -> None:
        """Note the next item of the input."""
        self._add(0, (origin,))

    def sent(self, stage: int, items: Sequence[int]) -> None:
        """Note that the next result of these items leaves a stage."""
        if stage + 1 < len(self._inside):
            self._add(stage + 1, self.origins(stage, items))
        else:
            self._left.append(self.origins(stage, items))

    def delivered(self) -> tuple[T, ...]:
        """Return the inputs that the next result of the last stage has come from."""
        return self._left.popleft()

    def settled(self, stage: int, items: Sequence[int]) -> None:
        """Forget items: nothing more is sent of them."""
        inside = self._inside[stage]
        for item in items:
            inside.pop(item, None)
        self._last = None

    def origins(self, stage: int, items: Sequence[int]) -> tuple[T, ...]:
        """Return the inputs that these items have come from, each once, in their order."""
        inside = self._inside[stage]
        if len(items) == 1:
            return inside.get(items[0], ())
        last = self._last
        if last is not None and last[0] == stage and last[1] is items:
            return last[2]  # a batch may have as many results as items, all of the same origin
        found = tuple(dict.fromkeys(o for item in items for o in inside.get(item, ())))
        self._last = (stage, items, found)
        return found

    def _add(self, stage: int, origins: tuple[T, ...]) -> None:
        self._inside[stage][self._came[stage]] = origins
        self._came[stage] += 1
