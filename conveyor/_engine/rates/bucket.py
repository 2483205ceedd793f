"""When the next call may go. Pure: no waiting, no clock, time comes as an argument."""

from __future__ import annotations

from math import inf


class Bucket:
    """A token bucket that holds `burst` and gets `rate` every `per` seconds.

    It is the virtual scheduling form of the Generic Cell Rate Algorithm (ITU-T Recommendation
    I.371), in which nothing has to fill the bucket: the state is a time, and what is in the
    bucket follows from it. Where that algorithm adds up an interval a call, this one counts what
    was taken and multiplies once, so that a thousand calls are no less exact than one::

        missing(now) = _taken - (now - _origin) * rate / per      at least 0
        level(now) = burst - missing(now)

    A call may go when its cost is there, or when the bucket is full: what costs more than
    `burst` leaves a debt, a level below 0, which comes first.

    Times are those of any one clock. `shift` changes to another.
    """

    __slots__ = ("_origin", "_pauses", "_taken", "burst", "held_until", "per", "rate")

    def __init__(self, rate: float, per: float, burst: float) -> None:
        self.rate = rate
        self.per = per
        self.burst = burst
        self.held_until = -inf
        self._pauses = 0.0  # how long all of them are together, up to `held_until`
        self._origin = -inf  # when it was full
        self._taken: float = 0  # since then

    def due(self, cost: float, now: float) -> float:
        """Return when what costs this may go, if nothing goes before it: at once if not later."""
        self._fill(now)
        short = self._taken + min(cost, self.burst) - self.burst
        due = self._origin + short * self.per / self.rate if short > 0 else now
        return max(due, self.held_until)

    def take(self, cost: float, now: float) -> None:
        """Take `cost` out, whatever is there; below 0, give it back."""
        self._fill(now)
        self._taken += cost
        self._fill(now)

    def hold(self, until: float, now: float) -> None:
        """Let nothing go before `until`. What was said before stays, if it is later."""
        begun = max(self.held_until, now)
        if until > begun:
            self._pauses += until - begun
            self.held_until = until

    @property
    def has_paused(self) -> bool:
        """Whether there has ever been a pause."""
        return self._pauses > 0

    def paused(self, now: float) -> float:
        """Return for how many seconds it has been paused by now; where pauses overlap, once."""
        return self._pauses - max(self.held_until - now, 0.0)

    def level(self, now: float) -> float:
        """Return what is there; below 0 it is a debt."""
        return self.burst - self._missing(now)

    def change(self, rate: float, now: float) -> None:
        """Go on at another rate, with what is there now."""
        self._taken, self._origin = self._missing(now), now
        self.rate = rate

    def shift(self, seconds: float) -> None:
        """Change to a clock that is ahead of the one so far."""
        self._origin += seconds
        self.held_until += seconds

    def _missing(self, now: float) -> float:
        self._fill(now)
        return max(self._taken - (now - self._origin) * self.rate / self.per, 0)

    def _fill(self, now: float) -> None:
        # Not when it has just become full: the same, but to count on from `_origin` is exact.
        if self._origin + self._taken * self.per / self.rate < now:
            self._origin, self._taken = now, 0
