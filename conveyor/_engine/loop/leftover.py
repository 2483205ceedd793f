"""Cancellations that a function has asked for and left behind.

It may well call asyncio's own ``Task.cancel()`` on the task that runs it, as those time limits do
that are older than `asyncio.timeout`, and not wait for what comes of that. It is nothing to what
the engine awaits next in the same task, nor to the next call.
"""

from __future__ import annotations

import math

from anyio import current_effective_deadline, get_cancelled_exc_class
from anyio.lowlevel import checkpoint

from . import host


async def absorb() -> bool:
    """Take a cancellation that is left in this task, and say whether there was one.

    A checkpoint if there is one. One of a cancel scope is left alone: it is the run's.
    """
    if not host.cancelling()() or current_effective_deadline() == -math.inf:
        return False
    try:
        await checkpoint()  # where it is raised, if it has not been
    except get_cancelled_exc_class():  # noqa: ASYNC103 - it is the one that was asked for
        if current_effective_deadline() == -math.inf:
            raise
    host.uncancel()
    return True
