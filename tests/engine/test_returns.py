"""What a task returns: one result, several, or none."""

from __future__ import annotations

import asyncio
import functools
from collections import namedtuple
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from _helpers import Flawed, all_blocked, in_both_modes, passing, timed
from conveyor import Failure, batch_task, single_task

Point = namedtuple("Point", "x y")


class Rows(list[Any]):
    """A list of somebody's own."""


def generator(*values: Any) -> Iterator[Any]:
    yield from values


async def async_generator(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


class OwnGenerator(Generator[int, None, None]):
    """A generator that is no generator function's."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)

    def send(self, value: None) -> int:
        if not self.values:
            raise StopIteration
        return self.values.pop(0)

    def throw(self, *error: Any) -> int:
        raise error[0]


class OwnAsyncGenerator(AsyncGenerator[int, None]):
    """The same, async."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)

    async def asend(self, value: None) -> int:
        await checkpoint()
        if not self.values:
            raise StopAsyncIteration
        return self.values.pop(0)

    async def athrow(self, *error: Any) -> int:
        raise error[0]


# What is returned, and its results: in the last place, and before a `|`.
ONE_FOR_ONE = [
    "text",
    b"bytes",
    0,
    False,
    "",
    (),
    (1, None, 2),
    Point(1, 2),
    {},
    {"key": None},
    {1, 2},
    frozenset([1]),
    range(3),
    KeyError("returned, not raised"),
]
TABLE: dict[str, tuple[Callable[[], Any], list[Any], list[Any]]] = {
    "None": (lambda: None, [], []),
    "list": (lambda: [1, 2], [[1, 2]], [1, 2]),
    "empty list": (list, [[]], []),
    "list with None": (lambda: [None, 1, None, 2, None], [[None, 1, None, 2, None]], [1, 2]),
    "list of None": (lambda: [None], [[None]], []),
    "list of lists": (lambda: [[1], [], [2]], [[[1], [], [2]]], [[1], [], [2]]),
    "list subclass": (lambda: Rows([1, None, 2]), [[1, None, 2]], [1, 2]),
    "generator": (lambda: generator(1, 2), [1, 2], [1, 2]),
    "generator with None": (lambda: generator(None, 1, None, 2), [1, 2], [1, 2]),
    "generator of lists": (
        lambda: generator([1], [None], []),
        [[1], [None], []],
        [[1], [None], []],
    ),
    "empty generator": (lambda: generator(), [], []),
    "async generator": (lambda: async_generator(1, 2), [1, 2], [1, 2]),
    "async generator with None": (lambda: async_generator(1, None, 2, None), [1, 2], [1, 2]),
    "generator of one's own": (lambda: OwnGenerator(1, 2), [1, 2], [1, 2]),
    "async generator of one's own": (lambda: OwnAsyncGenerator(1, 2), [1, 2], [1, 2]),
    "empty async generator": (lambda: async_generator(), [], []),
}
TABLE |= {repr(value): (lambda value=value: value, [value], [value]) for value in ONE_FOR_ONE}

rows = pytest.mark.parametrize(("returned", "last", "piped"), TABLE.values(), ids=TABLE.keys())


@rows
async def test_a_single_task_returns_at_the_end(
    returned: Callable[[], Any], last: list[Any], piped: list[Any]
) -> None:
    task = single_task(lambda item: returned())
    assert await task(["a", "b"]).collect() == last * 2
    assert await task.as_completed(["a"]).collect() == last


@rows
async def test_a_single_task_returns_before_another_task(
    returned: Callable[[], Any], last: list[Any], piped: list[Any]
) -> None:
    given: list[Any] = []
    pipeline = single_task(lambda item: returned()) | single_task(given.append)
    assert await pipeline(["a", "b"]).collect() == []
    assert given == piped * 2
    given.clear()
    assert await pipeline.as_completed(["a"]).collect() == []
    assert given == piped


@rows
async def test_a_batch_task_returns_wherever_it_stands(
    returned: Callable[[], Any], last: list[Any], piped: list[Any]
) -> None:
    task = batch_task(max_size=2)(lambda batch: returned())
    assert await task(["a", "b", "c"]).collect() == piped * 2
    assert await task.as_completed(["a", "b"]).collect() == piped
    given: list[Any] = []
    pipeline = task | single_task(given.append)
    assert await pipeline(["a", "b", "c"]).collect() == []
    assert given == piped * 2
    given.clear()
    assert await pipeline.as_completed(["a", "b"]).collect() == []
    assert given == piped


@in_both_modes
async def test_an_iterator_that_is_no_generator_is_one_result(mode: str) -> None:
    iterators = [iter([1]), map(str, [1]), zip([1], strict=True)]
    results = await passing.with_execution_mode(mode)(iterators).collect()
    assert all(result is iterator for result, iterator in zip(results, iterators, strict=True))


async def test_results_are_the_very_objects_that_were_returned() -> None:
    returned = [object(), [1], Rows(), {}]
    results = await passing(returned).collect()
    assert all(result is value for result, value in zip(results, returned, strict=True))


async def test_what_is_unpacked_is_counted_and_so_is_what_is_filtered() -> None:
    @single_task
    def give(item: Any) -> Any:
        return [None, 1, 2] if item else None

    stream = (give | single_task(lambda item: generator(None, item)))([True, False])
    async with stream:
        assert [result async for result in stream] == [1, 2]
        first, second = stream.statistics().stages
    assert (first.received, first.filtered, first.emitted) == (2, 2, 2)
    assert (second.received, second.filtered, second.emitted) == (2, 2, 2)


# --- spread


@in_both_modes
@pytest.mark.parametrize(
    ("spread", "last", "piped"),
    [
        (None, [[1, None, 2]], [1, 2]),
        (True, [1, 2], [1, 2]),
        (False, [[1, None, 2]], [[1, None, 2]]),
    ],
)
@pytest.mark.parametrize("kind", [list, Rows])
async def test_spread_says_whether_a_list_is_unpacked(
    mode: str, spread: bool | None, last: list[Any], piped: list[Any], kind: Callable[..., Any]
) -> None:
    task = single_task(spread=spread)(lambda item: kind([1, None, 2]))
    assert await task.with_execution_mode(mode)(["a"]).collect() == last
    given: list[Any] = []
    pipeline = task | single_task(given.append)
    await pipeline.with_execution_mode(mode)(["a"]).drain()
    assert given == piped


async def test_a_list_that_is_passed_on_whole_stays_what_it_is() -> None:
    rows = Rows([1])
    given: list[Any] = []
    pipeline = single_task(spread=False)(lambda item: rows) | single_task(given.append)
    await pipeline(["a"]).drain()
    assert given[0] is rows


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize(
    ("returned", "results"),
    [((1, 2), [(1, 2)]), (None, []), ("ab", ["ab"]), ({"a": 1}, [{"a": 1}])],
)
async def test_spread_is_about_lists_alone(spread: bool, returned: Any, results: list[Any]) -> None:
    task = single_task(spread=spread)(lambda item: returned)
    assert await task(["a"]).collect() == results


@pytest.mark.parametrize("spread", [True, False])
async def test_spread_leaves_generators_alone(spread: bool) -> None:
    task = single_task(spread=spread)(lambda item: generator([1], [2]))
    assert await task(["a"]).collect() == [[1], [2]]


async def test_what_the_input_holds_is_neither_unpacked_nor_filtered() -> None:
    seen: list[Any] = []
    await single_task(seen.append)([None, [1, 2], [], (3,)]).drain()
    assert seen == [None, [1, 2], [], (3,)]


async def test_a_batch_task_gets_a_list_of_whatever_the_input_holds() -> None:
    seen: list[Any] = []
    await batch_task(max_size=3)(seen.append)([None, [1, 2], [], (3,)]).drain()
    assert seen == [[None, [1, 2], []], [(3,)]]


# --- functions of every kind


async def async_def(item: int) -> int:
    await checkpoint()
    return item * 10


def plain_def(item: int) -> int:
    return item * 10


def def_that_returns_a_coroutine(item: int) -> Awaitable[int]:
    return async_def(item)


async def async_def_that_returns_a_coroutine(item: int) -> Awaitable[int]:
    return async_def(item)


class Later:
    """Something that can be awaited and is no coroutine."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, int]:
        yield from checkpoint().__await__()
        return self._value


def def_that_returns_an_awaitable(item: int) -> Awaitable[int]:
    return Later(item * 10)


def generator_function(item: int) -> Iterator[int]:
    yield item * 10


async def async_generator_function(item: int) -> AsyncIterator[int]:
    await checkpoint()
    yield item * 10


async def async_def_that_returns_a_generator(item: int) -> Iterator[int]:
    return generator_function(item)


async def async_def_that_returns_an_async_generator(item: int) -> AsyncIterator[int]:
    return async_generator_function(item)


async def multiply(factor: int, item: int) -> int:
    return factor * item


class Multiplier:
    """Functions that belong to an object."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    async def __call__(self, item: int) -> int:
        return self.factor * item

    async def method(self, item: int) -> int:
        return self.factor * item

    def plain_method(self, item: int) -> int:
        return self.factor * item

    async def generator_method(self, item: int) -> AsyncIterator[int]:
        yield self.factor * item


class PlainMultiplier(Multiplier):
    def __call__(self, item: int) -> int:  # type: ignore[override]
        return self.factor * item


class Tenfold(int):
    def __new__(cls, item: int) -> Tenfold:
        return super().__new__(cls, item * 10)


FUNCTIONS: dict[str, Callable[[int], Any]] = {
    "async def": async_def,
    "def": plain_def,
    "def that returns a coroutine": def_that_returns_a_coroutine,
    "def that returns an awaitable": def_that_returns_an_awaitable,
    "async def that returns a coroutine": async_def_that_returns_a_coroutine,
    "lambda": lambda item: item * 10,
    "lambda that returns a coroutine": lambda item: async_def(item),
    "generator": generator_function,
    "async generator": async_generator_function,
    "lambda that returns a generator": lambda item: generator_function(item),
    "lambda that returns an async generator": lambda item: async_generator_function(item),
    "async def that returns a generator": async_def_that_returns_a_generator,
    "async def that returns an async generator": async_def_that_returns_an_async_generator,
    "partial of async def": functools.partial(multiply, 10),
    "partial of def": functools.partial(int.__mul__, 10),
    "partial of a partial": functools.partial(functools.partial(multiply), 10),
    "partial of an async generator": functools.partial(async_generator_function),
    "bound method": Multiplier(10).method,
    "bound plain method": Multiplier(10).plain_method,
    "bound generator method": Multiplier(10).generator_method,
    "object with async __call__": Multiplier(10),
    "object with __call__": PlainMultiplier(10),
    "built-in method": (10).__mul__,
    "class": Tenfold,
}
OPTIONS: list[dict[str, Any]] = [
    {},
    # Each of these takes another way to the function.
    {"retry_attempts": 2},
    {"timeout": 60},
]

of_every_kind = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


@of_every_kind
async def test_a_single_task_is_made_of_any_function(function: Callable[[int], Any]) -> None:
    for options in OPTIONS:
        task = single_task(**options)(function)
        assert await task([1, 2, 3]).collect() == [10, 20, 30]
        assert await (task | task)([1, 2]).collect() == [100, 200]
        assert sorted(await task.as_completed([1, 2, 3]).collect()) == [10, 20, 30]


@of_every_kind
async def test_a_batch_task_is_made_of_any_function(function: Callable[[int], Any]) -> None:
    def of_sum(batch: list[int]) -> Any:
        return function(sum(batch))

    for options in OPTIONS:
        task = batch_task(max_size=2, **options)(of_sum)
        assert await task([1, 2, 3]).collect() == [30, 30]
        assert await task.as_completed([1, 2, 3]).collect() == [30, 30]


@of_every_kind
async def test_any_function_can_be_run_under_a_bound_on_parallelism(
    function: Callable[[int], Any],
) -> None:
    pipeline = (single_task(function) | single_task(function)).with_context(max_parallelism=1)
    assert await pipeline([1, 2, 3]).collect() == [100, 200, 300]


@pytest.mark.backends("asyncio", "uvloop")
async def test_a_future_of_the_loop_is_awaited() -> None:
    def start(item: int) -> asyncio.Task[int]:
        return asyncio.get_running_loop().create_task(async_def(item))

    assert await single_task(start)([1, 2]).collect() == [10, 20]


async def test_what_comes_of_an_awaitable_is_treated_as_if_it_were_returned() -> None:
    async def nothing() -> None:
        return None

    async def several() -> list[int | None]:
        return [1, None, 2]

    returned = {"nothing": nothing, "several": several}
    pipeline = single_task(lambda name: returned[name]()) | passing
    assert await pipeline(["nothing", "several"]).collect() == [1, 2]


class Site:
    """Decorated methods of every kind."""

    factor = 10

    def __init__(self, factor: int = 10) -> None:
        self.factor = factor

    @single_task
    async def fetch(self, item: int) -> int:
        return item * self.factor

    @single_task(task_name="plain")
    def parse(self, item: int) -> int:
        return item * self.factor

    @single_task
    async def pages(self, item: int) -> AsyncIterator[int]:
        yield item * self.factor

    @batch_task(max_size=2)
    async def store(self, batch: list[int]) -> int:
        return sum(batch) * self.factor

    @staticmethod
    @single_task
    async def of_nobody(item: int) -> int:
        return item * 10


class Mirror(Site):
    """Inherits them."""


@pytest.mark.parametrize("owner", [Site, Mirror])
@pytest.mark.parametrize("name", ["fetch", "parse", "pages"])
async def test_a_single_task_made_of_a_method_works_on_instances(
    owner: type[Site], name: str
) -> None:
    assert await getattr(owner(), name)([1, 2]).collect() == [10, 20]
    assert await getattr(owner(3), name)([1, 2]).collect() == [3, 6]


@pytest.mark.parametrize("owner", [Site, Mirror])
async def test_a_batch_task_made_of_a_method_works_on_instances(owner: type[Site]) -> None:
    assert await owner(10).store([1, 2, 3]).collect() == [30, 30]
    assert await owner(2).store([1, 2, 3]).collect() == [6, 6]


async def test_methods_of_several_objects_make_one_pipeline() -> None:
    pipeline = Site(2).fetch | Mirror(3).parse | Site(5).store
    assert await pipeline([1, 2, 3]).collect() == [90, 90]


async def test_a_bound_task_keeps_its_options_and_takes_others() -> None:
    assert Site().parse.name == "plain"
    assert Site().parse.with_options(task_name="other").name == "other"
    assert await Site(2).fetch.with_options(retry_attempts=2)([1]).collect() == [2]


async def test_a_method_gets_side_inputs_after_the_item() -> None:
    class Adder:
        @single_task
        async def add(self, item: int, more: int, *, most: int) -> tuple[Any, ...]:
            return self, item, more, most

    adder = Adder()
    assert await adder.add.with_inputs(2, most=3)([1]).collect() == [(adder, 1, 2, 3)]


async def test_a_task_made_of_a_method_can_be_had_from_the_class_for_unit_tests() -> None:
    assert await Site.fetch.func(Site(4), 2) == 8
    assert await Site(4).fetch.func(2) == 8


async def test_a_static_method_can_be_a_task() -> None:
    assert await Site.of_nobody([1, 2]).collect() == [10, 20]
    assert await Site().of_nobody([1, 2]).collect() == [10, 20]


async def test_a_class_method_can_be_a_task() -> None:
    class Shop:
        factor = 10

        @single_task
        @classmethod
        async def price(cls, item: int) -> int:
            return item * cls.factor

    class Sale(Shop):
        factor = 5

    assert await Shop.price([1, 2]).collect() == [10, 20]
    assert await Sale().price([1, 2]).collect() == [5, 10]
    assert await (Shop.price | Sale.price)([1]).collect() == [50]


# --- generators: streamed, paused, closed


@in_both_modes
@pytest.mark.parametrize("others", [[], [passing], [passing, passing]], ids=len)
@pytest.mark.parametrize("kind", [single_task, batch_task(max_size=1)], ids=["single", "batch"])
async def test_a_value_is_delivered_while_its_generator_still_waits(
    mode: str, others: list[Any], kind: Callable[[Any], Any]
) -> None:
    received = anyio.Event()

    async def give(item: Any) -> AsyncIterator[str]:
        yield "first"
        await received.wait()
        yield "second"

    pipeline = kind(give)
    for other in others:
        pipeline = pipeline | other
    results = []
    async for result in pipeline.with_execution_mode(mode)([1]):
        results.append(result)
        received.set()
    assert results == ["first", "second"]


@pytest.mark.virtual_time
async def test_the_values_of_generators_come_when_their_turn_comes_in_order() -> None:
    @single_task
    async def give(item: str) -> AsyncIterator[str]:
        for number in range(2):
            await anyio.sleep(2 if item == "slow" else 1)
            yield f"{item} {number}"

    assert await timed(give(["slow", "fast"])) == [
        (2, "slow 0"),
        (4, "slow 1"),
        # They are made by then: generators work beside each other.
        (4, "fast 0"),
        (4, "fast 1"),
    ]


@pytest.mark.virtual_time
async def test_the_values_of_generators_come_as_they_are_made_as_completed() -> None:
    @single_task
    async def give(item: str) -> AsyncIterator[str]:
        for number in range(2):
            await anyio.sleep(2 if item == "slow" else 0.75)
            yield f"{item} {number}"

    assert await timed(give.as_completed(["slow", "fast"])) == [
        (0.75, "fast 0"),
        (1.5, "fast 1"),
        (2, "slow 0"),
        (4, "slow 1"),
    ]


def endless(made: list[int]) -> Callable[[Any], Iterator[int]]:
    def give(item: Any) -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    return give


def endless_async(made: list[int]) -> Callable[[Any], AsyncIterator[int]]:
    async def give(item: Any) -> AsyncIterator[int]:
        for value in endless(made)(item):
            yield value

    return give


ENDLESS = {"sync": endless, "async": endless_async}
endless_kinds = pytest.mark.parametrize("kind", ENDLESS.values(), ids=ENDLESS.keys())


@in_both_modes
@endless_kinds
@pytest.mark.parametrize("buffer_size", [1, 2, 10])
async def test_a_generator_is_paused_while_nobody_reads(
    mode: str, kind: Callable[[list[int]], Any], buffer_size: int
) -> None:
    made: list[int] = []
    give = single_task(kind(made)).with_execution_mode(mode).with_context(buffer_size=buffer_size)
    async with give([1]) as stream:
        for taken in range(1, 12):
            assert await anext(stream) == taken - 1
            await all_blocked()
            # Beside what was taken, the link is full, and one more value is in hand.
            assert taken < len(made) <= taken + buffer_size + 1


@in_both_modes
@endless_kinds
@pytest.mark.parametrize("buffer_size", [1, 10])
async def test_a_generator_is_paused_while_the_next_task_is_busy(
    mode: str, kind: Callable[[list[int]], Any], buffer_size: int
) -> None:
    made: list[int] = []

    @single_task(concurrency_limit=2)
    async def stuck(item: int) -> None:
        await anyio.sleep_forever()

    pipeline = single_task(kind(made)) | stuck
    pipeline = pipeline.with_execution_mode(mode).with_context(buffer_size=buffer_size)
    async with pipeline([1]):
        await all_blocked()
        # Two are with the next task, the link may be full, and one is in hand.
        assert 2 < len(made) <= 2 + buffer_size + 1


@pytest.mark.parametrize("buffer_size", [1, 10])
async def test_as_completed_several_generators_are_paused_together_and_none_starves(
    buffer_size: int,
) -> None:
    made, taken = [0, 0, 0], [0, 0, 0]

    @single_task
    async def give(item: int) -> AsyncIterator[tuple[int, int]]:
        while True:
            made[item] += 1
            yield item, made[item]
            await checkpoint()

    async with give.with_context(buffer_size=buffer_size).as_completed(range(3)) as stream:
        for total in range(1, 50):
            item, value = await anext(stream)
            taken[item] += 1
            assert value == taken[item]
            await all_blocked()
            # Beside what was taken, the link is full, and each has one more in hand.
            assert sum(made) <= total + buffer_size + 3
    assert min(taken) > 1


@endless_kinds
@pytest.mark.parametrize(("limit", "buffer_size"), [(4, 1), (4, 7), (9, 3)])
async def test_generators_whose_turn_has_not_come_are_paused_at_their_bound(
    kind: Callable[[list[int]], Any], limit: int, buffer_size: int
) -> None:
    """``concurrency_limit + buffer_size`` values together, and one more in the hand of each."""
    made: dict[int, list[int]] = {number: [] for number in range(1, 4)}

    @single_task(concurrency_limit=limit)
    async def give(item: int) -> Any:
        if item == 0:
            await anyio.sleep_forever()
        return kind(made[item])(item)

    async with give.with_context(buffer_size=buffer_size)(range(4)) as stream:
        await all_blocked(1000)
        assert sum(map(len, made.values())) == limit + buffer_size + 3
        assert stream.statistics().stages[0].waiting == limit + buffer_size
        assert min(map(len, made.values())) >= 1


@pytest.mark.virtual_time
async def test_generators_in_order_work_beside_each_other() -> None:
    @single_task
    async def ask(question: int) -> AsyncIterator[tuple[int, int]]:
        for number in range(8):
            await anyio.sleep(0.125)
            yield question, number

    expected = [(question, number) for question in range(5) for number in range(8)]
    got = await timed(ask(range(5)))
    assert [result for _, result in got] == expected
    assert got[-1][0] == 1
    assert [time for time, _ in got[:8]] == [0.125 * number for number in range(1, 9)]


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"on_error": "emit_failure"}, {"on_error": "skip_item"}])
@pytest.mark.parametrize("slow", [0, 1, 2])
@pytest.mark.virtual_time
async def test_a_generator_that_fails_ahead_of_its_turn(
    bad: int, slow: int, options: dict[str, Any]
) -> None:
    """What it gave before comes in its place, and so does the failure."""

    @single_task(**options)
    async def give(item: int) -> AsyncIterator[tuple[int, int]]:
        for number in range(3):
            await anyio.sleep(2 if item == slow else 1)
            if item == bad and number == 2:
                raise ValueError(item)
            yield item, number

    got: list[Any] = []
    error: Exception | None = None
    try:
        async for result in give(range(3)):
            got.append("failure" if isinstance(result, Failure) else result)
    except ValueError as raised:
        error = raised
    expected: list[Any] = []
    for item in range(3):
        expected += [(item, number) for number in range(2 if item == bad else 3)]
        if item == bad and options.get("on_error") == "emit_failure":
            expected.append("failure")
        if item == bad and not options:
            break
    assert got == expected
    assert (error is None) == bool(options)


@pytest.mark.virtual_time
async def test_values_made_ahead_are_sent_as_there_is_room_behind() -> None:
    """The consumer is slow: nothing is lost, doubled or out of order at the bounds."""

    @single_task(concurrency_limit=3)
    async def give(item: int) -> AsyncIterator[tuple[int, int]]:
        for number in range(item % 5):
            await anyio.sleep((item * 7 + number * 3) % 4)
            yield item, number

    pipeline = (give | passing).with_context(buffer_size=2)
    got = []
    async with pipeline(range(20)) as stream:
        async for result in stream:
            await anyio.sleep(1)
            got.append(result)
    assert got == [(item, number) for item in range(20) for number in range(item % 5)]


# How a stream is left early. Each is called with a stream whose first value has come.
async def leave_by_closing(stream: Any) -> None:
    await stream.aclose()


async def leave_the_block(stream: Any) -> None:
    async with stream:
        await anext(stream)


async def break_out(stream: Any) -> None:
    async for _ in stream:
        break
    del stream
    await all_blocked()


async def close(stream: Any) -> None:
    await anext(stream)
    await stream.aclose()


async def fail_in_the_block(stream: Any) -> None:
    with pytest.raises(KeyError):
        await fail_inside(stream)


async def fail_inside(stream: Any) -> None:
    async with stream:
        await anext(stream)
        raise KeyError


async def be_cancelled(stream: Any) -> None:
    with anyio.CancelScope() as scope:
        async for _ in stream:
            scope.cancel()


WAYS_OUT = [break_out, close, leave_the_block, fail_in_the_block, be_cancelled]


async def async_giver(closed: list[str]) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await checkpoint()
        closed.append("closed")


async def waiting_giver(closed: list[str]) -> AsyncIterator[int]:
    """Is cancelled where it waits, so that only a shield lets it wait once more."""
    try:
        yield 1
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await checkpoint()
        closed.append("closed")


def plain_giver(closed: list[str]) -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        closed.append("closed")


GIVERS = [async_giver, waiting_giver, plain_giver]


@in_both_modes
@pytest.mark.parametrize("leave", WAYS_OUT)
@pytest.mark.parametrize("giver", GIVERS)
@pytest.mark.parametrize("last", [True, False], ids=["at the end", "before another"])
async def test_a_generator_is_closed_when_the_stream_is_left(
    mode: str,
    leave: Callable[[Any], Awaitable[None]],
    giver: Callable[[list[str]], Any],
    last: bool,
) -> None:
    closed: list[str] = []
    give = single_task(lambda item: giver(closed))
    pipeline = give if last else give | passing
    streams = [pipeline.with_execution_mode(mode)([1])]
    await leave(streams.pop())
    assert closed == ["closed"]


@in_both_modes
@pytest.mark.parametrize("giver", GIVERS)
async def test_a_generator_is_closed_before_an_error_further_on_reaches_the_consumer(
    mode: str, giver: Callable[[list[str]], Any]
) -> None:
    closed: list[str] = []
    give = single_task(lambda item: giver(closed))
    fail = single_task(Flawed({1: ValueError("bad")}))
    with pytest.raises(ValueError, match="bad"):
        await (give | fail).with_execution_mode(mode)([1]).drain()
    assert closed == ["closed"]


@in_both_modes
@pytest.mark.parametrize("giver", GIVERS)
async def test_a_generator_is_closed_before_the_error_of_another_reaches_the_consumer(
    mode: str, giver: Callable[[list[str]], Any]
) -> None:
    closed: list[str] = []

    @single_task
    async def give(item: str) -> Any:
        if item == "good":
            return giver(closed)
        for _ in range(10):  # meanwhile the other starts
            await checkpoint()
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await give.with_execution_mode(mode)(["bad", "good"]).drain()
    assert closed == ["closed"]


async def test_a_generator_that_waits_for_its_turn_is_closed() -> None:
    closed: list[int] = []

    @single_task
    async def give(item: int) -> AsyncIterator[int]:
        try:
            if item == 0:
                await anyio.sleep_forever()
            yield item
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            closed.append(item)

    async with give(range(3)):
        await all_blocked()
    assert sorted(closed) == [0, 1, 2]


async def test_a_generator_that_ends_by_itself_is_over_before_its_last_value_is_followed() -> None:
    happened: list[Any] = []

    @single_task(concurrency_limit=1)
    async def give(item: int) -> AsyncIterator[int]:
        try:
            yield item
        finally:
            await checkpoint()
            happened.append(f"over {item}")

    async with give([1, 2]) as stream:
        async for result in stream:
            happened.append(result)
    assert happened.index("over 1") < happened.index(2)
    assert happened.index("over 2") < len(happened)
