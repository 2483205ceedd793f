"""Waiting for a thread: until it has returned, whatever happens to the task that waits."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest
from anyio import CapacityLimiter

from conveyor._engine.offload.threads import in_thread

asyncio_only = pytest.mark.backends("asyncio-real", "uvloop")


class Call:
    """A call that lasts until it may return."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.gate = threading.Event()
        self.ended = False
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        self.gate.wait()
        self.ended = True
        return "done"


@asyncio_only
async def test_it_is_waited_for_though_asyncio_cancels_the_task() -> None:
    call = Call()
    task = asyncio.create_task(in_thread(CapacityLimiter(1), call))
    await call.begun.wait()
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    call.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.ended


@asyncio_only
async def test_a_call_that_may_be_brought_to_an_end_is() -> None:
    call = Call()
    task = asyncio.create_task(in_thread(CapacityLimiter(1), call, abandon=call.gate.set))
    await call.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.ended


@asyncio_only
async def test_a_call_that_has_not_begun_is_not_made() -> None:
    call, limiter = Call(), CapacityLimiter(1)
    async with limiter:
        task = asyncio.create_task(in_thread(limiter, call))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not call.begun.is_set()


@pytest.mark.real_time
async def test_what_it_returns_comes_back() -> None:
    assert await in_thread(CapacityLimiter(1), str.upper, "a") == "A"
