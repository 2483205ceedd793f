"""What goes wrong, and what takes the place of an item that went wrong."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, final, runtime_checkable

T = TypeVar("T")


@final
class StreamConsumedError(RuntimeError):
    """Raised when a stream is read that has ended or was closed: a stream is one run.

    Call the pipeline again for another run.
    """

    def __init__(self) -> None:
        super().__init__(
            "this stream has ended or was closed, and a stream can be consumed only once: "
            "call the pipeline again, as in `async for result in pipeline(data)`"
        )


@final
class EmptyInputError(LookupError):
    """Raised when a stream given to ``with_inputs`` ends without a single result."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"side input {what} is a stream that ended without a result: "
            "a stream given to with_inputs must give at least one"
        )


# Not final, for the type checkers' sake: in a stream of `str`, `isinstance(result, Failure)` would
# then be impossible to them, and what stands under it not be checked.
@dataclass(frozen=True, slots=True, eq=False)
class Failure(Generic[T]):
    """An item that failed in a task with ``on_error="emit_failure"``.

    It takes the item's place in the stream and goes straight to the consumer.
    The fields can also be read as a mapping's, so that one loop can handle
    results that are dicts and failures alike: ``result.get("error")``.

    Attributes:
        item: What the task was given: an item, or for a batch task the batch (a list).
        error: The exception of the last try.
        task_name: The name of the task.
        attempts: How often the task was tried, 1 without retries.
    """

    item: T
    error: Exception
    task_name: str
    attempts: int

    def __getitem__(self, field: str) -> Any:
        """Return the field of that name; ``KeyError`` if there is none."""
        if field not in self.__slots__:
            raise KeyError(field)
        return getattr(self, field)

    def get(self, field: str, default: Any = None) -> Any:
        """Return the field of that name, or `default` if there is none."""
        return getattr(self, field) if field in self.__slots__ else default


@runtime_checkable
class ErrorHandler(Protocol):
    """Decides what becomes of an item whose last try failed."""

    async def handle_error(
        self, error: Exception, item: Any, task_name: str, attempt: int
    ) -> tuple[bool, Any]:
        """Look at an error before the task's ``on_error`` does.

        Args:
            error: The exception of the last try.
            item: What the task was given (for a batch task a list).
            task_name: The name of the task.
            attempt: The number of the last try, counted from 1.

        Returns:
            ``(carry_on, value)``. With `carry_on` true, `value` is the task's result,
            and ``None`` skips the item. With `carry_on` false, ``on_error`` decides.
        """
        ...


HandlerFunction: TypeAlias = Callable[
    [Exception, Any, str, int], tuple[bool, Any] | Awaitable[tuple[bool, Any]]
]


class LoggingErrorHandler:
    """Logs each error with its traceback; the item itself is never logged.

    Args:
        logger: Where to; ``None`` means the logger ``conveyor``.
        level: A level of `logging`, ``logging.ERROR`` by default.
        carry_on: True skips the item; false (the default) leaves it to ``on_error``.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        level: int = logging.ERROR,
        *,
        carry_on: bool = False,
    ) -> None:
        self._logger = logging.getLogger("conveyor") if logger is None else logger
        self._level = level
        self._carry_on = carry_on

    async def handle_error(
        self, error: Exception, item: Any, task_name: str, attempt: int
    ) -> tuple[bool, Any]:
        """Log `error`, and answer ``(carry_on, None)``."""
        self._logger.log(
            self._level, "task %r failed at attempt %d", task_name, attempt, exc_info=error
        )
        return self._carry_on, None
