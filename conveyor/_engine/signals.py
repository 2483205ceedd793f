"""What travels in a link beside items, and what a call may end in."""

from __future__ import annotations

from typing import Any, final


@final
class Bypass:
    """Goes past all later stages to the consumer, in its position.

    Either a `Failure` to deliver, or the error that ends the run: then nothing comes after it.
    Its own class, so that an item may be anything, a `Failure` included.
    """

    __slots__ = ("error", "failure")

    def __init__(self, *, failure: Any = None, error: BaseException | None = None) -> None:
        self.failure = failure
        self.error = error


@final
class Failed:
    """A call whose last try failed."""

    __slots__ = ("attempts", "error")

    def __init__(self, error: Exception, attempts: int) -> None:
        self.error = error
        self.attempts = attempts
