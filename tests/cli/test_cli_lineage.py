"""Which inputs an item came from, against a model that carries them along."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import batch_task, single_task
from conveyor._cli.failures import DeadLetters
from conveyor._cli.lineage import Lineage
from conveyor._cli.lines import Read


def test_an_item_is_followed_and_forgotten() -> None:
    lineage = Lineage[str](2)
    lineage.read("a")
    lineage.read("b")
    lineage.sent(0, [1])  # as completed: item 0 of the second stage is input b
    lineage.settled(0, [1])
    assert lineage.origins(1, [0]) == ("b",)
    assert lineage.origins(0, [0]) == ("a",)
    lineage.settled(0, [0])  # filtered
    assert len(lineage) == 1
    lineage.sent(1, [0])
    lineage.settled(1, [0])
    assert len(lineage) == 0
    assert lineage.delivered() == ("b",)
    assert lineage.origins(1, [0]) == ()


def test_a_batch_gives_all_its_origins_to_each_result_once() -> None:
    lineage = Lineage[str](3)
    for name in "abc":
        lineage.read(name)
    for item in 0, 1:
        lineage.sent(0, [item])
        lineage.sent(0, [item])  # a list of two
    batch = [0, 1, 2]
    for _ in range(2):
        lineage.sent(1, batch)
    assert lineage.origins(2, [0]) == lineage.origins(2, [1]) == ("a", "b")
    assert lineage.origins(1, [2, 3]) == ("b",)


@given(st.data())
def test_origins_are_those_that_a_model_carries_along(data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, 3))
    lineage = Lineage[int](stages)
    # Of each stage, the items in front of it: number and origins.
    queues: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(stages)]
    came = [0] * stages
    read = 0
    for _ in range(data.draw(st.integers(0, 30))):
        ready = [stage for stage in range(stages) if queues[stage]]
        stage = data.draw(st.sampled_from([-1, *ready]))
        if stage < 0:
            lineage.read(read)
            queues[0].append((read, (read,)))
            came[0] += 1
            read += 1
            continue
        batch: list[Any] = []
        for _ in range(data.draw(st.integers(1, len(queues[stage])))):
            place = data.draw(st.integers(0, len(queues[stage]) - 1))  # they finish in any order
            batch.append(queues[stage].pop(place))
        items = [number for number, _ in batch]
        origins = tuple(dict.fromkeys(origin for _, many in batch for origin in many))
        assert lineage.origins(stage, items) == origins
        for _ in range(data.draw(st.integers(0, 3))):  # 0: filtered, or failed
            lineage.sent(stage, items)
            if stage + 1 < stages:
                queues[stage + 1].append((came[stage + 1], origins))
                came[stage + 1] += 1
        lineage.settled(stage, items)
        assert len(lineage) == sum(map(len, queues))
        for inside, queue in enumerate(queues):
            for number, many in queue:
                assert lineage.origins(inside, [number]) == many


# In real runs every item carries the lines that it has come from.


@single_task(on_error="skip_item")
async def spread(item: dict[str, Any]) -> list[Any] | None:
    line = item["line"]
    await anyio.sleep(line * 7 % 5)
    if line % 11 == 0:
        raise ValueError(line)
    return None if line % 7 == 0 else [[line]] * (line % 4)


@batch_task(max_size=4, on_error="skip_batch")
async def mix(many: list[Any]) -> list[Any]:
    lines = sorted({line for each in many for line in each})
    await anyio.sleep(lines[0] % 3)
    if lines[-1] % 13 == 0:
        raise KeyError(lines)
    return [lines] * 3


@single_task(on_error="emit_failure", retry_attempts=2, retry_delay=1)
async def last(lines: list[int]) -> list[int]:
    await anyio.sleep(lines[-1] % 4)
    if lines[0] % 5 == 0:
        raise LookupError(lines)
    return lines


@pytest.mark.virtual_time
@pytest.mark.parametrize("mode", ["ordered", "as_completed"])
async def test_failures_have_the_lines_that_they_have_come_from(mode: str) -> None:
    file = io.StringIO()
    letters = DeadLetters(file, "file")
    largest = 0

    async def items() -> AsyncIterator[dict[str, Any]]:
        for line in range(1, 2001):
            item = {"line": line}
            letters.read(Read(line, item))
            yield item

    pipeline = spread | mix | last
    stream = pipeline.with_context(execution_mode=mode, buffer_size=10)(items())
    stream.add_instrument(letters.watch)
    failed = 0
    async with stream:
        async for result in stream:
            failed += not isinstance(result, list)
            assert letters.lineage is not None
            if isinstance(result, list):  # what cannot be written is a failure of these inputs
                assert sorted(origin.line for origin in letters.delivered()) == result
            largest = max(largest, len(letters.lineage))
    found = [json.loads(line) for line in file.getvalue().splitlines()]
    for failure in found:
        match failure["stage"]:
            case "spread":
                assert failure["lines"] == [failure["given"]["line"]]
            case "mix":
                assert sorted(failure["lines"]) == sorted(
                    {n for each in failure["given"] for n in each}
                )
            case _:
                assert (sorted(failure["lines"]), failure["attempts"]) == (failure["given"], 2)
        assert all(item["line"] in failure["lines"] for item in failure["inputs"])
    stages = [failure["stage"] for failure in found]
    assert stages.count("spread") == 2000 // 11
    assert stages.count("last") == failed > 50
    assert stages.count("mix") > 20
    # Every input that has to do with a failure is in the file, once.
    inputs = [item["line"] for failure in found for item in failure["inputs"]]
    assert sorted(inputs) == sorted({line for failure in found for line in failure["lines"]})
    # Nothing is left, and there was never more than fits into the run.
    assert largest < 1000
    assert letters.lineage is not None
    assert len(letters.lineage) == 0
