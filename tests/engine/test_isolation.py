"""Nothing of one unit is visible to the next: no context variable, no cancellation, no list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from _helpers import in_both_modes
from conveyor import Failure, batch_task, get_current_batch, single_task

user: ContextVar[Any] = ContextVar("user", default="nobody")

LIMITS = pytest.mark.parametrize("limit", [1, 2, 100])
ITEMS = range(12)
MARKED = {0, 5, 6}  # items whose function sets the variable


def note(item: int) -> tuple[int, Any]:
    """Return what is seen for an item, and leave something behind for some."""
    seen = user.get()
    if item in MARKED:
        user.set(item)
    return item, seen


def plain(item: int) -> tuple[int, Any]:
    return note(item)


async def quick(item: int) -> tuple[int, Any]:
    return note(item)


async def waiting(item: int) -> tuple[int, Any]:
    seen = note(item)
    await checkpoint()
    return seen


async def waiting_first(item: int) -> tuple[int, Any]:
    await checkpoint()
    return note(item)


async def now_and_then(item: int) -> tuple[int, Any]:
    if item % 3 == 0:
        await checkpoint()
    return note(item)


def generator(item: int) -> Iterator[tuple[int, Any]]:
    yield note(item)


async def agenerator(item: int) -> AsyncIterator[tuple[int, Any]]:
    await checkpoint()
    yield note(item)


def one_of_a_batch(items: list[int]) -> list[tuple[int, Any]]:
    return [note(item) for item in items]


async def one_of_a_waiting_batch(items: list[int]) -> list[tuple[int, Any]]:
    await checkpoint()
    return [note(item) for item in items]


def generating_batch(items: list[int]) -> Iterator[tuple[int, Any]]:
    yield from [note(item) for item in items]


@in_both_modes
@LIMITS
@pytest.mark.parametrize(
    "function",
    [plain, quick, waiting, waiting_first, now_and_then, generator, agenerator],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"timeout": 60}, {"key": lambda item: item % 2}],
    ids=["bare", "timeout", "key"],
)
async def test_context_variables_of_single_tasks(
    mode: str, limit: int, function: Any, options: dict[str, Any]
) -> None:
    task = single_task(function, concurrency_limit=limit, **options)
    got = await task.with_execution_mode(mode)(ITEMS).collect()
    assert sorted(got) == [(item, "nobody") for item in ITEMS]


@in_both_modes
@LIMITS
@pytest.mark.parametrize("function", [one_of_a_batch, one_of_a_waiting_batch, generating_batch])
async def test_context_variables_of_batches(mode: str, limit: int, function: Any) -> None:
    task = batch_task(max_size=1, concurrency_limit=limit)(function)
    got = await task.with_execution_mode(mode)(ITEMS).collect()
    assert sorted(got) == [(item, "nobody") for item in ITEMS]


@in_both_modes
@LIMITS
async def test_context_variables_of_the_stages_behind(mode: str, limit: int) -> None:
    first = single_task(plain, concurrency_limit=limit)

    @single_task(concurrency_limit=limit)
    def second(pair: tuple[int, Any]) -> tuple[int, Any, Any]:
        return (*pair, user.get())

    user.set("the caller's")
    got = await (first | second).with_execution_mode(mode)(ITEMS).collect()
    assert sorted(got) == [(item, "the caller's", "the caller's") for item in ITEMS]
    assert user.get() == "the caller's"


@in_both_modes
@LIMITS
@pytest.mark.parametrize("callback", ["error_handler", "retry_on", "both tries"])
async def test_context_variables_of_what_is_asked_about_errors(
    mode: str, limit: int, callback: str
) -> None:
    def fail(item: int) -> Any:
        seen = user.get()
        if callback == "both tries":
            user.set("an earlier try")
        if item in MARKED:
            raise ValueError(item)
        return item, seen

    def handle(error: Exception, item: Any, task_name: str, attempt: int) -> tuple[bool, Any]:
        user.set("handled")
        return True, (item, "nobody")

    def again(error: Exception) -> bool:
        user.set("asked")
        return False

    options: dict[str, Any] = {
        "error_handler": {"error_handler": handle},
        "retry_on": {"error_handler": handle, "retry_on": again, "retry_attempts": 2},
        "both tries": {"error_handler": handle, "retry_delay": 0, "retry_attempts": 2},
    }[callback]
    task = single_task(fail, concurrency_limit=limit, **options)
    got = await task.with_execution_mode(mode)(ITEMS).collect()
    assert sorted(got) == [(item, "nobody") for item in ITEMS]


@LIMITS
async def test_values_that_cannot_be_compared(limit: int) -> None:
    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]  # as an array has none

    user.set(first := Array())

    @single_task(concurrency_limit=limit)
    def work(item: int) -> bool:
        fresh = user.get() is first
        user.set(Array())
        return fresh

    assert await work(ITEMS).collect() == [True] * len(ITEMS)


async def test_a_variable_that_is_reset_costs_no_worker() -> None:
    tasks: set[Any] = set()

    @single_task(concurrency_limit=1)
    def work(item: int) -> None:
        tasks.add(anyio.get_current_task().id)
        user.reset(user.set(item))

    await work(ITEMS).drain()
    assert len(tasks) == 1


async def test_every_batch_has_its_own_information() -> None:
    sizes = []

    @batch_task(max_size=3)
    def work(items: list[int]) -> list[int]:
        batch = get_current_batch()
        assert batch is not None
        sizes.append((batch.trigger, batch.size))
        return items

    @single_task
    def outside(item: int) -> bool:
        return get_current_batch() is None

    assert await (work | outside)(range(7)).collect() == [True] * 7
    assert sizes == [("size", 3), ("size", 3), ("end", 1)]


# --- asyncio's own cancellation, which counts


asyncio_only = pytest.mark.backends("asyncio", "asyncio-shuffled", "uvloop")


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def cancel_oneself(how: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    if how == "caught":
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(3600)
    elif how == "twice":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(3600)
    else:
        assert how == "not waited for"


@asyncio_only
@in_both_modes
@LIMITS
@pytest.mark.parametrize("how", ["caught", "twice", "not waited for"])
@pytest.mark.parametrize("form", ["plain", "coroutine", "generator", "batch", "keyed", "handler"])
async def test_a_cancellation_that_one_unit_has_asked_for_does_not_reach_the_next(
    mode: str, limit: int, how: str, form: str
) -> None:
    async def work(item: int) -> str:
        if item in MARKED:
            await cancel_oneself(how)
            return f"{item} cancelled itself"
        before = cancelling()
        await asyncio.sleep(0)
        # It takes what is left for a cancellation of its own.
        async with asyncio.TaskGroup() as group:  # noqa: ASYNC112 - the group is the point
            group.create_task(asyncio.sleep(0))
        return f"{item} saw {before}"

    def without_waiting(item: int) -> str:
        if item in MARKED:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return f"{item} cancelled itself"
        return f"{item} saw {cancelling()}"

    async def give(item: int) -> AsyncIterator[str]:
        yield await work(item)

    async def several(items: list[int]) -> list[str]:
        return [await work(item) for item in items]

    async def fail(item: int) -> str:
        if item in MARKED:
            raise ValueError
        return await work(item)

    async def handle(error: Exception, item: Any, name: str, attempt: int) -> tuple[bool, Any]:
        return True, await work(item)

    task: Any = {
        "plain": single_task(concurrency_limit=limit)(without_waiting),
        "coroutine": single_task(concurrency_limit=limit)(work),
        "generator": single_task(concurrency_limit=limit)(give),
        "batch": batch_task(max_size=1, concurrency_limit=limit)(several),
        "keyed": single_task(concurrency_limit=limit, key=lambda item: item % 2)(work),
        "handler": single_task(concurrency_limit=limit, error_handler=handle)(fail),
    }[form]
    got = await task.with_execution_mode(mode)(ITEMS).collect()
    expected = [f"{item} cancelled itself" if item in MARKED else f"{item} saw 0" for item in ITEMS]
    assert sorted(got) == sorted(expected)


# --- the lists of batches


class BadError(Exception):
    pass


@in_both_modes
@given(
    bad=st.sets(st.integers(0, 9)),
    size=st.integers(1, 5),
    attempts=st.integers(1, 3),
    policy=st.sampled_from(["skip_item", "skip_batch", "emit_failure", "handler", "fail"]),
    reader=st.booleans(),
    random=st.random_module(),
)
async def test_a_batch_function_may_work_off_its_list(
    mode: str,
    bad: set[int],
    size: int,
    attempts: int,
    policy: str,
    reader: bool,
    random: Any,
) -> None:
    """The same with a function that leaves its list alone, and with one that empties it."""

    def run(*, destroys: bool) -> Any:
        async def work(items: list[int]) -> list[int]:
            done = []
            for item in [*items]:
                if destroys:
                    items.remove(item)
                if item in bad:
                    raise BadError(item)
                done.append(item)
            if destroys:
                items.append(99)
            return done

        def handle(error: Exception, what: Any, name: str, attempt: int) -> tuple[bool, Any]:
            given = [*what]
            if destroys:
                what.clear()
            return bool(len(given) % 2), [("handled", *given)]

        options: dict[str, Any] = {"on_error": policy}
        if policy == "handler":
            options = {"on_error": "emit_failure", "error_handler": handle}
        if reader:
            options.update(timeout=3600)
        return batch_task(max_size=size, retry_attempts=attempts, retry_delay=0, **options)(work)

    outcomes = []
    for destroys in False, True:
        got: list[Any] = []
        try:
            async for result in run(destroys=destroys).with_execution_mode(mode)(range(10)):
                if isinstance(result, Failure):
                    got.append(("failure", tuple(result.item), repr(result.error)))
                else:
                    got.append(result)
        except BadError as error:
            got.append((repr(error), *error.__notes__))
        outcomes.append(got)
    assert outcomes[0] == outcomes[1]


async def test_each_who_is_told_of_a_failed_batch_has_a_list_of_its_own() -> None:
    seen: list[list[int]] = []

    def cost(items: list[int]) -> float:
        seen.append([*items])
        items.clear()
        return 1

    def handle(error: Exception, items: Any, name: str, attempt: int) -> tuple[bool, Any]:
        seen.append([*items])
        items.clear()
        return False, None

    from conveyor import Instrument, RateLimit

    class Clearing(Instrument):
        def items_failed(
            self, stage: int, items: Sequence[int], what: Any, error: Exception, attempts: int
        ) -> None:
            seen.append([*what])
            what.clear()

    @batch_task(
        max_size=3,
        on_error="emit_failure",
        error_handler=handle,
        rate_limit=RateLimit(1000, burst=1000),
        cost=cost,
    )
    def work(items: list[int]) -> None:
        seen.append([*items])
        items.clear()
        raise BadError

    stream = work(range(3))
    stream.add_instrument(Clearing)
    (failure,) = await stream.collect()
    assert isinstance(failure, Failure)
    assert failure.item == [0, 1, 2]
    assert seen == [[0, 1, 2]] * 4
