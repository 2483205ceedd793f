"""The bounded hand-over between two stages.

A memory object stream of lists with room for one. The list in it stays open: the
sender appends to it until the receiver takes it. So the first item travels at once, what
comes while the receiver is not yet scheduled rides along, and a receiver that is
busy finds the newest items without any of the stream's own work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import Any

from anyio import Event, create_memory_object_stream

from .loop.host import Nap, naps


class Link:
    """Carries items from one sending stage to the workers of the next.

    ``len(taken) + len(open) <= size``. `open` is the list in the stream, ``None`` while there is
    none. Receivers sleep only while there is nothing for them to start; when a new list is sent
    `arrived` sees to it that one looks. `coming` counts those who are on their way to do that.
    `blocked` is there while tasks may wait for room; it is set when there is some.

    Attributes:
        low: At how many items a sender that found it full goes on.
        arrived: Called when a new list is sent; it wakes a sleeper, unless the receiver does more.
        bypasses: How many of the items, and of those that wait to be sent, are a `Bypass`.
    """

    __slots__ = (
        "_draft",
        "_nap",
        "_receiver",
        "_sender",
        "arrived",
        "blocked",
        "bypasses",
        "closed",
        "coming",
        "low",
        "open",
        "size",
        "sleepers",
        "taken",
        "total",
    )

    def __init__(self, size: int) -> None:
        self.size = size
        # A sender that was stopped goes on at half full: one switch for many items
        # where one at every single place would cost a switch an item.
        self.low = size // 2
        self.taken: deque[Any] = deque()
        self.open: list[Any] | None = None
        self._draft: list[Any] | None = None  # a list that is to be sent, once there is an item
        self.total = 0  # items that have left the open list
        self.bypasses = 0
        self.closed = False
        self.blocked: Event | None = None
        # Not in the stream's own `receive`: to sleep there costs several times as much.
        self.sleepers: dict[Nap, None] = {}
        self._nap = naps()
        self.coming = 0
        self.arrived: Callable[[], object] = self.wake
        self._sender, self._receiver = create_memory_object_stream[list[Any]](1)

    def __len__(self) -> int:
        return len(self.taken) + (len(self.open) if self.open is not None else 0)

    @property
    def sent(self) -> int:
        """How many items have been sent."""
        return self.total + (len(self.open) if self.open is not None else 0)

    def send_nowait(self, item: Any) -> bool:
        """Send `item` if there is room, and say whether there was."""
        current = self.open
        if current is not None:  # the usual way
            if len(current) + len(self.taken) < self.size:
                current.append(item)
                return True
            return False
        if len(self.taken) >= self.size:
            return False
        self.open = items = [item]
        self._sender.send_nowait(items)  # there is room, as `open` was None
        self.arrived()
        return True

    def fill(self, items: Iterator[Any]) -> bool:
        """Send of `items` what there is room for, and say whether there may be more."""
        room = self.size - len(self)
        items = islice(items, room)
        if self.open is not None:
            before = len(self.open)
            self.open.extend(items)
            return len(self.open) - before == room
        chunk: list[Any] = []
        try:
            chunk.extend(items)
        finally:  # `items` may raise, and what it gave before is not lost
            if chunk:
                self.open = chunk
                self._sender.send_nowait(chunk)
                self.arrived()
        return len(chunk) == room

    def appender(self) -> Callable[[Any], object]:
        """Return what adds one item, as long as nobody else runs and there is room.

        `commit` has to be called before anybody else runs or looks.
        """
        if self.open is None:
            self._draft = []
            return self._draft.append
        return self.open.append

    def commit(self) -> None:
        """Send what was added while there was no open list. It may be called again and again."""
        if self._draft:
            self.open, self._draft = self._draft, None
            self._sender.send_nowait(self.open)
            self.arrived()

    async def wait_room(self) -> None:
        """Wait until there is room. A checkpoint if it waits; cancelling loses nothing."""
        while len(self) >= self.size:
            if self.blocked is None:
                self.blocked = Event()
            await self.blocked.wait()

    def unblock(self) -> None:
        """Let waiting senders go on, if by now there is room worth it."""
        if self.blocked is not None and len(self) <= self.low:
            self.blocked.set()
            self.blocked = None

    def take(self) -> list[Any]:
        """Return what is in `taken` and empty it; if there is nothing, what is in the stream."""
        if self.taken or self.open is None:
            items = [*self.taken]
            self.taken.clear()
        else:
            items = self._receiver.receive_nowait()
            self.total += len(items)
            self.open = None
        return items

    def refill(self) -> bool:
        """Move what is in the stream to `taken`, and say whether there was something."""
        if self.open is None:
            return False
        items = self._receiver.receive_nowait()
        self.taken += items
        self.total += len(items)
        items.clear()  # a sender that is interrupted in `appender` may still hold it
        self.open = None
        return True

    async def sleep(self) -> bool:
        """Sleep until there may be something to start; false when the sender is done.

        A checkpoint unless the sender is done. Cancelling it loses nothing.
        """
        if self.closed:
            return False
        nap = self._nap()
        self.sleepers[nap] = None
        try:
            await nap
        except BaseException:
            self.sleepers.pop(nap, None)
            if nap.woken:  # then somebody else has to look
                self.coming -= 1
                self.wake()
            raise
        self.coming -= 1
        return True

    def wake(self) -> bool:
        """Wake a sleeper to look for work, and say whether there was one."""
        while self.sleepers:
            nap, _ = self.sleepers.popitem()
            if nap.wake():  # else it has just been cancelled
                self.coming += 1
                return True
        return False

    def close_sender(self) -> None:
        """Say that nothing more will come. What was sent can still be received."""
        if self.closed:
            return
        self.closed = True
        self._sender.close()
        while self.wake():
            pass

    def close(self) -> None:
        """Close both ends; what was sent can still be read from `taken`."""
        self.close_sender()
        self.refill()
        self._receiver.close()

    def forget(self) -> None:
        """Let go of all items. Nobody is left to take them."""
        self.taken.clear()


class TimedLink(Link):
    """A link that notes when each item came, for a stage that waits on items' ages.

    ``len(stamps) == len(self)``, oldest first.
    """

    __slots__ = ("_clock", "stamps")

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        super().__init__(size)
        self._clock = clock
        self.stamps: deque[float] = deque()

    def send_nowait(self, item: Any) -> bool:
        """Send `item` if there is room, and say whether there was."""
        sent = super().send_nowait(item)
        if sent:
            self.stamps.append(self._clock())
        return sent

    def appender(self) -> Callable[[Any], object]:
        """Return what sends one item, for as long as nobody else runs and there is room."""
        append, stamp, clock = super().appender(), self.stamps.append, self._clock

        def send(item: Any) -> None:
            append(item)
            stamp(clock())

        return send

    def fill(self, items: Iterator[Any]) -> bool:
        """Send of `items` what there is room for, and say whether there may be more."""
        before = len(self)
        try:
            return super().fill(items)
        finally:
            self.stamps.extend(repeat(self._clock(), len(self) - before))
