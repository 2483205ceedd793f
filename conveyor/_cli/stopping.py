"""Ctrl-C and SIGTERM: once to finish what is inside, twice to abort, three times to leave at once.

Before the run has begun, the first one ends the command.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from signal import Signals
from typing import Any, NoReturn

from .._signals import _StoppingOnSignals  # pyright: ignore[reportPrivateUsage]
from .._stream import Stream
from .messages import AbortedError, say

USAGE = 2
INTERRUPTED = 130


class InterruptedCommand(KeyboardInterrupt):
    """A signal has come before the run."""


class Interrupts:
    """A block in which signals end the command in order, whenever they come.

    Python by itself would let `SIGTERM` end the process on the spot, with files half written, and
    raise `KeyboardInterrupt` for Ctrl-C anywhere, also inside of an event loop that cannot take
    it. While a run is at work, `Stopping` hears the signals; what it does not hear comes here.

    Args:
        leave: Called before the process ends at once, to leave things in order.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._before: dict[Signals, Any] = {}
        self._early: Signals | None = None
        self._running = False
        self._waiting: Signals | None = None  # for a run that is about to begin
        self._aborted = False

    @property
    def signals(self) -> tuple[Signals, ...]:
        """Which signals: `SIGHUP` is one of them where it is not ignored, as `nohup` has it."""
        hangup = getattr(Signals, "SIGHUP", None)
        if hangup is None or self._handler(hangup) is signal.SIG_IGN:
            return Signals.SIGINT, Signals.SIGTERM
        return Signals.SIGINT, Signals.SIGTERM, hangup

    def __enter__(self) -> Interrupts:
        # On Windows the event loops need Python's own way with Ctrl-C.
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # else it was not set by Python, which cannot set it again
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise what a module may have caught while it was imported.

        Raises:
            InterruptedCommand: If a signal has come.
        """
        if self._early is not None:
            raise InterruptedCommand(self._early.name)

    def begin(self) -> None:
        """Note that from now on signals are for the run: one ends it in peace."""
        self._running = True

    def take(self) -> Signals | None:
        """Return the signal that came between `begin` and now, if there was one."""
        waiting, self._waiting = self._waiting, None
        return waiting

    def abort(self) -> None:
        """Note that all is given up: the next signal ends the process."""
        self._aborted = True

    def _handler(self, number: Signals) -> Any:
        return self._before.get(number, signal.getsignal(number))

    def _handle(self, number: int, frame: object) -> None:
        if not self._running:
            self._early = Signals(number)
            self._running = True  # it may be caught, and what is begun has to be tidied up
            raise InterruptedCommand(self._early.name)
        if self._aborted or self._waiting is not None:
            self._end()
        self._waiting = Signals(number)

    def _end(self) -> NoReturn:
        # Threads that do not come to an end, or whatever else keeps it, are not waited for.
        try:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # shows the cursor, which a picture of the run hides
            self._leave()
        finally:
            os._exit(INTERRUPTED)


class Stopping(_StoppingOnSignals[Any]):
    """A block in which the first signal stops the stream and the second aborts it.

    Args:
        stream: The stream.
        interrupts: Hears the signals before the block and after it.
        give_up: Called with the second signal, to end whatever else waits.

    Attributes:
        signal: The signal that came last; ``None`` as long as there was none.
    """

    def __init__(
        self, stream: Stream[Any], interrupts: Interrupts, give_up: Callable[[], None]
    ) -> None:
        super().__init__(stream, interrupts.signals, None)
        self.signal: Signals | None = None
        self._interrupts = interrupts
        self._give_up = give_up

    async def _watch(self, received: AsyncIterator[Signals]) -> None:
        with self._watching:
            first = self._interrupts.take() or await anext(received)
            self.signal = first
            say(f"Stopping on {first.name}: what is inside is finished. Again to abort.")
            self._stream.stop()
            self.signal = await anext(received)
            self._interrupts.abort()
            self._stream.abort(AbortedError())
            self._give_up()
            self._handlers.close()
