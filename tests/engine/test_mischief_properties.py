"""The pipelines of `test_properties`, while something goes wrong that functions must not do.

Tasks of the run are cancelled by somebody else; functions stop, abort or close their own stream,
set context variables, leave cancellations behind; exceptions refuse notes. Whatever it is, in order
the consumer gets the beginning of what a plain loop gives, and an error if it is not all of it. And
no exception outlives its run, with the garbage collector off.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from hypothesis import given, note
from hypothesis import strategies as st

import test_properties
from conveyor import Pipeline, Stream, Task
from test_properties import (
    Bad,
    Setting,
    any_stages,
    build,
    free_stages,
    model,
    plain,
    quiet_settings,
    settings,
)

pytestmark = pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")

mark: ContextVar[Any] = ContextVar("mark", default=None)


class FrozenBad(Bad):
    """One that takes neither notes nor a traceback by assignment."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"no {name} here")


class Inside(Exception):  # noqa: N818 - as `Bad` has none
    """What a function aborts its own stream with."""


@dataclass(frozen=True)
class Mischief:
    """What goes wrong, and when.

    Attributes:
        kind: What.
        at: At which call of a function, or after how many turns of the loop.
        which: Which of the run's tasks is meant.
        frozen: Whether errors are of the kind that takes no notes.
    """

    kind: str
    at: int
    which: int
    frozen: bool

    @property
    def ends_well(self) -> bool:
        """Whether the run is to give all it has all the same."""
        return self.kind in ("none", "variables", "leftover")


mischiefs = st.builds(
    Mischief,
    kind=st.sampled_from(
        ("none", "variables", "leftover", "stray cancel", "stop", "let stop", "abort", "aclose")
    ),
    at=st.integers(0, 30),
    which=st.integers(0, 5),
    frozen=st.booleans(),
)


class Inner:
    """Does the mischief: in the functions, or from beside the run."""

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief
        self.calls = 0
        self.done = False
        self.stream: Stream[Any] | None = None

    def wrap(self, pipeline: Pipeline[Any, Any]) -> Pipeline[Any, Any]:
        tasks = [self._wrap(task) for task in pipeline.stages]
        return Pipeline(*tasks).with_context(**pipeline._settings)

    def _wrap(self, task: Task[Any, Any]) -> Task[Any, Any]:
        function = task.func

        def before(item: Any) -> bool:
            # Another try of the same item may see it.
            assert mark.get() in (None, item), "a context variable of another unit"
            if not trio.lowlevel.in_trio_run():
                current = asyncio.current_task()
                assert current is not None
                assert not current.cancelling(), "a cancellation of another unit"
            self.calls += 1
            single = isinstance(item, tuple)  # the halves of a batch are one unit
            if self.mischief.kind == "variables" and single and self.calls % 3 == 0:
                mark.set(item)
            return self._now(self.calls)

        if inspect.iscoroutinefunction(function):

            async def wrapped(item: Any) -> Any:
                if before(item):
                    await self._act()
                return await function(item)

        else:

            def wrapped(item: Any) -> Any:
                if before(item):
                    self._act_at_once()
                return function(item)

        return type(task)(replace(task.spec, func=wrapped, task_name=task.name))

    def _now(self, count: int) -> bool:
        if self.done or count <= self.mischief.at:
            return False
        self.done = True
        return True

    def _act_at_once(self) -> None:
        stream, kind = self.stream, self.mischief.kind
        assert stream is not None
        if kind == "stop":
            stream.stop()
        elif kind == "let stop":
            stream.stop(interrupt_input=False)
        elif kind == "abort":
            stream.abort(Inside())
        elif kind == "leftover" and not trio.lowlevel.in_trio_run():
            current = asyncio.current_task()
            assert current is not None
            current.cancel()

    async def _act(self) -> None:
        self._act_at_once()
        if self.mischief.kind == "aclose":
            assert self.stream is not None
            await self.stream.aclose()
        if self.mischief.kind == "leftover" and not trio.lowlevel.in_trio_run():
            with pytest.raises(asyncio.CancelledError):
                await checkpoint()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Cancel a task of the run after a while, if that is the mischief."""
        if self.mischief.kind != "stray cancel" or trio.lowlevel.in_trio_run():
            yield
            return

        async def cancel() -> None:
            for _ in range(self.mischief.at):
                await checkpoint()
            tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("conveyor")]
            if self.mischief.which < len(tasks):
                sorted(tasks, key=lambda task: task.get_name())[self.mischief.which].cancel()
                self.done = True

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            yield
            group.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("conveyor").disabled = True  # pytest keeps what is logged
    try:
        yield
    finally:
        logging.getLogger("conveyor").disabled = False


async def run(
    stages: list[Any], setting: Setting, mischief: Mischief, *, as_completed: bool
) -> tuple[list[Any], Exception | None, int]:
    """Run it, and return the results, the error, and how many items were read."""
    inner = Inner(mischief)
    pipeline = inner.wrap(setting.apply(build(stages)))
    stream = (pipeline.as_completed if as_completed else pipeline)(setting.source())
    inner.stream = stream
    results: list[Any] = []
    error: Exception | None = None
    async with inner.beside():
        try:
            async for result in stream:
                results.append(result)
                pause = setting.consumer_delays[len(results) % len(setting.consumer_delays)]
                await anyio.sleep(pause)
        except (Bad, Inside, RuntimeError) as raised:
            error = raised
    statistics = stream.statistics()
    assert statistics.over
    check_books(statistics, error)
    inner.stream = None
    try:
        return results, error, statistics.read
    finally:
        del error  # its traceback holds this frame: a reference cycle of the test's own


def check_books(statistics: Any, error: Exception | None) -> None:
    for before, after in zip(statistics.stages, statistics.stages[1:], strict=False):
        assert after.received <= before.emitted
        if error is None:
            assert after.received == before.emitted
    for stage in statistics.stages:
        assert stage.running == 0
        if error is None:
            assert stage.queued == stage.filling == stage.waiting == 0


def beginning(stages: list[Any], setting: Setting, count: int | None = None) -> Any:
    """Return what a plain loop gives of the first `count` items, and the error it ends in."""
    results: list[Any] = []
    items = setting.items() if count is None else ((n,) for n in range(count))
    try:
        for result in model(stages, items):
            results.append(result)
    except Bad as bad:
        return plain(results), bad
    return plain(results), None


@given(stages=any_stages, setting=settings, mischief=mischiefs, random=st.random_module())
async def test_in_order_it_is_the_beginning_of_the_model_or_all_of_it(
    stages: list[Any], setting: Setting, mischief: Mischief, random: object
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if mischief.frozen:
            patch.setattr(test_properties, "Bad", FrozenBad)
        results, error, read = await run(stages, setting, mischief, as_completed=False)
        note(f"{results} {error!r}, {read} read")
        if mischief.kind in ("stop", "let stop"):
            # What was read is done, all of it; the input may have failed before it was stopped.
            expected, expected_error = beginning(stages, setting, read)
            whole, whole_error = beginning(stages, setting)
            assert (plain(results), error) in (
                (expected, expected_error),
                (whole, whole_error),
            )
            return
        expected, expected_error = beginning(stages, setting)
    if mischief.ends_well:
        assert plain(results) == expected
        assert error == expected_error
    elif mischief.kind == "aclose":
        pass  # refused: an error of the item, which its policy may skip
    elif error is None or isinstance(error, Bad):
        assert plain(results) == expected
        assert error == expected_error
    else:
        assert plain(results) == expected[: len(results)]


@given(stages=free_stages, setting=quiet_settings, mischief=mischiefs, random=st.random_module())
async def test_as_completed_nothing_is_missing_in_silence(
    stages: list[Any], setting: Setting, mischief: Mischief, random: object
) -> None:
    results, error, read = await run(stages, setting, mischief, as_completed=True)
    note(f"{results} {error!r}, {read} read")
    stopped = mischief.kind in ("stop", "let stop")
    expected, expected_error = beginning(stages, setting, read if stopped else None)
    assert expected_error is None
    if mischief.kind == "aclose":
        return
    if error is None:
        assert Counter(plain(results)) == Counter(expected)
    else:
        assert not mischief.ends_well
        assert Counter(plain(results)) <= Counter(expected)


@given(
    stages=any_stages,
    setting=settings,
    mischief=mischiefs,
    as_completed=st.booleans(),
    random=st.random_module(),
)
async def test_no_exception_outlives_its_run(
    stages: list[Any], setting: Setting, mischief: Mischief, as_completed: bool, random: object
) -> None:
    alive: weakref.WeakSet[Bad] = weakref.WeakSet()

    class Noted(FrozenBad if mischief.frozen else Bad):  # type: ignore[misc]  # chosen at run time
        def __init__(self, *args: Any) -> None:
            alive.add(self)

        __hash__ = object.__hash__  # in a weak set, each is itself

        def __eq__(self, other: object) -> bool:
            return self is other

    gc.collect()
    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(test_properties, "Bad", Noted)
            outcome = await run(stages, setting, mischief, as_completed=as_completed)
        del outcome
        for _ in range(30):
            await checkpoint()
        assert len(alive) == 0
    finally:
        gc.enable()
