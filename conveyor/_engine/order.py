"""Results back into input order. Pure: no waiting, no loop."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Order(Generic[T]):
    """Holds what came before its turn.

    Every position below `next` is settled; every position in `waiting` is above it,
    or is `next` itself for as long as it has not been popped.
    """

    __slots__ = ("next", "waiting")

    def __init__(self) -> None:
        self.next = 0
        self.waiting: dict[int, T] = {}

    def hold(self, position: int, entry: T) -> None:
        """Keep `entry` until its turn comes."""
        self.waiting[position] = entry

    def pop(self) -> T | None:
        """Return the entry whose turn it is, if it is here. It still has to be settled."""
        return self.waiting.pop(self.next, None)

    def settle(self) -> None:
        """Say that the position whose turn it is has given all it had."""
        self.next += 1

    def cut(self, position: int) -> list[T]:
        """Forget everything after `position`, and return it."""
        return [self.waiting.pop(held) for held in [*self.waiting] if held > position]
