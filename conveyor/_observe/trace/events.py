"""A run in the words of the Chrome trace-event format: slices, arrows and counters."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..._model.instrument import Instrument, RunInfo

if TYPE_CHECKING:
    from ..._model.failure import Failure

Event: TypeAlias = dict[str, Any]

PID: Final = 1  # the run is shown as a process, and a slot as a thread
FIRST_LANE: Final = PID + 1  # a thread with the number of its process counts as the main thread
MANY: Final = 1_000_000  # lanes kept free for a stage without a limit
COUNTED_EVERY: Final = 5_000  # µs between two looks at the queues
HELD: Final = 64  # events of a call that wait for its end; more go out before it
REMEMBERED: Final = 10_000  # calls of a stage whose results may still be on their way out
NAMED: Final = 16  # items of the input that a slice is traced back to


class Recorder(Instrument):
    """Writes down what it is told.

    What it keeps is what is inside the run: calls that run, calls whose results wait to leave the
    stage, and results that wait in front of the next one.

    Args:
        run: The run.
        write: Takes each event as soon as it is complete.
    """

    def __init__(self, run: RunInfo, write: Callable[[Event], None]) -> None:
        super().__init__(run)
        self._write = write
        self._began = run.clock()
        self._ended = False  # the run is
        self._over = False  # and this is
        slots = [MANY if stage.slots == math.inf else int(stage.slots) for stage in run.stages]
        *lanes, consumer = accumulate(slots, initial=FIRST_LANE)
        self._stages = [_Stage(lane) for lane in lanes]
        self._names = [_whole(stage.name) for stage in run.stages]
        self._consumer = consumer
        self._delivered = 0
        self._flows = 0
        self._counted_at = -COUNTED_EVERY
        self._counters = [f"{n}. {name}" for n, name in enumerate(self._names, 1)]
        self._counters.append("results")
        self._counts: list[int | None] = [None] * len(self._counters)
        named = run.statistics().named
        name = f"run {_whole(run.pipeline_id)}" if named else "run"  # a made-up one says nothing
        self._describe("process_name", 0, {"name": name})
        self._describe("process_labels", 0, {"labels": str(run.execution_mode)})
        self._lane(consumer, "consumer")

    # What the run tells

    def call_started(self, stage: int, items: Sequence[int], slot: int) -> None:
        if self._over:
            return
        at = self._stages[stage]
        call = _Call(self._lane_of(stage, slot), self._now(), items)
        at.slots[slot] = call
        for item in items:
            at.running[item] = call
        call.origins = tuple(items[:NAMED])
        if stage:
            call.origins = self._arrive(call, self._stages[stage - 1].take(items))
        self._count(call.start)

    def try_ended(
        self,
        stage: int,
        items: Sequence[int],
        slot: int,
        attempt: int,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        if self._over or (call := self._stages[stage].slots.get(slot)) is None:
            return
        now = self._now()
        start = max(now - round(seconds * 1e6), call.tried_until)
        call.tried_until = now
        args: dict[str, Any] = {} if error is None else {"error": _text(error)}
        name = f"try {attempt}"
        if len(items) != len(call.items):
            name = f"{_label(items)}, {name}"
        again = (call.tried, call.attempt) == (items, attempt)
        call.tried, call.attempt = items, attempt
        event = _slice(name, call.lane, start, now - start, "try", args)
        if error is not None:
            event["cname"] = "bad"
        if call.first is None:
            call.first = event  # shown if it is not the only one
            return
        if again:  # of a generator each value is a try
            event["name"] = "value"
            if not call.tries:
                call.first["name"] = "value"
        if not call.tries:
            self._hold(call, call.first)
        call.tries += 1
        self._hold(call, event)

    def call_ended(self, stage: int, items: Sequence[int], slot: int, *, cancelled: bool) -> None:
        if self._over or (call := self._stages[stage].slots.pop(slot, None)) is None:
            return
        self._stages[stage].ended(call)
        self._end(stage, slot, call, "cancelled" if cancelled else "")
        self._count(call.end)

    def result_sent(self, stage: int, items: Sequence[int]) -> None:
        if self._over:
            return
        now = self._now()
        at = self._stages[stage]
        call = at.of(items)
        if call is not None:
            # Just before the end of its slice, where another one of the same slot may begin.
            end = now if call.end < 0 else call.end
            at.sent[at.results] = (call, max(min(now, end - 1), call.start))
        at.results += 1
        self._count(now)

    def items_settled(self, stage: int, items: Sequence[int]) -> None:
        if not self._over:
            self._stages[stage].settle(items)

    def items_failed(
        self, stage: int, items: Sequence[int], what: Any, error: Exception, attempts: int
    ) -> None:
        if self._over:
            return
        at = self._stages[stage]
        call = at.running.get(items[0])
        if call is not None:
            call.failed += len(items)
            call.error = _text(error)
            return
        # It failed where no call of the function was on.
        args = {"stage": self._names[stage], "items": [*items], "error": _text(error)}
        self._instant(f"{_label(items)} failed", self._lane_of(stage, 0), args)

    def result_delivered(self) -> None:
        if self._over:
            return
        now, result = self._now(), self._delivered
        self._delivered += 1
        call = _Call(self._consumer, now, ())
        call.end = now
        origins = self._arrive(call, self._stages[-1].take((result,)))
        args = {"result": result, "from": [*origins]}
        self._write(_slice(f"result {result}", self._consumer, now, 0, "result", args))
        for event in call.held:
            self._write(event)
        self._count(now, at_once=self._ended)

    def failure_delivered(self, failure: Failure[Any]) -> None:
        """It has no place among the results of the last stage, and its call is marked already."""

    def run_ended(self, error: BaseException | None) -> None:
        if self._over:
            return
        if error is not None:
            self._instant("the run failed", self._consumer, {"error": _text(error)}, scope="p")
        self._count(self._now(), at_once=True)
        self._ended = True  # but results that wait for the consumer may still be delivered

    def stop(self) -> None:
        """Write down what is on as unfinished, and listen no more."""
        if self._over:
            return
        if not self._ended:  # else there may be no event loop any more, and no clock
            self._count(self._now(), at_once=True)
        for stage, at in enumerate(self._stages):
            for slot, call in at.slots.items():
                self._end(stage, slot, call, "unfinished")
        self._over = True
        self._stages.clear()

    # What is written

    def _now(self) -> int:
        # Whole microseconds: so what touches does not overlap, whoever adds start and duration.
        return round((self.run.clock() - self._began) * 1e6)

    def _describe(self, name: str, lane: int, args: dict[str, Any]) -> None:
        self._write({"ph": "M", "name": name, "pid": PID, "tid": lane, "ts": 0, "args": args})

    def _lane(self, lane: int, name: str) -> None:
        self._describe("thread_name", lane, {"name": name})
        self._describe("thread_sort_index", lane, {"sort_index": lane})

    def _lane_of(self, stage: int, slot: int) -> int:
        at = self._stages[stage]
        lane = at.lane + slot
        if lane not in at.lanes:
            at.lanes.add(lane)
            place = "" if self.run.stages[stage].slots == 1 else f", slot {slot}"
            self._lane(lane, f"{stage + 1}. {self._names[stage]}{place}")
        return lane

    def _instant(self, name: str, lane: int, args: Mapping[str, Any], *, scope: str = "t") -> None:
        event = {"ph": "i", "name": name, "cat": "failure", "s": scope, "cname": "terrible"}
        self._write({**event, "pid": PID, "tid": lane, "ts": self._now(), "args": args})

    def _hold(self, call: _Call, event: Event) -> None:
        # A viewer sorts by time, and has what is inside a slice come after it only if it also
        # finds it later, where both begin at once.
        call.held.append(event)
        if len(call.held) > HELD:
            for early in call.held:
                self._write(early)
            call.held.clear()

    def _end(self, stage: int, slot: int, call: _Call, cut_off: str) -> None:
        """Write down a call that ends now, and what was held for it."""
        call.end = end = self._now()
        name = _label(call.items)
        args: dict[str, Any] = {
            "stage": self._names[stage],
            "stage_number": stage,
            "slot": slot,
            "items": [*call.items],
            "from": [*call.origins],
        }
        color = None
        if call.first is not None and not call.tries and cut_off and "error" in call.first["args"]:
            self._hold(call, call.first)  # a second try was on
        if call.attempt > 1:
            args["tries"] = call.attempt
        if call.error:
            args["failed"], args["error"], color = call.failed, call.error, "terrible"
            all_of_it = call.failed >= len(call.items)
            name += " failed" if all_of_it else f", {call.failed} failed"
        if cut_off:
            args[cut_off], color = True, "grey"
            name += f" {cut_off}"
        event = _slice(name, call.lane, call.start, end - call.start, "call", args)
        if color is not None:
            event["cname"] = color
        self._write(event)
        for held in call.held:
            self._write(held)
        call.held.clear()
        call.first = None

    def _arrive(self, call: _Call, senders: Sequence[tuple[_Call, int]]) -> tuple[int, ...]:
        """Draw arrows to a slice that begins, and return which items of the input are in it."""
        origins: dict[int, None] = {}
        for sender, ts in senders:
            self._flows += 1
            flow = {"name": "item", "cat": "item", "id": self._flows, "pid": PID}
            start = {"ph": "s", **flow, "tid": sender.lane, "ts": ts}
            if sender.end < 0:
                self._hold(sender, start)
            else:
                self._write(start)
            self._hold(call, {"ph": "f", "bp": "e", **flow, "tid": call.lane, "ts": call.start})
            if len(origins) < NAMED:
                origins.update(dict.fromkeys(sender.origins))
        return tuple(origins)[:NAMED]

    def _count(self, now: int, *, at_once: bool = False) -> None:
        """Write down how much is queued, if that is not known well enough."""
        if now - self._counted_at < COUNTED_EVERY and not at_once:
            return
        self._counted_at = now
        statistics = self.run.statistics()
        counts = [*(stage.queued for stage in statistics.stages), statistics.queued]
        for index, count in enumerate(counts):
            if count != self._counts[index]:
                self._counts[index] = count
                event = {"ph": "C", "name": self._counters[index], "pid": PID, "tid": 0}
                self._write({**event, "ts": now, "args": {"queued": count}})


class _Call:
    """A slice that is on, or has ended and may still have results to send.

    Attributes:
        end: -1 while it is on.
        origins: Which items of the input are in it, as far as they are named.
        held: Events that are to follow its own.
        first: Its first try, until there is a second.
        tries: How many there were after the first.
        tried: What the last of them was made with.
        attempt: And its number.
        tried_until: When it ended.
        failed: How many of its items failed, and `error` says what the last of them failed with.
    """

    __slots__ = (
        "attempt",
        "end",
        "error",
        "failed",
        "first",
        "held",
        "items",
        "lane",
        "origins",
        "start",
        "tried",
        "tried_until",
        "tries",
    )

    def __init__(self, lane: int, start: int, items: Sequence[int]) -> None:
        self.lane = lane
        self.start = self.tried_until = start
        self.end = -1
        self.items = items
        self.origins: tuple[int, ...] = ()
        self.held: list[Event] = []
        self.first: Event | None = None
        self.tries = self.attempt = self.failed = 0
        self.tried: Sequence[int] = ()
        self.error = ""


class _Stage:
    """What is inside a stage, and what waits between it and the next.

    Attributes:
        lane: The number of its first slot's lane.
        lanes: Those that have a name.
        slots: Calls that run, by slot.
        running: The same, by item, as long as more may come of it.
        results: How many have left it.
        sent: Of these, which call gave them and when, until they arrive.
    """

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.lanes: set[int] = set()
        self.slots: dict[int, _Call] = {}
        self.running: dict[int, _Call] = {}
        self.results = 0
        self.sent: dict[int, tuple[_Call, int]] = {}
        self._ended: OrderedDict[int, _Call] = OrderedDict()

    def ended(self, call: _Call) -> None:
        for item in call.items:
            if self.running.pop(item, None) is not None:
                self._ended[item] = call
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def settle(self, items: Sequence[int]) -> None:
        """Forget who works on `items`, or has: nothing more comes of them."""
        for item in items:
            if self.running.pop(item, None) is None:
                self._ended.pop(item, None)

    def of(self, items: Sequence[int]) -> _Call | None:
        """Return the call that works, or has worked, on `items`."""
        return self.running.get(items[0]) or self._ended.get(items[0])

    def take(self, results: Sequence[int]) -> list[tuple[_Call, int]]:
        """Return who has sent results, which have arrived."""
        return [sent for result in results if (sent := self.sent.pop(result, None)) is not None]


def _slice(
    name: str, lane: int, start: int, duration: int, category: str, args: dict[str, Any]
) -> Event:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": PID,
        "tid": lane,
        "ts": start,
        "dur": duration,
        "args": args,
    }


def _label(items: Sequence[int]) -> str:
    """Name items shortly."""
    first, last = items[0], items[-1]
    if len(items) == 1:
        return f"item {first}"
    if last - first == len(items) - 1:
        return f"items {first} to {last}"
    shown = ", ".join(map(str, items[:6]))
    return f"items {shown}" + (", ..." if len(items) > 6 else "")


def _text(error: BaseException) -> str:
    """Describe an error in a line."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # the user's own, and no reason to lose the trace
        return name
    first = text.partition("\n")[0]
    return _whole(f"{name}: {first[:200]}" if first else name)


def _whole(text: str) -> str:
    """Return `text` without what not every viewer shows, or no file can hold."""
    return "".join(character if character.isprintable() else "?" for character in text)
