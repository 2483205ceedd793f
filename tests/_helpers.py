"""Sources that keep to a timetable, and what was there when."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from conveyor import Stream, single_task

in_both_modes = pytest.mark.parametrize("mode", ["ordered", "as_completed"])
threads_at_exit = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="this CPython starts no thread once it exits: python/cpython#113964",
)


@single_task
def passing(item: Any) -> Any:
    """Give what it gets."""
    return item


async def all_blocked(turns: int = 100) -> None:
    """Let the loop turn until whatever can go on without time passing has gone on.

    `anyio.wait_all_tasks_blocked` sleeps on asyncio, for real on uvloop.
    """
    for _ in range(turns):
        await checkpoint()


async def timetable(*times: float, end: float | None = None) -> AsyncIterator[int]:
    """Give 0, 1, 2 and so on at these times, and end at `end`."""
    for number, time in enumerate(times):
        await anyio.sleep_until(time)
        yield number
    if end is not None:
        await anyio.sleep_until(end)


async def stalling(*items: Any) -> AsyncIterator[Any]:
    """Give `items`, then neither give more nor end."""
    for item in items:
        yield item
    await anyio.sleep_forever()


async def timed(stream: AsyncIterable[Any]) -> list[tuple[float, Any]]:
    """Return the results, each with the time at which it was there."""
    return [(anyio.current_time(), result) async for result in stream]


def unread(stream: Stream[Any]) -> Stream[Any]:
    """Return a stream that is not going to be read: dropped, it would warn."""
    stream.stop()
    return stream


async def results_and_error(stream: Stream[Any]) -> tuple[list[Any], BaseException]:
    """Return the results before the error in which the stream has to end, and the error."""
    results: list[Any] = []

    async def read() -> None:
        async for result in stream:
            results.append(result)

    return results, await error_of(read())


async def error_of(awaitable: Awaitable[Any]) -> BaseException:
    """Return the error in which `awaitable` has to end."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whichever it is
        await awaitable
    return caught.value


def troubles(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged but for how a run went, which is told at DEBUG and has no error."""
    return [
        record for record in caplog.records if record.levelno > logging.DEBUG or record.exc_info
    ]


SLOW_CALLBACK = re.compile(r"^Executing <.*> took \d+\.\d{3} seconds(\n|\Z)", re.MULTILINE)


def without_slow_callbacks(text: str) -> str:
    """Return what was logged, but for callbacks that took long.

    Of these asyncio tells in its debug mode, which a process has under `-X dev`. On a loaded
    machine any callback takes long.
    """
    return SLOW_CALLBACK.sub("", text)


class Flawed:
    """A function that raises the error that is given for an item, and returns other items."""

    def __init__(self, errors: Mapping[Any, BaseException]) -> None:
        self.errors = errors
        self.calls: list[Any] = []

    async def __call__(self, item: Any) -> Any:
        self.calls.append(item)
        if item in self.errors:
            raise self.errors[item]
        return item
