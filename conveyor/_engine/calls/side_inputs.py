"""Side inputs: what a task's function gets after the item."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar, final

from ..._model.arguments import takes
from ..._model.awaiting import is_awaitable, makes_handles
from ..._model.spec import Spec

T = TypeVar("T")


@final
class Resource(Generic[T]):
    """What `resource` makes: entered once a run, see there."""

    __slots__ = ("_factory",)

    def __init__(
        self, factory: Callable[[], AbstractAsyncContextManager[T] | AbstractContextManager[T]]
    ) -> None:
        made = isinstance(factory, AbstractAsyncContextManager | AbstractContextManager)
        if made or not callable(factory):  # those of contextlib can be called, to decorate
            raise TypeError(
                "resource() takes a function that makes a context manager, "
                f"not {factory!r}: a context manager itself could serve one run only"
            )
        if not takes(factory, 0):
            raise TypeError(
                "resource() calls a function without parameters, "
                f"and {factory!r} needs some: give them in a lambda or a functools.partial"
            )
        self._factory = factory

    def __repr__(self) -> str:
        return f"resource({self._factory!r})"

    async def enter(self, stack: AsyncExitStack) -> T:
        manager = self._factory()
        if isinstance(manager, AbstractAsyncContextManager):
            return await stack.enter_async_context(manager)
        if isinstance(manager, AbstractContextManager):
            return stack.enter_context(manager)
        if inspect.iscoroutine(manager):
            manager.close()
        raise TypeError(
            f"{self!r} must make a context manager, but made {manager!r}: "
            "decorate a generator function with contextlib.asynccontextmanager"
        )


class Inputs:
    """Resolves the side inputs of one run.

    An object that stands in several places is resolved once, and shared.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._resolved: dict[int, tuple[Any, Any]] = {}  # the object is kept: its id stays its own

    async def resolve(self, spec: Spec) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for the function of `spec`."""
        args = tuple([await self._value(value) for value in spec.args])
        kwargs = {name: await self._value(value) for name, value in spec.kwargs.items()}
        return args, kwargs

    async def _value(self, value: Any) -> Any:
        if id(value) in self._resolved:
            return self._resolved[id(value)][1]
        if isinstance(value, Resource):
            result = await value.enter(self._stack)
        elif hasattr(type(value), "_as_side_input"):
            result = await value._as_side_input()
        elif is_awaitable(value) and not makes_handles(type(value)):
            result = await value
        else:
            return value
        self._resolved[id(value)] = value, result
        return result
