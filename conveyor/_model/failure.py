"""What takes the place of an item that went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T", covariant=True)


# Not final, for the type checkers' sake: in a stream of `str`, `isinstance(result, Failure)` would
# then be impossible to them, and what stands under it not be checked.
@dataclass(frozen=True, slots=True, eq=False)
class Failure(Generic[T]):
    """An item that failed in a task with ``on_error="emit_failure"``.

    It takes the item's place in the stream and goes straight to the consumer. So it is in the type
    of the stream: ``Stream[int | Failure[str]]`` where a task that takes ``str`` has failed.
    The fields can also be read as a mapping's, so that one loop can handle
    results that are dicts and failures alike: ``result.get("error")``.

    Attributes:
        item: What the task was given: an item, or for a batch task the batch (a list), or the one
            item of it that failed alone: named in a `BatchError`, or by ``weight`` or ``by``.
        error: The exception of the last try.
        task_name: The name of the task.
        attempts: How often the task was tried, 1 without retries.
    """

    __module__ = "conveyor"

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
