"""The event loop under a run: the one module that knows which one it is.

A plainly iterated stream has no block that could own its run, so the run lives in a
background task of the loop: an asyncio task, or a trio system task. It is tied to the
stream object, which ends it in every way in which a stream can end. No exception of
the run ever leaves that task: they all go to the consumer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Protocol

from anyio.lowlevel import RunVar

Main = Callable[[], Coroutine[Any, Any, None]]

# asyncio itself holds its tasks weakly. A run whose tasks wait for each other alone would be
# garbage together with its stream, and be destroyed in the middle instead of cleaned up.
_running: RunVar[set[asyncio.Task[None]]] = RunVar("conveyor_running")

_loop: RunVar[object] = RunVar("conveyor_loop")


def _trio() -> Any | None:
    """Return trio if the caller runs in it; then it has been imported.

    Only then is it certain to be whole: another thread may be in the middle of importing it, and
    a module of that name need not even be trio.
    """
    trio = sys.modules.get("trio")
    in_trio_task = getattr(getattr(trio, "lowlevel", None), "in_trio_task", None)
    return trio if in_trio_task is not None and in_trio_task() else None


def apart() -> Context:
    """Return a copy of the caller's context variables in which an event loop may be started.

    `anyio.run` notes the running library in one of them. A thread that was given a copy, as
    `asyncio.to_thread` does, would be refused a loop of its own for that.
    """
    context = copy_context()
    library = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)
    if library is not None:
        context.run(library.set, None)
    return context


def require_loop() -> None:
    """Refuse to go on where no event loop runs.

    Raises:
        RuntimeError: If neither asyncio nor trio runs here.
    """
    if not is_running():
        raise RuntimeError(
            "a stream runs in an event loop, and none is running here: "
            "iterate it in an async function started with anyio.run() or asyncio.run()"
        )


def is_running() -> bool:
    """Say whether an event loop runs in this thread."""
    if _trio() is not None:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def soon() -> Callable[[Callable[[], object]], None]:
    """Return what has the running loop call a function, soon.

    It may be used from any thread, and when the loop is closed already: then it does nothing.
    """
    trio = _trio()
    if trio is not None:
        schedule, closed = trio.lowlevel.current_trio_token().run_sync_soon, trio.RunFinishedError
    else:
        schedule, closed = asyncio.get_running_loop().call_soon_threadsafe, RuntimeError

    def call_soon(function: Callable[[], object]) -> None:
        with suppress(closed):
            schedule(function)

    return call_soon


def protect(*functions: Callable[..., Any]) -> None:
    """Keep trio from raising `KeyboardInterrupt` in the middle of these functions' tasks.

    It would come out wrapped in groups, or not at all. So it is the main task that gets
    it, as on asyncio. What the functions call is protected with them, and so is every nap: the
    consumer's task, where it is awaited as well, is interrupted while it sleeps, not before.
    """
    trio = _trio()
    if trio is not None:
        for function in (*functions, _TrioNap.__await__):
            trio.lowlevel.enable_ki_protection(function)


def clock() -> Callable[[], float]:
    """Return the clock of the running loop, in seconds."""
    trio = _trio()
    return trio.current_time if trio is not None else asyncio.get_running_loop().time


def stopwatch() -> Callable[[], float]:
    """Return what to measure durations with, in seconds: quick, and finer than `clock`.

    uvloop's clock stands still while a task runs. A loop that keeps a time of its own, which may
    be a virtual one, is believed.
    """
    trio = _trio()
    if trio is not None:
        own = trio.lowlevel.current_clock()
        if type(own).__name__ == "SystemClock":  # it is the same, at three times the price
            return perf_counter
        current_time: Callable[[], float] = own.current_time
        return current_time
    loop = asyncio.get_running_loop()
    keeps_time = isinstance(loop, asyncio.BaseEventLoop) and (
        type(loop).time is not asyncio.BaseEventLoop.time
    )
    return loop.time if keeps_time else perf_counter


def here() -> tuple[object, float]:
    """Return what stands for the running loop, and the time by its clock.

    Where no loop runs that is ``None``, and the time by `time.monotonic`.
    """
    try:
        now = clock()()
        loop = _loop.get(None)
        if loop is None:
            _loop.set(loop := object())
    except RuntimeError:
        return None, monotonic()
    return loop, now


def is_brief(request: object) -> bool:
    """Say whether a task that hands this to its event loop will be back in the loop's next turn.

    Asyncio is handed nothing by a task that only lets others run, and trio a bare class. A
    guess, as neither says so in public: what depends on it may be slower for it, not wrong.
    """
    return request is None or isinstance(request, type)


class Nap(Protocol):
    """One sleep of one task: awaited once, ended by `wake` or by cancellation."""

    def __await__(self) -> Generator[Any, Any, None]: ...

    def wake(self) -> bool:
        """End it, and say whether this did."""
        ...

    @property
    def woken(self) -> bool: ...


class _AsyncioNap:
    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, Any, None]:
        return self._future.__await__()

    def wake(self) -> bool:
        if self._future.done():
            return False
        self._future.set_result(None)
        return True

    @property
    def woken(self) -> bool:
        return self._future.done() and not self._future.cancelled()


class _TrioNap:
    __slots__ = ("_lowlevel", "_task", "woken")

    def __init__(self, lowlevel: Any) -> None:
        self._lowlevel = lowlevel
        self._task: Any = None  # while it sleeps
        self.woken = False

    def __await__(self) -> Generator[Any, Any, None]:
        self._task = self._lowlevel.current_task()
        yield from self._lowlevel.wait_task_rescheduled(self._abort).__await__()

    def _abort(self, _: Any) -> Any:
        if self._task is None:  # woken by itself, before trio had suspended it
            return self._lowlevel.Abort.FAILED
        self._task = None
        return self._lowlevel.Abort.SUCCEEDED

    def wake(self) -> bool:
        if self._task is None:
            return False
        self._lowlevel.reschedule(self._task)
        self._task, self.woken = None, True
        return True


def naps() -> Callable[[], Nap]:
    """Return what makes a `Nap` in the running loop.

    An event does the same at three times the price: it looks anew for the loop each time, and
    can be waited for by many.
    """
    trio = _trio()
    if trio is not None:
        lowlevel = trio.lowlevel
        return lambda: _TrioNap(lowlevel)
    create_future = asyncio.get_running_loop().create_future
    return lambda: _AsyncioNap(create_future())


def uncancel() -> None:
    """Take back what cancellation is asked of the running task, which has been dealt with.

    That is for asyncio's own ``Task.cancel()``, which counts: what a task hosts next, such as a
    task group, would take what is left for a cancellation of its own. Trio has no such thing.
    """
    if _trio() is None:
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()


def cancelling() -> Callable[[], int]:
    """Return what tells how often the running task is asked to cancel, and has not been yet.

    On trio always 0, as a task is cancelled by its scopes alone.
    """
    if _trio() is not None:
        return int  # which gives 0, at half the price of a function that is written in Python
    task = asyncio.current_task()
    return int if task is None else task.cancelling


def start(
    main: Main, cancel: Callable[[], None], over: Callable[[], object], name: str
) -> Callable[[], None]:
    """Start `main` in the background, in the caller's context variables.

    `over` is called when the task has ended, also if asyncio cancels it before its first step.

    Returns:
        What calls `cancel` in the loop. It may be called from any thread, and when
        the loop is closed already: then it does nothing, as the run is over.
    """
    trio = _trio()
    if trio is not None:
        trio.lowlevel.spawn_system_task(main, name=name, context=copy_context())
    else:
        loop = asyncio.get_running_loop()
        task = loop.create_task(main(), name=name)
        running = _running.get(None)
        if running is None:
            _running.set(running := set())
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: over())
    return partial(soon(), cancel)
