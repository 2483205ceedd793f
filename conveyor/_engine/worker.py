"""What a stage knows of each of its workers, and counts for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anyio import CancelScope

if TYPE_CHECKING:
    from .books.watch import Seat

IDLE = math.inf  # position of a worker with nothing in hand: every error is before it
DONE = -1  # position of a worker whose unit is delivered: no error is before it


class Worker:
    """One task of a stage.

    Attributes:
        scope: Around all it does; cancelled when an earlier unit has failed.
        position: Of the unit in hand, or `IDLE`, or `DONE`.
        suspended: Whether it has been suspended since it last said that it was not.
        fresh: Whether it has been sent to look, and not been suspended since.
        began: When it began with the unit in hand, if times are measured: when it was done with
            the one before, unless it did something else meanwhile.
        number: Of the item in hand, or those of the batch's items, among all that came.
        seat: Where it sits while it is watched.
        spent: Whether the function has left its mark on the task, and another is to take over.
    """

    __slots__ = ("began", "fresh", "number", "position", "scope", "seat", "spent", "suspended")

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.position: float = IDLE
        self.suspended = False
        self.spent = False
        self.fresh = True
        self.began = 0.0
        self.number: int | Sequence[int] = 0
        self.seat: Seat | None = None


class Counts:
    """What is counted where it happens; everything else is derived when it is asked for."""

    __slots__ = ("cancelled", "failed", "filtered", "skipped")

    def __init__(self) -> None:
        self.cancelled = 0
        self.filtered = 0
        self.skipped = 0
        self.failed = 0
