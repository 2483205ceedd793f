"""Nothing of an item outlives it: not in the engine's frames, nor in what a user keeps of a run.

All of it with the garbage collector off, so that a reference cycle is found out.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from _helpers import all_blocked, in_both_modes
from conveyor import BatchError, Failure, Instrument, RunInfo, batch_task, single_task


@pytest.fixture(autouse=True)
def without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    logger = logging.getLogger("conveyor")
    logger.disabled = True  # pytest keeps what is logged
    try:
        yield
    finally:
        logger.disabled = False
        gc.enable()


class Blob:
    """An item, or what a function makes of one."""

    def __init__(self, number: int) -> None:
        self.number = number


class Bench:
    """Makes blobs, and knows which are alive."""

    def __init__(self) -> None:
        self._alive: weakref.WeakSet[Blob] = weakref.WeakSet()
        self.most = 0

    def make(self, number: int) -> Blob:
        blob = Blob(number)
        self._alive.add(blob)
        self.most = max(self.most, len(self._alive))
        return blob

    def forget(self) -> None:
        """Begin anew: a test that failed has left some in its traceback."""
        self._alive.clear()
        self.most = 0

    @property
    def numbers(self) -> list[int]:
        return sorted(blob.number for blob in self._alive)


class Bad(Exception):  # noqa: N818 - short, as it is everywhere here
    pass


bench = Bench()  # functions of tasks use it


@pytest.fixture(autouse=True)
def fresh_bench() -> None:
    bench.forget()


def fails(blob: Blob) -> bool:
    return blob.number % 3 == 1


def plain(blob: Blob) -> Blob:
    other = bench.make(100 + blob.number)
    if fails(blob):
        raise Bad(blob.number)
    return other


async def quick(blob: Blob) -> Blob:
    return plain(blob)


async def waiting(blob: Blob) -> Blob:
    await checkpoint()
    return plain(blob)


def builtin(blob: Blob) -> Any:
    return blob.__getattribute__("nothing" if fails(blob) else "number")


def generator(blob: Blob) -> Iterator[Blob]:
    yield blob
    yield plain(blob)


async def agenerator(blob: Blob) -> AsyncIterator[Blob]:
    await checkpoint()
    yield blob
    await checkpoint()
    yield plain(blob)


def batch(blobs: list[Blob]) -> list[Blob]:
    return [plain(blob) for blob in blobs]


async def waiting_batch(blobs: list[Blob]) -> list[Blob]:
    await checkpoint()
    return [plain(blob) for blob in blobs]


def naming(blobs: list[Blob]) -> list[Blob]:
    errors: dict[int, Exception] = {}
    results = []
    for place, blob in enumerate(blobs):
        try:
            results.append(plain(blob))
        except Bad as error:
            errors[place] = error
    try:
        if errors:
            raise BatchError(errors, results)
        return results
    finally:
        del errors, results  # or this function would make a reference cycle itself


async def broken_handler(error: Exception, item: Any, name: str, attempt: int) -> Any:
    await checkpoint()
    other = bench.make(200)
    raise Bad(other.number)


SINGLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (plain, {}),
    "quick": (quick, {}),
    "waiting": (waiting, {}),
    "builtin": (builtin, {}),
    "generator": (generator, {}),
    "async generator": (agenerator, {}),
    "keyed": (waiting, {"key": lambda blob: blob.number % 2}),
    "retried": (waiting, {"retry_attempts": 2, "retry_delay": 0}),
    "with a timeout": (waiting, {"timeout": 60}),
    "handled": (plain, {"error_handler": lambda *_: (True, None)}),
    "made good": (plain, {"error_handler": lambda *_: (True, "good")}),
    "badly handled": (plain, {"error_handler": broken_handler}),
    "retry_on fails": (plain, {"retry_attempts": 2, "retry_on": lambda error: error.nothing}),
}
BATCH: dict[str, tuple[Any, dict[str, Any]]] = {
    "batch": (batch, {}),
    "waiting batch": (waiting_batch, {"concurrency_limit": 2}),
    "named": (naming, {}),
    "named again": (naming, {"retry_attempts": 2, "retry_delay": 0}),
    "weight fails": (
        batch,
        {"max_weight": 9, "weight": lambda blob: blob.nothing if fails(blob) else 1},
    ),
}


def task_of(kind: str, **options: Any) -> Any:
    if kind in SINGLE:
        function, more = SINGLE[kind]
        return single_task(function, concurrency_limit=2, **more, **options)
    function, more = BATCH[kind]
    return batch_task(max_size=2, **more, **options)(function)


every_kind = pytest.mark.parametrize("kind", [*SINGLE, *BATCH])


def blobs(count: int) -> Iterator[Blob]:
    return (bench.make(number) for number in range(count))


def list_of(count: int) -> list[Blob]:
    return [*blobs(count)]


@in_both_modes
@every_kind
@pytest.mark.parametrize("policy", ["skip_item", "emit_failure"])
async def test_failed_items_are_freed_as_good_ones_are(kind: str, mode: str, policy: str) -> None:
    """There are never more of them than the links and the stage can hold."""
    task = task_of(kind, on_error=policy)
    pipeline = task.with_context(execution_mode=mode, buffer_size=2)
    async for result in pipeline(blobs(300)):
        del result
    assert bench.numbers == []
    assert bench.most < 60


class Watching(Instrument):
    """Keeps the run that it is told of, as any instrument may."""


@in_both_modes
@every_kind
@pytest.mark.parametrize("source", [blobs, list_of], ids=["generator", "list"])
@pytest.mark.parametrize("ending", ["well", "break", "closed", "block", "abort", "stop"])
async def test_nothing_is_left_of_the_items_in_what_is_kept_of_a_run(
    kind: str, mode: str, source: Callable[[int], Any], ending: str
) -> None:
    kept: list[Any] = []

    class Keeping(Watching):
        def __init__(self, run: RunInfo) -> None:
            super().__init__(run)
            kept.append(self)

    task = task_of(kind, on_error="skip_item")
    context: dict[str, Any] = {"execution_mode": mode, "buffer_size": 2}
    if ending == "closed":
        context["instruments"] = [Keeping]
    pipeline = (task | single_task(lambda item: item)).with_context(**context)
    stream = pipeline(source(30))
    if ending == "well":
        await stream.drain()
    elif ending == "block":
        async with stream:
            await anext(stream)
    elif ending == "break":
        async for _ in stream:
            break
        del _
        await stream.aclose()
    elif ending == "closed":
        await anext(stream)
        await stream.aclose()
    elif ending == "abort":
        await anext(stream)
        stream.abort(error := KeyError("enough"))
        with pytest.raises(KeyError):
            await anext(stream)
        kept.append(error)
    else:
        await anext(stream)
        stream.stop()
        async for _ in stream:
            del _
    kept += [stream, stream.statistics(), pipeline]
    await all_blocked()
    assert bench.numbers == []


@in_both_modes
@every_kind
async def test_an_error_that_is_kept_keeps_its_own_items_alone(kind: str, mode: str) -> None:
    """Those that its function had in hand are in its traceback, as after any call."""
    if kind in ("handled", "made good"):
        pytest.skip("no error reaches the consumer")
    task = task_of(kind)
    pipeline = (task | single_task(lambda item: item)).with_context(
        execution_mode=mode, buffer_size=2
    )
    stream = pipeline(list_of(30))
    error: Any = None
    try:
        async for result in stream:
            del result
    except Exception as raised:
        error = raised
    assert error is not None
    await all_blocked()
    size = 2 if kind in BATCH else 1
    # The item, or those of its batch, what was made of them, and what a handler has made.
    assert len(bench.numbers) <= 3 * size
    error = None
    assert bench.numbers == []


@in_both_modes
@every_kind
async def test_a_failure_that_is_kept_keeps_its_own_items_alone(kind: str, mode: str) -> None:
    if kind in ("handled", "made good"):
        pytest.skip("there is no failure")
    task = task_of(kind, on_error="emit_failure")
    stream = task.with_context(execution_mode=mode, buffer_size=2)(list_of(30))
    failures = [result async for result in stream if isinstance(result, Failure)]
    del failures[1:]
    (failure,) = failures
    await all_blocked()
    size = 2 if kind in BATCH else 1
    assert 1 <= len(bench.numbers) <= 3 * size
    del failures[:]
    del failure
    assert bench.numbers == []


@in_both_modes
async def test_an_error_of_the_input_keeps_no_items(mode: str) -> None:
    async def source() -> AsyncIterator[Blob]:
        for number in range(5):
            yield bench.make(number)
        raise Bad

    stream = single_task(waiting, on_error="skip_item").with_execution_mode(mode)(source())
    with pytest.raises(Bad) as caught:
        await stream.drain()
    assert bench.numbers == []
    assert caught.value.__traceback__ is not None


@in_both_modes
async def test_a_worker_that_sleeps_holds_nothing(mode: str) -> None:
    send, receive = anyio.create_memory_object_stream[Blob](10)
    with send, receive:
        task = single_task(quick, on_error="skip_item").with_execution_mode(mode)
        async with task(receive) as stream:
            for number in range(0, 9, 3):
                send.send_nowait(bench.make(number))
            for _ in range(3):
                await anext(stream)
            await all_blocked()
            assert bench.numbers == []
            send.send_nowait(bench.make(1))  # it fails
            await all_blocked()
            assert bench.numbers == []


@in_both_modes
async def test_an_input_that_was_read_is_freed_before_the_run_is_over(mode: str) -> None:
    done = anyio.Event()

    @single_task
    async def work(blob: Blob) -> int:
        if blob.number == 9:
            del blob
            await done.wait()
            return 9
        return blob.number

    async with work.with_execution_mode(mode)(list_of(10)) as stream:
        for _ in range(9):
            await anext(stream)
        await all_blocked()
        assert bench.numbers in ([], [9])  # the worker's call has its argument
        done.set()
        assert await anext(stream) == 9


@in_both_modes
@pytest.mark.real_time
@pytest.mark.parametrize("executor", ["thread", "pool", "abandoned"])
@pytest.mark.parametrize("policy", ["skip_item", "emit_failure"])
async def test_what_fails_in_threads_is_freed(mode: str, executor: str, policy: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        task = single_task(
            plain,
            executor=pool if executor == "pool" else "thread",
            abandon_on_cancel=executor == "abandoned",
            concurrency_limit=2,
            on_error=policy,
        )
        async for result in task.with_context(execution_mode=mode, buffer_size=2)(blobs(100)):
            del result
        assert bench.most < 60
    assert len(bench.numbers) <= 4  # a thread that is idle may hold its last call
