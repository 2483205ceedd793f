"""Event loops for tests: asyncio with a virtual clock, and with tasks that run in any order.

On trio, `trio.testing.MockClock(autojump_threshold=0)` and trio itself do both. Where time is
virtual no time-out would end a deadlock, so `unless_stuck` finds it.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sysconfig
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import anyio
import trio
import trio.testing


class DeadlockError(Exception):
    """Every task waits, no timer is set, and no thread is at work that could wake one."""

    def __init__(self, tasks: Iterable[tuple[str, Iterable[tuple[FrameType, int]]]]) -> None:
        waiting = []
        for name, frames in tasks:
            places = [
                f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{line})"
                for frame, line in frames
                if not _is_library(frame.f_code.co_filename)
            ]
            if places:
                waiting.append(f"\n  {name} in " + " > ".join(places))
        super().__init__("all tasks wait:" + "".join(sorted(waiting)))


def _frames(awaited: Any) -> Iterator[tuple[FrameType, int]]:
    """Yield where a coroutine of asyncio waits, the innermost place last."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            if frame := getattr(awaited, f"{kind}_frame", None):
                yield frame, frame.f_lineno
                break
        else:
            return
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)


def _is_library(file: str) -> bool:
    return "site-packages" in file or file.startswith(sysconfig.get_path("stdlib"))


def _threads_at_work() -> bool:
    """Whether there are others than this one and the watchdog of pytest-timeout."""
    others = set(threading.enumerate()) - {threading.main_thread()}
    return any(not thread.name.startswith("pytest_timeout") for thread in others)


class _ImpatientSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """A selector that tells of a wish to wait for a timer, or for ever, instead of waiting."""

    def __init__(self, skip_ahead: Callable[[], None], stuck: Callable[[], None]) -> None:
        super().__init__()
        self._skip_ahead = skip_ahead
        self._stuck = stuck

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events:
            return events
        if timeout is None:
            if _threads_at_work():
                return super().select(None)
            self._stuck()
        elif timeout > 0:
            self._skip_ahead()
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock starts at 0 and, when all tasks wait, is set to the next timer.

    The clock shows exactly the time of that timer, so that a test may compare with `==` (trio adds
    up floats: there `==` is safe with sums of 1, 0.5, 0.25 and so on).

    Time passes by while a thread works, as no timer waits for it: tests with threads use real time.

    Raises:
        DeadlockError: From `run_until_complete`, if there is one and nobody watches.
    """

    def __init__(self) -> None:
        self.watch: Callable[[DeadlockError], None] | None = None
        self._now = 0.0
        super().__init__(_ImpatientSelector(self._skip_ahead, self._stuck))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time pass that no task waits for, as when a function computes."""
        self._now += seconds

    def _skip_ahead(self) -> None:
        if self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]

    def _stuck(self) -> None:
        tasks = asyncio.all_tasks(self)
        error = DeadlockError((task.get_name(), _frames(task.get_coro())) for task in tasks)
        if self.watch is None:
            raise error
        watch, self.watch = self.watch, None
        watch(error)


class ShuffledLoop(VirtualTimeLoop):
    """A virtual-time loop that runs the tasks which are ready in a random order, as trio does.

    asyncio promises no order among tasks but always runs them first come, first served, so that a
    test sees one schedule of many. Only the steps of tasks change places, among themselves:
    callbacks keep theirs, since asyncio does promise that those run in order.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        places = [place for place, handle in enumerate(ready) if _is_step(handle)]
        if len(places) > 1:
            steps = [ready[place] for place in places]
            self._random.shuffle(steps)
            for place, step in zip(places, steps, strict=True):
                ready[place] = step
        super()._run_once()  # type: ignore[misc]


def _is_step(handle: Any) -> bool:
    """Whether a handle starts a task or goes on with one."""
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


async def unless_stuck(test: Awaitable[None]) -> None:
    """Await a test; where the clock is virtual, cancel it if it comes to a deadlock.

    Raises:
        DeadlockError: After that, whatever the test made of it.
    """
    scope = anyio.CancelScope()
    found: list[DeadlockError] = []

    def stuck(error: DeadlockError) -> None:
        found.append(error)
        scope.cancel()

    try:
        with _watching(stuck), scope:
            await test
    finally:
        if found:
            raise found[0]


@contextmanager
def _watching(stuck: Callable[[DeadlockError], None]) -> Iterator[None]:
    if trio.lowlevel.in_trio_run():
        if isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
            watch = _TrioWatch(stuck)
            trio.lowlevel.add_instrument(watch)
            try:
                yield
            finally:
                trio.lowlevel.remove_instrument(watch)
            return
    elif isinstance(loop := asyncio.get_running_loop(), VirtualTimeLoop):
        loop.watch = stuck
        try:
            yield
        finally:
            loop.watch = None
        return
    yield


class _TrioWatch(trio.abc.Instrument):
    def __init__(self, stuck: Callable[[DeadlockError], None]) -> None:
        self._stuck = stuck
        self._idle = 0

    def before_io_wait(self, timeout: float) -> None:
        now = trio.lowlevel.current_statistics()
        idle = not (now.tasks_runnable or now.run_sync_soon_queue_size or _threads_at_work())
        idle = idle and now.seconds_to_next_deadline == math.inf
        self._idle = self._idle + 1 if idle else 0
        # The first time it may be that `wait_all_tasks_blocked` is to wake somebody.
        if self._idle == 3:
            tasks = all_trio_tasks()
            self._stuck(DeadlockError((task.name, task.iter_await_frames()) for task in tasks))


def all_trio_tasks() -> set[trio.lowlevel.Task]:
    """Return all tasks of the running loop, trio's own ones included."""
    found = set()
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        assert task is not None
        found.add(task)
        waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found
