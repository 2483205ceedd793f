"""Telling a run's instruments what happens, without letting them disturb it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any

from ..._model.instrument import Instrument, MakesInstrument, RunInfo
from ..log import Log

# The methods of `Instrument` itself that do nothing.
SILENT = {
    method
    for name, method in vars(Instrument).items()
    if inspect.isfunction(method) and name not in ("__init__", "failure_delivered")
}


class Watch:
    """The instruments of one run.

    Attributes:
        context: Where they are made, and the run's tasks live: so these see what they set there.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.context: Context = copy_context()
        self._instruments: list[Instrument] = []
        # Who wants to be told of an event, and how: found out when it first happens.
        self._told: dict[Callable[..., None], list[tuple[Instrument, Callable[..., None]]]] = {}

    def make(self, made: Sequence[MakesInstrument], info: RunInfo) -> None:
        """Make the instruments.

        Raises:
            TypeError: If something else is made.
            Exception: What making one has failed with.
        """
        for make in made:
            instrument: object = self.context.run(make, info)
            if not isinstance(instrument, Instrument):
                raise TypeError(
                    f"instruments must be Instrument classes, or functions that return an "
                    f"instrument, and {make!r} returned {instrument!r}"
                )
            self._instruments.append(instrument)

    def tell(self, event: Callable[..., None], *args: Any, **named: Any) -> None:
        """Call `event`, a method of `Instrument`, of every instrument that has one of its own."""
        told = self._told.get(event)
        if told is None:
            methods = [(each, getattr(each, event.__name__)) for each in self._instruments]
            told = [pair for pair in methods if getattr(pair[1], "__func__", None) not in SILENT]
            self._told[event] = told
        for instrument, method in told:
            try:
                method(*args, **named)
            except Exception as error:
                # By identity: instruments may well compare equal, as dataclasses do.
                self._instruments = [each for each in self._instruments if each is not instrument]
                self._told = {}
                message = "%r failed in %s, and is told no more"
                self._log.error(message, instrument, event.__name__, error=error)


class StageWatch:
    """What the instruments are told of one stage.

    `_items` has the numbers of the items of every position that has begun and not given all.
    """

    def __init__(self, watch: Watch, index: int) -> None:
        self._watch = watch
        self._index = index
        self._items: dict[int, Sequence[int]] = {}
        self._free: list[int] = []  # a heap, of the slots below `_used` that are free
        self._used = 0

    def begin(self, seat: Seat, position: int, number: int | Sequence[int]) -> None:
        """A worker begins with the unit at `position`."""
        items = (number,) if isinstance(number, int) else number
        seat.items = seat.tried = self._items[position] = items
        if self._free:
            seat.slot = heappop(self._free)
        else:
            seat.slot = self._used
            self._used += 1
        self._watch.tell(Instrument.call_started, self._index, items, seat.slot)

    def end(self, seat: Seat, *, cancelled: bool) -> None:
        """A worker is done with its unit."""
        heappush(self._free, seat.slot)
        self._watch.tell(
            Instrument.call_ended, self._index, seat.items, seat.slot, cancelled=cancelled
        )

    def tried(self, seat: Seat, attempt: int, seconds: float, error: BaseException | None) -> None:
        """A try is over."""
        self._watch.tell(
            Instrument.try_ended, self._index, seat.tried, seat.slot, attempt, seconds, error
        )

    def sent(self, position: int) -> None:
        """A result of the unit at `position` goes out."""
        self._watch.tell(Instrument.result_sent, self._index, self._items[position])

    def settled(self, position: int) -> None:
        """The unit at `position` has given all it had."""
        items = self._items.pop(position, None)
        if items is not None:  # else it only passed the stage by
            self._watch.tell(Instrument.items_settled, self._index, items)

    def dropped(self, items: Sequence[int]) -> None:
        """Nothing comes of items that never got into a unit."""
        self._watch.tell(Instrument.items_settled, self._index, items)

    def failed(self, items: Sequence[int], what: Any, error: Exception, attempts: int) -> None:
        """Items give no result."""
        self._watch.tell(Instrument.items_failed, self._index, items, what, error, attempts)


class Seat:
    """Where a watched worker sits while it has a unit.

    Attributes:
        slot: Which of the stage's slots it has.
        items: The numbers of the unit's items.
        tried: The numbers of those with which the function is called now.
    """

    __slots__ = ("items", "slot", "tried", "watch")

    def __init__(self, watch: StageWatch) -> None:
        self.watch = watch
        self.slot = 0
        self.items: Sequence[int] = ()
        self.tried: Sequence[int] = ()
