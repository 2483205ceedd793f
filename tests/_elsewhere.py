"""Tasks that run in other processes. They import this module, so it imports little."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

from conveyor import (
    BatchError,
    batch_task,
    get_current_batch,
    get_current_context,
    single_task,
)


@single_task
def square(item: int) -> tuple[int, int]:
    """Say where it ran, too."""
    return item * item, os.getpid()


@single_task
def interpreter(item: int) -> tuple[int, bool]:
    """Say whether it ran in the main interpreter."""
    import _interpreters

    return item * item, _interpreters.get_current()[0] == _interpreters.get_main()[0]


@single_task
def add(item: int, *more: int, times: int = 1) -> int:
    return (item + sum(more)) * times


@batch_task(max_size=3)
def doubled(items: list[int]) -> list[int]:
    return [2 * item for item in items]


@single_task
def inverted(item: int) -> float:
    return 1 / item


@single_task
def context(item: object) -> bool:
    """Whether there is a context."""
    return get_current_context() is not None


@single_task
def fatal(item: int) -> int:
    """Kill the process it runs in, at item 13."""
    if item == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@single_task
def fatal_once(job: tuple[int, str]) -> int:
    """Kill the process it runs in at item 13, unless the file is there, and make the file."""
    item, path = job
    if item == 13 and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@single_task
def until_there(path: str) -> str:
    """Make a file with another ending, to say that it has begun, and wait until `path` is there."""
    Path(path + ".begun").touch()
    while not Path(path).exists():
        time.sleep(0.005)
    return path


@single_task
def write(path: str) -> int:
    """Add a letter to a file, and return how many there are."""
    with Path(path).open("a") as file:
        file.write("x")
    return len(Path(path).read_text())


@single_task
def third_time(path: str) -> int:
    """Succeed at the third try."""
    tries = write.func(path)
    if tries < 3:
        raise ValueError(tries)
    return tries


class SlowDown(Exception):  # noqa: N818 - as it stands in every example
    """What a service answers that is asked too often."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


@single_task
def asked_too_often(item: float) -> None:
    raise SlowDown(item)


@batch_task(max_size=4)
def odd_only(items: list[int]) -> list[int]:
    even = {place: ValueError("even") for place, item in enumerate(items) if item % 2 == 0}
    raise BatchError(even, results=[10 * item for item in items if item % 2])


@batch_task(max_size=2)
def knows_its_batch(items: list[int]) -> bool:
    batch = get_current_batch()
    return batch is not None and batch.size == len(items)


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @single_task
    def apply(self, item: int) -> int:
        return self.factor * item

    @single_task
    @classmethod
    def named(cls, item: int) -> str:
        return f"{cls.__name__} {item}"

    @single_task
    @staticmethod
    def plain(item: int) -> int:
        return -item

    def __call__(self, item: int) -> int:
        return self.factor + item


def power(base: int, item: int) -> int:
    return base**item


two_to = single_task(functools.partial(power, 2))
scaled = single_task(Scale(100))


class Unpicklable:
    def __reduce__(self) -> Any:
        raise ValueError("it holds a connection")


@single_task
def unpicklable(item: object) -> Unpicklable:
    return Unpicklable()
