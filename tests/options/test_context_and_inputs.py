"""The context of a run, and what a task's function gets beside its item."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from _helpers import in_both_modes, passing, stalling
from conveyor import (
    EmptyInputError,
    ExecutionMode,
    Pipeline,
    PipelineContext,
    batch_task,
    get_current_context,
    resource,
    single_task,
)

# --- context


@single_task
async def context_of(item: Any) -> tuple[PipelineContext | None]:
    await checkpoint()
    return (get_current_context(),)


async def one_context(pipeline: Pipeline[Any, Any]) -> PipelineContext:
    ((context,),) = await pipeline([1]).collect()
    assert isinstance(context, PipelineContext)
    return context


async def test_every_kind_of_function_sees_the_context_and_nothing_outside_does() -> None:
    seen: list[PipelineContext | None] = []

    def note(item: Any) -> Any:
        seen.append(get_current_context())
        return item

    async def later(item: Any) -> Any:
        return note(item)

    def values(item: Any) -> Iterator[Any]:
        yield note(item)

    async def values_later(item: Any) -> AsyncIterator[Any]:
        yield note(item)

    def decide(error: Exception, item: Any, name: str, attempt: int) -> tuple[bool, Any]:
        return True, note(item)

    @single_task(error_handler=decide)
    def failing(item: Any) -> Any:
        raise ValueError

    async def source() -> AsyncIterator[int]:
        yield note(1)

    functions = note, later, values, values_later
    pipeline = Pipeline(
        *[single_task(function) for function in functions],
        failing,
        batch_task(max_size=2)(note),
    )
    await pipeline(source()).drain()
    assert len(seen) == 7  # the input is a part of the run as well
    assert seen[0] is not None
    assert all(context is seen[0] for context in seen)
    assert get_current_context() is None


async def test_defaults_and_what_is_set() -> None:
    context = await one_context(context_of)
    assert context.execution_mode is ExecutionMode.ORDERED
    assert (context.max_parallelism, context.buffer_size, context.data) == (None, 100, {})
    assert context.pipeline_id
    context = await one_context(
        context_of.with_context(max_parallelism=3, buffer_size=7, pipeline_id="nightly", a=1)
    )
    assert context == PipelineContext("ordered", 3, 7, "nightly", {"a": 1})
    ((context_or_none,),) = await context_of.as_completed([1]).collect()
    assert context_or_none is not None
    assert context_or_none.execution_mode == "as_completed"


async def test_a_contexts_own_dict_can_be_given_back() -> None:
    context = PipelineContext(execution_mode="as_completed", buffer_size=5, data={"a": 1})
    pipeline = context_of.with_context(**context.__dict__)
    seen = await one_context(pipeline)
    assert {**seen.__dict__, "pipeline_id": None} == context.__dict__


async def test_joining_merges_contexts_and_the_right_side_wins() -> None:
    left = passing.with_context(buffer_size=5, max_parallelism=2, data={"a": 1, "b": 1})
    right = context_of.with_context(buffer_size=6, b=2, c=2)
    for pipeline in (left | right, Pipeline(left, right)):
        context = await one_context(pipeline)
        assert (context.buffer_size, context.max_parallelism) == (6, 2)
        assert context.data == {"a": 1, "b": 2, "c": 2}
    assert (await one_context(left | context_of)).buffer_size == 5


async def test_stages_share_data_and_runs_do_not() -> None:
    @single_task
    def add(item: int) -> int:
        context = get_current_context()
        assert context is not None
        context.data["sum"] = context.data.get("sum", 0) + item
        return item

    @batch_task(max_size=100)
    def total(items: list[int]) -> int:
        context = get_current_context()
        assert context is not None
        return int(context.data["sum"])

    start = {"sum": 100}
    pipeline = (add | total).with_context(data=start)
    assert await pipeline(range(4)).collect() == [106]
    assert await pipeline(range(3)).collect() == [103]
    assert start == {"sum": 100}


# --- side inputs


@single_task
async def joined(item: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return (item, *args, *kwargs.values())


async def test_plain_values_come_after_the_item() -> None:
    value = [1, 2]
    task = joined.with_inputs(value, "text", key=None)
    assert await task([0, 1]).collect() == [(0, value, "text", None), (1, value, "text", None)]
    ((_, given, _, _),) = await task([0]).collect()
    assert given is value
    assert joined is not task
    assert await joined([0]).collect() == [(0,)]


async def test_an_awaitable_is_awaited_once_and_shared() -> None:
    calls = 0

    async def load() -> str:
        nonlocal calls
        calls += 1
        await checkpoint()
        return "loaded"

    loading = load()
    pipeline = joined.with_inputs(loading) | joined.with_inputs(other=loading)
    assert await pipeline([1, 2]).collect() == [
        ((1, "loaded"), "loaded"),
        ((2, "loaded"), "loaded"),
    ]
    assert calls == 1
    # Nothing is kept: a coroutine serves one run, and the next says which task it was for.
    with pytest.raises(RuntimeError, match="already awaited") as caught:
        await pipeline([1]).collect()
    assert caught.value.__notes__ == ["stage 'joined' (1 of 2), side inputs"]


async def test_a_stream_gives_its_first_result_and_is_closed() -> None:
    closed = False

    async def endless() -> AsyncIterator[int]:
        nonlocal closed
        try:
            while True:
                yield 7
        finally:
            closed = True

    assert await joined.with_inputs(passing(endless()))([1, 2]).collect() == [(1, 7), (2, 7)]
    assert closed


async def test_a_stream_without_a_result_is_refused() -> None:
    with pytest.raises(EmptyInputError, match="Stream of passing") as caught:
        await joined.with_inputs(passing([]))([1]).collect()
    assert isinstance(caught.value, LookupError)


async def test_another_async_iterator_comes_as_it_is() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(10, 20):
            yield number

    @single_task(concurrency_limit=1)
    async def paired(item: int, other: AsyncIterator[int]) -> tuple[int, int]:
        return item, await anext(other)

    other = numbers()
    assert await paired.with_inputs(other)(range(3)).collect() == [(0, 10), (1, 11), (2, 12)]
    assert await anext(other) == 13  # it is the caller's
    await other.aclose()


class Connection:
    """Can be awaited, to open it once, and is an async context manager, as those of aiosqlite."""

    def __init__(self) -> None:
        self.opened = 0

    def __await__(self) -> Generator[Any, Any, Connection]:
        self.opened += 1
        if self.opened > 1:
            raise RuntimeError("threads can only be started once")
        yield from checkpoint().__await__()
        return self

    async def __aenter__(self) -> Connection:
        return await self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close it."""


class Request(Connection, Coroutine[Any, Any, Any]):
    """Is a coroutine as well, as the requests of aiohttp are."""

    def send(self, value: Any) -> Any:
        raise NotImplementedError

    def throw(self, *error: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing has begun."""


async def test_an_open_connection_comes_as_it_is() -> None:
    async with Connection() as connection:
        pipeline = joined.with_inputs(connection, key=connection) | joined.with_inputs(connection)
        for _ in range(2):
            assert await pipeline([1]).collect() == [((1, connection, connection), connection)]
    assert connection.opened == 1
    # One that is opened for a run is made by a resource.
    ((_, entered),) = await joined.with_inputs(resource(Connection))([1]).collect()
    assert isinstance(entered, Connection)
    assert entered.opened == 1


async def test_what_is_a_coroutine_too_is_awaited() -> None:
    request = Request()
    assert await joined.with_inputs(request)([1]).collect() == [(1, request)]
    assert request.opened == 1


@in_both_modes
@pytest.mark.parametrize("options", [{}, {"retry_attempts": 2}, {"timeout": 60}], ids=str)
async def test_a_connection_that_an_async_function_returns_is_not_awaited_again(
    mode: str, options: dict[str, Any]
) -> None:
    @single_task(**options)
    async def connect(item: int) -> Connection:
        return await Connection()

    class Connecting:
        async def __call__(self, item: int) -> Connection:
            return await Connection()

    @batch_task(max_size=1, **options)
    async def connect_many(items: list[int]) -> Connection:
        return await Connection()

    for task in (connect, single_task(**options)(Connecting()), connect_many):
        (got,) = await task.with_execution_mode(mode)([1]).collect()
        assert isinstance(got, Connection)
        assert got.opened == 1

    # What a plain function returns has not been awaited yet.
    task = single_task(**options)(lambda item: Connection())
    (got,) = await task.with_execution_mode(mode)([1]).collect()
    assert got.opened == 1


async def test_a_pipeline_comes_as_it_is_as_an_input_and_as_a_result() -> None:
    @single_task
    async def inner(item: int, pipeline: Pipeline[int, int]) -> list[int]:
        return await pipeline([item, item]).collect()

    for pipeline in (passing, passing | passing):
        assert await inner.with_inputs(pipeline)([1, 2]).collect() == [[1, 1], [2, 2]]
        for options in ({}, {"retry_attempts": 2}, {"timeout": 60}):
            give = single_task(**options)(lambda item, pipeline=pipeline: pipeline)
            assert await give([1]).collect() == [pipeline]


async def test_a_stream_may_be_a_result() -> None:
    for options in ({}, {"retry_attempts": 2}, {"timeout": 60}):
        give = single_task(**options)(lambda item: passing([item, item]))
        read = single_task(lambda stream: stream.collect())
        assert await (give | read)([1, 2]).collect() == [[1, 1], [2, 2]]


# --- resources


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[str]:
        self.lines.append(f"enter {name}")
        try:
            yield name
        except BaseException as error:
            self.lines.append(f"{name} saw {type(error).__name__}")
            raise
        finally:
            await checkpoint()
            self.lines.append(f"leave {name}")

    @contextmanager
    def open_plainly(self, name: str) -> Iterator[str]:
        self.lines.append(f"enter {name}")
        yield name
        self.lines.append(f"leave {name}")


@in_both_modes
async def test_resources_are_entered_once_a_run_and_left_in_reverse(mode: str) -> None:
    log = Log()
    shared = resource(lambda: log.open("shared"))
    pipeline = joined.with_inputs(shared, key=resource(lambda: log.open_plainly("plain"))) | (
        joined.with_inputs(resource(lambda: log.open("last")), shared)
    )

    def source() -> Iterator[int]:
        log.lines.append("read")
        yield 1
        yield 2

    for _ in range(2):
        log.lines.clear()
        results = await pipeline.with_execution_mode(mode)(source()).collect()
        assert sorted(results) == [
            ((1, "shared", "plain"), "last", "shared"),
            ((2, "shared", "plain"), "last", "shared"),
        ]
        assert log.lines == [
            "enter shared", "enter plain", "enter last",
            "read",
            "leave last", "leave plain", "leave shared",
        ]  # fmt: skip


@in_both_modes
async def test_a_resource_sees_the_error_and_is_left_before_the_consumer_gets_it(mode: str) -> None:
    log = Log()

    @single_task
    async def work(item: int, name: str) -> int:
        raise ValueError("bad")

    pipeline = work.with_inputs(resource(lambda: log.open("db"))).with_execution_mode(mode)
    with pytest.raises(ValueError, match="bad"):
        async for _ in pipeline([1]):
            pass
    assert log.lines == ["enter db", "db saw ValueError", "leave db"]


@in_both_modes
async def test_a_resource_is_left_when_the_run_is_cancelled(mode: str) -> None:
    log = Log()
    pipeline = joined.with_inputs(resource(lambda: log.open("db"))).with_execution_mode(mode)
    async with pipeline(stalling(1)) as stream:
        await anext(stream)
    assert log.lines[0] == "enter db"
    assert log.lines[-1] == "leave db"
    assert log.lines[1] in ("db saw CancelledError", "db saw Cancelled")


async def test_a_resource_that_swallows_an_error_does_not_hide_it_from_the_consumer() -> None:
    @asynccontextmanager
    async def swallowing() -> AsyncIterator[None]:
        with suppress(ValueError):
            yield

    @single_task
    async def work(item: int, nothing: None) -> int:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await work.with_inputs(resource(swallowing))([1]).collect()


async def test_what_fails_in_entering_or_leaving_reaches_the_consumer() -> None:
    log = Log()

    @asynccontextmanager
    async def broken(at: str) -> AsyncIterator[None]:
        if at == "enter":
            raise OSError(at)
        yield
        raise OSError(at)

    read = False

    def source() -> Iterator[int]:
        nonlocal read
        read = True
        yield 1

    good = resource(lambda: log.open("good"))
    task = joined.with_inputs(good, resource(lambda: broken("enter")))
    with pytest.raises(OSError, match="enter") as caught:
        await task(source()).collect()
    assert caught.value.__notes__ == ["stage 'joined' (1 of 1), side inputs"]
    assert not read
    assert log.lines[-1] == "leave good"

    results = []
    with pytest.raises(OSError, match="leave"):
        async for result in joined.with_inputs(resource(lambda: broken("leave")))([1, 2]):
            results.append(result)
    assert results == [(1, None), (2, None)]


async def test_a_factory_must_make_a_context_manager() -> None:
    async def connect() -> str:
        return "connection"

    for factory, made in (connect, "coroutine"), (lambda: 5, "5"):
        with pytest.raises(TypeError, match=f"must make a context manager, but made.*{made}"):
            await joined.with_inputs(resource(factory))([1]).collect()
    assert "resource(" in repr(resource(anyio.CancelScope))


async def test_a_class_may_be_the_factory() -> None:
    class Connection:
        async def __aenter__(self) -> Connection:
            return self

        async def __aexit__(self, *exc_info: object) -> None:
            pass

    ((_, connection),) = await joined.with_inputs(resource(Connection))([1]).collect()
    assert isinstance(connection, Connection)


async def test_statistics_before_during_and_after() -> None:
    @single_task(retry_attempts=2, retry_delay=0, on_error="skip_item")
    async def work(item: int) -> int | None:
        if item == 2:
            raise ValueError
        return item if item % 2 else None

    stream = (work | passing)(range(6))
    before = stream.statistics()
    assert [stage.name for stage in before.stages] == ["work", "passing"]
    assert before.stages[0].received == before.queued == 0
    await anext(stream)
    during = stream.statistics()
    assert during.pipeline_id
    assert [item async for item in stream] == [3, 5]
    after = stream.statistics()
    assert before.stages[0].received == 0  # a snapshot
    first, second = after.stages
    assert (first.received, first.emitted, first.filtered) == (6, 3, 2)
    assert (first.skipped, first.failed, first.retried, first.dropped) == (1, 1, 1, 0)
    assert (first.running, first.queued, second.queued, after.queued) == (0, 0, 0, 0)
    assert (second.received, second.emitted) == (3, 3)
    with pytest.raises(AttributeError):
        first.received = 0
