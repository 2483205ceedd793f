"""The event loop under a run: the one module that knows which one it is.

A plainly iterated stream has no block that could own its run, so the run lives in a
background task of the loop: an asyncio task, or a trio system task. It is tied to the
stream object, which ends it in every way in which a stream can end. No exception of
the run ever leaves that task: they all go to the consumer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from anyio.lowlevel import RunVar

Main = Callable[[], Coroutine[Any, Any, None]]

# asyncio itself holds its tasks weakly. A run whose tasks wait for each other alone would be
# garbage together with its stream, and be destroyed in the middle instead of cleaned up.
_running: RunVar[set[asyncio.Task[None]]] = RunVar("conveyor_running")


def _trio() -> Any | None:
    """Return trio if the caller runs in it. Who runs in trio has imported it."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_task() else None


def require_loop() -> None:
    """Refuse to go on where no event loop runs.

    Raises:
        RuntimeError: If neither asyncio nor trio runs here.
    """
    if _trio() is None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "a stream runs in an event loop, and none is running here: "
                "iterate it in an async function started with anyio.run() or asyncio.run()"
            ) from None


def protect(*functions: Callable[..., Any]) -> None:
    """Keep trio from raising `KeyboardInterrupt` in the middle of these functions' tasks.

    It would come out wrapped in groups, or not at all. So it is the main task that gets
    it, as on asyncio. What the functions call is protected with them.
    """
    trio = _trio()
    if trio is not None:
        for function in functions:
            trio.lowlevel.enable_ki_protection(function)


def clock() -> Callable[[], float]:
    """Return the clock of the running loop, in seconds."""
    trio = _trio()
    return trio.current_time if trio is not None else asyncio.get_running_loop().time


def start(main: Main, cancel: Callable[[], None], over: Callable[[], None]) -> Callable[[], None]:
    """Start `main` in the background, in the caller's context variables.

    `over` is called when the task has ended, also if asyncio cancels it before its first step.

    Returns:
        What calls `cancel` in the loop. It may be called from any thread, and when
        the loop is closed already: then it does nothing, as the run is over.
    """
    trio = _trio()
    if trio is not None:
        trio.lowlevel.spawn_system_task(main, name="conveyor run", context=copy_context())
        schedule, closed = trio.lowlevel.current_trio_token().run_sync_soon, trio.RunFinishedError
    else:
        loop = asyncio.get_running_loop()
        task = loop.create_task(main(), name="conveyor run")
        running = _running.get(None)
        if running is None:
            _running.set(running := set())
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: over())
        schedule, closed = loop.call_soon_threadsafe, RuntimeError

    def cancel_soon() -> None:
        with suppress(closed):
            schedule(cancel)

    return cancel_soon
