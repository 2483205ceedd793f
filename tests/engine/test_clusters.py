"""Executors that bring their own processes: Dask's cluster, of two workers, and loky's pool.

They are apart since a cluster takes a while to start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import _elsewhere
import _raised
from _helpers import error_of, in_both_modes
from conveyor import Failure, single_task
from test_executors import until

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.real_time


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    import dask

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # a call whose worker dies is not moved
        # One that was killed comes again however slow the machine is, instead of being given up.
        "distributed.deploy.lost-worker-timeout": "1 hour",
        # What is submitted waits at a worker at once, where a test can count it, and stays there.
        "distributed.scheduler.worker-saturation": "inf",
        "distributed.scheduler.work-stealing": False,
        "distributed.worker.daemon": True,
        "distributed.admin.system-monitor.gil.enabled": False,
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def executor(client: Any) -> Any:
    return client.get_executor()


@in_both_modes
async def test_a_function_runs_on_a_cluster(mode: str, executor: Any) -> None:
    task = _elsewhere.square.with_options(executor=executor, concurrency_limit=4)
    results = await task.with_execution_mode(mode)(range(20)).collect()
    assert sorted(number for number, _ in results) == [item * item for item in range(20)]
    assert os.getpid() not in {pid for _, pid in results}


async def test_side_inputs_and_batches_travel_to_a_cluster(executor: Any) -> None:
    add = _elsewhere.add.with_options(executor=executor)
    assert await add.with_inputs(10, 20, times=2)([1, 2]).collect() == [62, 64]
    doubled = _elsewhere.doubled.with_options(executor=executor)
    assert await (doubled | add)(range(4)).collect() == [0, 2, 4, 6]


async def test_equal_items_are_calls_of_their_own(executor: Any, tmp_path: Path) -> None:
    path = tmp_path / "calls"
    await _elsewhere.write.with_options(executor=executor)([str(path)] * 3).drain()
    assert path.read_text() == "xxx"  # noqa: ASYNC240


async def test_functions_that_have_no_name_travel_to_a_cluster(executor: Any) -> None:
    factor = 5
    task = single_task(executor=executor)(lambda item: factor * item)
    assert await task([1, 2]).collect() == [5, 10]


async def test_errors_on_a_cluster_are_errors_of_the_item(executor: Any) -> None:
    task = _elsewhere.inverted.with_options(executor=executor)
    error = await error_of(task([1, 0]).collect())
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__[-1] == "stage 'inverted' (1 of 1), item 1"
    assert await task.with_options(on_error="skip_item")([1, 0, 2]).collect() == [1, 0.5]


KINDS = {
    "deep": (ZeroDivisionError, "integer division or modulo by zero"),
    "two": (_raised.TwoArguments, "7: the disk is full"),
    "lock": (_raised.HoldsLock, "the lock is held"),
    "local": (_raised.TwoArguments, "8: it is local"),
    "group": (ExceptionGroup, "some (2 sub-exceptions)"),
}


async def assert_errors_arrive(executor: Any) -> None:
    task = _raised.work.with_options(executor=executor, on_error="emit_failure")
    failures = await task(KINDS).collect()
    for failure, (cls, text) in zip(failures, KINDS.values(), strict=True):
        assert isinstance(failure.error, cls)
        assert str(failure.error) == text
        assert ", in work" in failure.error.__notes__[0]
    [one, two, three] = await _raised.batch.with_options(
        executor=executor, on_error="emit_failure"
    )([1, 2, 3]).collect()
    assert (one, str(two.error), str(three.error)) == (10, "2: even", "odd")


async def test_whatever_is_raised_on_a_cluster_arrives(executor: Any) -> None:
    await assert_errors_arrive(executor)


async def test_a_call_on_a_cluster_is_tried_again(executor: Any, tmp_path: Path) -> None:
    task = _elsewhere.third_time.with_options(executor=executor, retry_attempts=3, retry_delay=0)
    async with task([str(tmp_path / "calls")]) as stream:
        assert [result async for result in stream] == [3]
        assert stream.statistics().stages[0].retried == 2


async def test_a_worker_of_a_cluster_that_dies_is_an_error_of_its_item(executor: Any) -> None:
    task = _elsewhere.fatal.with_options(executor=executor, concurrency_limit=1)
    results = await task.with_options(on_error="emit_failure")([1, 13, 2, 3]).collect()
    assert [results[0], *results[2:]] == [1, 2, 3]
    assert isinstance(results[1], Failure)
    assert type(results[1].error).__name__ == "KilledWorker"


async def test_and_may_be_tried_again(executor: Any, tmp_path: Path) -> None:
    task = _elsewhere.fatal_once.with_options(
        executor=executor, concurrency_limit=1, retry_attempts=2, retry_delay=0
    )
    async with task([(item, str(tmp_path / "died")) for item in (1, 13, 2)]) as stream:
        assert [item async for item in stream] == [1, 13, 2]
        assert stream.statistics().stages[0].retried == 1


async def test_what_a_cluster_cannot_be_sent_is_refused_before_the_first_item(
    executor: Any,
) -> None:
    read: list[int] = []
    task = _elsewhere.add.with_options(executor=executor, on_error="skip_item")
    pipeline = task.with_inputs(_elsewhere.Unpicklable())
    error = await error_of(pipeline(read.append(item) for item in range(3)).collect())
    assert "it holds a connection" in str(error) or "serialize" in str(error)
    assert error.__notes__[-1].startswith("task 'add' cannot run in ")
    assert read == []


async def test_a_run_that_ends_takes_its_calls_back_from_the_cluster(
    executor: Any, client: Any, tmp_path: Path
) -> None:
    task = _elsewhere.until_there.with_options(executor=executor, concurrency_limit=5)

    def running(dask_scheduler: Any) -> int:
        return len(dask_scheduler.running)

    def begun() -> int:
        return len(list(tmp_path.glob("*.begun")))

    def ready(dask_worker: Any) -> int:
        return len(dask_worker.state.ready)

    def waiting() -> int:
        return sum(client.run(ready).values())

    paths = [str(tmp_path / f"go{number}") for number in range(5)]
    try:
        # Where another test killed a worker a new one comes, and until then all go to the other.
        await until(lambda: client.run_on_scheduler(running) == 2)
        async with task(paths):
            await until(lambda: begun() == 2)
            # All are there, and both workers taken: they get fewer only by being taken back.
            await until(lambda: waiting() == 3)
        await until(lambda: waiting() == 0)
    finally:
        for path in paths:
            Path(path).touch()  # noqa: ASYNC240
    await until(lambda: not any(client.processing().values()))
    assert begun() == 2


async def test_a_function_runs_in_the_pool_of_loky() -> None:
    loky = pytest.importorskip("loky")
    pool = loky.ProcessPoolExecutor(2)
    try:
        task = _elsewhere.square.with_options(executor=pool)
        results = await task(range(8)).collect()
        assert [number for number, _ in results] == [item * item for item in range(8)]
        assert os.getpid() not in {pid for _, pid in results}

        factor = 5
        task = single_task(executor=pool)(lambda item: factor * item)
        assert await task([1, 2]).collect() == [5, 10]

        await assert_errors_arrive(pool)

        refused = _elsewhere.add.with_options(executor=pool).with_inputs(_elsewhere.Unpicklable())
        error = await error_of(refused([1]).collect())
        assert error.__notes__[-1].startswith("task 'add' cannot run in ")
    finally:
        pool.shutdown()
