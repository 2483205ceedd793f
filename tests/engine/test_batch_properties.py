"""Any kind of batch over any input gives what a plain loop gives.

What batches are made of, in the model: a dict of open batches, and the rules of the documentation.
What becomes of one: a function that calls itself for halves and for items that are tried again.
Every example runs under a schedule that Hypothesis seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from conveyor import BatchError, Failure, Pipeline, batch_task, get_current_batch, single_task

pytestmark = pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")


class Bad(Exception):  # noqa: N818 - short, as it stands in every example
    """What the function or a callback raises. Two are equal if they say the same."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bad) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


@dataclass(frozen=True)
class Kind:
    """A batch task, described. What becomes of an item depends on `table`, by its number.

    ``"named"`` items are named in a `BatchError` always, ``"flaky"`` ones the first time. A batch
    with a ``"hopeless"`` item fails as a whole. For ``"refused"`` ones a callback raises, if there
    is any, and ``"failure"`` are the failures of a task in front.
    """

    table: tuple[str, ...]
    weights: tuple[int, ...]
    max_size: int
    max_weight: int | None
    keys: int  # 0 for a task without `by`
    max_open: int
    on_error: str
    attempts: int
    silent: bool  # gives no results
    concurrency: int
    delays: tuple[int, ...]
    buffer_size: int
    count: int
    max_wait: float | None = None
    min_size: int = 1
    flush_when_idle: bool = False

    def fate(self, item: int) -> str:
        return self.table[item % len(self.table)]

    def weight(self, item: int) -> int:
        return self.weights[item % len(self.weights)]

    def key(self, item: int) -> int | None:
        return item * item % self.keys if self.keys else None

    def is_refused(self, item: int) -> bool:
        return self.fate(item) == "refused" and bool(self.keys or self.max_weight)


FATES = ("good", "good", "good", "named", "flaky", "hopeless", "refused", "failure")
delays = st.lists(st.sampled_from((0, 0, 1, 3)), min_size=1, max_size=3).map(tuple)
kinds = st.builds(
    Kind,
    table=st.lists(st.sampled_from(FATES), min_size=1, max_size=7).map(tuple),
    weights=st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple),
    max_size=st.integers(1, 5),
    max_weight=st.none() | st.integers(1, 8),
    keys=st.integers(0, 3),
    max_open=st.integers(1, 3),
    on_error=st.sampled_from(("fail", "skip_item", "skip_batch", "emit_failure")),
    attempts=st.integers(1, 3),
    silent=st.booleans(),
    concurrency=st.integers(1, 3),
    delays=delays,
    buffer_size=st.integers(1, 4),
    count=st.integers(0, 20),
)


# The model


def grouped(kind: Kind) -> Iterator[tuple[str, Any]]:
    """Yield batches, refused items and failures that pass, in the order of their results."""
    filling: dict[int | None, list[int]] = {}
    for item in range(kind.count):
        if kind.fate(item) == "failure":
            yield "failure", item
            continue
        if kind.is_refused(item):
            if kind.on_error == "fail":
                yield from (("batch", batch) for batch in filling.values())
                filling.clear()
            yield "refused", item
            continue
        key, weight = kind.key(item), kind.weight(item)
        ceiling = kind.max_weight or 10**6
        if key in filling and sum(map(kind.weight, filling[key])) + weight > ceiling:
            yield "batch", filling.pop(key)
        batch = filling.setdefault(key, [])
        batch.append(item)
        if len(batch) == kind.max_size or sum(map(kind.weight, batch)) >= ceiling:
            yield "batch", filling.pop(key)
        elif len(filling) > kind.max_open:
            yield "batch", filling.pop(next(iter(filling)))
    yield from (("batch", batch) for batch in filling.values())


def model(kind: Kind) -> Iterator[Any]:
    for what, unit in grouped(kind):
        if what == "failure":
            yield "passed", unit
        elif what == "refused":
            yield from judged(kind, unit, Bad("refused", unit), 1)
        else:
            yield from tried(kind, unit)


def tried(kind: Kind, batch: list[int]) -> Iterator[Any]:
    fates = {item: kind.fate(item) for item in batch}
    if "hopeless" in fates.values():
        error = Bad("hopeless", *batch)
        if kind.on_error == "skip_item" and len(batch) > 1:
            middle = len(batch) // 2
            yield from tried(kind, batch[:middle])
            yield from tried(kind, batch[middle:])
        else:
            yield from judged(kind, batch, error, kind.attempts)
        return
    for item, fate in fates.items():
        if fate == "named" or (fate == "flaky" and kind.attempts == 1):
            yield from judged(kind, item, Bad("named", item), kind.attempts)
        elif not kind.silent:
            yield item, "done"


def judged(kind: Kind, what: Any, error: Bad, attempts: int) -> Iterator[Any]:
    if kind.on_error == "fail":
        raise error
    if kind.on_error == "emit_failure":
        yield Failure(what, error, "work", attempts)


# The real thing


def build(kind: Kind) -> Pipeline[Any, Any]:
    seen: set[int] = set()

    @single_task(on_error="emit_failure", concurrency_limit=kind.concurrency)
    async def check(item: int) -> int:
        await anyio.sleep(kind.delays[item % len(kind.delays)])
        if kind.fate(item) == "failure":
            raise Bad("failure", item)
        return item

    async def work(batch: list[int]) -> Any:
        note(f"{get_current_batch()} {batch}")
        info = get_current_batch()
        assert info is not None
        assert info.size == len(batch) <= kind.max_size
        assert {kind.key(item) for item in batch} == {info.key}
        if kind.max_weight is not None and len(batch) > 1:
            assert sum(map(kind.weight, batch)) <= kind.max_weight
        await anyio.sleep(kind.delays[len(batch) % len(kind.delays)])
        if any(kind.fate(item) == "hopeless" for item in batch):
            raise Bad("hopeless", *batch)
        bad: dict[int, Exception] = {}
        for place, item in enumerate(batch):
            flaky = kind.fate(item) == "flaky" and item not in seen
            if kind.fate(item) == "named" or flaky:
                bad[place] = Bad("named", item)
            seen.add(item)
        good = [(item, "done") for place, item in enumerate(batch) if place not in bad]
        if bad:
            raise BatchError(bad, results=None if kind.silent else good)
        return None if kind.silent else good

    def weight(item: int) -> int:
        if kind.is_refused(item):
            raise Bad("refused", item)
        return kind.weight(item)

    def by(item: int) -> int | None:
        if kind.is_refused(item):
            raise Bad("refused", item)
        return kind.key(item)

    return check | batch_task(
        max_size=kind.max_size,
        min_size=min(kind.min_size, kind.max_size),
        max_wait=kind.max_wait,
        max_weight=kind.max_weight,
        weight=None if kind.max_weight is None else weight,
        by=by if kind.keys else None,
        max_open=kind.max_open if kind.keys else None,
        flush_when_idle=kind.flush_when_idle,
        on_error=kind.on_error,  # type: ignore[arg-type]  # it is one of the four
        retry_attempts=kind.attempts,
        retry_delay=1,
        concurrency_limit=kind.concurrency,
    )(work)


async def source(kind: Kind) -> AsyncIterator[int]:
    for item in range(kind.count):
        await anyio.sleep(kind.delays[item % len(kind.delays)])
        yield item


def plain(result: Any) -> Any:
    """Return a failure in a form that can be compared."""
    if not isinstance(result, Failure):
        return result
    if result.task_name == "check":
        return "passed", result.item
    item = tuple(result.item) if isinstance(result.item, list) else result.item
    return "failure", item, result.error, result.attempts


async def run(kind: Kind, *, ordered: bool) -> tuple[list[Any], Exception | None]:
    pipeline = build(kind).with_context(buffer_size=kind.buffer_size)
    results: list[Any] = []
    try:
        async for result in (pipeline if ordered else pipeline.as_completed)(source(kind)):
            results.append(plain(result))
    except Bad as error:
        return results, error
    return results, None


@given(kind=kinds, random=st.random_module())
async def test_in_order_it_is_the_model(kind: Kind, random: object) -> None:
    expected: list[Any] = []
    expected_error = None
    try:
        for result in model(kind):
            expected.append(plain(result))
    except Bad as error:
        expected_error = error
    note(f"expected {expected} {expected_error!r}")
    results, error = await run(kind, ordered=True)
    assert results == expected
    assert error == expected_error


@given(kind=kinds.filter(lambda kind: kind.on_error != "fail"), random=st.random_module())
async def test_as_completed_batches_are_grouped_as_items_come(kind: Kind, random: object) -> None:
    # With one at a time, and nothing that passes, the items come in order.
    one = replace(
        kind,
        concurrency=1,
        table=tuple("good" if fate == "failure" else fate for fate in kind.table),
    )
    results, error = await run(one, ordered=False)
    assert error is None
    assert Counter(results) == Counter(map(plain, model(one)))


@given(
    kind=kinds,
    max_wait=st.sampled_from((None, 0, 0.5, 2)),
    min_size=st.integers(1, 3),
    idle=st.booleans(),
    ordered=st.booleans(),
    random=st.random_module(),
)
async def test_batches_that_depend_on_time_lose_nothing(
    kind: Kind, max_wait: float | None, min_size: int, idle: bool, ordered: bool, random: object
) -> None:
    # What is skipped item by item does not depend on which items come together.
    timed = replace(
        kind,
        on_error="skip_item",
        max_wait=max_wait,
        min_size=min_size,
        flush_when_idle=idle,
    )
    results, error = await run(timed, ordered=ordered)
    assert error is None
    assert Counter(results) == Counter(map(plain, model(timed)))
    if ordered and not kind.keys and "refused" not in kind.table and "failure" not in kind.table:
        assert results == sorted(results)


@given(
    kind=kinds,
    max_wait=st.sampled_from((None, 0.5)),
    idle=st.booleans(),
    after=st.integers(0, 30),
    random=st.random_module(),
)
async def test_stopped_it_gives_all_that_was_read(
    kind: Kind, max_wait: float | None, idle: bool, after: int, random: object
) -> None:
    timed = replace(
        kind, on_error="skip_item", silent=False, max_wait=max_wait, flush_when_idle=idle
    )
    results: list[Any] = []
    pipeline = build(timed).with_context(buffer_size=kind.buffer_size)
    async with pipeline(source(timed)) as stream, anyio.create_task_group() as group:

        async def stop() -> None:
            await anyio.sleep(after)
            stream.stop()

        group.start_soon(stop)
        async for result in stream:
            results.append(plain(result))
        counts, _ = stream.statistics().stages
    read = replace(timed, count=counts.received)
    assert Counter(results) == Counter(map(plain, model(read)))


@given(
    kind=kinds,
    max_wait=st.sampled_from((None, 0, 0.5)),
    idle=st.booleans(),
    ending=st.sampled_from(("break", "aclose", "block", "time-out")),
    taken=st.integers(1, 6),
    random=st.random_module(),
)
async def test_left_early_it_gives_a_beginning_and_leaves_nothing(
    kind: Kind, max_wait: float | None, idle: bool, ending: str, taken: int, random: object
) -> None:
    timed = replace(
        kind, on_error="skip_item", silent=False, max_wait=max_wait, flush_when_idle=idle
    )
    stream = build(timed).with_context(buffer_size=kind.buffer_size)(source(timed))
    results: list[Any] = []

    async def take(count: int) -> None:
        async for result in stream:
            results.append(plain(result))
            if len(results) == count:
                return

    if ending == "block":
        async with stream:
            await take(taken)
    elif ending == "time-out":
        with anyio.move_on_after(taken):
            await take(100)
    else:
        await take(taken)
        if ending == "aclose":
            await stream.aclose()
    expected = list(map(plain, model(timed)))
    assert Counter(results) <= Counter(expected)
    if not (max_wait is not None or idle):
        assert results == expected[: len(results)]
