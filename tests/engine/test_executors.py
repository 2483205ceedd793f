"""Functions that run in threads, in processes and in other people's executors."""

from __future__ import annotations

import logging
import math
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import process as process_pools
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import BrokenWorkerProcess
from anyio.lowlevel import checkpoint

import _elsewhere
from _helpers import error_of, in_both_modes, results_and_error
from conveyor import Failure, Task, batch_task, get_current_context, single_task
from conveyor._engine.offload.executors import _Threads
from conveyor._engine.offload.parcel import Parcel
from conveyor._model.by_name import find

variable: ContextVar[str] = ContextVar("variable", default="unset")


def identity(item: Any) -> Any:
    return item


class Blocked:
    """A function whose calls wait until they are let go; for threads."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.running = 0
        self.most = 0
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, item: Any) -> Any:
        with self._lock:
            self.begun.append(item)
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.gate.wait(20)
        with self._lock:
            self.running -= 1
            self.ended.append(item)
        return item

    async def wait_begun(self, number: int) -> None:
        await until(lambda: len(self.begun) >= number)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread or process does: nothing there wakes this one."""
    for _ in range(10_000):
        if condition():
            return
        await anyio.sleep(0.002)
    pytest.fail("it did not happen")


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as executor:
        yield executor


def fresh_pool(workers: int = 1) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


class Inline(Executor):
    """Calls at once, in the thread that submits, as executors for tests do."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Held(Executor):
    """Begins no call by itself."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if fn.__name__ == "accept":  # that the run begins with
            future.set_result(None)
        else:
            self.calls.append((future, fn, args))
        return future


# --- what is refused at decoration

EXECUTORS = ("thread", "process", Inline())


async def coroutine_function(item: Any) -> Any:
    return item


async def async_generator_function(item: Any) -> AsyncIterator[Any]:
    yield item


def generator_function(item: Any) -> Iterator[Any]:
    yield item


class AsyncCallable:
    async def __call__(self, item: Any) -> Any:
        return item

    async def method(self, item: Any) -> Any:
        return item

    def generator(self, item: Any) -> Iterator[Any]:
        yield item


@pytest.mark.parametrize("executor", EXECUTORS, ids=["thread", "process", "executor"])
@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (coroutine_function, "'coroutine_function' is async"),
        (partial(coroutine_function), "'coroutine_function' is async"),
        (async_generator_function, "'async_generator_function' is async"),
        (AsyncCallable(), "'AsyncCallable' is async"),
        (AsyncCallable().method, "'method' is async"),
        (classmethod(coroutine_function), "'coroutine_function' is async"),
        (generator_function, "'generator_function' is a generator function"),
        (partial(generator_function), "'generator_function' is a generator function"),
        (AsyncCallable().generator, "'generator' is a generator function"),
    ],
)
def test_what_runs_on_the_event_loop_gets_no_executor(
    function: Any, wrong: str, executor: Any
) -> None:
    for decorate in (
        lambda: single_task(executor=executor)(function),
        lambda: batch_task(max_size=2, executor=executor)(function),
        lambda: single_task(function).with_options(executor=executor),
    ):
        with pytest.raises(TypeError, match="executor is for") as caught:
            decorate()
        assert wrong in str(caught.value)
        assert f"executor={executor!r}" in str(caught.value)


@pytest.mark.parametrize("executor", [None, "interpreter"])
def test_only_what_can_be_abandoned_may_be(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    with pytest.raises(ValueError, match="abandon_on_cancel=True is for calls") as caught:
        single_task(executor=executor, abandon_on_cancel=True)(identity)
    assert f"executor={executor!r}" in str(caught.value)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python has subinterpreters")
def test_subinterpreters_are_refused_where_there_are_none() -> None:
    with pytest.raises(ValueError, match=r"needs Python 3\.13 or later, and this is 3\.1"):
        single_task(executor="interpreter")(identity)


def test_a_class_of_executors_is_none() -> None:
    with pytest.raises(TypeError, match="an instance, not the class"):
        single_task(executor=ThreadPoolExecutor)(identity)


def test_each_process_has_a_processor_unless_the_limit_says_otherwise() -> None:
    assert single_task(executor="process")(identity).spec.limit == os.cpu_count()
    assert single_task(executor="process", concurrency_limit=7)(identity).spec.limit == 7
    assert single_task(executor="thread")(identity).spec.limit == 100


# --- threads


@pytest.mark.real_time
@in_both_modes
async def test_a_function_runs_in_threads_with_its_context_variables(mode: str) -> None:
    variable.set("of the caller")

    def where(item: int) -> tuple[int, bool, str, bool]:
        elsewhere = threading.current_thread() is not threading.main_thread()
        return item, elsewhere, variable.get(), get_current_context() is not None

    with ThreadPoolExecutor(2) as threads:
        for executor in ("thread", threads):
            task = single_task(executor=executor)(where).with_execution_mode(mode)
            expected = [(item, True, "of the caller", True) for item in range(5)]
            assert sorted(await task(range(5)).collect()) == expected


@pytest.mark.real_time
@pytest.mark.parametrize("abandon", [False, True])
async def test_as_many_threads_run_as_the_limit_says(abandon: bool) -> None:
    blocked = Blocked()
    task = single_task(executor="thread", concurrency_limit=3, abandon_on_cancel=abandon)(blocked)
    async with task(range(10)) as stream:
        await blocked.wait_begun(3)
        await anyio.sleep(0.02)  # another one would have begun by now
        assert stream.statistics().stages[0].running == 3
        blocked.gate.set()
        assert [item async for item in stream] == list(range(10))
    assert blocked.most == 3


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["thread", "process", "threads", "pool"])
async def test_what_an_error_from_elsewhere_asks_for_is_waited(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "conveyor")
    with ThreadPoolExecutor(1) as threads, fresh_pool() as pool:
        executor: Any = {"threads": threads, "pool": pool}.get(kind, kind)
        task = _elsewhere.asked_too_often.with_options(
            executor=executor, retry_attempts=2, retry_delay=0, on_error="skip_item"
        )
        await task([0.015625]).drain()
    texts = [record.getMessage() for record in caplog.records]
    told = [text for text in texts if "the next is" in text]
    assert len(told) == 1
    assert told[0].endswith("failed with SlowDown, the next is in 0.016 s")


@pytest.mark.real_time
async def test_batches_run_in_threads() -> None:
    def total(items: list[int]) -> list[Any]:
        assert threading.current_thread() is not threading.main_thread()
        return [sum(items), None]

    task = batch_task(max_size=2, executor="thread")(total)
    assert await task([1, 2, 3]).collect() == [3, 3]


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["thread", "executor"])
async def test_who_leaves_waits_for_calls_that_have_begun(
    kind: str, threads: ThreadPoolExecutor
) -> None:
    blocked = Blocked()
    executor = "thread" if kind == "thread" else threads
    task = single_task(executor=executor, concurrency_limit=2)(blocked)
    async with task(range(10)) as stream, anyio.create_task_group() as group:
        await blocked.wait_begun(2)
        group.start_soon(stream.aclose)
        await anyio.sleep(0.02)
        assert blocked.ended == []
        blocked.gate.set()
    assert sorted(blocked.ended) == sorted(blocked.begun) == [0, 1]


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["thread", "executor"])
async def test_or_abandons_them(kind: str, threads: ThreadPoolExecutor) -> None:
    blocked = Blocked()
    executor = "thread" if kind == "thread" else threads
    task = single_task(executor=executor, concurrency_limit=2, abandon_on_cancel=True)(blocked)
    async with task(range(10)):
        await blocked.wait_begun(2)
    assert blocked.ended == []
    blocked.gate.set()
    await until(lambda: sorted(blocked.ended) == [0, 1])


@pytest.mark.real_time
async def test_an_abandoned_thread_counts_until_it_ends() -> None:
    blocked = Blocked()
    options: dict[str, Any] = {"concurrency_limit": 2, "timeout": 0.2, "on_error": "skip_item"}
    task = single_task(executor="thread", abandon_on_cancel=True, **options)(blocked)
    assert await task(range(6)).collect() == []
    assert blocked.most == 2
    blocked.gate.set()
    await until(lambda: blocked.running == 0)


@pytest.mark.real_time
@pytest.mark.parametrize("turns", range(8))
async def test_a_call_that_is_taken_back_counts_no_more(turns: int) -> None:
    threads = _Threads(1)
    begun: list[int] = []
    for number in range(20):
        async with anyio.create_task_group() as group:
            group.start_soon(threads.send, begun.append, number)
            for _ in range(turns):
                await checkpoint()
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            assert await threads.send(identity, number) == number
    assert turns or begun == []


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["thread", "executor"])
@pytest.mark.parametrize("abandon", [False, True])
async def test_a_call_that_takes_too_long_fails(
    kind: str, abandon: bool, threads: ThreadPoolExecutor
) -> None:
    blocked = Blocked()
    executor = "thread" if kind == "thread" else threads
    options: dict[str, Any] = {"timeout": 0.02, "on_error": "emit_failure"}
    task = single_task(executor=executor, abandon_on_cancel=abandon, **options)(blocked)
    if not abandon:  # it fails when it has ended, and its result is dropped
        threading.Timer(0.05, blocked.gate.set).start()
    [failure] = await task([1]).collect()
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, TimeoutError)
    # On a machine that is busy it may not even have begun, and is taken back then.
    assert blocked.ended == ([] if abandon else blocked.begun)
    blocked.gate.set()
    await until(lambda: blocked.running == 0)


@pytest.mark.real_time
async def test_errors_in_threads_are_errors_of_the_item() -> None:
    calls: list[int] = []

    def inverted(item: int) -> float:
        calls.append(item)
        return 1 / item

    task = single_task(executor="thread", retry_attempts=3, retry_delay=0)(inverted)
    results, error = await results_and_error(task([1, 2, 0, 4]))
    assert results == [1, 0.5]
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__ == ["stage 'inverted' (1 of 1), item 2"]
    assert calls.count(0) == 3


@pytest.mark.real_time
@pytest.mark.parametrize(
    "function",
    [lambda item: coroutine_function(item), lambda item: generator_function(item)],
    ids=["coroutine", "generator"],
)
async def test_what_would_run_later_does_not_leave_a_thread(function: Any) -> None:
    task = single_task(executor="thread")(function)
    error = await error_of(task([1]).collect())
    assert isinstance(error, TypeError)
    assert "cannot leave its executor" in str(error)


@pytest.mark.real_time
async def test_the_limit_of_the_run_holds_for_threads() -> None:
    blocked = Blocked()
    task = single_task(executor="thread")(blocked).with_context(max_parallelism=2)
    async with task(range(6)) as stream:
        await blocked.wait_begun(2)
        await anyio.sleep(0.02)
        assert len(blocked.begun) == 2
        blocked.gate.set()
        assert len([item async for item in stream]) == 6
    assert blocked.most == 2


# --- processes


@pytest.mark.real_time
@in_both_modes
async def test_a_function_runs_in_processes(mode: str, pool: ProcessPoolExecutor) -> None:
    for executor in ("process", pool):
        task = _elsewhere.square.with_options(executor=executor, concurrency_limit=2)
        results = await task.with_execution_mode(mode)(range(8)).collect()
        assert sorted(number for number, _ in results) == [item * item for item in range(8)]
        pids = {pid for _, pid in results}
        assert os.getpid() not in pids
        assert len(pids) <= 2


@pytest.mark.real_time
async def test_side_inputs_and_batches_travel(pool: ProcessPoolExecutor) -> None:
    for executor in ("process", pool):
        add = _elsewhere.add.with_options(executor=executor, concurrency_limit=1)
        assert await add.with_inputs(10, 20, times=2)([1, 2]).collect() == [62, 64]
        doubled = _elsewhere.doubled.with_options(executor=executor)
        assert await doubled(range(4)).collect() == [0, 2, 4, 6]


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (_elsewhere.Scale(3).apply, 6),
        (_elsewhere.Scale.named, "Scale 2"),
        (_elsewhere.Scale(3).named, "Scale 2"),
        (_elsewhere.Scale.plain, -2),
        (_elsewhere.two_to, 4),
        (_elsewhere.scaled, 102),
        (single_task(math.factorial), 2),
        (single_task("{} litres".format), "2 litres"),
    ],
)
async def test_every_kind_of_function_is_found_there(
    task: Task[Any, Any], expected: Any, pool: ProcessPoolExecutor
) -> None:
    assert await task.with_options(executor=pool)([2]).collect() == [expected]
    parcel: Any = pickle.loads(Parcel(task.func).pack())
    assert parcel(2) == expected


def test_a_worker_finds_the_function_and_not_the_task() -> None:
    assert find("_elsewhere", "square") is _elsewhere.square.func
    assert find("_elsewhere", "Scale.apply") is _elsewhere.Scale.apply.func
    for missing in (("_elsewhere", "gone"), ("no_such_module", "square")):
        with pytest.raises(LookupError, match="is not found where it is to run"):
            find(*missing)


@pytest.mark.real_time
async def test_the_context_does_not_travel_to_processes(pool: ProcessPoolExecutor) -> None:
    assert await _elsewhere.context.with_options(executor=pool)([1]).collect() == [False]


@pytest.mark.real_time
async def test_errors_in_processes_are_errors_of_the_item(pool: ProcessPoolExecutor) -> None:
    for executor in ("process", pool):
        task = _elsewhere.inverted.with_options(executor=executor, concurrency_limit=2)
        error = await error_of(task([1, 0]).collect())
        assert isinstance(error, ZeroDivisionError)
        assert error.__notes__[-1] == "stage 'inverted' (1 of 1), item 1"
        lenient = task.with_options(on_error="skip_item")
        assert await lenient([1, 0, 2]).collect() == [1, 0.5]


@pytest.mark.real_time
async def test_a_result_that_cannot_be_pickled_is_an_error_of_the_item(
    pool: ProcessPoolExecutor,
) -> None:
    for executor in ("process", pool):
        task = _elsewhere.unpicklable.with_options(executor=executor, concurrency_limit=1)
        error = await error_of(task([1]).collect())
        assert isinstance(error, ValueError)
        assert "it holds a connection" in str(error)


@pytest.mark.real_time
async def test_an_item_that_cannot_be_pickled_is_an_error_of_the_item(
    pool: ProcessPoolExecutor,
) -> None:
    for executor in ("process", pool):
        task = _elsewhere.context.with_options(executor=executor, concurrency_limit=1)
        results = await task.with_options(on_error="emit_failure")([1, lambda: 1, 2]).collect()
        assert [type(result) for result in results] == [bool, Failure, bool]
        assert "lambda" in str(results[1].error)


@pytest.mark.real_time
async def test_a_batch_function_fails_single_items_from_elsewhere(
    pool: ProcessPoolExecutor,
) -> None:
    for executor in ("thread", pool):
        task = _elsewhere.odd_only.with_options(executor=executor, on_error="emit_failure")
        results = await task([1, 2, 3, 4]).collect()
        assert [results[0], results[2]] == [10, 30]
        for failure, item in (results[1], 2), (results[3], 4):
            assert (failure.item, str(failure.error)) == (item, "even")


@pytest.mark.real_time
async def test_a_batch_function_knows_its_batch_in_a_thread_alone(
    pool: ProcessPoolExecutor,
) -> None:
    for executor, known in ("thread", True), (pool, False):
        task = _elsewhere.knows_its_batch.with_options(executor=executor)
        assert await task([1, 2]).collect() == [known]


async def test_a_dropped_stream_takes_back_what_has_not_begun() -> None:
    held = Held()
    stream = single_task(executor=held, concurrency_limit=2)(identity)(range(10))
    async with anyio.create_task_group() as group:

        async def settle() -> None:
            await until_submitted(held, 2)
            future, fn, args = held.calls[0]
            future.set_result(fn(*args))

        group.start_soon(settle)
        assert await anext(stream) == 0
        await until_submitted(held, 3)
    del stream
    while not all(future.done() for future, _, _ in held.calls):  # noqa: ASYNC110
        await checkpoint()
    assert [future.cancelled() for future, _, _ in held.calls] == [False, True, True]


# --- subinterpreters

# In a process of its own: beside subinterpreters uvloop's children die at birth.
INTERPRETERS = """
import sys
import anyio
from conveyor import single_task

@single_task(executor="interpreter")
def of_main(item):
    return item

async def main():
    task = _elsewhere.interpreter.with_options(executor="interpreter", concurrency_limit=2)
    print(await task(range(4)).collect())
    print(sorted(await task.as_completed(range(4)).collect()))
    inverted = _elsewhere.inverted.with_options(executor="interpreter", on_error="emit_failure")
    print([str(result.get("error")) for result in await inverted([0]).collect()])
    add = _elsewhere.add.with_options(executor="interpreter").with_inputs(10, times=2)
    print(await add([1, 2]).collect())
    async for result in task(range(100)):
        break
    try:
        await of_main([1]).collect()
    except TypeError as error:
        print("in the main module of the program" in str(error))

if __name__ == "__main__":
    sys.path.append(sys.argv[1])  # which a subinterpreter knows nothing of
    import _elsewhere
    anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="this Python has no subinterpreters")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_function_runs_in_subinterpreters(backend: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(INTERPRETERS)
    done = subprocess.run(
        [sys.executable, "-W", "error", program, Path(__file__).parents[1], backend],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    squares = "[(0, False), (1, False), (4, False), (9, False)]"
    expected = [squares, squares, "['division by zero']", "[22, 24]", "True"]
    assert (done.stderr, done.stdout.splitlines()) == ("", expected)


# --- what cannot be sent is refused before anything is read


def local() -> Callable[[Any], Any]:
    def inner(item: Any) -> Any:
        return item

    return inner


def of_main() -> Callable[[Any], Any]:
    def function(item: Any) -> Any:
        return item

    function.__module__, function.__qualname__ = "__main__", "not_there"
    return function


class HasLock:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def method(self, item: Any) -> Any:
        return item


UNSENDABLE = [
    (lambda item: item, (), "the function '<lambda>' is a lambda"),
    (local(), (), "the function 'inner' is defined inside another function"),
    (partial(local()), (), "the function 'inner' is defined inside another function"),
    (of_main(), (), "is not what __main__.not_there is now"),
    (HasLock().method, (), "the function 'method' cannot be pickled: cannot pickle '_thread.lock'"),
    (_elsewhere.add.func, (1, threading.Lock()), "side input 1 cannot be pickled: cannot pickle"),
]


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["process", "pool"])
@pytest.mark.parametrize(("function", "inputs", "wrong"), UNSENDABLE)
async def test_what_cannot_be_pickled_is_refused_before_the_first_item(
    function: Any,
    inputs: Any,
    wrong: str,
    kind: str,
    pool: ProcessPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A worker of pytest-xdist has no main module that is a file, and that is told in other words.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    read: list[int] = []

    def source() -> Iterator[int]:
        read.append(1)
        yield 1

    executor = "process" if kind == "process" else pool
    task = single_task(executor=executor, task_name="sent", on_error="skip_item")(function)
    error = await error_of((single_task(identity) | task.with_inputs(*inputs))(source()).collect())
    assert isinstance(error, TypeError)
    assert str(error).startswith(f"task 'sent' cannot run in {executor!r}: ")
    assert wrong in str(error)
    assert read == []


@pytest.mark.real_time
async def test_a_side_input_is_named() -> None:
    task = _elsewhere.add.with_options(executor="process").with_inputs(times=threading.Lock())
    with pytest.raises(TypeError, match="side input 'times' cannot be pickled"):
        await task([1]).collect()


@pytest.mark.real_time
async def test_what_is_not_found_by_the_workers_is_refused_before_the_first_item(
    pool: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(item: Any) -> Any:
        return item

    # Found here, and in no process that imports the module.
    made_up.__module__, made_up.__qualname__ = "_elsewhere", "made_up"
    monkeypatch.setattr(_elsewhere, "made_up", made_up, raising=False)
    task = single_task(executor=pool, on_error="skip_item")(made_up)
    error = await error_of(task([1]).collect())
    assert isinstance(error, LookupError)
    assert "'made_up' of the module '_elsewhere' is not found where it is to run" in str(error)
    assert error.__notes__ == [f"task 'made_up' cannot run in {pool!r}"]


@pytest.mark.real_time
async def test_an_executor_that_is_shut_down_is_refused_before_the_first_item() -> None:
    executor = fresh_pool()
    executor.shutdown()
    task = _elsewhere.square.with_options(executor=executor, on_error="skip_item")
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        await task([1]).collect()


PROGRAM = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
import anyio
from conveyor import single_task

@single_task(executor="process", concurrency_limit=1)
def square(item):
    return item * item

class Scale:
    @single_task
    def apply(self, item):
        return 3 * item

def power(base, item):
    return base ** item

async def main():
    print(await square([1, 2, 3]).collect())
    context = multiprocessing.get_context(sys.argv[2])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for task in square, Scale().apply, single_task(partial(power, 2)):
            print(await task.with_options(executor=pool)([1, 2, 3]).collect())

if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize(("backend", "method"), [("asyncio", "spawn"), ("trio", "forkserver")])
def test_functions_of_the_main_module_are_found(backend: str, method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", program, backend, method],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[1, 4, 9]", "[1, 4, 9]", "[3, 6, 9]", "[2, 4, 8]"]


# --- workers that die


@pytest.mark.real_time
async def test_a_process_that_dies_is_an_error_of_its_item() -> None:
    task = _elsewhere.fatal.with_options(executor="process", concurrency_limit=2)
    results = await task.with_options(on_error="emit_failure")([1, 13, 2, 3]).collect()
    assert [results[0], *results[2:]] == [1, 2, 3]
    assert isinstance(results[1], Failure)
    assert isinstance(results[1].error, BrokenWorkerProcess)
    assert str(results[1].error) == (
        "the worker process that was to call 'fatal' was killed by SIGKILL, as the system does "
        "where memory runs out"
    )
    assert results[1].item == 13


@pytest.mark.real_time
async def test_a_process_that_ends_by_itself_is_an_error_of_its_item() -> None:
    task = single_task(executor="process", on_error="emit_failure", concurrency_limit=1)(os._exit)
    [failure] = await task([3]).collect()
    assert isinstance(failure.error, BrokenWorkerProcess)
    assert str(failure.error) == (
        "the worker process that was to call '_exit' has ended, with exit status 3"
    )


@pytest.mark.real_time
async def test_processes_are_used_again_by_the_next_run() -> None:
    task = _elsewhere.square.with_options(executor="process", concurrency_limit=1)
    pids = {pid for _ in range(3) for _, pid in await task(range(3)).collect()}
    assert len(pids) == 1


@pytest.mark.real_time
async def test_large_items_and_results_travel() -> None:
    task = single_task(executor="process", concurrency_limit=2)(bytes.upper)
    items = [b"x" * 5_000_000, b"", b"y" * 300_000]
    assert await task(items).collect() == [item.upper() for item in items]


@pytest.mark.real_time
async def test_a_process_that_dies_is_replaced_for_the_next_try(tmp_path: Path) -> None:
    task = _elsewhere.fatal_once.with_options(
        executor="process", concurrency_limit=2, retry_attempts=2, retry_delay=0
    )
    async with task([(item, str(tmp_path / "died")) for item in (1, 13, 2)]) as stream:
        assert [item async for item in stream] == [1, 13, 2]
        assert stream.statistics().stages[0].retried == 1


@pytest.mark.real_time
async def test_a_pool_that_breaks_breaks_for_all_its_items() -> None:
    with fresh_pool() as executor:
        task = _elsewhere.fatal.with_options(executor=executor, concurrency_limit=1)
        results = await task.with_options(on_error="emit_failure")([1, 13, 2]).collect()
        assert results[0] == 1
        for failure in results[1:]:
            assert isinstance(failure, Failure)
            assert isinstance(failure.error, process_pools.BrokenProcessPool)
        # One that is broken from the start breaks on the items as well.
        error = await error_of(task([5]).collect())
        assert isinstance(error, process_pools.BrokenProcessPool)
        assert error.__notes__[-1] == "stage 'fatal' (1 of 1), item 0"


# --- cancellation


@pytest.mark.real_time
async def test_who_leaves_waits_for_a_process(tmp_path: Path) -> None:
    path = tmp_path / "go"
    begun = tmp_path / "go.begun"
    task = _elsewhere.until_there.with_options(executor="process", concurrency_limit=1)
    async with task([str(path)]) as stream, anyio.create_task_group() as group:
        await until(begun.exists)
        group.start_soon(stream.aclose)
        await anyio.sleep(0.02)
        assert not stream.statistics().stages[0].emitted
        path.touch()
    # The worker is at home again, and is used once more.
    assert await task.with_options(timeout=5)([str(path)]).collect() == [str(path)]


@pytest.mark.real_time
async def test_or_kills_it(tmp_path: Path) -> None:
    task = _elsewhere.until_there.with_options(
        executor="process", concurrency_limit=1, abandon_on_cancel=True
    )
    async with task([str(tmp_path / "never")]):
        await until((tmp_path / "never.begun").exists)


@pytest.mark.real_time
@pytest.mark.parametrize("abandon", [False, True])
async def test_who_leaves_while_a_process_starts_leaves_none_behind(
    abandon: bool, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    task = _elsewhere.until_there.with_options(
        executor="process", concurrency_limit=3, abandon_on_cancel=abandon
    )
    if not abandon:
        path.touch()
    for milliseconds in range(0, 100, 5):
        with anyio.move_on_after(milliseconds / 1000):
            async with task([str(path)] * 10):
                await anyio.sleep_forever()
    path.touch()
    assert await task([str(path)] * 2).collect() == [str(path)] * 2


@pytest.mark.real_time
async def test_futures_that_have_not_begun_are_cancelled(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    threads = ThreadPoolExecutor(1)
    blocked = Blocked()
    task = single_task(executor=threads, concurrency_limit=4)(blocked)
    async with task(range(10)) as stream, anyio.create_task_group() as group:
        await blocked.wait_begun(1)
        await until(lambda: threads._work_queue.qsize() == 3)
        group.start_soon(stream.aclose)
        await anyio.sleep(0.02)
        blocked.gate.set()
    assert blocked.begun == [0]
    threads.shutdown()


async def test_no_more_are_submitted_than_the_limit_says() -> None:
    held = Held()
    task = single_task(executor=held, concurrency_limit=3)(identity)
    async with task(range(10)) as stream:
        for _ in range(100):
            await checkpoint()
        assert len(held.calls) == 3
        assert stream.statistics().stages[0].running == 3
        for number in (2, 0, 1, *range(3, 10)):
            await until_submitted(held, number + 1)
            future, fn, args = held.calls[number]
            future.set_result(fn(*args))
        assert [item async for item in stream] == list(range(10))


async def until_submitted(held: Held, number: int) -> None:
    while len(held.calls) < number:  # noqa: ASYNC110
        await checkpoint()


async def test_a_run_that_ends_cancels_what_it_has_submitted() -> None:
    held = Held()
    task = single_task(executor=held, concurrency_limit=3)(identity)
    async with task(range(10)):
        await until_submitted(held, 3)
    assert [future.cancelled() for future, _, _ in held.calls] == [True] * 3


async def test_an_earlier_item_that_fails_cancels_the_later_ones() -> None:
    held = Held()
    task = single_task(executor=held, concurrency_limit=3)(identity)
    async with task(range(10)) as stream:
        await until_submitted(held, 3)
        held.calls[1][0].set_exception(ValueError("one"))
        held.calls[0][0].set_result(0)
        assert await anext(stream) == 0
        with pytest.raises(ValueError, match="one"):
            await anext(stream)
    assert held.calls[2][0].cancelled()
    assert len(held.calls) <= 4


async def test_a_future_that_somebody_else_cancels_is_an_error_of_the_item() -> None:
    held = Held()
    task = single_task(executor=held, on_error="emit_failure", concurrency_limit=1)(identity)
    async with task([1, 2]) as stream:
        await until_submitted(held, 1)
        held.calls[0][0].cancel()
        failure: Any = await anext(stream)
        assert (type(failure.error).__name__, failure.item) == ("CancelledError", 1)
        assert isinstance(failure.error, Exception)


async def test_an_error_of_submit_is_an_error_of_the_item() -> None:
    class Closing(Inline):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            if self.submitted == 2:
                raise RuntimeError("closed")
            return super().submit(fn, *args, **kwargs)

    task = single_task(executor=Closing())(identity)
    results, error = await results_and_error(task([1, 2]))
    assert results == [1]
    assert isinstance(error, RuntimeError)
    assert error.__notes__ == ["stage 'identity' (1 of 1), item 1"]


async def test_an_executor_of_ones_own_is_handed_the_function_itself() -> None:
    lock = threading.Lock()
    seen: list[Any] = []
    task = single_task(executor=Inline())(lambda item, given: seen.append((item, given)))
    assert await task.with_inputs(lock)([1, 2]).collect() == []
    assert seen == [(1, lock), (2, lock)]


async def test_an_executor_that_cannot_send_the_function_is_found_out_before_the_first_item() -> (
    None
):
    class Pickling(Inline):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            fn, args = pickle.loads(pickle.dumps((fn, args)))
            return super().submit(fn, *args, **kwargs)

    executor = Pickling()
    read: list[int] = []
    task = single_task(executor=executor, on_error="skip_item")(lambda item: item)
    error = await error_of(task(read.append(item) for item in range(3)).collect())
    assert isinstance(error, pickle.PicklingError | AttributeError)
    *others, ours = error.__notes__
    assert ours == f"task '<lambda>' cannot run in {executor!r}"
    # From Python 3.14 on pickle says in notes of its own what it was about to serialize.
    assert all(note.startswith("when serializing ") for note in others)
    assert sys.version_info >= (3, 14) or others == []
    assert read == []
    # What is found by its name can be sent.
    add = _elsewhere.add.with_options(executor=executor)
    assert await add.with_inputs(10)([1, 2]).collect() == [11, 12]


def test_options_that_are_not_used_import_nothing() -> None:
    script = """
import sys
import anyio
from conveyor import single_task

@single_task
def work(item):
    return item

anyio.run(work([1, 2]).collect)
ours = ["conveyor._engine.offload." + name for name in ("executors", "parcel")]
print([name for name in [*ours, "concurrent.futures.process"] if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "[]\n")
