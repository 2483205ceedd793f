"""A task beside a block of the user's, which may be left in another task than entered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from anyio import CancelScope, Event, get_cancelled_exc_class

from . import host
from .cleanup import wait_to_end


class Companion:
    """Runs an async function until it is ended, outside of the scopes of the block's own task.

    A task group would have to be left where it was entered, and a block inside an async generator
    is left wherever the generator is closed.

    Args:
        work: The function. What it raises is raised by `end`.
        name: The task's name.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._scope = CancelScope()
        self._done = Event()
        self._error: BaseException | None = None
        self._cancel_soon = host.start(self._main, self._scope.cancel, self._done.set, name)

    async def _main(self) -> None:
        try:
            with self._scope:
                await self._work()
        except get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: ASYNC103 - raised by `end`
            self._error = error
        finally:
            self._done.set()

    def cancel_soon(self) -> None:
        """Cancel the function from anywhere, also when the loop is closed already."""
        self._cancel_soon()

    async def end(self) -> None:
        """Cancel the function and wait until it is over.

        Raises:
            BaseException: What it raised.
        """
        self._scope.cancel()
        await wait_to_end(self._done)
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: a reference cycle
