"""Where the time of a stage goes. Pure: no waiting, and time comes as an argument."""

from __future__ import annotations

from math import inf

from .sketch import Sketch

SLOW = 0.0001  # seconds: a call that ends a flow so late is added by itself
MANY = 1024  # durations that are kept before they are added up: so that is cheaper


class Times:
    """Adds up what a stage is told.

    From `since` on it is in one state: blocked if `is_blocked`; else busy while workers are
    `awake`; else starved if `is_starved`; else an item is on its way to a worker.

    A worker that is awake has a unit in hand, or is about to take one: so there is nothing to note
    from one call to the next, and what is measured costs little beside them.

    Attributes:
        awake: How many workers are.
        is_blocked: Whether nothing can be started, as results cannot leave.
        is_starved: Whether there is no input to start something with.
        calls: Durations of calls that each were all of their unit, not added up yet.
        occupied: Seconds of all units that are done, but for those.
        held: Seconds, of all, of units that never waited.
        latency: How long the tries took, but for those.
        usual: How long a unit took in the last flow in which none was slow.
    """

    __slots__ = (
        "_slots",
        "awake",
        "blocked",
        "busy",
        "calls",
        "full",
        "held",
        "is_blocked",
        "is_starved",
        "latency",
        "occupied",
        "since",
        "starved",
        "usual",
    )

    def __init__(self, slots: float) -> None:
        self._slots = slots
        self.awake = 0
        self.is_blocked = self.is_starved = False
        self.since = 0.0  # nothing is added before the first state
        self.busy = self.full = self.starved = self.blocked = 0.0
        self.occupied = self.held = 0.0
        self.calls: list[float] = []
        self.usual = inf
        self.latency = Sketch()

    def note(self, now: float) -> None:
        """Add what has passed to the state that the stage is in."""
        passed = now - self.since
        self.since = now
        if self.is_blocked:
            self.blocked += passed
        elif self.awake:
            self.busy += passed
            if self.awake >= self._slots:
                self.full += passed
        elif self.is_starved:
            self.starved += passed

    def wake(self, now: float) -> None:
        """Note that a worker is at work from now on."""
        awake = self.awake
        if not awake or awake + 1 == self._slots:
            self.note(now)
        self.awake = awake + 1

    def rest(self, now: float) -> None:
        """Note that a worker is at work no more."""
        awake = self.awake
        if awake == 1 or awake == self._slots:
            self.note(now)
        self.awake = awake - 1

    def feed(self, now: float) -> None:
        """Note that there is input, where there was none."""
        if not self.awake and not self.is_blocked:
            self.starved += now - self.since
            self.since = now
        self.is_starved = False

    def block(self, now: float) -> None:
        """Note that results cannot leave."""
        self.note(now)
        self.is_blocked, self.is_starved = True, False

    def unblock(self, now: float) -> None:
        """Note that they can."""
        self.note(now)
        self.is_blocked = False

    def finish(self, now: float) -> None:
        """Note that the stage is over."""
        self.note(now)
        self.is_blocked = self.is_starved = False

    def flow(self, seconds: float, count: int, late: float, calls: bool) -> None:
        """Add units that one worker did one after the other, without a wait.

        To look at the clock between two of them would cost more than all else that is
        measured. So they count with their mean, unless the last of them was slow.

        Args:
            seconds: How long they took together.
            count: How many they are, at least one.
            late: For how long at least the last of them has run, if that is known.
            calls: Whether each was one call, that is to be added here.
        """
        self.occupied += seconds
        self.held += seconds
        if not calls:
            return
        if late > SLOW and count > 1:
            rest = self.quick(count - 1, seconds - late)
            self.latency.add(rest / (count - 1), count - 1)
            self.latency.add(seconds - rest)
        else:
            self.usual = seconds / count
            self.latency.add(self.usual, count)

    def quick(self, count: int, most: float) -> float:
        """Return how long units of a flow took that were not slow, going by those before."""
        return min(self.usual * count, most)

    def fold(self) -> None:
        """Add up the `calls`."""
        self.occupied += self.latency.extend(self.calls)
        self.calls.clear()
