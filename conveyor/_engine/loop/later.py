"""A coroutine that is made when its task takes its first step."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn


class Later(Coroutine[Any, Any, None]):
    """What a task group may be given in place of a coroutine.

    When the event loop is closed on a task that has not started, a coroutine made for it is
    dropped with a warning that it was never awaited. Here there is none to be dropped.
    """

    __slots__ = ("_args", "_func")

    def __init__(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        self._func = func
        self._args = args

    def __await__(self) -> Generator[Any, Any, None]:
        return self._func(*self._args).__await__()

    def send(self, value: Any) -> NoReturn:
        raise NotImplementedError("only to be awaited")

    def throw(self, *args: Any) -> NoReturn:
        raise NotImplementedError("only to be awaited")

    def close(self) -> None:
        pass
