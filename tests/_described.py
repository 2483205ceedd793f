"""Tasks to be pickled. Other processes import this module, so it imports little."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import Any

from conveyor import LoggingErrorHandler, RateLimit, batch_task, resource, single_task

limit = RateLimit(1000, per=2, burst=3)


@single_task
def one(item: int) -> int:
    """Add one."""
    return item + 1


@single_task(
    on_error="emit_failure",
    retry_attempts=2,
    retry_delay=0,
    retry_on=(ValueError, KeyError),
    rate_limit=limit,
    cost=len,
    error_handler=LoggingErrorHandler(),
)
def parse(text: str) -> int:
    return int(text)


@batch_task(max_size=2, min_size=2, drop_remainder=True)
async def pairs(items: list[int]) -> tuple[int, ...]:
    return tuple(items)


@single_task(key=abs, per_key=2, task_name="numbers", spread=True)
def spread(item: int) -> list[int]:
    return [item, item]


@asynccontextmanager
async def connection() -> Any:
    yield 100


@single_task
def plus(item: int, base: int, *, times: int = 1) -> int:
    return (item + base) * times


def on_error(error: Exception, item: Any, task_name: str, attempt: int) -> tuple[bool, Any]:
    return True, f"{type(error).__name__} {item} {task_name} {attempt}"


def power(base: int, item: int) -> int:
    return base**item


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.pipeline = self.apply | one

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


two_to = single_task(functools.partial(power, 2))
plus_limited = plus.with_options(rate_limit=limit, concurrency_limit=2).with_inputs(10, times=3)
with_connection = plus.with_inputs(resource(connection))
handled = parse.with_options(error_handler=on_error, rate_limit=None, cost=None)
