"""However a stream ends, nothing of it runs on, every `finally` has run, and nobody complains.

The check for tasks left behind, warnings and complaints of the loop is around every test: see
conftest.py. What is asserted here is that clean-up was over when it had to be.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from _helpers import in_both_modes, passing, stalling, troubles, without_slow_callbacks
from conveyor import Pipeline, Stream, StreamConsumedError, batch_task, resource, single_task


class Watched:
    """A pipeline in which everything that can be left open knows whether it is."""

    def __init__(self) -> None:
        self.open = 0
        self.opened = 0

    def enter(self) -> None:
        self.open += 1
        self.opened += 1

    async def leave(self) -> None:
        await cancel_shielded_checkpoint()  # a clean-up that takes its time
        self.open -= 1

    async def source(self) -> AsyncIterator[int]:
        self.enter()
        try:
            for item in range(1000):
                await checkpoint()
                yield item
        finally:
            await self.leave()

    def pipeline(self) -> Pipeline[int, int]:
        @asynccontextmanager
        async def connect() -> AsyncIterator[str]:
            self.enter()
            try:
                yield "connection"
            finally:
                await checkpoint()  # leaving a side input is shielded
                await self.leave()

        @single_task
        async def work(item: int, connection: str) -> int:
            self.enter()
            try:
                await checkpoint()
                return item
            finally:
                await self.leave()

        @single_task
        async def generator(item: int) -> AsyncIterator[int]:
            self.enter()
            try:
                yield item
                await checkpoint()
                yield item
            finally:
                await self.leave()

        @batch_task(max_size=3, max_wait=1)
        async def batch(items: list[int]) -> list[int]:
            self.enter()
            try:
                await checkpoint()
                return items
            finally:
                await self.leave()

        return work.with_inputs(resource(connect)) | generator | batch | passing

    def stream(self, mode: str) -> Stream[int]:
        return self.pipeline().with_execution_mode(mode)(self.source())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await checkpoint()
    raise AssertionError("it did not come true")


async def nothing_open(watched: Watched) -> None:
    assert watched.opened > 2
    await until(lambda: watched.open == 0)


# Plain iteration


@in_both_modes
@pytest.mark.parametrize("taken", [1, 2, 7])
async def test_break(mode: str, taken: int) -> None:
    watched = Watched()
    results = []
    async for item in watched.stream(mode):
        results.append(item)
        if len(results) == taken:
            break
    await nothing_open(watched)


@in_both_modes
async def test_an_exception_in_the_body(mode: str) -> None:
    watched = Watched()
    with pytest.raises(KeyError, match="mine"):
        async for _ in watched.stream(mode):
            raise KeyError("mine")
    await nothing_open(watched)


@in_both_modes
async def test_a_time_out_in_the_body(mode: str) -> None:
    watched = Watched()
    with anyio.CancelScope() as scope:
        async for _ in watched.stream(mode):
            scope.cancel()
            await checkpoint()
            raise AssertionError("not reached")
    assert scope.cancelled_caught
    await nothing_open(watched)


@in_both_modes
@pytest.mark.virtual_time
async def test_a_time_out_while_waiting_for_a_result_waits_for_the_end(mode: str) -> None:
    watched = Watched()

    async def source() -> AsyncIterator[int]:
        watched.enter()
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            await watched.leave()

    begin = anyio.current_time()
    with anyio.move_on_after(10) as scope:
        async for _ in watched.pipeline().with_execution_mode(mode)(source()):
            pass
    assert scope.cancelled_caught
    assert watched.open == 0
    assert anyio.current_time() == begin + 13


@in_both_modes
async def test_aclose_waits_for_the_end(mode: str) -> None:
    watched = Watched()
    stream = watched.stream(mode)
    await anext(stream)
    await stream.aclose()
    assert watched.open == 0
    await stream.aclose()
    with pytest.raises(StreamConsumedError):
        await anext(stream)


async def test_aclose_before_the_start_starts_nothing() -> None:
    watched = Watched()
    stream = watched.stream("ordered")
    await stream.aclose()
    assert watched.opened == 0
    with pytest.raises(StreamConsumedError):
        aiter(stream)


@in_both_modes
async def test_aclose_from_another_task_ends_the_waiting_reader_loudly(mode: str) -> None:
    stream = passing.with_execution_mode(mode)(stalling(1))
    assert await anext(stream) == 1
    async with anyio.create_task_group() as group:

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await anext(stream)

        group.start_soon(read)
        for _ in range(5):
            await checkpoint()
        await stream.aclose()


@in_both_modes
async def test_a_dropped_stream(mode: str) -> None:
    watched = Watched()
    stream = watched.stream(mode)
    await anext(stream)
    del stream
    await nothing_open(watched)


@in_both_modes
async def test_a_dropped_stream_that_only_the_garbage_collector_finds(mode: str) -> None:
    watched = Watched()
    stream = watched.stream(mode)
    await anext(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    await nothing_open(watched)


@in_both_modes
async def test_a_dropped_stream_that_another_thread_collects(mode: str) -> None:
    watched = Watched()
    streams = [watched.stream(mode)]
    await anext(streams[0])
    # The loop waits for the thread, so the thread has the last reference for certain.
    thread = threading.Thread(target=streams.pop)
    thread.start()
    thread.join()
    assert streams == []
    await nothing_open(watched)


async def test_a_stream_dropped_in_the_middle_of_a_wait_for_room_is_no_garbage() -> None:
    """Tasks that wait for each other alone are held by nothing but the run's own root."""
    closed = 0

    @single_task(concurrency_limit=2)
    async def work(item: int) -> int:
        nonlocal closed
        try:
            await never.wait()
        finally:
            closed += 1
        return item

    never = anyio.Event()
    stream = work(range(1000))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, stream)
            for _ in range(20):
                await checkpoint()
                gc.collect()
            assert stream.statistics().stages[0].running == 2
            scope.cancel()
    await until(lambda: closed == 2)


@in_both_modes
async def test_a_stream_may_be_handed_from_task_to_task(mode: str) -> None:
    stream = passing.with_execution_mode(mode)(range(6))
    results: list[int] = []

    async def read(count: int) -> None:
        for _ in range(count):
            results.append(await anext(stream))

    for _ in range(3):
        async with anyio.create_task_group() as group:  # noqa: ASYNC112 - another task is the point
            group.start_soon(read, 2)
    assert results == list(range(6))
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_two_readers_at_once_are_refused() -> None:
    stream = passing(stalling())
    async with anyio.create_task_group() as group:
        group.start_soon(anext, stream)
        await checkpoint()
        await checkpoint()
        with pytest.raises(anyio.BusyResourceError):
            await anext(stream)
        group.cancel_scope.cancel()


async def test_a_loop_that_was_left_can_be_gone_on_with() -> None:
    stream = passing(range(5))
    async for item in stream:
        if item == 1:
            break
    assert [item async for item in stream] == [2, 3, 4]


async def test_the_callers_context_variables_are_visible(anyio_backend_name: str) -> None:
    import contextvars

    variable = contextvars.ContextVar[str]("variable")
    variable.set("caller")

    @single_task
    async def work(item: int) -> str:
        seen = variable.get()
        variable.set("worker")
        await checkpoint()
        return seen

    async def source() -> AsyncIterator[str]:
        yield variable.get()

    assert await passing(source()).collect() == ["caller"]
    assert "caller" in {item async for item in work(range(3))}
    assert variable.get() == "caller"


# In a block


@in_both_modes
@pytest.mark.parametrize("taken", [0, 1, 7])
async def test_all_is_over_when_the_block_ends(mode: str, taken: int) -> None:
    watched = Watched()
    async with watched.stream(mode) as stream:
        for _ in range(taken):
            await anext(stream)
        await until(lambda: watched.opened > 3)
    assert watched.open == 0
    with pytest.raises(StreamConsumedError):
        await anext(stream)


@in_both_modes
async def test_the_blocks_own_exception_passes_as_it_is(mode: str) -> None:
    watched = Watched()
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with watched.stream(mode) as stream:
            await anext(stream)
            raise error
    assert caught.value is error
    assert watched.open == 0


@in_both_modes
async def test_the_blocks_own_exception_passes_though_the_block_was_cancelled(mode: str) -> None:
    watched = Watched()
    with pytest.raises(KeyError, match="mine"), anyio.CancelScope() as scope:
        async with watched.stream(mode) as stream:
            await anext(stream)
            try:
                scope.cancel()
                await checkpoint()
            finally:
                raise KeyError("mine")
    assert watched.open == 0


@in_both_modes
async def test_a_stages_exception_passes_the_block_as_it_is(mode: str) -> None:
    error = ValueError("of the stage")

    @single_task
    async def work(item: int) -> int:
        raise error

    with pytest.raises(ValueError, match="of the stage") as caught:
        async with work.with_execution_mode(mode)(range(3)) as stream:
            async for _ in stream:
                pass
    assert caught.value is error


@in_both_modes
async def test_a_cancelled_block(mode: str) -> None:
    watched = Watched()
    with anyio.CancelScope() as scope:
        async with watched.stream(mode) as stream:
            async for _ in stream:
                scope.cancel()
                await checkpoint()
    assert scope.cancelled_caught
    assert watched.open == 0


@in_both_modes
@pytest.mark.virtual_time
async def test_a_time_out_around_one_read_in_a_block_loses_nothing(mode: str) -> None:
    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(item)
        return item

    results = []
    async with work.with_execution_mode(mode)([2, 4, 6]) as stream:
        while True:
            with anyio.move_on_after(0.75):  # noqa: ASYNC912 - every read waits
                try:
                    results.append(await anext(stream))
                except StopAsyncIteration:
                    break
    assert results == [2, 4, 6]


async def test_a_stream_that_was_started_cannot_enter_a_block() -> None:
    stream = passing(range(3))
    await anext(stream)
    with pytest.raises(StreamConsumedError):
        await stream.__aenter__()
    with pytest.raises(StreamConsumedError):
        await stream.collect()
    await stream.aclose()


@in_both_modes
@pytest.mark.parametrize("method", ["collect", "drain"])
async def test_collect_and_drain_are_structured(mode: str, method: str) -> None:
    watched = Watched()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            stream = watched.stream(mode)
            group.start_soon(getattr(stream, method))
            await until(lambda: watched.opened > 3)
            scope.cancel()
    assert watched.open == 0
    assert await passing.with_execution_mode(mode)(range(3)).collect() == [0, 1, 2]


# Stopping


@in_both_modes
async def test_stop_delivers_what_is_inside_and_ends(mode: str) -> None:
    watched = Watched()
    read = 0

    async def source() -> AsyncIterator[int]:
        nonlocal read
        async for item in watched.source():
            read += 1
            yield item

    results = []
    stream = (passing | passing).with_execution_mode(mode)(source())
    async for item in stream:
        results.append(item)
        if item == 5:
            stream.stop()
            stream.stop()
    assert results == list(range(read))
    assert 6 <= read < 1000


@in_both_modes
async def test_stop_ends_a_source_that_waits(mode: str) -> None:
    closed = False

    async def source() -> AsyncIterator[int]:
        nonlocal closed
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            await checkpoint()
            closed = True

    stream = passing.with_execution_mode(mode)(source())
    async for _ in stream:
        stream.stop()
    assert closed


@in_both_modes
async def test_stop_does_not_lose_the_item_in_the_sources_hand(mode: str) -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for item in range(1000):
            read += 1
            yield item

    pipeline = passing.with_context(buffer_size=2, execution_mode=mode)
    async with pipeline(source()) as stream:
        first = await anext(stream)
        for _ in range(100):
            await checkpoint()
        stream.stop()
        assert [first] + [item async for item in stream] == list(range(read))


async def test_stop_before_the_start_leaves_nothing_to_run() -> None:
    watched = Watched()
    stream = watched.stream("ordered")
    stream.stop()
    assert await stream.collect() == []


# Sources belong to the run


class Closable:
    """An async iterator of its own kind."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> Closable:
        return self

    async def __anext__(self) -> int:
        await checkpoint()
        return 1

    async def aclose(self) -> None:
        await checkpoint()
        self.closed += 1


async def test_an_async_iterator_given_as_data_is_closed() -> None:
    source = Closable()
    async with passing(source) as stream:
        await anext(stream)
    assert source.closed == 1


async def test_a_generator_given_as_data_is_closed() -> None:
    closed = False

    def source() -> Iterator[int]:
        nonlocal closed
        try:
            while True:
                yield 1
        finally:
            closed = True

    async with passing(source()) as stream:
        await anext(stream)
    assert closed


async def test_a_receive_stream_and_another_stream_as_data() -> None:
    send, receive = anyio.create_memory_object_stream[int](3)
    with send:
        for item in range(3):
            send.send_nowait(item)
    inner = passing(receive)
    assert await passing(inner).collect() == [0, 1, 2]
    with pytest.raises(anyio.ClosedResourceError):
        receive.receive_nowait()
    with pytest.raises(StreamConsumedError):
        aiter(inner)


async def test_nothing_is_read_before_the_first_result_is_asked_for() -> None:
    asked = 0

    class Source:
        def __iter__(self) -> Iterator[int]:
            nonlocal asked
            asked += 1
            return iter([1])

    stream = passing(Source())
    for _ in range(5):
        await checkpoint()
    assert asked == 0
    assert stream.statistics().stages[0].received == 0
    assert await stream.collect() == [1]
    assert asked == 1


@pytest.mark.parametrize(
    "data",
    [
        [1, 2],
        (1, 2),
        range(1, 3),
        {1: "a", 2: "b"},
        iter([1, 2]),
        (n for n in (1, 2)),
        map(int, "12"),
    ],
    ids=lambda data: type(data).__name__,
)
async def test_iterables_of_every_kind(data: Any) -> None:
    if not isinstance(data, list | tuple | range | dict):
        data = list(data)  # parameters are shared by the backends
        data = iter(data)
    else:
        assert await passing(data).collect() == [1, 2]
    assert await passing(data).collect() == [1, 2] or not isinstance(data, list)


async def test_old_sequences_sets_files_and_any_items(tmp_path: Any) -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise IndexError
            return index

    assert await passing(Old()).collect() == [0, 1, 2]
    assert sorted(await passing({3, 1}).collect()) == [1, 3]
    path = tmp_path / "lines"
    path.write_text("a\nb\n")
    with path.open() as file:
        assert await passing(file).collect() == ["a\n", "b\n"]
        assert not file.closed
    seen: list[Any] = []

    @single_task
    def note(item: Any) -> None:
        seen.append(item)

    await note([None, [1, 2], (3,)]).drain()
    assert seen == [None, [1, 2], (3,)]


async def test_a_source_with_its_own_cancel_scope_is_closed_in_its_own_task() -> None:
    async def source() -> AsyncIterator[int]:
        with anyio.CancelScope():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                for item in range(1000):
                    yield item  # bad manners (PEP 789), and common  # noqa: ASYNC119 - bad manners are the point

    async for item in passing(source()):
        if item == 3:
            break


async def test_closing_takes_its_time_but_not_for_ever() -> None:
    """Shielded and bounded: measured in virtual time in `test_cancellation.py`."""
    closed = False

    async def source() -> AsyncIterator[int]:
        nonlocal closed
        try:
            while True:
                yield 1
        finally:
            for _ in range(10):
                await checkpoint()
            closed = True

    async with passing(source()) as stream:
        await anext(stream)
    assert closed


# The end of main


LEFT_OPEN = """
    import sys
    import anyio
    from conveyor import Stream, single_task  # Stream, since debug mode finds its import slow

    log = []

    @single_task
    async def work(item):
        try:
            await anyio.sleep(0.001)
            return item
        finally:
            log.append("task")

    async def source():
        try:
            for item in range(1000):
                yield item
                await anyio.sleep(0)
        finally:
            log.append("source")

    async def main():
        global stream
        stream = work(source()) if {kept} else None
        local = stream or work(source())
        await anext(local)
        if {failing}:
            raise KeyError("of main")

    try:
        options = {{"use_uvloop": True}} if {uvloop} else {{}}
        anyio.run(main, backend={backend!r}, backend_options=options)
    except BaseException as error:
        print(repr(error))
    print("task" in log, log.count("source"))
"""


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_stream_left_open_at_the_end_of_main(kept: bool, failing: bool, backend: str) -> None:
    script = textwrap.dedent(LEFT_OPEN).format(
        kept=kept,
        failing=failing,
        uvloop=backend == "uvloop",
        backend="trio" if backend == "trio" else "asyncio",
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert without_slow_callbacks(done.stderr) == ""
    expected = ["KeyError('of main')"] if failing else []
    assert done.stdout.splitlines() == [*expected, "True 1"]
    assert done.returncode == 0


# asyncio's own cancellation, which knows no scopes


@pytest.mark.backends("asyncio", "asyncio-shuffled", "uvloop")
@in_both_modes
async def test_a_cancelled_asyncio_task(mode: str) -> None:
    watched = Watched()

    async def read() -> None:
        async for _ in watched.stream(mode):
            pass

    for turns in range(0, 60, 7):
        task = asyncio.create_task(read())
        for _ in range(turns):
            await checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert watched.open == 0


@pytest.mark.backends("asyncio", "asyncio-shuffled")
@pytest.mark.virtual_time
@in_both_modes
async def test_asyncio_time_outs_in_a_block_lose_nothing(mode: str) -> None:
    @single_task
    async def work(item: int) -> int:
        await anyio.sleep(item)
        return item

    async def read(results: list[int], every: float) -> None:
        async with work.with_execution_mode(mode)(range(1, 9)) as stream:
            while True:  # noqa: ASYNC913 - every read waits
                try:
                    async with asyncio.timeout(every):
                        results.append(await anext(stream))
                except TimeoutError:
                    pass
                except StopAsyncIteration:
                    return

    for every in 0.25, 0.5, 1, 1.5:
        results: list[int] = []
        await read(results, every)
        assert results == list(range(1, 9))


async def test_an_abandoned_read_frees_the_stream() -> None:
    """A coroutine that is closed in the middle cannot wait: the run ends without it."""
    watched = Watched()

    async def source() -> AsyncIterator[int]:
        yield 1
        await anyio.sleep_forever()

    stream = watched.pipeline().with_execution_mode("as_completed")(source())
    reading: Any = stream.__anext__()
    reading.send(None)
    reading.close()
    await until(lambda: watched.opened > 2)
    assert watched.open > 0
    del stream, reading
    await nothing_open(watched)


async def test_a_failure_before_a_later_stage_has_begun_is_the_only_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError()

    @single_task
    def fail(item: int) -> int:
        raise error

    pipeline = (fail | passing | passing).with_execution_mode("as_completed")
    with caplog.at_level(logging.DEBUG, "conveyor"):
        for _ in range(20):  # trio shuffles which stage begins first
            with pytest.raises(ValueError) as caught:  # noqa: PT011 - it is compared
                await pipeline([1]).drain()
            assert caught.value is error
    assert troubles(caplog) == []
