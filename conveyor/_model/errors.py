"""What goes wrong, and who decides what becomes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, final, runtime_checkable


@final
class StreamConsumedError(RuntimeError):
    """Raised when a stream is read that has ended or was closed: a stream is one run.

    Call the pipeline again for another run.
    """

    __module__ = "conveyor"

    def __init__(self) -> None:
        super().__init__(
            "this stream has ended or was closed, and a stream can be consumed only once: "
            "call the pipeline again, as in `async for result in pipeline(data)`"
        )


@final
class EmptyInputError(LookupError):
    """Raised when a stream given to ``with_inputs`` ends without a single result."""

    __module__ = "conveyor"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"side input {what} is a stream that ended without a result: "
            "a stream given to with_inputs must give at least one"
        )


@final
class TooManyFailures(Exception):  # noqa: N818 - what it says is no error, there are too many
    """Raised when more items have failed than ``max_failures`` allows.

    Its ``__cause__`` is the error of the last of them.

    Attributes:
        failed: How many items have failed.
        received: How many items had come by then.
    """

    __module__ = "conveyor"

    def __init__(self, what: str, failed: int, received: int, allowed: object) -> None:
        super().__init__(
            f"{what}: {failed} of {received} items failed, more than max_failures={allowed} allows"
        )
        self.failed = failed
        self.received = received
        self._made_of = what, failed, received, allowed

    def __reduce__(self) -> tuple[Any, ...]:
        return TooManyFailures, self._made_of, self.__dict__


@final
class BatchError(Exception):
    """Raised by a batch function to fail single items of its batch: the others pass.

    Each item that is named meets the task's retries, its ``error_handler`` and its ``on_error``
    as the item of a single task would.

    Args:
        errors: For each item that failed its place in the list that the function was given,
            counted from 0, and its exception.
        results: What came of the other items: a list with one result for each, in their order, in
            which ``None`` filters its item out. ``None`` (the default) means that they give
            no results, as when a function returns ``None``.

    Attributes:
        errors: The same, by place.
        results: The same.

    Raises:
        TypeError: If either is of a wrong type.
        ValueError: If no item is named, or one with a place below 0.
    """

    __module__ = "conveyor"

    def __init__(
        self, errors: Mapping[int, Exception], results: Sequence[Any] | None = None
    ) -> None:
        if not isinstance(errors, Mapping):
            raise TypeError(
                f"BatchError takes a dict from an item's place to its exception, not {errors!r}"
            )
        if not errors:
            raise ValueError("BatchError needs an item that failed: without one, return")
        for place, error in errors.items():
            if isinstance(place, bool) or not isinstance(place, int):
                raise TypeError(f"an item's place in its batch is a whole number, not {place!r}")
            if place < 0:
                raise ValueError(f"an item's place in its batch is counted from 0, not {place!r}")
            if not isinstance(error, Exception):
                hint = ": an instance, not the class" if isinstance(error, type) else ""
                raise TypeError(f"item {place} failed with an exception, not {error!r}{hint}")
        if results is not None and (
            isinstance(results, str | bytes) or not isinstance(results, Sequence)
        ):
            raise TypeError(
                "results must be a list with one result for each item that has not failed, "
                f"or None, not {results!r}"
            )
        self.errors = {place: errors[place] for place in sorted(errors)}
        self.results = results
        which = ", ".join(map(str, [*self.errors][:5])) + (", ..." if len(errors) > 5 else "")
        items = "item" if len(errors) == 1 else "items"
        super().__init__(f"{items} {which} of the batch failed")

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchError, (self.errors, self.results), self.__dict__


@runtime_checkable
class ErrorHandler(Protocol):
    """Decides what becomes of an item whose last try failed."""

    async def handle_error(
        self, error: Exception, item: Any, task_name: str, attempt: int
    ) -> tuple[bool, Any]:
        """Look at an error before the task's ``on_error`` does.

        Args:
            error: The exception of the last try.
            item: What the task was given (for a batch task a list, or an item that failed alone).
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
