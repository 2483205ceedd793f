"""Clean-up that cancellation does not reach, and that has an end."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from anyio import CancelScope, Event, current_time, get_cancelled_exc_class

from ..log import Log

SECONDS = 10.0


class Cleanup:
    """A block whose last part is shielded.

    The scope is opened before, and only shielded once `begin` is called: what a user's
    generator or context manager opens inside the block is then closed inside it as well,
    where a scope opened for the closing alone would stand between the two::

        with Cleanup("the input", log) as cleanup:
            try:
                with cleanup.work():
                    ...
            finally:
                ...  # shielded, and bounded

    Args:
        what: What is cleaned up, for the log.
        log: Where it is told if that takes too long.
        item: The number of the item that it belongs to, if it belongs to one.

    Attributes:
        pending: The exception that led to the clean-up, ``None`` if the work came to its end.
    """

    __slots__ = ("_item", "_log", "_scope", "_what", "pending")

    def __init__(self, what: str, log: Log, item: int | None = None) -> None:
        self._what = what
        self._log = log
        self._item = item
        self._scope = CancelScope()
        self.pending: BaseException | None = None

    def __enter__(self) -> Cleanup:
        self._scope.__enter__()
        return self

    def work(self) -> Work:
        """Return a block after which clean-up begins."""
        return Work(self)

    def begin(self, pending: BaseException | None) -> None:
        """From here to the block's end nothing outside cancels it, for `SECONDS` at most."""
        self.pending = pending
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
        pending, self.pending = self.pending, None
        if self._scope.cancel_called:
            message = "%s took over %g seconds to clean up: cancelled"
            self._log.warning(message, self._what, SECONDS, item=self._item)
            if swallowed and pending is not None:
                try:
                    raise pending  # what led here goes on: only the clean-up was cut short
                finally:
                    del pending, exc  # the traceback holds this frame: a reference cycle
        return swallowed


class Work:
    """The part of a `Cleanup` before the clean-up.

    It is told how the work ended. To ask `sys.exception` instead would find an exception that the
    caller's caller is handling just now, if the work has raised none.
    """

    __slots__ = ("_cleanup",)

    def __init__(self, cleanup: Cleanup) -> None:
        self._cleanup = cleanup

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.begin(exc)


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


async def wait_to_end(event: Event) -> None:
    """Wait for `event`, which is about to be set, whatever cancels the caller meanwhile.

    A cancellation that no shield holds off, as asyncio's own ``Task.cancel()``, is raised then.
    """
    cancelled: BaseException | None = None
    with CancelScope(shield=True):  # noqa: ASYNC912 - what is over need not be waited for
        while not event.is_set():
            try:
                await event.wait()
            except get_cancelled_exc_class() as error:  # noqa: ASYNC103 - it is raised below
                cancelled = error
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # its traceback holds this frame: a reference cycle
