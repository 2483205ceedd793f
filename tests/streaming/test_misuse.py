"""The likeliest mistakes: each gets a sentence that shows the right call, or a warning."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from _helpers import passing, unread
from conveyor import Stream, batch_task, resource, single_task


def double(number: int) -> int:
    return 2 * number


@single_task
def inc(number: int) -> int:
    return number + 1


@batch_task(max_size=2)
def store(rows: list[int]) -> list[int]:
    return rows


class Shop:
    @single_task
    def sell(self, item: int) -> int:
        return item


pipeline = inc | store


# --- what is said. Nothing here may warn as well: the error says it.


async def await_stream() -> None:
    stream: Any = pipeline([1])
    await stream


async def await_pipeline() -> None:
    wrong: Any = pipeline
    await wrong


async def await_task() -> None:
    wrong: Any = inc
    await wrong


async def iterate_pipeline() -> None:
    wrong: Any = pipeline
    async for _ in wrong:
        pytest.fail("there is nothing to iterate")


async def enter_task() -> None:
    wrong: Any = inc
    async with wrong:
        pytest.fail("there is nothing to enter")


async def enter_task_plainly() -> None:
    wrong: Any = inc
    with wrong:
        pytest.fail("there is nothing to enter")


async def enter_stream_plainly() -> None:
    wrong: Any = pipeline([1])
    with wrong:
        pytest.fail("it must not be entered")


async def iterate_plainly() -> None:
    wrong: Any = pipeline([1])
    for _ in wrong:
        pytest.fail("it must not be read")


async def gather() -> None:
    wrong: Any = pipeline([1])
    await asyncio.gather(wrong)


IN_USE: list[tuple[Callable[[], Awaitable[None]], str]] = [
    (await_stream, r"`async for result in pipeline\(data\)`, or `await pipeline\(data\).collect"),
    (await_pipeline, r"<Pipeline inc \| store> is not awaited: write `await pipeline\(data\)"),
    (await_task, r"<Task inc> is not awaited: write `await pipeline\(data\).collect\(\)`"),
    (iterate_pipeline, r"has no results .*: write `async for result in pipeline\(data\)`"),
    (
        enter_task,
        r"<Task inc> is not a context manager, .* `async with pipeline\(data\) as stream`",
    ),
    (enter_task_plainly, r"<Task inc> is not a context manager, .* `async with pipeline\(data\)"),
    (enter_stream_plainly, "entered with `async with`, not with `with`"),
    (iterate_plainly, "read with `async for`, not with `for`"),
]


@pytest.mark.parametrize(("use", "right"), IN_USE, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_wrong_use_shows_the_right_one(
    use: Callable[[], Awaitable[None]], right: str
) -> None:
    with pytest.raises(TypeError, match=right):
        await use()


@pytest.mark.backends("asyncio")
async def test_what_awaits_for_others_passes_it_on() -> None:
    with pytest.raises(TypeError, match="a stream is read, not awaited"):
        await gather()


CALLS: list[tuple[Callable[[], Any], list[str]]] = [
    (lambda: inc(5), ["not int 5", "write inc.func(item)"]),
    (lambda: inc(None), ["not NoneType None", "write inc.func(item)"]),
    (lambda: inc("text"), ["pipeline([data])", "write inc.func(item)"]),
    (lambda: inc(5, 6), ["<Task inc>", "inc(data)", "inc.func(...)", "inc.with_inputs(...)(data)"]),
    (lambda: inc([5], factor=6), ["inc(data)", "inc.func(...)", "inc.with_inputs(...)(data)"]),
    (lambda: inc(number=5), ["inc(data)", "inc.func(...)"]),
    (lambda: inc(), ["inc(data)", "inc.func(...)"]),
    (lambda: Shop().sell(5), ["not int 5", "write sell.func(item)"]),
    (lambda: Shop().sell(5, 6), ["<Task sell>", "sell.func(...)"]),
    (lambda: single_task(lambda item: item)(5), ["not int 5", "write task.func(item)"]),
    (lambda: pipeline(5, 6), ["<Pipeline inc | store>", "pipeline(data)"]),
    (lambda: pipeline(), ["<Pipeline inc | store>", "pipeline(data)"]),
    (lambda: inc(double), ["not function", "write inc.func(item)"]),
    (lambda: pipeline | double, ["'double'", "@single_task or @batch_task"]),
    (lambda: double | pipeline, ["'double'", "@single_task or @batch_task"]),
    (lambda: pipeline | dict, ["the class 'dict'", "@single_task or @batch_task"]),
    (lambda: pipeline | batch_task(max_size=3), ["batch_task(max_size=...)", "decorator(function"]),
    (lambda: pipeline | single_task(), ["single_task()", "decorator(function)"]),
    (lambda: pipeline | single_task, ["the decorator 'single_task' itself", "above a function"]),
    (lambda: pipeline | batch_task, ["the decorator 'batch_task' itself", "above a function"]),
    (lambda: pipeline | unread(inc([1])), ["<Stream of inc", "(a | b)(data)"]),
    (lambda: unread(inc([1])) | pipeline, ["<Stream of inc", "(a | b)(data)"]),
    (lambda: [1, 2] | pipeline, ["[1, 2] of type list", "if that is its data", "pipeline(data)"]),
    (lambda: range(3) | pipeline, ["range(0, 3)", "if that is its data", "pipeline(data)"]),
    (lambda: pipeline([1]).statistics | pipeline, ["'statistics'"]),
    (lambda: resource(inc), ["takes a function that makes a context manager", "<Task inc>"]),
]


@pytest.mark.filterwarnings("ignore:<Stream of inc . store")  # that of which a method is taken
@pytest.mark.parametrize(("call", "words"), CALLS)
def test_a_wrong_call_shows_the_right_one(call: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(TypeError) as caught:  # noqa: PT011 - the words are below
        call()
    for word in words:
        assert word in str(caught.value)


def test_data_may_be_given_by_name() -> None:
    unread(inc(data=[1]))
    with pytest.raises(TypeError, match="pipeline reads"):
        inc(data=5)


def test_what_does_not_stand_for_data_is_not_taken_for_it() -> None:
    with pytest.raises(TypeError, match=r"not with 'text' of type str$"):
        "text" | pipeline
    long = list(range(10_000))
    with pytest.raises(TypeError, match="begins with a task") as caught:
        long | pipeline
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["collect", "drain", "aclose", "stop", "statistics"])
def test_what_streams_have_is_looked_for_there(name: str) -> None:
    for wrong in (inc, pipeline):
        with pytest.raises(AttributeError, match=rf"as in pipeline\(data\).{name}\(\)"):
            getattr(wrong, name)
        assert not hasattr(wrong, name)
    with pytest.raises(AttributeError, match=r"^'Task' object has no attribute 'collection'$"):
        inc.collection  # noqa: B018 - it is not there


def test_a_decorator_makes_as_many_tasks_as_one_likes() -> None:
    decorate = single_task(timeout=3)
    assert [decorate(double).spec.timeout, decorate(abs).spec.timeout] == [3, 3]
    assert repr(decorate) == "<decorator single_task(timeout=...)>"


# --- streams that nobody reads


@pytest.fixture
def heard() -> Iterator[Callable[[], list[str]]]:
    """Return a function that returns what was warned of, once all garbage is collected."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def texts() -> list[str]:
            gc.collect()
            assert all(each.category is RuntimeWarning for each in caught)
            return [str(each.message) for each in caught]

        yield texts


NEVER = (
    "<Stream of inc | store: not started> was never read: write `async for result in stream`, or "
    "`await stream.collect()`; or close it with `await stream.aclose()`"
)


async def test_a_stream_that_nobody_reads_warns_where_it_is_dropped(
    heard: Callable[[], list[str]],
) -> None:
    pipeline([1])
    assert heard() == [NEVER]


def test_the_warning_names_the_line_and_what_was_dropped() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = inspect.currentframe()
        assert frame is not None
        pipeline([1])
        line = frame.f_lineno - 1
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert isinstance(warning.source, Stream)


async def test_so_does_one_that_was_only_looked_at(heard: Callable[[], list[str]]) -> None:
    stream = pipeline([1])
    stream.statistics()
    repr(stream)
    del stream
    assert heard() == [NEVER]


def test_so_does_one_in_a_garbage_cycle(heard: Callable[[], list[str]]) -> None:
    cycle: list[Any] = [pipeline([1])]
    cycle.append(cycle)
    del cycle
    assert heard() == [NEVER]


@pytest.mark.parametrize("call", [pipeline, pipeline.as_completed], ids=["ordered", "completed"])
def test_of_one_in_another_the_outer_one_warns_alone(
    call: Callable[[Any], Any], heard: Callable[[], list[str]]
) -> None:
    call(inc(passing([1])))
    assert heard() == [NEVER]


async def read_one(stream: Stream[Any]) -> None:
    await anext(stream)


async def read_and_leave(stream: Stream[Any]) -> None:
    async for _ in stream:
        break


async def read_in_a_generator(stream: Stream[Any]) -> None:
    """Give it on to a generator that never starts: Python does not warn of those either."""
    _ = (result async for result in stream)


async def enter(stream: Stream[Any]) -> None:
    async with stream:
        pass


async def collect(stream: Stream[Any]) -> None:
    await stream.collect()


async def drain(stream: Stream[Any]) -> None:
    await stream.drain()


async def close(stream: Stream[Any]) -> None:
    await stream.aclose()


async def stop(stream: Stream[Any]) -> None:
    stream.stop()


async def abort(stream: Stream[Any]) -> None:
    stream.abort(ValueError())


async def give_on_as_data(stream: Stream[Any]) -> None:
    await passing(stream).drain()


async def give_on_to_one_that_is_closed(stream: Stream[Any]) -> None:
    await passing(stream).aclose()


async def give_on_as_an_input(stream: Stream[Any]) -> None:
    task = single_task(lambda item, other: other).with_inputs(stream)
    assert await task([0]).collect() == [2]


async def give_on_to_a_task_that_never_runs(stream: Stream[Any]) -> None:
    single_task(lambda item, other: other).with_inputs(other=stream)


async def give_on_to_a_run_that_fails_before(stream: Stream[Any]) -> None:
    @contextlib.asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise OSError
        yield

    task = single_task(lambda item, *others: others).with_inputs(resource(broken), stream)
    with pytest.raises(OSError):
        await task(passing([1])).collect()


async def read_where_it_fails(stream: Stream[Any]) -> None:
    broken = stream, single_task(lambda item: 1 / 0)(stream)
    with pytest.raises(ZeroDivisionError):
        await broken[1].collect()


async def cancelled_while_waiting(stream: Stream[Any]) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await stream.collect()


USES = [
    read_one, read_and_leave, read_in_a_generator, enter, collect, drain, close, stop, abort,
    give_on_as_data, give_on_to_one_that_is_closed, give_on_as_an_input,
    give_on_to_a_task_that_never_runs, give_on_to_a_run_that_fails_before, read_where_it_fails,
    cancelled_while_waiting,
]  # fmt: skip


@pytest.mark.parametrize("use", USES)
async def test_one_that_was_used_or_given_on_does_not_warn(
    use: Callable[[Stream[Any]], Awaitable[None]], heard: Callable[[], list[str]]
) -> None:
    await use(pipeline([1]))
    assert heard() == []


def test_one_that_could_not_be_made_or_read_does_not_warn(
    heard: Callable[[], list[str]],
) -> None:
    for wrong in (5, "text", pipeline):
        with pytest.raises(TypeError, match="a pipeline reads"):
            pipeline(wrong)
    with pytest.raises(TypeError, match="needs"):
        single_task(lambda item, other: item)([1])
    with pytest.raises(TypeError, match="needs"):
        single_task(lambda item, other: item)(inc([1]))
    running = inc([1]).collect()
    with pytest.raises(RuntimeError, match="event loop"):
        running.send(None)
    for use in (await_stream, iterate_plainly, enter_stream_plainly):
        with pytest.raises(TypeError, match="a stream is "):
            use().send(None)  # type: ignore[attr-defined]
    assert heard() == []


def test_without_an_event_loop_nothing_warns(heard: Callable[[], list[str]]) -> None:
    assert pipeline.run([1, 2]) == [2, 3]
    with pytest.raises(ZeroDivisionError):
        single_task(lambda item: 1 / item).run([0])
    assert list(zip([], pipeline.iterate([1]), strict=False)) == []  # which never starts it
    pipeline.iterate([1])
    results = pipeline.iterate([1, 2, 3])
    assert next(results) == 2
    results.close()
    assert heard() == []


SCRIPT = """
from conveyor import single_task

@single_task
def inc(number):
    return number + 1

kept = inc([1])
cycle = [inc([2])]
cycle.append(cycle)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_that_ends_with_such_streams_says_so_and_no_more(backend: str) -> None:
    def run(script: str) -> str:
        command = [sys.executable, "-W", "always", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stderr

    said = run(SCRIPT)
    assert said.count("RuntimeWarning: <Stream of inc: not started> was never read") == 2
    assert "Exception ignored" not in said
    read = f"import anyio\n{SCRIPT}\nfor stream in kept, cycle[0]:\n"
    assert run(read + f"    anyio.run(stream.drain, backend={backend!r})") == ""
    assert run(read + "    stream.stop()") == ""


# --- what looks as if it could be awaited


async def test_what_engine_and_user_await_is_not_mistaken() -> None:
    for thing in (inc, pipeline, unread(pipeline([1]))):
        assert inspect.isawaitable(thing)  # as Python sees it
        with pytest.raises(TypeError, match="await"):
            await thing
        for options in ({}, {"timeout": 60}):
            give = single_task(**options)(lambda item, thing=thing: thing)
            assert await give([1]).collect() == [thing]
