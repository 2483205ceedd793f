"""Waiting for a thread: until it has returned, whatever happens to the task that waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

from anyio import CancelScope, CapacityLimiter, Event, get_cancelled_exc_class, to_thread

from ..loop import host


async def in_thread(
    limiter: CapacityLimiter,
    func: Callable[..., Any],
    *args: Any,
    abandon: Callable[[], None] | None = None,
) -> Any:
    """Call a function in a worker thread, and return its result when it has returned.

    A checkpoint. Cancelled before the call has begun, it is not made. Later on cancellation waits
    for the call; with `abandon`, which is to bring the call to an early end, it calls that first.
    """
    # anyio's shield alone is not enough. At its end `asyncio.run` calls `Task.cancel()` on every
    # task that is left, which a shield does not keep off: anyio gives the thread up then, and
    # clean-up would run beside it.
    call = _Call(func, args)
    try:
        return await to_thread.run_sync(
            call.run, limiter=limiter, abandon_on_cancel=abandon is not None
        )
    except get_cancelled_exc_class():
        if abandon is not None:
            abandon()
        await call.returned()  # noqa: ASYNC102 - shielded, and as long as the call
        raise


class _Call:
    __slots__ = ("_args", "_begun", "_func", "_lock", "_over", "_tell", "_withdrawn")

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._func = func
        self._args = args
        self._lock = Lock()
        self._begun = self._over = self._withdrawn = False
        self._tell: Callable[[], None] | None = None

    def run(self) -> Any:
        with self._lock:
            if self._withdrawn:
                return None
            self._begun = True
        try:
            return self._func(*self._args)
        finally:
            with self._lock:
                self._over = True
                tell = self._tell
            if tell is not None:
                tell()

    async def returned(self) -> None:
        """Wait until the call has returned, or see to it that it is never made."""
        event = Event()
        with self._lock:
            self._withdrawn = not self._begun
            if self._withdrawn or self._over:
                return
            self._tell = partial(host.soon(), event.set)
        with CancelScope(shield=True):
            await event.wait()
