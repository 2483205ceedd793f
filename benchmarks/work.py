"""What the stages do and what they get: the same for every engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from .engines.base import Function


class WrongResultError(Exception):
    """An engine gave results that are not those that the work has."""


async def at_once(item: Any) -> Any:  # noqa: ASYNC124 - that is the point
    return item


async def switch(item: Any) -> Any:
    await checkpoint()
    return item


def wait(seconds: float) -> Function:
    """Return a function that waits for so long."""

    async def wait_for(item: Any) -> Any:
        await anyio.sleep(seconds)
        return item

    return wait_for


def compute(item: Any) -> int:
    """Keep a core busy for some milliseconds, whatever the item."""
    return sum(number * number for number in range(100_000))


async def generate(number: int) -> AsyncIterator[int]:  # noqa: ASYNC900, ASYNC124 - an input
    for item in range(number):
        yield item


def check(results: list[Any], expected: list[Any], *, ordered: bool) -> None:
    """Refuse results that are not complete, not correct, or not in their order.

    Raises:
        WrongResultError: With what is wrong.
    """
    if results == expected:
        return
    given, wanted = Counter(results), Counter(expected)
    if given == wanted:
        if ordered:
            raise WrongResultError("order lost")
        return
    missing, more = (wanted - given).total(), (given - wanted).total()
    raise WrongResultError(f"{missing} results missing, {more} too many")
