"""Clean-up that cancellation does not reach, and that has an end."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from anyio import CancelScope, current_time

from .log import Log

SECONDS = 10.0


class Cleanup:
    """A block whose last part is shielded.

    The scope is opened before, and only shielded once `begin` is called: what a user's
    generator or context manager opens inside the block is then closed inside it as well,
    where a scope opened for the closing alone would stand between the two.

    Args:
        what: What is cleaned up, for the log.
        log: Where it is told if that takes too long.
        item: The number of the item that it belongs to, if it belongs to one.
    """

    __slots__ = ("_item", "_log", "_pending", "_scope", "_what")

    def __init__(self, what: str, log: Log, item: int | None = None) -> None:
        self._what = what
        self._log = log
        self._item = item
        self._scope = CancelScope()
        self._pending: BaseException | None = None

    def __enter__(self) -> Cleanup:
        self._scope.__enter__()
        return self

    def begin(self) -> None:
        """From here to the block's end nothing outside cancels it, for `SECONDS` at most."""
        self._pending = sys.exception()
        self._scope.shield = True
        self._scope.deadline = current_time() + SECONDS

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        swallowed = bool(self._scope.__exit__(exc_type, exc, traceback))
        # Not `cancelled_caught`: on asyncio the cancellation that began all this passes with it.
        pending, self._pending = self._pending, None
        if self._scope.cancel_called:
            message = "%s took over %g seconds to clean up: cancelled"
            self._log.warning(message, self._what, SECONDS, item=self._item)
            if swallowed and pending is not None:
                raise pending  # what led here goes on: only the clean-up was cut short
        return swallowed


async def close_iterator(iterator: Any, what: str, log: Log, item: int | None = None) -> None:
    """Close a generator, or an async iterator that can be closed.

    To be called inside a shielded block. An error on the way is logged: the iterator was
    left early, and nobody is left to receive it.
    """
    try:
        if hasattr(iterator, "aclose"):
            await iterator.aclose()
        else:
            iterator.close()
    except Exception as error:
        log.debug("closing %s failed", what, item=item, error=error)
