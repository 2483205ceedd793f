"""Options and misuse: what is refused, and what the messages say; and what tasks are as objects."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import math
import re
import types
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from _helpers import error_of, in_both_modes, passing, unread
from conveyor import (
    ExecutionMode,
    LoggingErrorHandler,
    Pipeline,
    PipelineContext,
    Stream,
    StreamConsumedError,
    Task,
    batch_task,
    get_current_context,
    resource,
    single_task,
)

NAN = math.nan


def stable(value: Any) -> str:
    """Name a parameter without its address, which is another in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def function(item: Any) -> Any:
    return item


parse = single_task(function, task_name="parse")
check = single_task(function, task_name="check")
store = batch_task(max_size=2, task_name="store")(function)


def make(kind: str, options: dict[str, Any]) -> Task[Any, Any, Any]:
    """Make a task with these options."""
    if kind == "single":
        return single_task(**options)(function)
    return batch_task(**{"max_size": 10} | options)(function)


BOTH = ("single", "batch")
SINGLE = ("single",)
BATCH = ("batch",)

# For whom; the option; the error; what is wrong; what its message says of what is right.
BAD: list[tuple[tuple[str, ...], str, type[Exception], list[Any], str]] = [
    (BOTH, "retry_attempts", ValueError, [0, -1], "at least 1"),
    (BOTH, "retry_attempts", TypeError, [None, "3", True, 2.5, math.inf], "a whole number"),
    (BOTH, "retry_delay", ValueError, [-1, -0.5, NAN], "at least 0"),
    (BOTH, "retry_delay", TypeError, [None, "1", True, datetime.timedelta(1)], "seconds"),
    (BOTH, "retry_max_delay", ValueError, [-1, NAN], "at least 0"),
    (BOTH, "retry_max_delay", TypeError, [None, "1", False], "seconds"),
    (BOTH, "retry_exponential_backoff", TypeError, [None, 1, "yes"], "True or False"),
    (BOTH, "retry_jitter", TypeError, [None, 0, 0.5, "full"], "True or False"),
    (BOTH, "retry_on", TypeError, [None, 1, "ValueError", ValueError()], "exception type"),
    (BOTH, "retry_on", TypeError, [[ValueError], {ValueError}], "a tuple"),
    (BOTH, "retry_on", TypeError, [(ValueError, "KeyError"), (ValueError, function)], "a tuple"),
    (BOTH, "retry_on", TypeError, [BaseException, KeyboardInterrupt, SystemExit], "Exception"),
    (BOTH, "retry_on", TypeError, [asyncio.CancelledError, int], "Exception"),
    (BOTH, "timeout", ValueError, [0, -1, NAN], "above 0"),
    (BOTH, "timeout", TypeError, ["1", True, datetime.timedelta(1)], "seconds"),
    (BOTH, "error_handler", TypeError, [1, "log", LoggingErrorHandler], "(carry_on, value)"),
    (BOTH, "task_name", TypeError, [1, b"parse", function], "a str"),
    (BOTH, "concurrency_limit", ValueError, [0, -1, NAN], "at least 1"),
    (BOTH, "concurrency_limit", TypeError, ["3", True, 2.5], "math.inf"),
    (BOTH, "max_failures", ValueError, [-1], "at least 0"),
    (BOTH, "max_failures", TypeError, ["3", True, 2.5, 0.05], "a fractions.Fraction between 0"),
    (BOTH, "max_failures", ValueError, [3], "needs an on_error other than 'fail'"),
    (BOTH, "executor", ValueError, ["", "threads", "loop"], "'process', 'interpreter'"),
    (BOTH, "executor", TypeError, [1, True, function, Executor], "concurrent.futures.Executor"),
    (BOTH, "abandon_on_cancel", TypeError, [None, 1, "yes"], "True or False"),
    (BOTH, "abandon_on_cancel", ValueError, [True], "executor=None"),
    (BOTH, "on_error", ValueError, ["", "ignore", "Fail"], "'fail', 'skip_item'"),
    (BOTH, "on_error", TypeError, [None, 1, True], "'emit_failure'"),
    (SINGLE, "on_error", ValueError, ["skip_batch"], "batch tasks"),
    (SINGLE, "spread", TypeError, [1, 0, "yes"], "True, False or None"),
    (SINGLE, "key", TypeError, [1, "name", ("a",)], "a function of the item"),
    (SINGLE, "per_key", ValueError, [0, -1], "at least 1"),
    (SINGLE, "per_key", TypeError, [None, "3", True, 2.5, math.inf], "a whole number"),
    (SINGLE, "per_key", ValueError, [2], "with a key"),
    (BATCH, "max_size", ValueError, [0, -1], "at least 1"),
    (BATCH, "max_size", TypeError, [None, "3", True, 2.5, math.inf], "a whole number"),
    (BATCH, "min_size", ValueError, [0, -1], "at least 1"),
    (BATCH, "min_size", TypeError, [None, "3", True, 2.5], "a whole number"),
    (BATCH, "min_size", ValueError, [11], "max_size=10"),
    (BATCH, "max_wait", ValueError, [-1, NAN], "at least 0"),
    (BATCH, "max_wait", TypeError, ["1", True, datetime.timedelta(1)], "seconds"),
    (BATCH, "drop_remainder", TypeError, [None, 1, "yes"], "True or False"),
]
BAD_ONES = [
    pytest.param(kind, name, error, value, right, id=f"{kind}-{name}={stable(value)}")
    for kinds, name, error, values, right in BAD
    for kind in kinds
    for value in values
]


@pytest.mark.parametrize(("kind", "name", "error", "value", "right"), BAD_ONES)
def test_a_bad_option_is_refused_with_its_name_its_value_and_what_is_right(
    kind: str, name: str, error: type[Exception], value: Any, right: str
) -> None:
    with pytest.raises(error) as caught:
        make(kind, {name: value})
    message = str(caught.value)
    assert name in message
    assert shown(value) in message
    assert right in message
    # Changed later, it is refused in the same words.
    task = make(kind, {})
    with pytest.raises(error) as again:
        task.with_options(**{name: value})
    assert str(again.value) == message


def shown(value: Any) -> str:
    """Return what a message shows of a value: of a tuple, the culprit may do."""
    return repr(value[-1] if isinstance(value, tuple) else value)


GOOD: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (BOTH, {"retry_attempts": 1000}),
    (BOTH, {"retry_delay": 0, "retry_max_delay": 0}),
    (BOTH, {"retry_delay": 2, "retry_max_delay": 1}),
    (BOTH, {"retry_on": OSError}),
    (BOTH, {"retry_on": ()}),
    (BOTH, {"retry_on": (OSError, ValueError)}),
    (BOTH, {"retry_on": lambda error: True}),
    (BOTH, {"timeout": None}),
    (BOTH, {"timeout": 0.001}),
    (BOTH, {"timeout": math.inf}),
    (BOTH, {"error_handler": None}),
    (BOTH, {"error_handler": LoggingErrorHandler()}),
    (BOTH, {"error_handler": lambda error, item, task_name, attempt: (True, None)}),
    (BOTH, {"task_name": None}),
    (BOTH, {"concurrency_limit": None}),
    (BOTH, {"concurrency_limit": 1}),
    (BOTH, {"concurrency_limit": math.inf}),
    (BOTH, {"max_failures": None}),
    (BOTH, {"max_failures": 0, "on_error": "skip_item"}),
    (BOTH, {"max_failures": 5, "error_handler": LoggingErrorHandler()}),
    (BOTH, {"executor": None, "abandon_on_cancel": False}),
    (BOTH, {"on_error": "fail"}),
    (BOTH, {"on_error": "skip_item"}),
    (BOTH, {"on_error": "emit_failure"}),
    (BATCH, {"on_error": "skip_batch"}),
    (SINGLE, {"spread": None}),
    (BATCH, {"max_size": 1}),
    (BATCH, {"max_size": 10, "min_size": 10}),
    (BATCH, {"max_wait": None}),
    (BATCH, {"max_wait": 0}),
    (BATCH, {"max_wait": math.inf}),
]


@pytest.mark.parametrize(
    ("kind", "options"), [(kind, options) for kinds, options in GOOD for kind in kinds], ids=stable
)
async def test_options_at_their_limits_are_taken(kind: str, options: dict[str, Any]) -> None:
    assert await make(kind, options)([1, 2]).collect() in ([1, 2], [[1, 2]])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *[(kind, name) for kind in BOTH for name in ("retries", "func", "args", "kwargs", "spec")],
        *[("single", name) for name in ("max_size", "min_size", "max_wait", "drop_remainder")],
        ("batch", "spread"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_its_name(kind: str, name: str) -> None:
    for decorate in (
        lambda: make(kind, {name: ()}),
        lambda: make(kind, {}).with_options(**{name: ()}),
    ):
        with pytest.raises(TypeError, match=repr(name)) as caught:
            decorate()
        # Those that do exist are named.
        assert "on_error, retry_attempts" in str(caught.value)
        assert ("max_size, min_size" in str(caught.value)) is (kind == "batch")


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        *[(kind, "retries", "did you mean 'retry_attempts'?") for kind in BOTH],
        *[(kind, "time_out", "did you mean 'timeout'?") for kind in BOTH],
        *[(kind, "concurency_limit", "did you mean 'concurrency_limit'?") for kind in BOTH],
        *[(kind, "max_workers", "did you mean 'concurrency_limit'?") for kind in BOTH],
        *[(kind, "retry_atempts", "did you mean 'retry_attempts'?") for kind in BOTH],
        *[(kind, "on_errors", "did you mean 'on_error'?") for kind in BOTH],
        *[(kind, "buffer_size", "pipeline.with_context(buffer_size=...).") for kind in BOTH],
        *[(kind, "args", "task.with_inputs(...).") for kind in BOTH],
        ("single", "max_size", "that is for batch tasks."),
        ("single", "flush_when_idle", "that is for batch tasks."),
        ("batch", "spread", "that is for single tasks."),
        ("batch", "per_key", "that is for single tasks."),
        ("batch", "batch_size", "did you mean 'max_size'?"),
        ("single", "batch_size", "'batch_size'."),  # there is nothing like it
        ("batch", "colour", "'colour'."),
    ],
)
def test_what_may_be_meant_by_an_unknown_option_is_said(kind: str, name: str, hint: str) -> None:
    for decorate in (
        lambda: make(kind, {name: 1}),
        lambda: make(kind, {}).with_options(**{name: 1}),
    ):
        with pytest.raises(TypeError, match="unknown option") as caught:
            decorate()
        said = str(caught.value).partition(" The options are ")[0]
        assert said.startswith(f"unknown option {name!r}")
        assert said.endswith(hint)
        assert ("mean" in said) is ("mean" in hint)


def test_an_unknown_option_counts_for_more_than_a_missing_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'max_size'"):
        batch_task(batch_size=3)


def test_bad_options_are_refused_before_there_is_a_function() -> None:
    with pytest.raises(TypeError, match="retries"):
        single_task(retries=3)
    with pytest.raises(TypeError, match="retries"):
        batch_task(max_size=3, retries=3)


def test_a_batch_task_needs_max_size() -> None:
    with pytest.raises(TypeError, match="max_size"):
        batch_task()(function)
    with pytest.raises(TypeError, match="max_size"):
        batch_task(function)


# --- what tasks are made of


@pytest.mark.parametrize("thing", [5, "text", [function], object()], ids=stable)
def test_a_task_is_made_of_a_function_and_of_nothing_else(thing: Any) -> None:
    for decorate in (single_task, single_task(), batch_task(max_size=2)):
        with pytest.raises(TypeError, match="made of a function") as caught:
            decorate(thing)
        assert repr(thing) in str(caught.value)


def test_a_task_is_not_made_of_a_coroutine() -> None:
    async def fetch() -> None:
        """Would warn if it were never awaited."""

    for decorate in (single_task, single_task(), batch_task(max_size=2)):
        with pytest.raises(TypeError, match="not of a coroutine: leave out the call"):
            decorate(fetch())


def test_a_task_is_no_function_to_make_a_task_of() -> None:
    task = single_task(function)
    for thing in (task, task | task):
        for decorate in (single_task, single_task(), batch_task(max_size=2)):
            with pytest.raises(TypeError, match="is one already"):
                decorate(thing)


def test_a_pipeline_is_no_data() -> None:
    task = single_task(function)
    for call in (task, task.as_completed):
        with pytest.raises(TypeError, match=r"join the two with `\|`"):
            call(task | task)


# --- what pipelines are made of

NO_TASKS = [
    (function, "function 'function'", "@single_task"),
    (len, "function 'len'", "@batch_task"),
    (None, "None", "task"),
    (5, "5", "task"),
    ([1, 2], "[1, 2]", "task"),
    ({"a": 1}, "{'a': 1}", "task"),
    ({1}, "{1}", "task"),
    ("text", "'text'", "task"),
    (int, "int", "task"),
]


@pytest.mark.parametrize(("thing", "name", "right"), NO_TASKS, ids=stable)
def test_what_is_no_task_cannot_be_piped_from_either_side(
    thing: Any, name: str, right: str
) -> None:
    for pipeline in (parse, parse | check):
        for pipe in (
            lambda pipeline=pipeline: pipeline | thing,
            lambda pipeline=pipeline: thing | pipeline,
            lambda pipeline=pipeline: Pipeline(pipeline, thing),
            lambda pipeline=pipeline: Pipeline(thing, pipeline),
        ):
            with pytest.raises(TypeError, match="a pipeline ") as caught:
                pipe()
            assert name in str(caught.value)
            assert right in str(caught.value)


def test_a_pipeline_needs_a_task() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        Pipeline()


# --- what pipelines are given


async def coroutine() -> list[int]:
    return [1]


def generator_function() -> Iterator[int]:
    yield 1


async def async_generator_function() -> AsyncIterator[int]:
    yield 1


BAD_DATA: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: "text", "str", "wrap it in a list"),
    (lambda: "", "str", "wrap it in a list"),
    (lambda: b"bytes", "bytes", "wrap it in a list"),
    (lambda: bytearray(b"bytes"), "bytearray", "wrap it in a list"),
    (lambda: 5, "int 5", "iterable"),
    (lambda: None, "None", "iterable"),
    (lambda: function, "function", "iterable"),
    (lambda: list, "list", "iterable"),
    (coroutine, "coroutine", "await it first"),
    (
        lambda: generator_function,
        "generator_function",
        "call it, as in pipeline(generator_function(",
    ),
    (
        lambda: async_generator_function,
        "async_generator_function",
        "call it, as in pipeline(async_generator_function(",
    ),
]


@pytest.mark.parametrize(("data", "name", "right"), BAD_DATA, ids=[row[1] for row in BAD_DATA])
def test_data_that_cannot_be_read_is_refused_when_the_pipeline_is_called(
    data: Callable[[], Any], name: str, right: str
) -> None:
    for pipeline in (parse, parse | store):
        for call in (pipeline, pipeline.as_completed):
            with pytest.raises(TypeError, match="a pipeline reads an ") as caught:
                call(data())
            assert name in str(caught.value)
            assert right in str(caught.value)


def test_a_message_does_not_repeat_data_at_length() -> None:
    class Large:
        def __repr__(self) -> str:
            return "x" * 10_000

    with pytest.raises(TypeError, match="a pipeline reads an ") as caught:
        parse(Large())
    assert len(str(caught.value)) < 300


class OldSequence:
    """Can be iterated, for it can be indexed."""

    def __getitem__(self, index: int) -> int:
        return [1, 2, 3][index]


@in_both_modes
@pytest.mark.parametrize(
    "data",
    [
        lambda: [1, 2, 3],
        lambda: (1, 2, 3),
        lambda: range(1, 4),
        lambda: {1: "a", 2: "b", 3: "c"},
        lambda: {1: "a", 2: "b", 3: "c"}.keys(),
        lambda: iter([1, 2, 3]),
        lambda: map(int, "123"),
        lambda: (number for number in (1, 2, 3)),
        lambda: OldSequence(),
        lambda: async_numbers(),
        lambda: passing([1, 2, 3]),
    ],
)
async def test_any_other_iterable_is_read(mode: str, data: Callable[[], Any]) -> None:
    assert await parse.with_execution_mode(mode)(data()).collect() == [1, 2, 3]


async def async_numbers() -> AsyncIterator[int]:
    for number in (1, 2, 3):
        yield number


# --- modes and settings


@pytest.mark.parametrize(
    "change",
    [
        lambda mode: parse.with_execution_mode(mode),
        lambda mode: (parse | check).with_context(execution_mode=mode),
        lambda mode: PipelineContext(execution_mode=mode),
    ],
    ids=["with_execution_mode", "with_context", "PipelineContext"],
)
@pytest.mark.parametrize(
    ("mode", "error"),
    [
        *[(mode, ValueError) for mode in ("fast", "", "Ordered")],
        *[(mode, TypeError) for mode in (None, 1, True, b"ordered")],
    ],
)
def test_an_execution_mode_that_does_not_exist_is_refused(
    change: Callable[[Any], Any], mode: Any, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        change(mode)
    for word in ("execution_mode", repr(mode), "'ordered'", "'as_completed'"):
        assert word in str(caught.value)


@pytest.mark.parametrize("make_context", [PipelineContext, parse.with_context])
@pytest.mark.parametrize(
    ("name", "value", "error", "right"),
    [
        ("max_parallelism", 0, ValueError, "at least 1"),
        ("max_parallelism", -1, ValueError, "at least 1"),
        ("max_parallelism", "3", TypeError, "a whole number"),
        ("max_parallelism", True, TypeError, "a whole number"),
        ("buffer_size", 0, ValueError, "at least 1"),
        ("buffer_size", -1, ValueError, "at least 1"),
        ("buffer_size", None, TypeError, "a whole number"),
        ("buffer_size", "3", TypeError, "a whole number"),
        ("pipeline_id", 5, TypeError, "a str"),
        ("data", 5, TypeError, "a dict"),
        ("data", [("a", 1)], TypeError, "a dict"),
    ],
)
def test_a_bad_setting_is_refused_with_its_name_its_value_and_what_is_right(
    make_context: Callable[..., Any], name: str, value: Any, error: type[Exception], right: str
) -> None:
    with pytest.raises(error) as caught:
        make_context(**{name: value})
    for word in (name, repr(value), right):
        assert word in str(caught.value)


SLIPS = {
    "max_paralelism": "max_parallelism",  # dropped
    "maxparallelism": "max_parallelism",
    "instrument": "instruments",
    "bufer_size": "buffer_size",
    "bufffer_size": "buffer_size",  # doubled
    "timming": "timing",
    "dataa": "data",
    "buffer_sise": "buffer_size",  # changed
    "pipeline_if": "pipeline_id",
    "max_failuers": "max_failures",  # swapped
    "dtaa": "data",
    "execution_modes": "execution_mode",  # a plural
    "timings": "timing",
    "datas": "data",
}
OF_THE_USER = ["date", "dat", "data_", "database", "batch_size", "tenant", "retries_left", "mode"]
OF_THE_USER += ["buffer", "size", "max_retries", "parallelism", "time", "pipeline", "timer", "id"]


@pytest.mark.parametrize("name", SLIPS)
def test_a_setting_that_is_nearly_right_is_refused_with_the_right_name(name: str) -> None:
    for pipeline in (parse, parse | check):
        with pytest.raises(TypeError, match=f"no setting {name!r}: did you mean {SLIPS[name]!r}"):
            pipeline.with_context(**{name: 1})


@pytest.mark.parametrize("name", OF_THE_USER)
async def test_other_names_are_data(name: str) -> None:
    assert (await context_of(parse.with_context(**{name: 1}))).data == {name: 1}


async def test_an_explicit_dict_may_have_any_key() -> None:
    data = dict.fromkeys([*SLIPS, *OF_THE_USER, "buffer_size"], 1)
    pipeline = parse.with_context(data=data) | check.with_context(region="north")
    assert (await context_of(pipeline)).data == {**data, "region": "north"}
    context = PipelineContext(data=data)
    for other in (parse.with_context(context), parse.with_context(**context.__dict__)):
        assert (await context_of(other)).data == data


async def test_a_context_is_taken_as_it_is() -> None:
    context = PipelineContext("as_completed", 3, 7, "nightly", {"user": "me"}, timing=False)
    pipeline = parse.with_context(buffer_size=5, region="north")
    seen = await context_of(pipeline.with_context(context))
    assert dataclasses.replace(seen, data=context.data) == context
    assert seen.data == {"region": "north", "user": "me"}  # as it is with `**context.__dict__`
    # What is given by name is put on top.
    seen = await context_of(pipeline.with_context(context, buffer_size=9, user="you"))
    assert (seen.buffer_size, seen.max_parallelism) == (9, 3)
    assert seen.data == {"region": "north", "user": "you"}
    assert context.data == {"user": "me"}
    # None is what `get_current_context` gives outside of runs.
    assert (await context_of(pipeline.with_context(None))).buffer_size == 5
    # "context" is a name like any other.
    assert (await context_of(parse.with_context(context=1))).data == {"context": 1}


@pytest.mark.parametrize("thing", [{"buffer_size": 3}, 5, "ordered", PipelineContext])
def test_with_context_takes_no_other_object(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"a PipelineContext, or settings by name") as caught:
        parse.with_context(thing)
    assert repr(thing) in str(caught.value)


async def test_modes_may_be_given_as_strings_or_as_members() -> None:
    for mode in ("as_completed", ExecutionMode.AS_COMPLETED):
        assert (await context_of(parse.with_execution_mode(mode))).execution_mode == "as_completed"


async def context_of(pipeline: Pipeline[Any, Any, Any]) -> PipelineContext:
    """Return the context that the tasks of a run of `pipeline` see."""
    look = single_task(lambda item: get_current_context())
    contexts = await Pipeline(look, pipeline)([1]).collect()
    assert isinstance(contexts[0], PipelineContext)
    return contexts[0]


async def test_a_pipe_merges_the_settings_of_its_sides_and_the_right_one_wins() -> None:
    left = parse.with_context(buffer_size=3, max_parallelism=5, user="left", region="left")
    right = check.with_context(buffer_size=4, user="right", tier="right")
    context = await context_of(left | right)
    assert (context.buffer_size, context.max_parallelism) == (4, 5)
    assert context.data == {"user": "right", "region": "left", "tier": "right"}
    assert (await context_of(Pipeline(left, right))).data == context.data


# --- what streams are used for


async def consume_by_iterating(stream: Stream[Any]) -> None:
    async for _ in stream:
        pass


async def consume_by_anext(stream: Stream[Any]) -> None:
    await anext(stream)


async def consume_in_a_block(stream: Stream[Any]) -> None:
    async with stream:
        pass


async def collect(stream: Stream[Any]) -> None:
    await stream.collect()


async def drain(stream: Stream[Any]) -> None:
    await stream.drain()


async def close(stream: Stream[Any]) -> None:
    await stream.aclose()


async def read_one_and_close(stream: Stream[Any]) -> None:
    await anext(stream)
    await stream.aclose()


async def fail(stream: Stream[Any]) -> None:
    await error_of(Pipeline(single_task(lambda item: 1 / 0))(stream).drain())
    await stream.aclose()


CONSUME = [consume_by_iterating, consume_by_anext, consume_in_a_block, collect, drain]


@pytest.mark.parametrize("second", CONSUME)
@pytest.mark.parametrize(
    "first",
    [consume_by_iterating, consume_in_a_block, collect, drain, close, read_one_and_close, fail],
)
async def test_a_stream_is_consumed_only_once(first: Any, second: Any) -> None:
    stream = parse([1, 2])
    await first(stream)
    with pytest.raises(StreamConsumedError, match="call the pipeline again") as caught:
        await second(stream)
    assert isinstance(caught.value, RuntimeError)
    # The pipeline itself can be called again.
    assert await parse([1, 2]).collect() == [1, 2]


@pytest.mark.parametrize("second", [consume_in_a_block, collect, drain])
async def test_a_stream_that_is_being_iterated_cannot_be_entered(second: Any) -> None:
    stream = parse([1, 2])
    assert await anext(stream) == 1
    with pytest.raises(StreamConsumedError):
        await second(stream)
    assert await anext(stream) == 2
    await stream.aclose()


async def test_the_end_of_a_stream_comes_once() -> None:
    stream = parse([1])
    assert await anext(stream) == 1
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    with pytest.raises(StreamConsumedError):
        await anext(stream)


async def test_closing_twice_is_no_misuse() -> None:
    stream = parse([1])
    await stream.aclose()
    await stream.aclose()
    stream.stop()


@pytest.mark.parametrize("consume", CONSUME)
def test_outside_an_event_loop_a_stream_says_that_it_needs_one(consume: Any) -> None:
    read: list[int] = []
    stream = parse(read.append(1) for _ in range(3))
    running = consume(stream)
    with pytest.raises(RuntimeError, match="event loop"):
        running.send(None)
    assert read == []


@pytest.mark.parametrize("consume", [list, iter, tuple, lambda stream: [*stream]])
def test_for_without_async_says_what_is_missing(consume: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="async for"):
        consume(parse([1]))


@pytest.mark.parametrize("thing", [5, None, "text"])
def test_a_resource_is_made_of_a_function(thing: Any) -> None:
    with pytest.raises(TypeError, match="takes a function") as caught:
        resource(thing)
    assert repr(thing) in str(caught.value)


@asynccontextmanager
async def connection() -> AsyncIterator[int]:
    yield 1


@contextmanager
def plain_connection() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("manager", [connection, plain_connection, contextlib.ExitStack])
def test_a_resource_is_not_made_of_a_context_manager_which_would_serve_one_run(
    manager: Callable[[], Any],
) -> None:
    with pytest.raises(TypeError, match="takes a function that makes a context manager"):
        resource(manager())


async def test_a_resource_that_makes_no_context_manager_is_named() -> None:
    task = single_task(lambda item, numbers: item).with_inputs(resource(async_numbers))
    error = await error_of(task([1]).collect())
    assert isinstance(error, TypeError)
    assert "async_numbers" in str(error)
    assert "asynccontextmanager" in str(error)


# --- tasks and pipelines as objects


def test_a_task_is_a_pipeline_of_one() -> None:
    assert isinstance(parse, Pipeline)
    assert parse.stages == (parse,)
    assert len(parse) == 1
    assert list(parse) == [parse]


def test_a_pipeline_is_a_sequence_of_its_tasks() -> None:
    pipeline = parse | check | store
    assert type(pipeline) is Pipeline
    assert pipeline.stages == (parse, check, store)
    assert len(pipeline) == 3
    assert list(pipeline) == [parse, check, store]
    assert bool(pipeline)


def test_there_are_many_ways_to_say_the_same_pipeline() -> None:
    stages = (parse, check, store, parse)
    for pipeline in (
        parse | check | store | parse,
        (parse | check) | (store | parse),
        parse | (check | (store | parse)),
        Pipeline(parse, check, store, parse),
        Pipeline(parse, check | store, parse),
        Pipeline(Pipeline(parse | check), store | parse),
        Pipeline(*(parse | check), *(store | parse)),
    ):
        assert pipeline.stages == stages
    assert Pipeline(parse).stages == (parse,)


def test_the_repr_of_a_task_tells_its_name_and_that_of_a_pipeline_its_tasks() -> None:
    assert "parse" in repr(parse)
    assert "parse | check | store" in repr(parse | check | store)
    assert "parse | store" in repr(unread((parse | store)([1])))
    assert repr(single_task(function)).count("function") == 1


def test_a_task_is_named_after_its_function_unless_it_is_given_a_name() -> None:
    assert single_task(function).name == "function"
    assert single_task(task_name="other")(function).name == "other"
    assert single_task(types.SimpleNamespace).name == "SimpleNamespace"


def test_a_task_keeps_what_documents_its_function() -> None:
    @single_task
    def documented(item: int) -> int:
        """Say what it does."""
        return item

    assert documented.__doc__ == "Say what it does."
    assert documented.__name__ == "documented"
    assert documented.__qualname__.endswith("<locals>.documented")
    assert documented.__module__ == __name__
    assert documented.__wrapped__ is documented.func
    assert documented.func(3) == 3


def test_with_options_returns_another_task_and_leaves_this_one_alone() -> None:
    task = single_task(retry_attempts=3, task_name="parse")(function)
    other = task.with_options(retry_attempts=5, timeout=2)
    assert type(other) is Task
    assert other is not task
    assert (other.spec.retry_attempts, other.spec.timeout, other.name) == (5, 2, "parse")
    assert (task.spec.retry_attempts, task.spec.timeout) == (3, None)
    assert other.func is task.func
    assert task.with_options() is not task


async def test_with_options_checks_options_together() -> None:
    task = batch_task(max_size=10, min_size=5)(tuple)
    with pytest.raises(ValueError, match="min_size must not exceed max_size"):
        task.with_options(max_size=4)
    assert await task.with_options(max_size=4, min_size=1)(range(5)).collect() == [
        (0, 1, 2, 3),
        (4,),
    ]


async def test_with_options_keeps_side_inputs_and_with_inputs_keeps_options() -> None:
    task = single_task(lambda item, more: (item, more)).with_inputs(7).with_options(task_name="x")
    assert task.name == "x"
    assert await task([1]).collect() == [(1, 7)]
    task = single_task(task_name="x")(lambda item, more: (item, more)).with_inputs(7)
    assert task.name == "x"


async def test_with_inputs_returns_another_task_and_leaves_this_one_alone() -> None:
    task = single_task(lambda item, *args, **kwargs: (item, args, kwargs))
    first, second = task.with_inputs(1, key="a"), task.with_inputs(2)
    assert await task(["x"]).collect() == [("x", (), {})]
    assert await first(["x"]).collect() == [("x", (1,), {"key": "a"})]
    assert await second(["x"]).collect() == [("x", (2,), {})]
    # The last call counts: inputs are not added up.
    assert await first.with_inputs(3)(["x"]).collect() == [("x", (3,), {})]


async def test_with_context_returns_another_pipeline_and_leaves_this_one_alone() -> None:
    for pipeline in (parse, parse | check):
        other = pipeline.with_context(buffer_size=3, user="me")
        third = other.with_context(user="you")
        assert other.stages == pipeline.stages
        assert (await context_of(pipeline)).buffer_size == 100
        assert (await context_of(pipeline)).data == {}
        assert (await context_of(other)).data == {"user": "me"}
        assert (await context_of(third)).data == {"user": "you"}
        assert (await context_of(third)).buffer_size == 3


async def test_with_execution_mode_and_as_completed_leave_the_pipeline_alone() -> None:
    for pipeline in (parse, parse | check):
        fast = pipeline.with_execution_mode("as_completed")
        unread(pipeline.as_completed([1]))
        assert (await context_of(fast)).execution_mode == "as_completed"
        assert (await context_of(pipeline)).execution_mode == "ordered"


async def test_what_is_given_later_changes_nothing_about_a_pipeline() -> None:
    settings: dict[str, Any] = {"user": "me"}
    inputs = {"key": 1}
    pipeline = parse.with_context(data=settings)
    task = single_task(lambda item, key: key).with_inputs(**inputs)
    settings["user"] = "you"
    inputs["key"] = 2
    assert (await context_of(pipeline)).data == {"user": "me"}
    assert await task([1]).collect() == [1]


def test_a_task_describes_and_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse.spec.timeout = 3
    with pytest.raises(AttributeError):
        parse.stages = ()
    with pytest.raises(AttributeError):
        parse.func = len
    with pytest.raises(AttributeError):
        parse.name = "other"


def test_tasks_and_pipelines_can_be_kept_in_sets() -> None:
    pipeline = parse | check
    assert {parse, check, parse, pipeline, pipeline} == {parse, check, pipeline}
