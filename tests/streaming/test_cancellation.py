"""Cancelled at every turn of the loop that a run takes, and nothing is left of it.

A run is repeated, cancelled one turn later each time, until it comes to its end by itself: so
every await in it is cancelled once, and on shuffled schedules in many neighbourhoods.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from test_structure import Watched

from _helpers import in_both_modes
from conveyor import Pipeline, batch_task, resource, single_task

MOST_TURNS = 2000


class Small(Watched):
    """As its parent, with everything that an engine can wait for, and short."""

    async def source(self) -> AsyncIterator[int]:
        self.enter()
        try:
            for item in range(6):
                yield item
                await anyio.sleep(item % 2)
        finally:
            await self.leave()

    def pipeline(self) -> Pipeline[int, int]:
        attempts: dict[int, int] = {}
        watched = self

        class Connection:
            async def __aenter__(self) -> str:
                await checkpoint()
                watched.enter()
                return "connection"

            async def __aexit__(self, *exc_info: object) -> None:
                await checkpoint()
                await watched.leave()

        @single_task(concurrency_limit=2, retry_attempts=2, retry_delay=1, timeout=50)
        async def flaky(item: int, connection: str) -> list[int]:
            self.enter()
            try:
                await anyio.sleep(item % 3)
                attempts[item] = attempts.get(item, 0) + 1
                if item % 2 and attempts[item] == 1:
                    raise ValueError
                return [item, item]
            finally:
                await self.leave()

        @single_task(concurrency_limit=2)
        async def generator(item: int) -> AsyncIterator[int]:
            self.enter()
            try:
                yield item
                await checkpoint()
                yield item
            finally:
                await self.leave()

        async def decide(error: Exception, item: Any, name: str, attempt: int) -> tuple[bool, Any]:
            await checkpoint()
            return False, None

        @batch_task(max_size=3, max_wait=1, on_error="skip_item", error_handler=decide)
        async def batch(items: list[int]) -> list[int]:
            await checkpoint()
            if 4 in items:
                raise ValueError
            return items

        pipeline = flaky.with_inputs(connection=resource(Connection)) | generator | batch
        return pipeline.with_context(buffer_size=2, max_parallelism=3)

    async def iterate(self, mode: str) -> None:
        async for _ in self.stream(mode):
            await checkpoint()

    async def block(self, mode: str) -> None:
        async with self.stream(mode) as stream:
            async for _ in stream:
                await checkpoint()

    async def collect(self, mode: str) -> None:
        results = await self.stream(mode).collect()
        assert sorted(results) == sorted([0, 1, 2, 3, 5] * 4)

    async def aclose(self, mode: str) -> None:
        stream = self.stream(mode)
        await anext(stream)
        await stream.aclose()

    async def stop(self, mode: str) -> None:
        stream = self.stream(mode)
        async for _ in stream:
            stream.stop()

    async def stop_in_time(self, mode: str) -> None:
        stream = self.stream(mode)
        async for _ in stream:
            stream.stop(1)

    async def abort(self, mode: str) -> None:
        stream = self.stream(mode)
        with suppress(KeyError):
            async for _ in stream:
                stream.abort(KeyError())


WAYS = ["iterate", "block", "collect", "aclose", "stop", "stop_in_time", "abort"]
ways = pytest.mark.parametrize("way", WAYS)


async def all_left(watched: Watched, turns: int = 100) -> None:
    for _ in range(turns):
        if not watched.open:
            return
        await checkpoint()
    raise AssertionError(f"{watched.open} of {watched.opened} still open")


async def cancelled_after(turns: int, run: Callable[[], Awaitable[None]]) -> bool:
    """Run it, cancel it after so many turns, and say whether it had come to its end before."""
    ended = False

    async def to_the_end() -> None:
        nonlocal ended
        await run()
        ended = True

    async with anyio.create_task_group() as group:
        group.start_soon(to_the_end)
        for _ in range(turns):
            await checkpoint()
        group.cancel_scope.cancel()
    return ended


@ways
@in_both_modes
@pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")
async def test_cancelled_at_every_turn(
    way: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # skipping is what the stages do here
    for turns in range(MOST_TURNS):
        watched = Small()
        ended = await cancelled_after(turns, lambda: getattr(watched, way)(mode))  # noqa: B023
        if way in ("block", "collect"):
            assert watched.open == 0
        await all_left(watched)
        if ended:
            return
        if turns > 60:
            break
    # What needs virtual time is reached by cancelling at points in time.
    for step in range(400):
        watched = Small()
        ended = False
        with anyio.move_on_after(step / 8):
            await getattr(watched, way)(mode)
            ended = True
        await all_left(watched)
        if ended:
            return
    raise AssertionError("it never came to its end")


@given(
    way=st.sampled_from(WAYS),
    mode=st.sampled_from(["ordered", "as_completed"]),
    time=st.integers(0, 10),
    turns=st.integers(0, 40),
    random=st.random_module(),
)
@settings(max_examples=60)
@pytest.mark.backends("asyncio-shuffled", "trio")
async def test_cancelled_at_any_moment_of_any_schedule(
    way: str, mode: str, time: int, turns: int, random: object
) -> None:
    logging.getLogger("conveyor").setLevel(logging.CRITICAL)
    try:
        watched = Small()
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(watched, way), mode)
            await anyio.sleep(time)
            for _ in range(turns):
                await checkpoint()
            group.cancel_scope.cancel()
        if way in ("block", "collect"):
            assert watched.open == 0
        await all_left(watched)
    finally:
        logging.getLogger("conveyor").setLevel(logging.NOTSET)


@ways
@pytest.mark.backends("asyncio", "asyncio-shuffled")
@pytest.mark.virtual_time
async def test_an_asyncio_task_cancelled_at_every_moment(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    for moment in range(120):
        watched = Small()
        task = asyncio.create_task(getattr(watched, way)("ordered"))
        await asyncio.sleep(moment // 6)
        for _ in range(moment % 6):
            await checkpoint()
        ended = not task.cancel()
        if ended:
            await task
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
        await all_left(watched)
        if ended:
            return
    raise AssertionError("it never came to its end")


@in_both_modes
@pytest.mark.virtual_time
async def test_clean_up_is_shielded_and_bounded(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten seconds for leaving the side inputs, then it is cancelled, and that is logged."""
    left: list[str] = []

    class Hanging:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *exc_info: object) -> None:
            try:
                await anyio.sleep(1)
                left.append("within its time")
                await anyio.sleep_forever()
            finally:
                left.append("cancelled")

    @single_task
    async def work(item: int, hanging: None) -> int:
        return item

    begin = anyio.current_time()
    async with work.with_inputs(resource(Hanging)).with_execution_mode(mode)([1]) as stream:
        await anext(stream)
    assert anyio.current_time() == begin + 10
    assert left == ["within its time", "cancelled"]
    assert [record.getMessage() for record in caplog.records] == [
        "leaving the side inputs took over 10 seconds to clean up: cancelled"
    ]


@in_both_modes
@pytest.mark.virtual_time
async def test_closing_the_input_is_shielded_and_bounded(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    reached = False

    async def source() -> AsyncIterator[int]:
        nonlocal reached
        try:
            while True:
                yield 1
        finally:
            await anyio.sleep(2)
            reached = True
            await anyio.sleep_forever()

    @single_task
    async def work(item: int) -> int:
        return item

    begin = anyio.current_time()
    async with work.with_execution_mode(mode)(source()) as stream:
        await anext(stream)
    assert reached
    assert anyio.current_time() == begin + 10
    assert "the input took over 10 seconds" in caplog.text


@in_both_modes
async def test_a_function_that_swallows_its_cancellation_does_not_stop_the_end(mode: str) -> None:
    """It may do that on its own account; its result is given up."""

    @single_task
    async def work(item: int) -> int:
        if item == 0:
            for _ in range(5):
                await checkpoint()
            raise ValueError
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: ASYNC103 - swallowing it is what is tested
            await cancel_shielded_checkpoint()
        return item

    with pytest.raises(ValueError, match="item 0"):
        await work.with_execution_mode(mode)(range(5)).collect()


async def test_an_error_while_being_cancelled_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @single_task
    async def work(item: int) -> int:
        if item == 0:
            for _ in range(5):
                await checkpoint()
            raise ValueError("the first")
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("on the way out")

    caplog.set_level(logging.DEBUG, "conveyor")
    with pytest.raises(ValueError, match="the first"):
        await work(range(3)).collect()
    lost = [record for record in caplog.records if "nobody receives" in record.getMessage()]
    assert len(lost) == 2
    assert {record.levelno for record in lost} == {logging.DEBUG}
