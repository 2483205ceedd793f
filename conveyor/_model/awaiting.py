"""What is meant to be awaited, and what only looks like it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING


class NotAwaitable:
    """The base of objects that somebody may await by mistake.

    ``await`` calls ``__await__``, which raises a `TypeError` that shows the right call. So these
    objects look as if they could be awaited; whoever wants to know asks `is_awaitable`, not
    `inspect`. Type checkers do not see the method, and object to the ``await``.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __await__(self):
            raise TypeError(self._instead_of_await())

    def _instead_of_await(self) -> str:
        raise NotImplementedError


def is_awaitable(value: object) -> bool:
    """Say whether `value` is meant to be awaited."""
    return inspect.isawaitable(value) and not isinstance(value, NotAwaitable)


def makes_awaitables(cls: type) -> bool:
    """Say whether instances of `cls` are meant to be awaited."""
    return issubclass(cls, Awaitable) and not issubclass(cls, NotAwaitable)


def makes_handles(cls: type) -> bool:
    """Say whether instances of `cls`, if they can be awaited, are of use as they are.

    A connection of aiosqlite or SQLAlchemy can be awaited, to open it, and is an async context
    manager, to close it. The request of aiohttp is both as well, and a coroutine on top: that one
    is of no use until it has been awaited.
    """
    manages = hasattr(cls, "__aenter__") and hasattr(cls, "__aexit__")
    return manages and not hasattr(cls, "send")
