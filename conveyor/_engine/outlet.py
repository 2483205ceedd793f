"""Where a stage's results leave it: in their order, and only when there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from anyio import Event
from anyio.lowlevel import checkpoint

from .link import Link
from .order import Order
from .signals import Bypass

if TYPE_CHECKING:
    from .watch import StageWatch


class Outlet:
    """Puts results into the next link.

    Results whose turn has come and for which the link has no room are in `backlog`. `order` is
    ``None`` when results go out as they come: then it is always every result's turn.

    Args:
        link: To the next stage, or to the consumer.
        ordered: Whether results leave in the order of their positions.
        opened: Called when a generator has cleared the backlog, and goes on with other things.
        stuck: Called when results cannot leave, and when they can again.
        watch: Told of every result that leaves, if the run is watched.
    """

    __slots__ = ("_bypassed", "_flushed", "_opened", "_stuck", "_watch", "backlog", "link", "order")

    def __init__(
        self,
        link: Link,
        *,
        ordered: bool,
        opened: Callable[[], None],
        stuck: Callable[[bool], None],
        watch: StageWatch | None = None,
    ) -> None:
        self.link = link
        self.order: Order[Iterable[Any] | Event] | None = Order() if ordered else None
        self.backlog: deque[Any] = deque()
        self._opened = opened
        self._flushed: Event | None = None  # there while a worker waits for room
        self._bypassed = 0
        self._stuck = stuck
        self._watch = watch

    @property
    def emitted(self) -> int:
        """How many results have left; failures and errors beside them do not count."""
        waiting = sum(type(value) is Bypass for value in self.backlog)
        return self.link.sent - self._bypassed + waiting

    @property
    def flushing(self) -> bool:
        """Whether a worker waits for room already."""
        return self._flushed is not None

    def put(self, position: int, value: Any) -> None:
        """Send a value whose turn has come, or keep it for `flush`."""
        if type(value) is Bypass:
            self._bypassed += 1
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

    def release(self) -> None:
        """Give what has waited for its turn, as far as it has come by now."""
        order = self.order
        assert order is not None
        while (entry := order.pop()) is not None:
            if isinstance(entry, Event):
                entry.set()  # a generator, that gives its values itself and settles then
                break
            for value in entry:
                self.put(order.next, value)
            if self._watch is not None:
                self._watch.settled(order.next)
            order.settle()

    async def turn_of(self, position: int) -> None:
        """Wait until everything before `position` is given."""
        order = self.order
        if order is not None and position != order.next:
            event = Event()
            order.hold(position, event)
            await event.wait()

    async def give(self, position: int, value: Any) -> None:
        """Send a generator's value whose turn has come, once there is room.

        Until then the worker has it in hand, and not the backlog, which would close the gate:
        endless generators that never wait would keep other items from being started.
        """
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
