"""How long calls wait. Pure: no waiting, and time comes as an argument."""

from __future__ import annotations


class Waits:
    """Adds up how long calls wait, those that wait at this moment included.

    There is one number for all of them: what begins takes the time out of it, and what ends puts
    the time back in.
    """

    __slots__ = ("_sum", "number")

    def __init__(self) -> None:
        self.number = 0  # of those that wait
        self._sum = 0.0

    def begin(self, now: float) -> None:
        self.number += 1
        self._sum -= now

    def end(self, now: float) -> None:
        self.number -= 1
        self._sum += now

    def total(self, now: float) -> float:
        """Return how many seconds all of them have waited by now."""
        return max(self._sum + self.number * now, 0.0)
