"""Tasks and pipelines are descriptions: they are copied, and pickled for other processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import _described
from _described import Scale, one, pairs, parse, plus, spread
from conveyor import (
    Failure,
    Pipeline,
    PipelineContext,
    RateLimit,
    Task,
    get_current_context,
    resource,
    single_task,
)

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def pickled(protocol: int) -> Callable[[Any], Any]:
    return lambda thing: pickle.loads(pickle.dumps(thing, protocol))


ways = pytest.mark.parametrize(
    "way",
    [copy.copy, copy.deepcopy, *map(pickled, PROTOCOLS)],
    ids=["copy", "deepcopy", *(f"pickle-{protocol}" for protocol in PROTOCOLS)],
)

NAMED: list[Task[Any, Any]] = [one, parse, pairs, spread, Scale.apply]
DERIVED: list[tuple[Task[Any, Any], list[Any], list[Any]]] = [
    (one.with_options(concurrency_limit=3), [1, 2], [2, 3]),
    (spread.with_options(task_name="other"), [1, 2], [1, 1, 2, 2]),
    (pairs.with_options(drop_remainder=False), [1, 2, 3], [(1, 2), (3,)]),
    (plus.with_inputs(10, times=2), [1], [22]),
    (_described.plus_limited, [1], [33]),
    (_described.with_connection, [1], [101]),
    (_described.handled, ["1", "x"], [1, "ValueError x parse 2"]),
    (_described.two_to, [3], [8]),
    (single_task(Scale(100)), [1], [101]),
    (Scale(3).apply, [2], [6]),
    (Scale.named, [2], ["Scale 2"]),
    (Scale(3).named, [2], ["Scale 2"]),
    (Scale.plain, [2], [-2]),
    (vars(Scale)["plain"], [2], [-2]),
    (single_task(abs), [-1], [1]),
    (single_task("{} litres".format), [2], ["2 litres"]),
    (one.with_options(executor="thread"), [1], [2]),
]


# Objects in these may be compared by identity; what becomes of them the results say.
HOLDS_OBJECTS = ("func", "args", "kwargs", "rate_limit")


@ways
@pytest.mark.parametrize("task", NAMED, ids=lambda task: task.name)
def test_a_task_that_is_found_by_its_name_is_the_very_same(
    task: Task[Any, Any], way: Callable[[Any], Any]
) -> None:
    assert way(task) is task


def test_and_its_pickle_is_its_name() -> None:
    assert len(pickle.dumps(parse)) < 50


@ways
@pytest.mark.real_time
@pytest.mark.parametrize(("task", "data", "expected"), DERIVED)
async def test_any_other_task_is_equal_to_its_copy(
    task: Task[Any, Any], data: list[Any], expected: list[Any], way: Callable[[Any], Any]
) -> None:
    made = way(task)
    assert type(made) is Task
    assert (made.name, repr(made), made.__doc__) == (task.name, repr(task), task.__doc__)
    for each in fields(task.spec):
        value = getattr(made.spec, each.name)
        if each.name not in HOLDS_OBJECTS:
            assert value == getattr(task.spec, each.name), each.name
    assert await made(data).collect() == expected


@ways
async def test_a_pipeline_keeps_its_stages_and_settings(way: Callable[[Any], Any]) -> None:
    @single_task
    def context(item: int) -> Any:
        found = get_current_context()
        assert found is not None
        return found.max_parallelism, found.buffer_size, found.data["unit"]

    pipeline = (one | spread.with_options(task_name="twice")).with_context(
        execution_mode="as_completed", max_parallelism=3, buffer_size=7, unit={"litres": 1}
    )
    made = way(pipeline)
    assert isinstance(made, Pipeline)
    assert made.stages[0] is one
    assert [task.name for task in made] == ["one", "twice"]
    assert sorted(await made([1, 2]).collect()) == [2, 2, 3, 3]
    assert await (made | context)([1]).collect() == [(3, 7, {"litres": 1})] * 2
    # It goes on as the other does, and neither changes the other.
    assert len((made | one).with_execution_mode("ordered")) == 3
    assert dict(made._settings) == dict(pipeline._settings)
    assert len(made) == len(pipeline) == 2


@ways
async def test_an_object_takes_along_the_pipeline_that_it_holds(way: Callable[[Any], Any]) -> None:
    scale = Scale(3)
    made = way(scale)
    made.factor = 5
    # A deep copy is bound to the object that was copied with it, as a method would be.
    expected = [7] if way is copy.copy else [11]
    assert await made.pipeline([2]).collect() == expected
    assert await scale.pipeline([2]).collect() == [7]
    assert await way(scale.pipeline)([2]).collect() == [7]


@ways
def test_a_context_can_be_pickled(way: Callable[[Any], Any]) -> None:
    context = PipelineContext(max_parallelism=3, data={"unit": [1]})
    assert vars(way(context)) == vars(context)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_copies_share_a_rate_limit_and_an_executor(way: Callable[[Any], Any]) -> None:
    limit = RateLimit(10)
    with ThreadPoolExecutor(1) as threads:
        task = one.with_options(rate_limit=limit, executor=threads)
        made = way(task | task)
        assert [each.spec.rate_limit for each in made] == [limit, limit]
        assert [each.spec.executor for each in made] == [threads, threads]
    assert way(limit) is limit


def test_a_pickled_rate_limit_is_one_of_its_own() -> None:
    limit = RateLimit(10, per=2, burst=3)
    limit.rate = 20
    task = one.with_options(rate_limit=limit)
    made = pickle.loads(pickle.dumps(task | task))
    first, second = (each.spec.rate_limit for each in made)
    assert first is second is not limit
    assert repr(first) == "RateLimit(20, per=2, burst=3)"


def local() -> Task[Any, Any]:
    @single_task
    def inner(item: Any) -> Any:
        return item

    return inner


@pytest.mark.parametrize(
    ("task", "wrong"),
    [
        (single_task(lambda item: item), "<lambda>"),
        (local(), "inner"),
        (one.with_options(error_handler=lambda *_: (True, None)), "<lambda>"),
        (one.with_inputs(resource(lambda: None)), "<lambda>"),  # type: ignore[arg-type, return-value]
    ],
)
def test_what_pickle_cannot_find_it_names(task: Task[Any, Any], wrong: str) -> None:
    for thing in task, one | task:
        with pytest.raises((pickle.PicklingError, AttributeError), match=wrong):
            pickle.dumps(thing)
    assert copy.copy(task) is task
    assert copy.deepcopy(task).spec.name == task.spec.name  # which needs no name


def test_an_executor_cannot_be_pickled() -> None:
    with ThreadPoolExecutor(1) as threads:
        task = one.with_options(executor=threads)
        with pytest.raises(TypeError, match="task 'one' cannot be pickled with <concurrent"):
            pickle.dumps(one | task)


async def test_a_stream_cannot_be_copied() -> None:
    stream = one([1])
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="<Stream of one: not started> is one run, which cann"):
            way(stream)
    assert await stream.collect() == [2]
    waiting = single_task(plus.func).with_inputs(one([1]))
    with pytest.raises(TypeError, match="is one run"):
        pickle.dumps(waiting)
    assert await waiting([1]).collect() == [3]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_process_gets_the_same(protocol: int, tmp_path: Path) -> None:
    pipelines = [(task | one if data == [1] else task) for task, data, _ in DERIVED]
    expected = [
        pipeline.run(data) for pipeline, (_, data, _) in zip(pipelines, DERIVED, strict=True)
    ]
    job = [(pipeline, data) for pipeline, (_, data, _) in zip(pipelines, DERIVED, strict=True)]
    path = tmp_path / "job"
    path.write_bytes(pickle.dumps(job, protocol))
    script = """
import pickle, sys
job = pickle.loads(open(sys.argv[1], "rb").read())
print([pipeline.run(data) for pipeline, data in job])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert (done.stderr, done.stdout) == ("", f"{expected}\n")


PROGRAM = """
import copy, pickle, sys
import anyio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from conveyor import Pipeline, single_task

@single_task
def one(item):
    return item + 1

class Job:
    def __init__(self):
        self.pipeline = self.parse | self.total

    @single_task
    def parse(self, text):
        return int(text)

    @single_task(executor="process", concurrency_limit=1)
    def total(self, number):
        return number * 2

def run(pipeline, data):
    return pipeline.run(data)

async def main():
    print(await Job().pipeline(["1", "2"]).collect())
    print(await copy.deepcopy(Job()).pipeline(["1", "2"]).collect())

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        print(pool.submit(run, one | one.with_options(task_name="again"), [1]).result())
        print(pool.submit(one.run, [1]).result())
    anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_pipelines_of_the_main_module_travel(backend: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", program, backend],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout.splitlines()) == ("", ["[3]", "[2]", "[2, 4]", "[2, 4]"])


async def test_failures_keep_what_they_hold() -> None:
    [failure] = await parse(["x"]).collect()
    assert isinstance(failure, Failure)
    made = pickle.loads(pickle.dumps(failure))
    assert (made.item, made.task_name, made.attempts) == ("x", "parse", 2)
    assert str(made.error) == str(failure.error)
