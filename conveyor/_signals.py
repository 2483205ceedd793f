"""Stopping a stream when the process is asked to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from signal import Signals
from types import TracebackType
from typing import Any, Final, TypeVar

from anyio import open_signal_receiver

from ._engine.loop.companion import Companion
from ._model.checks import check_seconds
from ._stream import Stream

Out = TypeVar("Out")

_UNSTOPPABLE: Final = {
    number for name in ("SIGKILL", "SIGSTOP") if (number := getattr(signal, name, None))
}


def stop_on_signals(
    stream: Stream[Out], *signals: int, timeout: float | None = None
) -> AbstractAsyncContextManager[Stream[Out]]:
    """Return a block in which signals end `stream`: the first in peace, the second at once.

    ::

        async with stop_on_signals(pipeline(messages())) as stream:
            async for result in stream: ...

    The first signal calls ``stream.stop(timeout)``. The second calls ``stream.abort``, with a
    `KeyboardInterrupt` if it is ``SIGINT``, else with a `SystemExit` of the status that a shell
    shows for a process that the signal has ended, 128 plus its number. Then, and when the block
    is left, the signals do again what they did before. One block at a time can wait for a signal.

    Entering and leaving the block may be a checkpoint. It neither starts the stream nor ends it.

    Args:
        stream: The stream; the block gives it.
        signals: Which signals; ``SIGINT`` and ``SIGTERM`` if there are none.
        timeout: Seconds that the first signal leaves the stream to finish. ``None`` (the default)
            means no limit.

    Raises:
        TypeError: If `stream` is no stream, a signal is no number, or `timeout` is none.
        ValueError: If there is no such signal, it cannot be caught, or `timeout` is below 0.
        RuntimeError: On entering outside the main thread: Python hands signals to no other.
        NotImplementedError: On entering under asyncio on Windows, where it knows no signals.
    """
    if not isinstance(stream, Stream):
        raise TypeError(
            f"stop_on_signals takes a stream and signals, as in stop_on_signals(pipeline(data), "
            f"signal.SIGTERM), not {stream!r}"
        )
    chosen = tuple(map(_checked, signals)) or (Signals.SIGINT, Signals.SIGTERM)
    check_seconds("timeout", timeout, zero=True, none=True)
    return _StoppingOnSignals(stream, chosen, timeout)


def _checked(number: object) -> Signals:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"a signal is a number such as signal.SIGTERM, not {number!r}")
    try:
        known = Signals(number)
    except ValueError:
        raise ValueError(f"there is no signal {number!r} here") from None
    if known in _UNSTOPPABLE:
        raise ValueError(f"{known.name} cannot be caught")
    return known


class _StoppingOnSignals(AbstractAsyncContextManager[Stream[Out]]):
    def __init__(
        self, stream: Stream[Out], signals: Sequence[Signals], timeout: float | None
    ) -> None:
        self._stream = stream
        self._signals = signals
        self._timeout = timeout
        self._watching: Companion | None = None
        self._handlers = ExitStack()

    async def __aenter__(self) -> Stream[Out]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("stop_on_signals works in the main thread: no other gets signals")
        received = self._receive()
        self._watching = Companion(partial(self._watch, received), "conveyor signals")
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._watching is not None
        with self._handlers:
            await self._watching.end()  # noqa: ASYNC102 - shielded, and it is about to end

    def _receive(self) -> AsyncIterator[Signals]:
        """Wait for signals, until `_handlers` is closed: then all is as it was before."""
        before = {number: signal.getsignal(number) for number in self._signals}
        with ExitStack() as handlers:
            handlers.callback(_restore, before)
            received = handlers.enter_context(open_signal_receiver(*self._signals))
            for number in self._signals:
                # The loop's own: what it called for this signal it has forgotten.
                if signal.getsignal(number) == before[number]:
                    del before[number]
            self._handlers = handlers.pop_all()
        return received

    async def _watch(self, received: AsyncIterator[Signals]) -> None:
        await anext(received)
        self._stream.stop(self._timeout)
        number = await anext(received)
        if number == Signals.SIGINT:
            self._stream.abort(KeyboardInterrupt())
        else:
            self._stream.abort(SystemExit(128 + number))
        self._handlers.close()


_Handler = Callable[[int, Any], Any] | int | signal.Handlers | None


def _restore(handlers: dict[Signals, _Handler]) -> None:
    # Asyncio would leave the default in their place, and not its own, which on Ctrl-C lets the
    # main task clean up.
    for number, handler in handlers.items():
        if handler is not None:  # else it was not set by Python, which cannot set it again
            signal.signal(number, handler)
