"""Ctrl-C and SIGTERM: once to finish what is inside, twice to end at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from signal import Signals
from typing import Any

from .._signals import _StoppingOnSignals  # pyright: ignore[reportPrivateUsage]
from .._stream import Stream
from .messages import AbortedError, say


class Stopping(_StoppingOnSignals[Any]):
    """A block in which the first signal stops the stream and the second aborts it.

    Args:
        stream: The stream.
        give_up: Called with the second signal, to end whatever else waits.

    Attributes:
        signal: The signal that came last; ``None`` as long as there was none.
    """

    def __init__(self, stream: Stream[Any], give_up: Callable[[], None]) -> None:
        super().__init__(stream, (Signals.SIGINT, Signals.SIGTERM), None)
        self.signal: Signals | None = None
        self._give_up = give_up

    async def _watch(self, received: AsyncIterator[Signals]) -> None:
        self.signal = await anext(received)
        say(f"Stopping on {self.signal.name}: what is inside is finished. Again to abort.")
        self._stream.stop()
        self.signal = await anext(received)
        self._stream.abort(AbortedError())
        self._give_up()
        self._handlers.close()
