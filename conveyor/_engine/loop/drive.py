"""Awaiting with a hook: who is about to be suspended is told first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def drive(
    work: Coroutine[Any, Any, None], suspended: Callable[[Any], None]
) -> Generator[Any, Any, None]:
    """Await `work`, and call `suspended` each time before the task is left to wait.

    It is given what the event loop will be: that tells what is waited for, see `host.is_brief`.
    Only so is it known whether a user's function suspends: a stage that wakes another worker
    for every function that might would pay for a switch an item.
    """
    step: Callable[[Any], Any] = work.send
    request: Any = None
    value: Any = None
    try:
        while True:
            try:
                request = step(value)
            except StopIteration:
                return
            value = None  # what was thrown in is not to be held while the task waits
            suspended(request)
            try:
                value = yield request
                step = work.send
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: ASYNC103 - it is raised on, inside `work`
                if error.__traceback__ is not None:
                    # It only passes by here. Not by assignment, which an exception may refuse.
                    error.with_traceback(error.__traceback__.tb_next)
                value, step = error, work.throw
    finally:
        request = value = None  # an error's traceback holds this frame: a reference cycle
