"""The bounded hand-over between two stages.

A memory object stream of lists with room for one. The list in it stays open: the
sender appends to it until the receiver takes it. So the first item travels at once, what
comes while the receiver is not yet scheduled rides along, and a receiver that is
busy finds the newest items without any of the stream's own work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from anyio import (
    ClosedResourceError,
    EndOfStream,
    Event,
    create_memory_object_stream,
)


class Link:
    """Carries items from one sending stage to the workers of the next.

    ``len(taken) + len(open) <= size``. `open` is the one list that is in the stream, or in
    the hands of a receiver that was woken with it and has not run yet; ``None`` when there
    is no such list, and then any receiver in `receive` sleeps.
    `blocked` is there while tasks may wait for room; it is set when there is some.
    """

    __slots__ = (
        "_low",
        "_receiver",
        "_sender",
        "blocked",
        "closed",
        "open",
        "size",
        "taken",
        "total",
    )

    def __init__(self, size: int) -> None:
        self.size = size
        # A sender that was stopped goes on at half full: one switch for many items
        # where one at every single place would cost a switch an item.
        self._low = size // 2
        self.taken: deque[Any] = deque()
        self.open: list[Any] | None = None
        self.total = 0  # items that have left the open list
        self.closed = False
        self.blocked: Event | None = None
        self._sender, self._receiver = create_memory_object_stream[list[Any]](1)

    def __len__(self) -> int:
        return len(self.taken) + (len(self.open) if self.open else 0)

    @property
    def sent(self) -> int:
        """How many items have been sent."""
        return self.total + (len(self.open) if self.open else 0)

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
        self._wake([item])
        return True

    async def wait_room(self) -> None:
        """Wait until there is room. A checkpoint if it waits; cancelling loses nothing."""
        while len(self) >= self.size:
            if self.blocked is None:
                self.blocked = Event()
            await self.blocked.wait()

    def unblock(self) -> None:
        """Let waiting senders go on, if by now there is room worth it."""
        if self.blocked is not None and len(self) <= self._low:
            self.blocked.set()
            self.blocked = None

    def nudge(self) -> None:
        """Wake one receiver, if one sleeps, to look for work again."""
        if self.open is None and not self.closed:
            self._wake([])

    def _wake(self, items: list[Any]) -> None:
        # The stream is empty, as `open` was None: there is room.
        self.open = items
        self._sender.send_nowait(items)

    def refill(self) -> bool:
        """Move what is in the open list to `taken`, and say whether there was something."""
        current = self.open
        if not current:
            return False
        self.taken.extend(current)
        self.total += len(current)
        current.clear()
        return True

    async def receive(self) -> bool:
        """Sleep until there may be something in `taken`; false when the sender is done.

        A checkpoint. Cancelling it loses nothing.
        """
        try:
            items = await self._receiver.receive()
        except (EndOfStream, ClosedResourceError):
            return False
        except BaseException:
            # asyncio's own Task.cancel() can hit a receiver that has been woken, and the
            # list it was woken with would be lost: nobody else would look at it again.
            if not self._receiver.statistics().current_buffer_used:
                self._retire()
            raise
        if items is self.open:
            self._retire()
        return True

    def _retire(self) -> None:
        self.refill()
        self.open = None

    def close_sender(self) -> None:
        """Say that nothing more will come. What was sent can still be received."""
        self.closed = True
        self._sender.close()

    def close(self) -> None:
        """Close both ends; what was sent can still be read from `taken` after a `refill`."""
        self.close_sender()
        self._receiver.close()


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
