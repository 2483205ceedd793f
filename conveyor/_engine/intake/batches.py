"""What one call of a batch function is given: a list of items. No waiting."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from ..._model.batch_info import Known, current_batch
from ..._model.spec import BatchSpec
from ..link import Link, TimedLink
from ..log import Log, annotate
from ..signals import Bypass, Failed
from .fillings import Filling, Fillings
from .items import EMPTY


class Hints(Protocol):
    """What batches have to know of the stage that works on them."""

    @property
    def log(self) -> Log:
        """Where it logs."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no call runs."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether the input ends because the stream was told to stop."""
        ...

    @property
    def is_let_run(self) -> bool:
        """Whether others, who may have more to give, only let this one run."""
        ...

    def dropped(self, numbers: Sequence[int]) -> None:
        """Note that nothing will come of items."""
        ...

    def see_to(self, due: float) -> None:
        """See that a worker looks for a batch at `due`, if one is free."""
        ...


class Unit:
    """A batch that has started, as it goes through its stage.

    Attributes:
        items: What the function is called with.
        numbers: Theirs, among the items that the stage received.
        known: What `get_current_batch` tells; ``None`` for an item that never got into a batch.
        failed: Why it did not.
    """

    __slots__ = ("failed", "items", "known", "numbers")

    def __init__(
        self,
        items: list[Any],
        numbers: Sequence[int],
        known: Known | None,
        failed: Failed | None = None,
    ) -> None:
        self.items = items
        self.numbers = numbers
        self.known = known
        self.failed = failed


# How often others are let run, with nothing new from them, before a batch starts since its task is
# idle. A sender that found the link full is back with more after the first time, or the second.
QUIET = 2


class Batches:
    """A unit is a list of items, and what is known of it.

    Items stay in the link until a worker is free to fill batches with them, so the batches
    being filled are the only ones that wait.
    """

    def __init__(
        self, link: Link, spec: BatchSpec, clock: Callable[[], float], hints: Hints
    ) -> None:
        self._link = link
        self._stamps = link.stamps if isinstance(link, TimedLink) else None
        self._clock = clock
        self._hints = hints
        self._spec = spec
        self._bare = spec.weight is None and spec.by is None
        self._fillings = Fillings(spec)
        # What ends the run, once it is here: what is open starts before it.
        self._last: Bypass | Unit | None = None
        self._seen = -1  # `received` when others were let run in the hope for more
        self._quiet = 0  # how often they were
        self._letting = False  # whether they are to be now
        self.received = 0
        self.dropped = 0
        self.started = 0

    @property
    def due(self) -> float:
        return self._clock() if self._letting else self._fillings.due

    @property
    def waiting(self) -> int:
        """How many items are in batches that have not started."""
        fillings = self._fillings
        return sum(len(each.items) for each in (*fillings.open.values(), *fillings.full))

    def around(self, call: Callable[[list[Any]], Any]) -> Callable[[Unit], Any]:
        """Return what calls the function with a unit. It sets `current_batch`."""

        def called(unit: Unit) -> Any:
            current_batch.set(unit.known)
            return unit.failed or call(unit.items)

        return called

    def take(self) -> Any:
        link, fillings = self._link, self._fillings
        taken, stamps = link.taken, self._stamps
        self._letting = False
        while not fillings.full and self._last is None and (taken or link.refill()):
            if self._bare and not link.bypasses:
                self._take_many(len(taken))
                continue
            item = taken[0]
            if type(item) is not Bypass:
                if self._bare:
                    self._take_many(1)
                elif failed := self._take_one():
                    self._see_to_open()
                    return failed
                continue
            taken.popleft()
            if stamps is not None:
                stamps.popleft()
            if item.error is None:
                return item  # a failure overtakes the batches that are open, and closes none
            self._last = item
        over = False
        filling: Filling | None
        if fillings.full and stamps is None:  # the usual way
            filling = fillings.full.popleft()
        elif over := not fillings.full and (self._last is not None or link.closed):
            filling = self._close_last()
            if filling is None:
                last, self._last = self._last, None
                return EMPTY if last is None else last
        else:
            filling = fillings.next(self._clock() if stamps is not None else -math.inf)
            if filling is None and self._spec.flush_when_idle:
                filling = self._close_idle()
            if filling is None:
                return EMPTY
        if fillings.full or (over and (fillings.open or self._last is not None)):
            self._hints.see_to(-math.inf)
        elif fillings.open:
            self._see_to_open()
        return self._start(filling)

    def forget(self) -> None:
        """Let go of all items. The run is over."""
        self._fillings.open.clear()
        self._fillings.full.clear()
        self._last = None

    def _see_to_open(self) -> None:
        """See that what is open starts in time, though the worker that asks goes away."""
        due = self._fillings.due
        if due != math.inf:
            self._hints.see_to(due)

    def _take_many(self, count: int) -> None:
        """Add items to the one batch, as far as there is room for so many."""
        taken, stamps, fillings = self._link.taken, self._stamps, self._fillings
        count = min(fillings.room, count)
        self.received += count
        arrived = stamps[0] if stamps is not None else math.inf
        if count == len(taken):
            fillings.extend(taken, arrived)
            taken.clear()
        else:
            fillings.extend([taken.popleft() for _ in range(count)], arrived)
        if stamps is not None:
            for _ in range(count):
                stamps.popleft()

    def _take_one(self) -> Unit | None:
        """Add an item to the batch where it belongs, or return it if it cannot be told which."""
        spec = self._spec
        item = self._link.taken.popleft()
        arrived = self._stamps.popleft() if self._stamps is not None else math.inf
        number = self.received
        self.received += 1
        what = "by"
        try:
            key = None if spec.by is None else check_key(spec.by(item))
            self._fillings.open.get(key)  # raises here if it is not hashable
            what = "weight"
            weight = 0 if spec.weight is None else check_weight(spec.weight(item))
        except Exception as error:
            annotate(error, f"in the {what} of task {spec.name!r}")
            unit = Unit([item], (number,), None, Failed(error, 1))
            if spec.on_error == "fail" and spec.error_handler is None:
                self._last = unit  # it ends the run: what was before it comes first
                return None
            return unit
        self._fillings.add(item, number, arrived, key=key, weight=weight)
        return None

    def _start(self, filling: Filling) -> Unit:
        self.started += 1
        items = filling.items
        numbers = filling.numbers or range(self.received - len(items), self.received)
        return Unit(items, numbers, (filling.trigger, len(items), filling.key))

    def _close_last(self) -> Filling | None:
        """Return the oldest of the batches that are open at the end."""
        fillings, spec = self._fillings, self._spec
        if not fillings.open:
            return None
        filling = fillings.oldest()
        stopped = self._hints.is_stopped and self._last is None
        fillings.close(filling, "stop" if stopped else "end")
        if spec.drop_remainder and fillings.is_remainder(filling):  # then there is no other
            self.dropped += len(filling.items)
            count = len(filling.items)
            first = filling.numbers[0] if filling.numbers else self.received - count
            self._hints.dropped(filling.numbers or range(first, first + count))
            self._hints.log.warning(
                "task %r: dropped a remainder of %d, smaller than min_size",
                spec.name,
                count,
                item=first,
            )
            return None
        return filling

    def _close_idle(self) -> Filling | None:
        """Return a batch to start as the stage has nothing else to do, once nothing more comes."""
        filling = self._fillings.ripe()
        if filling is None or not self._hints.is_idle:
            return None
        if self._seen != self.received:
            self._seen = self.received
            self._quiet = 0
        if self._quiet < QUIET or self._hints.is_let_run:
            self._quiet += 1
            self._letting = True
            return None
        return self._fillings.close(filling, "idle")


def check_key(key: Hashable) -> Hashable:
    """Return a key that ``by`` has returned, if it is one."""
    if inspect.iscoroutine(key):
        key.close()  # it would warn of a missing await, and the error says that better
        raise TypeError("by must return a key, not a coroutine: make it a plain function")
    return key


def check_weight(weight: Any) -> float:
    """Return what ``weight`` has returned as a number, if it is one."""
    if inspect.iscoroutine(weight):
        weight.close()
        raise TypeError("weight must return a number, not a coroutine: make it a plain function")
    if not isinstance(weight, int | float):
        if not hasattr(type(weight), "__float__"):
            raise TypeError(f"weight must return a number of at least 0, not {weight!r}")
        weight = float(weight)
    if not weight >= 0:
        raise ValueError(f"weight must return a number of at least 0, not {weight!r}")
    number: float = weight
    return number
