"""Where a stage's results leave it: in their order, and only when there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from anyio import Event
from anyio.lowlevel import checkpoint

from .link import Link
from .order import Order
from .signals import Bypass

if TYPE_CHECKING:
    from .books.watch import StageWatch


class Ahead:
    """What a unit gives before its turn, while it goes on giving: a generator does.

    Attributes:
        values: What it has given.
        ended: Whether that is all.
    """

    __slots__ = ("ended", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.ended = False

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


class Outlet:
    """Puts results into the next link.

    Results whose turn has come and for which the link has no room are in `backlog`. `order` is
    ``None`` when results go out as they come: then it is always every result's turn.

    In order, a generator whose turn has not come goes on until `window` results wait, in
    ``order.waiting`` or in the backlog. It then waits, with one more in hand. The generator whose
    turn it is never waits for that, so all others wait for nothing but it and the receiver.

    Args:
        link: To the next stage, or to the consumer.
        ordered: Whether results leave in the order of their positions.
        window: How many results may wait for their turn.
        opened: Called when a generator has cleared the backlog, and goes on with other things.
        stuck: Called when results cannot leave, and when they can again.
        watch: Told of every result that leaves, if the run is watched.
    """

    __slots__ = (
        "_aheads",
        "_flushed",
        "_opened",
        "_stuck",
        "_turns",
        "_values_ahead",
        "_watch",
        "_window",
        "backlog",
        "bypassed",
        "link",
        "order",
    )

    def __init__(
        self,
        link: Link,
        *,
        ordered: bool,
        window: float,
        opened: Callable[[], None],
        stuck: Callable[[bool], None],
        watch: StageWatch | None = None,
    ) -> None:
        self.link = link
        self.order: Order[Iterable[Any]] | None = Order() if ordered else None
        self.backlog: deque[Any] = deque()
        self._aheads = 0  # how many entries of `order.waiting` are an `Ahead`
        self._values_ahead = 0  # how many values these have
        self._window = window
        self._turns: deque[Event] = deque()  # of the generators that wait with a value in hand
        self._opened = opened
        self._flushed: Event | None = None  # there while a worker waits for room
        self.bypassed = 0
        self._stuck = stuck
        self._watch = watch

    @property
    def emitted(self) -> int:
        """How many results have left; failures and errors beside them do not count."""
        waiting = sum(type(value) is Bypass for value in self.backlog)
        return self.link.sent - self.bypassed + waiting

    @property
    def flushing(self) -> bool:
        """Whether a worker waits for room already."""
        return self._flushed is not None

    @property
    def held_back(self) -> int:
        """How many results wait for those before them."""
        order = self.order
        return 0 if order is None else sum(len([*entry]) for entry in order.waiting.values())

    def put(self, position: int, value: Any) -> None:
        """Send a value whose turn has come, or keep it for `flush`."""
        if type(value) is Bypass:
            self.bypassed += 1
            self.link.bypasses += 1
        elif self._watch is not None:
            self._watch.sent(position)
        if self.backlog or not self.link.send_nowait(value):
            self.backlog.append(value)

    def settle(self, position: int, values: Iterable[Any], *, plain: bool = False) -> None:
        """Give all that came of a unit; in order, once everything before it is given.

        `plain` says that none of the values is a `Bypass`.
        """
        order = self.order
        if order is not None and position != order.next:
            entry = order.waiting.get(position)
            if isinstance(entry, Ahead):
                self._add(entry, values)
                entry.ended = True
            else:
                order.hold(position, values)
            return
        if plain and self._watch is None:
            rest = iter(values)
            if not self.backlog:
                self.link.fill(rest)
            self.backlog.extend(rest)
        else:
            for value in values:
                self.put(position, value)
        if self._watch is not None:
            self._watch.settled(position)
        if order is not None:
            order.settle()
            self.release()

    def leave(self, position: int, values: Iterable[Any]) -> None:
        """Give some of what comes of a unit, when its turn has come. It is not settled by that."""
        order = self.order
        if order is not None and position != order.next:
            self._add(self._ahead_of(position), values)
        else:
            for value in values:
                self.put(position, value)

    def release(self) -> None:
        """Give what has waited for its turn, as far as it has come by now."""
        order = self.order
        assert order is not None
        while (entry := order.pop()) is not None:
            for value in entry:
                self.put(order.next, value)
            if isinstance(entry, Ahead):
                self._drop(entry)
                if not entry.ended:
                    break  # from here on it gives its values itself, and settles then
            if self._watch is not None:
                self._watch.settled(order.next)
            order.settle()
        self._next_turns()

    async def give(self, position: int, value: Any) -> None:
        """Send a generator's value, once its turn has come, or keep it until then.

        Until it is sent or kept the worker has it in hand, and not the backlog, which would close
        the gate: endless generators that never wait would keep other items from being started.
        """
        order = self.order
        if order is not None and position != order.next:
            while self._waiting(order) >= self._window:
                turn = Event()
                self._turns.append(turn)
                try:
                    await turn.wait()
                finally:
                    if not turn.is_set():
                        self._turns.remove(turn)
                if position == order.next:
                    break
            else:
                self._add(self._ahead_of(position), (value,))
                return
        waited = False
        while True:
            if self.backlog:
                await self.flush()
                self._opened()
            if self.link.send_nowait(value):
                break
            self._stuck(True)
            await self.link.wait_room()
            waited = True
        if waited:
            self._stuck(False)
        if self._watch is not None:
            self._watch.sent(position)
        if waited:
            await checkpoint()  # others have waited as well, and this one could take all the room

    def cut(self, position: int) -> None:
        """Forget what comes after `position`."""
        order = self.order
        assert order is not None
        for entry in order.cut(position):
            if isinstance(entry, Ahead):
                self._drop(entry)
        self._next_turns()

    def forget(self) -> None:
        """Let go of every result that has not left. The stage is over."""
        self.backlog.clear()
        if self.order is not None:
            self.order.waiting.clear()

    def _ahead_of(self, position: int) -> Ahead:
        order = self.order
        assert order is not None
        entry = order.waiting.get(position)
        if not isinstance(entry, Ahead):
            entry = Ahead()
            order.hold(position, entry)
            self._aheads += 1
        return entry

    def _add(self, entry: Ahead, values: Iterable[Any]) -> None:
        before = len(entry.values)
        entry.values += values
        self._values_ahead += len(entry.values) - before

    def _drop(self, entry: Ahead) -> None:
        self._aheads -= 1
        self._values_ahead -= len(entry.values)

    def _waiting(self, order: Order[Iterable[Any]]) -> int:
        others = len(order.waiting) - self._aheads
        return others + self._values_ahead + len(self.backlog)

    def _next_turns(self) -> None:
        """Have the generators that wait with a value in hand look again: there may be room."""
        while self._turns:
            self._turns.popleft().set()

    async def flush(self) -> None:
        """Wait until everything whose turn has come is in the link."""
        while self.backlog:
            if self._flushed is not None:
                await self._flushed.wait()
                continue
            event = self._flushed = Event()
            self._stuck(True)
            try:
                await self.link.wait_room()
                while self.backlog and self.link.send_nowait(self.backlog[0]):
                    self.backlog.popleft()
            finally:
                self._flushed = None
                self._stuck(False)
                event.set()
        self._next_turns()
