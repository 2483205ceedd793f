"""Leaving a task group that belongs to a block of the user's."""

from __future__ import annotations

import math
from types import TracebackType

from anyio import current_effective_deadline, get_cancelled_exc_class
from anyio.abc import TaskGroup


async def leave(
    group: TaskGroup,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    traceback: TracebackType | None,
) -> bool | None:
    """Wait for `group`, which is about to end by itself, and return what ``__aexit__`` is to.

    The body's own exception is kept out of the group, which would wrap it in another.
    """
    if isinstance(exc, get_cancelled_exc_class()):
        return await group.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - it is about to end
    try:
        await group.__aexit__(None, None, None)  # noqa: ASYNC102 - it is about to end
    except BaseExceptionGroup as wrapped:
        raise sole(wrapped) from None  # its tasks raise nothing: this came in, as Ctrl-C does
    except get_cancelled_exc_class():  # noqa: ASYNC103 - see below
        if exc is None or current_effective_deadline() != -math.inf:
            raise
        # Else the body's own exception passes, as it would without the block. Nothing is
        # swallowed: a cancelled scope cancels again at the next checkpoint, where asyncio's
        # own Task.cancel() comes but once.
    return None


def sole(error: BaseException) -> BaseException:
    """Return what task groups have wrapped, if it is one exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
