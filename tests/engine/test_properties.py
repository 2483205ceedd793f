"""Any pipeline over any input gives what a plain loop over generators gives.

The model below is the specification in thirty lines: each stage is a generator over the one before.
In order, the stream equals it; as completed, it is the same results in some order.
Every example runs under a schedule that Hypothesis seeds.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from conveyor import Failure, Pipeline, StreamConsumedError, Task, batch_task, single_task

pytestmark = pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")

# A value is a tuple of numbers: the item's own, then one for each function that made it.
Value = tuple[int, ...]


class Bad(Exception):  # noqa: N818 - short, as it stands in every example
    """What a stage raises. Two are equal if they say the same of the same stage."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bad) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


@dataclass(frozen=True)
class Single:
    """A single task, described: what it does with a value depends on the value's sum."""

    table: tuple[str, ...]
    delays: tuple[int, ...]
    on_error: str
    concurrency: int
    plain: bool  # a `def`, that never suspends
    keys: int = 0  # how many there are; 0 for a stage without
    per_key: int = 1

    def action(self, value: Value) -> str:
        return self.table[sum(value) % len(self.table)]

    def delay(self, value: Value) -> int:
        return self.delays[sum(value) % len(self.delays)]


@dataclass(frozen=True)
class Batch:
    """A batch task, described. A value is bad if its sum is divisible by `bad`."""

    max_size: int
    min_size: int
    drop_remainder: bool
    max_wait: int | None
    result: str
    delays: tuple[int, ...]
    bad: int
    on_error: str
    concurrency: int


Stage = Single | Batch

ACTIONS = ("plain", "none", "list", "generator", "async generator", "flaky", "bad", "late bad")
delays = st.lists(st.sampled_from((0, 0, 1, 2, 5)), min_size=1, max_size=3).map(tuple)


def singles(actions: Iterable[str], on_error: Iterable[str]) -> st.SearchStrategy[Single]:
    return st.builds(
        Single,
        table=st.lists(st.sampled_from(tuple(actions)), min_size=1, max_size=5).map(tuple),
        delays=delays,
        on_error=st.sampled_from(tuple(on_error)),
        concurrency=st.integers(1, 4),
        plain=st.booleans(),
        keys=st.sampled_from((0, 0, 1, 2, 3)),
        per_key=st.integers(1, 2),
    )


@st.composite
def batches(draw: st.DrawFn, *, grouped: bool, on_error: Iterable[str]) -> Batch:
    """With `grouped`, what comes out may depend on which items stand together."""
    max_size = draw(st.integers(1, 4))
    whole = grouped and draw(st.booleans())
    policies = set(on_error)
    return Batch(
        max_size=max_size,
        min_size=draw(st.integers(1, max_size)),
        drop_remainder=grouped and draw(st.booleans()),
        max_wait=None if grouped else draw(st.sampled_from((None, 0, 1, 3))),
        result=draw(st.sampled_from(("whole", "generator", "none"))) if whole else "map",
        delays=draw(delays),
        bad=draw(st.sampled_from((0, 0, 3, 5))),
        on_error=draw(
            st.sampled_from(sorted(policies if grouped else policies & {"fail", "skip_item"}))
        ),
        concurrency=draw(st.integers(1, 3)),
    )


# The model


def outcome(stage: Single, index: int, value: Value) -> Iterator[Value]:
    action = stage.action(value)
    if action in ("bad", "late bad"):
        if action == "late bad":
            yield (*value, index, 0)
        raise Bad(index, value)
    count = {"none": 0, "list": 3, "generator": 2, "async generator": 2}.get(action, 1)
    if count == 1:
        yield (*value, index)
    else:
        yield from ((*value, index, n) for n in range(count))


def batch_outcome(stage: Batch, index: int, items: list[Value]) -> Iterator[Value]:
    if any(is_bad(stage, item) for item in items):
        raise Bad(index, *items)
    if stage.result == "whole":
        yield (index, *map(sum, items))
    elif stage.result != "none":
        yield from ((*item, index) for item in items)


def is_bad(stage: Batch, value: Value) -> bool:
    return bool(stage.bad) and sum(value) % stage.bad == 0


def model(stages: list[Stage], items: Iterable[Any]) -> Iterator[Any]:
    stream: Iterator[Any] = iter(items)
    for index, stage in enumerate(stages):
        run = model_single if isinstance(stage, Single) else model_batch
        stream = run(stage, index, stream)  # type: ignore[operator]  # the pair matches
    return stream


def model_single(stage: Single, index: int, items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, Failure):
            yield item
            continue
        try:
            yield from outcome(stage, index, item)
        except Bad as bad:
            if stage.on_error == "fail":
                raise
            if stage.on_error == "emit_failure":
                yield Failure(item, bad, f"stage{index}", 0)


def model_batch(stage: Batch, index: int, items: Iterator[Any]) -> Iterator[Any]:
    filling: list[Value] = []
    error = None
    try:
        for item in items:
            if isinstance(item, Failure):
                yield item
                continue
            filling.append(item)
            if len(filling) == stage.max_size:
                full, filling = filling, []
                yield from try_batch(stage, index, full)
    except Bad as bad:
        if bad.args[0] == index:
            raise
        error = bad
    if filling and not (stage.drop_remainder and len(filling) < stage.min_size):
        yield from try_batch(stage, index, filling)
    if error is not None:
        raise error


def try_batch(stage: Batch, index: int, items: list[Value]) -> Iterator[Any]:
    try:
        yield from batch_outcome(stage, index, items)
    except Bad as bad:
        if stage.on_error == "fail":
            raise
        if stage.on_error == "emit_failure":
            yield Failure(items, bad, f"stage{index}", 0)
        elif stage.on_error == "skip_item" and len(items) > 1:
            middle = len(items) // 2
            yield from try_batch(stage, index, items[:middle])
            yield from try_batch(stage, index, items[middle:])


# The real thing


def build(stages: list[Stage]) -> Pipeline[Any, Any]:
    tasks: list[Task[Any, Any]] = [
        build_single(stage, index) if isinstance(stage, Single) else build_batch(stage, index)
        for index, stage in enumerate(stages)
    ]
    return Pipeline(*tasks)


def build_single(stage: Single, index: int) -> Task[Any, Any]:
    tried: set[Value] = set()

    def generator(value: Value, action: str) -> Iterator[Value]:
        yield from outcome(stage, index, value)

    async def async_generator(value: Value) -> AsyncIterator[Value]:
        for result in outcome(stage, index, value):
            yield result
            await anyio.sleep(stage.delay(value))

    def result(value: Value) -> Any:
        action = stage.action(value)
        if action == "async generator":
            return async_generator(value)
        if action in ("generator", "late bad"):
            return generator(value, action)
        if action == "flaky" and value not in tried:
            tried.add(value)
            raise Bad("flaky")
        results = list(outcome(stage, index, value))
        return results if action == "list" else results[0] if results else None

    at_work: Counter[int] = Counter()

    async def slow(value: Value) -> Any:
        key = sum(value) % stage.keys if stage.keys else 0
        at_work[key] += 1
        try:
            assert not stage.keys or at_work[key] <= stage.per_key
            await anyio.sleep(stage.delay(value))
            return result(value)
        finally:
            at_work[key] -= 1

    keyed = {"key": lambda value: sum(value) % stage.keys, "per_key": stage.per_key}
    return single_task(
        task_name=f"stage{index}",
        on_error=stage.on_error,
        retry_attempts=2,
        retry_delay=1,
        retry_on=lambda error: error.args == ("flaky",),
        concurrency_limit=stage.concurrency,
        spread=True,
        **(keyed if stage.keys else {}),
    )(result if stage.plain else slow)


def build_batch(stage: Batch, index: int) -> Task[Any, Any]:
    def values(items: list[Value]) -> Iterator[Value]:
        yield from batch_outcome(stage, index, items)

    async def work(items: list[Value]) -> Any:
        await anyio.sleep(stage.delays[len(items) % len(stage.delays)])
        results = values(items)
        if stage.result == "generator":
            return results
        made = list(results)
        return made if stage.result == "map" else made[0] if made else None

    return batch_task(
        task_name=f"stage{index}",
        max_size=stage.max_size,
        min_size=stage.min_size,
        drop_remainder=stage.drop_remainder,
        max_wait=stage.max_wait,
        on_error=stage.on_error,
        concurrency_limit=stage.concurrency,
    )(work)


@dataclass(frozen=True)
class Setting:
    """Everything around the stages."""

    count: int
    kind: str
    delays: tuple[int, ...]
    fails: bool
    buffer_size: int
    max_parallelism: int | None
    consumer_delays: tuple[int, ...]

    def items(self) -> Iterator[Value]:
        yield from ((n,) for n in range(self.count))
        if self.fails:
            raise Bad("input")

    def source(self) -> Any:
        if self.kind == "list" and not self.fails:
            return list(self.items())
        return self.slow_items() if self.kind == "async" else self.items()

    async def slow_items(self) -> AsyncIterator[Value]:
        for item in self.items():
            await anyio.sleep(self.delays[item[0] % len(self.delays)])
            yield item

    def apply(self, pipeline: Pipeline[Any, Any]) -> Pipeline[Any, Any]:
        return pipeline.with_context(
            buffer_size=self.buffer_size, max_parallelism=self.max_parallelism
        )

    async def consume(self, stream: Any) -> list[Any]:
        results: list[Any] = []
        async for result in stream:
            results.append(result)
            await anyio.sleep(self.consumer_delays[len(results) % len(self.consumer_delays)])
        return results


settings = st.builds(
    Setting,
    count=st.integers(0, 12),
    kind=st.sampled_from(("list", "generator", "async")),
    delays=delays,
    fails=st.booleans(),
    buffer_size=st.integers(1, 4),
    max_parallelism=st.none() | st.integers(1, 3),
    consumer_delays=delays,
)
quiet_settings = settings.filter(lambda setting: not setting.fails)


def plain(results: Iterable[Any]) -> list[Any]:
    """Failures without their number of attempts, in a form that can be compared."""
    return [
        ("failure", tuple(result.item), result.error, result.task_name)
        if isinstance(result, Failure)
        else result
        for result in results
    ]


POLICIES = ("fail", "skip_item", "skip_batch", "emit_failure")
any_stages = st.lists(
    singles(ACTIONS, ("fail", "skip_item", "emit_failure"))
    | batches(grouped=True, on_error=POLICIES),
    min_size=1,
    max_size=4,
)
# As completed: nothing that depends on which items come together, and nothing that ends the run.
free_stages = st.lists(
    singles(ACTIONS, ("skip_item", "emit_failure"))
    | batches(grouped=False, on_error=("skip_item",)),
    min_size=1,
    max_size=4,
)
failing_stages = st.lists(
    singles(ACTIONS, ("fail", "skip_item"))
    | batches(grouped=False, on_error=("fail", "skip_item")),
    min_size=1,
    max_size=4,
)


@given(stages=any_stages, setting=settings, random=st.random_module())
async def test_in_order_it_is_the_model(
    stages: list[Stage], setting: Setting, random: object
) -> None:
    expected: list[Any] = []
    expected_error: Exception | None = None
    try:
        expected.extend(model(stages, setting.items()))
    except Bad:
        expected, expected_error = [], None
        generator = model(stages, setting.items())
        try:
            for result in generator:
                expected.append(result)
        except Bad as bad:
            expected_error = bad

    results: list[Any] = []
    error: Exception | None = None
    try:
        async for result in setting.apply(build(stages))(setting.source()):
            results.append(result)
            await anyio.sleep(setting.consumer_delays[len(results) % len(setting.consumer_delays)])
    except Bad as bad:
        error = bad
    note(f"expected {expected} {expected_error!r}")
    assert plain(results) == plain(expected)
    assert error == expected_error


@given(stages=free_stages, setting=quiet_settings, random=st.random_module())
async def test_as_completed_it_is_the_model_in_some_order(
    stages: list[Stage], setting: Setting, random: object
) -> None:
    expected = plain(model(stages, setting.items()))
    results = await setting.consume(setting.apply(build(stages)).as_completed(setting.source()))
    assert Counter(plain(results)) == Counter(expected)


@given(stages=free_stages, setting=quiet_settings, random=st.random_module())
async def test_batches_by_time_lose_nothing_in_order(
    stages: list[Stage], setting: Setting, random: object
) -> None:
    expected = plain(model(stages, setting.items()))
    results = await setting.consume(setting.apply(build(stages))(setting.source()))
    assert Counter(plain(results)) == Counter(expected)


@given(stages=failing_stages, setting=settings, random=st.random_module())
async def test_as_completed_an_error_ends_it_after_some_of_the_results(
    stages: list[Stage], setting: Setting, random: object
) -> None:
    lenient = [type(stage)(**{**stage.__dict__, "on_error": "skip_item"}) for stage in stages]
    possible = Counter(model(lenient, ((n,) for n in range(setting.count))))
    fails = setting.fails or possible != Counter(strictly(stages, setting))
    results: list[Any] = []
    try:
        async for result in setting.apply(build(stages)).as_completed(setting.source()):
            results.append(result)
    except Bad:
        pass
    else:
        assert not fails or Counter(results) == possible
    assert Counter(results) <= possible


def strictly(stages: list[Stage], setting: Setting) -> list[Any]:
    results: list[Any] = []
    with contextlib.suppress(Bad):
        results.extend(model(stages, setting.items()))
    return results


@given(
    stages=any_stages,
    setting=settings,
    taken=st.integers(0, 6),
    ending=st.sampled_from(("break", "aclose", "block", "stop", "time-out")),
    as_completed=st.booleans(),
    random=st.random_module(),
)
async def test_left_early_it_gives_a_beginning_and_leaves_nothing(
    stages: list[Stage],
    setting: Setting,
    taken: int,
    ending: str,
    as_completed: bool,
    random: object,
) -> None:
    pipeline = setting.apply(build(stages))
    stream = (pipeline.as_completed if as_completed else pipeline)(setting.source())
    expected: list[Any] = []
    try:
        for result in model(stages, setting.items()):
            expected.append(result)
    except Bad:
        pass
    results: list[Any] = []
    try:
        if ending == "block":
            async with stream:
                await take(stream, taken, results)
        elif ending == "time-out":
            with anyio.move_on_after(taken):
                await take(stream, 100, results)
        else:
            await take(stream, taken, results)
            if ending == "aclose":
                await stream.aclose()
            elif ending == "stop":
                stream.stop()
                async for result in stream:
                    results.append(result)
    except StreamConsumedError:
        assert ending == "stop"
        assert len(results) < taken  # it came to its end before
    except Bad:
        pass
    if taken == 0 and ending == "break":
        stream.stop()  # a stream that nobody has read warns
    if not as_completed and ending != "stop":
        assert plain(results) == plain(expected[: len(results)])


async def take(stream: Any, count: int, results: list[Any]) -> None:
    if count == 0:
        return
    async for result in stream:
        results.append(result)
        if len(results) == count:
            return
