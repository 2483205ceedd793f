"""Pipelines in code without an event loop."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing

from conveyor import ExecutionMode, batch_task, resource, single_task
from test_executors import Blocked

on_both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])
both_ways = pytest.mark.parametrize("way", ["run", "iterate"])

variable: ContextVar[str] = ContextVar("variable", default="unset")


@single_task
async def double(item: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * item


@single_task
def inverted(item: int) -> float:
    return 1 / item


def all_of(way: str, pipeline: Any, data: Any, **options: Any) -> list[Any]:
    return list(getattr(pipeline, way)(data, **options))


def threads() -> set[threading.Thread]:
    """Return those that are not kept for the next call by anyio and trio."""
    kept = "Trio thread", "AnyIO worker"
    return {thread for thread in threading.enumerate() if not thread.name.startswith(kept)}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threads()
    yield
    assert threads() <= before


@on_both_backends
@both_ways
def test_all_results_come_in_order(way: str, backend: str) -> None:
    assert all_of(way, double | double, range(1000), backend=backend) == [
        4 * item for item in range(1000)
    ]


@both_ways
def test_the_backend_is_asyncio_unless_it_is_named(way: str) -> None:
    @single_task
    def which(item: object) -> str:
        return "trio" if trio.lowlevel.in_trio_run() else "asyncio"

    assert all_of(way, which, [1]) == ["asyncio"]
    assert all_of(way, which, [1], backend="trio") == ["trio"]


@both_ways
@on_both_backends
@pytest.mark.parametrize("mode", ["as_completed", ExecutionMode.AS_COMPLETED])
def test_the_mode_may_be_another_than_the_pipelines(mode: str, way: str, backend: str) -> None:
    def make() -> Any:
        second = anyio.Event()

        @single_task
        async def crossed(item: int) -> int:
            if item == 0:
                await second.wait()
            else:
                second.set()
            return item

        return crossed

    assert all_of(way, late(make), [0, 1], backend=backend, mode=mode) == [1, 0]
    hasty = late(make).with_execution_mode("as_completed")
    assert all_of(way, hasty, [0, 1], backend=backend) == [1, 0]
    assert all_of(way, hasty, [0, 1], backend=backend, mode="ordered") == [0, 1]


def late(make: Callable[[], Any]) -> Any:
    """Make a task whose function is made in the event loop, for what needs one to be made."""

    @contextlib.contextmanager
    def made() -> Iterator[Any]:
        yield make().func

    @single_task
    async def call(item: Any, func: Any) -> Any:
        return await func(item)

    return call.with_inputs(resource(made))


@both_ways
@pytest.mark.parametrize(
    ("options", "error", "right"),
    [
        ({"backend": "curio"}, ValueError, "'asyncio' or 'trio', not 'curio'"),
        ({"backend": None}, TypeError, "'asyncio' or 'trio', not None"),
        ({"mode": "fast"}, ValueError, "'ordered' or 'as_completed', not 'fast'"),
        ({"mode": 5}, TypeError, "'ordered' or 'as_completed', not 5"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    options: dict[str, Any], error: type[Exception], right: str, way: str
) -> None:
    with pytest.raises(error, match=right):
        getattr(double, way)([1], **options)
    with pytest.raises(TypeError, match="a pipeline reads an iterable"):
        getattr(double, way)(5)


@pytest.mark.parametrize(("way", "instead"), [("run", "collect"), ("iterate", "async for")])
async def test_neither_may_stop_a_loop_that_runs(way: str, instead: str) -> None:
    with pytest.raises(RuntimeError, match=instead) as caught:
        getattr(double, way)([1])
    assert f"{way}() waits" in str(caught.value)


@pytest.mark.real_time
async def test_another_thread_than_the_loops_may_wait() -> None:
    assert await anyio.to_thread.run_sync(lambda: double.run([1, 2])) == [2, 4]
    assert await anyio.to_thread.run_sync(lambda: list(double.iterate([1, 2]))) == [2, 4]


@on_both_backends
@both_ways
def test_an_error_comes_as_it_is_after_what_was_before_it(way: str, backend: str) -> None:
    results: list[float] = []
    with pytest.raises(ZeroDivisionError) as caught:
        for result in getattr(inverted, way)([1, 2, 0, 4], backend=backend):
            results.append(result)
    assert caught.value.__notes__ == ["stage 'inverted' (1 of 1), item 2"]
    assert results == ([1, 0.5] if way == "iterate" else [])


@on_both_backends
@both_ways
def test_the_callers_context_variables_are_visible(way: str, backend: str) -> None:
    @single_task
    def read(item: object) -> str:
        return variable.get()

    token = variable.set("of the caller")
    try:
        assert all_of(way, read, [1], backend=backend) == ["of the caller"]
    finally:
        variable.reset(token)


@on_both_backends
@both_ways
def test_options_go_to_the_backend(way: str, backend: str) -> None:
    if backend == "asyncio":
        uvloop = pytest.importorskip("uvloop")

        @single_task
        async def loop(item: object) -> bool:
            import asyncio

            return isinstance(asyncio.get_running_loop(), uvloop.Loop)

        assert all_of(way, loop, [1], backend_options={"use_uvloop": True}) == [True]
        return

    @single_task
    async def clock(item: object) -> float:
        await anyio.sleep(1000)
        return trio.current_time()

    options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    assert all_of(way, clock, [1], backend="trio", backend_options=options) == [1000]


class Watched:
    """An input and a task that tell how they ended."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.stuck = threading.Semaphore(0)

    def wait(self) -> None:
        """Wait until both tasks are stuck."""
        for _ in range(2):
            assert self.stuck.acquire(timeout=20)

    async def source(self) -> AsyncIterator[int]:
        try:
            for item in range(1000):
                yield item
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            self.left.append("input")

    def pipeline(self) -> Any:
        @single_task(concurrency_limit=2)
        async def stuck(item: int) -> int:
            if item < 3:
                return item
            try:
                self.stuck.release()
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)
                self.left.append("task")
            return item

        return stuck


@on_both_backends
@pytest.mark.parametrize("how", ["break", "error", "close", "closing"])
def test_all_is_over_when_the_loop_is_left(how: str, backend: str) -> None:
    watched = Watched()
    results: list[int] = []

    def leave() -> None:
        if how == "close":
            iterator = watched.pipeline().iterate(watched.source(), backend=backend)
            results.append(next(iterator))
            results.append(next(iterator))
            watched.wait()
            iterator.close()
            assert list(iterator) == []
        elif how == "closing":
            kept = watched.pipeline().iterate(watched.source(), backend=backend)
            with contextlib.closing(kept):
                for result in kept:
                    results.append(result)
                    if result == 1:
                        watched.wait()
                        break
        elif how == "break":
            for result in watched.pipeline().iterate(watched.source(), backend=backend):
                results.append(result)
                if result == 1:
                    watched.wait()
                    break
        else:
            for result in watched.pipeline().iterate(watched.source(), backend=backend):
                results.append(result)
                if result == 1:
                    watched.wait()
                    raise KeyError("mine")

    if how == "error":
        with pytest.raises(KeyError) as caught:
            leave()
        assert not isinstance(caught.value.__context__, Exception)
        del caught
    else:
        leave()
    assert results == [0, 1]
    assert sorted(watched.left) == ["input", "task", "task"]


@on_both_backends
def test_nothing_is_begun_before_the_first_result_is_asked_for(backend: str) -> None:
    read: list[int] = []
    before = threads()
    iterator = double.iterate((read.append(item) for item in range(3)), backend=backend)
    assert read == []
    assert threads() == before
    iterator.close()
    assert list(iterator) == []
    assert read == []


@on_both_backends
def test_results_come_as_soon_as_they_are_there(backend: str) -> None:
    gates = [threading.Event() for _ in range(3)]

    @single_task(executor="thread")
    def gated(item: int) -> int:
        assert gates[item].wait(20)
        return item

    results = []
    gates[0].set()
    for item in gated.iterate(range(3), backend=backend):
        results.append(item)
        if item < 2:
            gates[item + 1].set()  # the next one is not begun to be waited for before
    assert results == [0, 1, 2]


@on_both_backends
def test_the_run_goes_on_while_the_caller_is_busy_and_only_so_far(backend: str) -> None:
    read: list[int] = []
    full = threading.Event()

    def source() -> Iterator[int]:
        for item in range(10_000):
            read.append(item)
            if item == 20:
                full.set()
            yield item

    task = double.with_options(concurrency_limit=5).with_context(buffer_size=10)
    with contextlib.closing(task.iterate(source(), backend=backend)) as results:
        assert next(results) == 0
        assert full.wait(20)
        assert len(read) <= 50


@on_both_backends
def test_batches_and_side_inputs_work_as_ever(backend: str) -> None:
    entered: list[str] = []

    @contextlib.asynccontextmanager
    async def connection() -> AsyncIterator[int]:
        entered.append("in")
        yield 100
        await anyio.lowlevel.checkpoint()
        entered.append("out")

    @batch_task(max_size=2)
    async def add(items: list[int], more: int) -> list[int]:
        return [item + more for item in items]

    task = add.with_inputs(resource(connection))
    assert list(task.iterate([1, 2, 3], backend=backend)) == [101, 102, 103]
    assert task.run([1], backend=backend) == [101]
    assert entered == ["in", "out"] * 2


@on_both_backends
def test_runs_in_one_process_follow_each_other_and_nest(backend: str) -> None:
    pairs = [
        (outer, inner)
        for outer in double.iterate([1, 2], backend=backend)
        for inner in double.iterate([3, 4], backend="trio")
    ]
    assert pairs == [(2, 6), (2, 8), (4, 6), (4, 8)]


@both_ways
def test_a_call_in_a_thread_is_waited_for(way: str) -> None:
    blocked = Blocked()
    task = single_task(executor="thread")(blocked)
    threading.Timer(0.02, blocked.gate.set).start()
    assert all_of(way, task, [1, 2]) == [1, 2]


INTERRUPTED = """
import os, signal, threading
import anyio
from conveyor import single_task

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

@single_task
async def stuck(item):
    try:
        if item:
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
            await anyio.sleep_forever()
        return item
    finally:
        print("left", item)

try:
    for result in stuck.{way}([0, 1], backend={backend!r}):
        print("got", result)
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), "thread")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@on_both_backends
@both_ways
def test_ctrl_c_ends_the_run(way: str, backend: str) -> None:
    script = INTERRUPTED.format(way=way, backend=backend)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    got = ["left 0", "got 0", "left 1"] if way == "iterate" else ["left 0", "left 1"]
    lines = done.stdout.splitlines()
    assert sorted(lines[:-1]) == sorted(got)
    assert lines[-1] == "interrupted 1 thread"
