"""For libraries without stages: the stages' functions as one."""

from __future__ import annotations

from typing import Any

from anyio import Semaphore

from .base import Function, Stage


def chained(stages: list[Stage], limit: int) -> Function:
    """Return one function that calls those of all stages in turn, each `limit` times at once."""
    steps = [(stage.function, Semaphore(limit, fast_acquire=True)) for stage in stages]

    async def chain(item: Any) -> Any:
        for function, room in steps:
            async with room:
                item = await function(item)
        return item

    return chain
