"""Which runs the code that asks is a part of."""

from __future__ import annotations

from contextvars import ContextVar

# A function of one run may start another, so these are all the runs around.
_around: ContextVar[frozenset[object]] = ContextVar("conveyor_around", default=frozenset())


class Mark:
    """Stands for one run in the context variables of its tasks.

    What waits there for the end of the run would wait for itself. Nothing else is kept of the run:
    a task that a function has started may live on, and the mark with it.
    """

    __slots__ = ()

    def set(self) -> None:
        """Mark this task, and those that will be started from it, as a part of the run."""
        _around.set(_around.get() | {self})

    def is_around(self) -> bool:
        """Whether the caller is a part of the run."""
        return self in _around.get()
