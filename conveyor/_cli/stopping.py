"""Ctrl-C and SIGTERM: once to finish what is inside, twice to abort, three times to leave at once.

Before the run has begun, the first one ends the command.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from signal import Signals
from types import FrameType
from typing import Any, NoReturn

from anyio import wait_readable

from .._signals import _StoppingOnSignals  # pyright: ignore[reportPrivateUsage]
from .._stream import Stream
from .messages import AbortedError, say

USAGE = 2
INTERRUPTED = 130
PATIENCE = 3  # signals, until the process ends at once


class InterruptedCommand(KeyboardInterrupt):
    """A signal has come before the run."""


class Interrupts:
    """A block in which signals end the command in order, whenever they come.

    Python by itself would let `SIGTERM` end the process on the spot, with files half written, and
    raise `KeyboardInterrupt` for Ctrl-C anywhere, also inside of an event loop that cannot take
    it. And what event loops hear waits for its turn: a function that blocks the loop would keep
    even the third signal from being heard.

    On Windows, and outside the main thread, it does nothing.

    Args:
        leave: Called before the process ends at once, to leave things in order.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._process = os.getpid()
        self._before: dict[Signals, Any] = {}
        self._running = False
        self._count = 0
        self._early: Signals | None = None
        self._come: deque[Signals] = deque()  # at least a byte in the pipe for each
        self._pipe: tuple[int, int] | None = None

    @property
    def signals(self) -> tuple[Signals, ...]:
        """Which signals: `SIGHUP` is one of them where it is not ignored, as `nohup` has it."""
        hangup = getattr(Signals, "SIGHUP", None)
        if hangup is None or self._handler(hangup) is signal.SIG_IGN:
            return Signals.SIGINT, Signals.SIGTERM
        return Signals.SIGINT, Signals.SIGTERM, hangup

    @property
    def hears(self) -> bool:
        """Whether they come here."""
        return self._pipe is not None

    def __enter__(self) -> Interrupts:
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            for number in self.signals:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # else it was not set by Python, which cannot set it again
                signal.signal(number, handler)
        for end in self._pipe or ():
            os.close(end)
        self._pipe = None

    def check(self) -> None:
        """Raise what a module may have caught while it was imported.

        Raises:
            InterruptedCommand: If a signal has come.
        """
        if self._early is not None:
            raise InterruptedCommand(self._early.name)

    def begin(self) -> None:
        """Note that from now on signals are for the run, which hears them by `received`."""
        self._running = True

    @contextmanager
    def received(self) -> Generator[AsyncIterator[Signals], None, None]:
        """Give the signals that have come since `begin`, and those that come.

        To be entered in an event loop.
        """
        assert self._pipe is not None
        # A signal may come to any thread, and then the one that waits for the loop's events goes
        # on waiting. Other loops have a pipe of their own by now.
        before = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(self._pipe[1] if before == -1 else before, warn_on_full_buffer=False)
        try:
            yield _Received(self._pipe[0], self._come)
        finally:
            if before == -1:
                signal.set_wakeup_fd(-1)

    def _handler(self, number: Signals) -> Any:
        return self._before.get(number, signal.getsignal(number))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        come = Signals(number)
        if os.getpid() != self._process:
            self._pass_on(come, frame)
            return
        self._count += 1
        if self._count >= PATIENCE:
            self._end()
        if not self._running:
            self._running = True  # whatever is begun is tidied up now
            self._early = come
            raise InterruptedCommand(come.name)
        if self._pipe is not None:
            self._come.append(come)
            with suppress(BlockingIOError):
                os.write(self._pipe[1], b".")

    def _pass_on(self, number: Signals, frame: FrameType | None) -> None:
        """Do what is usual, in a process that was forked off: the files are not its own."""
        before = self._before[number]
        if callable(before):
            before(number, frame)
        elif before is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _end(self) -> NoReturn:
        # Threads that do not come to an end, or whatever else keeps it, are not waited for.
        try:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # shows the cursor, which a picture of the run hides
            self._leave()
        finally:
            os._exit(INTERRUPTED)


class _Received(AsyncIterator[Signals]):
    def __init__(self, pipe: int, come: deque[Signals]) -> None:
        self._pipe = pipe
        self._come = come

    async def __anext__(self) -> Signals:
        while not self._come:
            await wait_readable(self._pipe)
            os.read(self._pipe, 4096)
        return self._come.popleft()


class Stopping(_StoppingOnSignals[Any]):
    """A block in which the first signal stops the stream and the second aborts it.

    Args:
        stream: The stream.
        interrupts: Hears the signals.
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

    def _receive(self) -> AsyncIterator[Signals]:
        if not self._interrupts.hears:
            return super()._receive()
        return self._handlers.enter_context(self._interrupts.received())

    async def _watch(self, received: AsyncIterator[Signals]) -> None:
        first = self.signal = await anext(received)
        say(f"Stopping on {first.name}: what is inside is finished. Again to abort.")
        self._stream.stop()
        self.signal = await anext(received)
        self._stream.abort(AbortedError())
        self._give_up()
        if not self._interrupts.hears:
            self._handlers.close()
        async for self.signal in received:  # the third ends the process, once the loop turns
            pass
