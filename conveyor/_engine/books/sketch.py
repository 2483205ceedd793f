"""Quantiles of a stream of numbers, at constant memory. Pure: no waiting, no loop.

A DDSketch: Charles Masson, Jee E. Rim and Homin K. Lee, "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", PVLDB 12 (12), 2019.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import ceil, log

from ..._model.figures import LatencyStatistics

ACCURACY = 0.01  # a quantile is at most so much of its value away from the true one
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
SCALE = 1 / log(GAMMA)
LEAST = 1e-9  # what is below counts as 0: a clock cannot tell
MOST = 1e9  # what is above goes with it; so there are at most 2074 bins


class Sketch:
    """Counts seconds in bins, each wider than the one before by the same factor.

    ``sum(bins.values()) + zeros == count``
    """

    __slots__ = ("_bins", "_zeros", "count", "longest", "shortest", "total")

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self._zeros = 0
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self.shortest = MOST

    def add(self, seconds: float, count: int = 1) -> None:
        """Add a number, so many times."""
        self.count += count
        self.total += seconds * count
        if seconds > self.longest:
            self.longest = seconds
        if seconds < self.shortest:
            self.shortest = seconds
        if not LEAST <= seconds <= MOST:
            if seconds < LEAST:
                self._zeros += count
                return
            seconds = MOST
        bins = self._bins
        key = ceil(log(seconds) * SCALE)
        bins[key] = bins.get(key, 0) + count

    def extend(self, many: list[float]) -> float:
        """Add numbers, which are sorted, and return their sum.

        So each bin is found but once, and that takes a third of the time, or less.
        """
        many.sort()
        total = sum(many)
        self.count += len(many)
        self.total += total
        if many:
            self.longest = max(many[-1], self.longest)
            self.shortest = min(many[0], self.shortest)
        bins = self._bins
        end = bisect_left(many, LEAST)
        self._zeros += end
        while end < len(many):
            begin = end
            key = ceil(log(min(many[begin], MOST)) * SCALE)
            end = max(bisect_right(many, GAMMA**key, begin), begin + 1)
            bins[key] = bins.get(key, 0) + end - begin
        return total

    def quantile(self, share: float) -> float:
        """Return a number of which `share` of all are at most so large; 0 if there is none."""
        rank = share * (self.count - 1)
        seen = self._zeros
        if not self.count or seen > rank:
            return 0.0
        for key in sorted(self._bins):
            seen += self._bins[key]
            if seen > rank:
                return min(max(2 * GAMMA**key / (GAMMA + 1), self.shortest), self.longest)
        return self.longest

    def statistics(self) -> LatencyStatistics:
        quantile = self.quantile
        return LatencyStatistics(
            count=self.count,
            total=self.total,
            p50=quantile(0.5),
            p95=quantile(0.95),
            p99=quantile(0.99),
            longest=self.longest,
        )
