"""What goes wrong, and who decides what becomes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, final, runtime_checkable


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
