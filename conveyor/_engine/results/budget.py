"""When too many items have failed. Pure: no waiting, no loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

PROBATION = 100  # items before a share of them means anything


class Failures:
    """Counts failures against what ``max_failures`` allows, for one task or for a whole run.

    Attributes:
        allowed: How many items may fail, or which share of them.
        count: How many have failed.
    """

    __slots__ = ("allowed", "count")

    def __init__(self, allowed: int | Fraction) -> None:
        self.allowed = allowed
        self.count = 0

    def add(self, failed: int, received: int) -> bool:
        """Count items that failed, of so many that came, and say whether these are too many."""
        self.count += failed
        if isinstance(self.allowed, int):
            return self.count > self.allowed
        return received >= PROBATION and self.count > self.allowed * received
