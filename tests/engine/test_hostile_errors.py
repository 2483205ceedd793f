"""Exceptions that resist: they arrive as they are, after the results before them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from _helpers import in_both_modes, results_and_error
from conveyor import BatchError, Failure, batch_task, resource, single_task
from conveyor._engine.log import annotate


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class UnsettableError(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"no {name} here")


class NotesOfAnotherKindError(Exception):
    __notes__ = ("a tuple",)  # type: ignore[assignment]  # as some have it


class BrokenNotesError(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # it only raises
        raise OSError("no notes today")


class EqualToAllError(Exception):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = Exception.__hash__


class UnhashableError(Exception):
    __hash__ = None  # type: ignore[assignment]  # on purpose


class IncomparableError(Exception):
    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot be compared")

    __hash__ = Exception.__hash__


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("cannot be printed")

    __repr__ = __str__


class NosyError(Exception):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")


class FalseError(Exception):
    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


ERRORS: list[Exception] = [
    FrozenError(7),
    UnsettableError("x"),
    NotesOfAnotherKindError("x"),
    BrokenNotesError("x"),
    EqualToAllError("x"),
    UnhashableError("x"),
    IncomparableError("x"),
    UnprintableError("x"),
    NosyError("x"),
    FalseError("x"),
]
each_error = pytest.mark.parametrize("hostile", ERRORS, ids=lambda error: type(error).__name__)


async def work(item: int, error: Exception) -> int:
    await checkpoint()
    if item == 3:
        raise error
    return item


def pipeline_of(form: str, error: Exception, **options: Any) -> Any:
    async def single(item: int) -> int:
        return await work(item, error)

    def bare(item: int) -> int:
        if item == 3:
            raise error
        return item

    async def give(item: int) -> AsyncIterator[int]:
        yield await work(item, error)

    async def batch(items: list[int]) -> list[int]:
        return [await work(item, error) for item in items]

    async def naming(items: list[int]) -> list[int]:
        if items == [3]:
            raise BatchError({0: error})
        return items

    options = {"concurrency_limit": 1, **options}
    return {
        "single": lambda: single_task(**options)(single),
        "bare": lambda: single_task(**options)(bare),
        "generator": lambda: single_task(**options)(give),
        "keyed": lambda: single_task(**options, key=lambda item: item % 2)(single),
        "batch": lambda: batch_task(max_size=1, **options)(batch),
        "named": lambda: batch_task(max_size=1, **options)(naming),
        "retried": lambda: single_task(**options, retry_attempts=2, retry_delay=0)(single),
        "thread": lambda: single_task(**options, executor="thread")(bare),
    }[form]()


forms = pytest.mark.parametrize(
    "form", ["single", "bare", "generator", "keyed", "batch", "named", "retried", "thread"]
)


@in_both_modes
@each_error
@forms
@pytest.mark.real_time
async def test_it_arrives_as_it_is_after_the_results_before_it(
    mode: str, hostile: Exception, form: str
) -> None:
    stream = pipeline_of(form, hostile).with_execution_mode(mode)(range(6))
    results, error = await results_and_error(stream)
    assert error is hostile
    if mode == "ordered":
        assert results == [0, 1, 2]


@in_both_modes
@pytest.mark.parametrize("hostile", ERRORS[:5], ids=lambda error: type(error).__name__)
@forms
@pytest.mark.parametrize("policy", ["skip_item", "emit_failure", "handled"])
@pytest.mark.real_time
async def test_it_meets_the_policy(mode: str, hostile: Exception, form: str, policy: str) -> None:
    options: dict[str, Any] = {"on_error": policy}
    if policy == "handled":
        options = {"error_handler": lambda *_: (True, 99)}
    logging.getLogger("conveyor").disabled = True  # what logs it may well fail to print it
    try:
        pipeline = pipeline_of(form, hostile, **options).with_execution_mode(mode)
        got = await pipeline(range(6)).collect()
    finally:
        logging.getLogger("conveyor").disabled = False
    rest = [result for result in got if isinstance(result, int) and result != 99]
    assert sorted(rest) == [0, 1, 2, 4, 5]
    if policy == "emit_failure":
        (failure,) = [result for result in got if isinstance(result, Failure)]
        assert failure.error is hostile
    assert got.count(99) == (policy == "handled") if form != "named" else True


@in_both_modes
@each_error
@pytest.mark.parametrize("place", ["input", "side input", "key", "handler", "after a first"])
async def test_it_arrives_from_everywhere(mode: str, hostile: Exception, place: str) -> None:
    async def source() -> AsyncIterator[int]:
        for item in range(3):
            yield item
        raise hostile

    def raising(*_: Any) -> Any:
        raise hostile

    def first(item: int) -> int:
        raise KeyError(item)

    if place == "input":
        stream = single_task(lambda item: item).with_execution_mode(mode)(source())
    elif place == "side input":
        task = single_task(lambda item, _: item).with_inputs(resource(raising))
        stream = task.with_execution_mode(mode)(range(3))
    elif place == "key":
        stream = single_task(lambda item: item, key=raising).with_execution_mode(mode)(range(3))
    elif place == "handler":
        task = single_task(first, error_handler=raising)
        stream = task.with_execution_mode(mode)(range(3))
    else:
        task = single_task(first, retry_attempts=2, retry_on=raising)
        stream = task.with_execution_mode(mode)(range(3))
    _, error = await results_and_error(stream)
    assert error is hostile
    if place in ("handler", "after a first"):
        assert isinstance(error.__context__, KeyError)
    for each in ERRORS:
        BaseException.__setattr__(each, "__context__", None)


def test_a_note_that_cannot_be_added_is_left_out() -> None:
    for error in ERRORS:
        annotate(error, "where it was")
    good = ValueError()
    annotate(good, "where it was")
    assert good.__notes__ == ["where it was"]
