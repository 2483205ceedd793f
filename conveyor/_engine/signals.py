"""What travels in a link beside items, and what a call may end in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, final

from .frames import release


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
    """A call whose last try failed. The engine's own frames are not in the error's traceback.

    They are behind the function's frames all the same, which know by whom they were called. So no
    frame may hold the error, or the two would hold each other, with the item and all that the
    function had made of it. Frames hold this in its place, and `forget` makes an end of it.
    """

    __slots__ = ("attempts", "error")

    def __init__(self, error: Exception, attempts: int) -> None:
        release(error)
        self.error = error
        self.attempts = attempts

    def forget(self) -> None:
        """Let go of the error, which has been dealt with. It may be said again."""
        with suppress(AttributeError):
            del self.error
