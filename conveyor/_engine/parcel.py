"""A function with its side inputs, made so that it can be called elsewhere.

Pickle sends a function as the name under which it is found. Under the name of a decorated
function it finds the task. So a recipe is sent in its place, which finds the function in the task.

Light on imports: this is what a worker has to load beside the function itself.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from functools import partial
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any, final

from .._spec import Spec, name_of


@final
class Parcel:
    """A task's function with what it gets after the item: called with the item.

    Args:
        func: The function.
        args: Side inputs by position.
        kwargs: Side inputs by name.
        main: Whether a function of the program's main module is found where this is unpickled.
    """

    __slots__ = ("__name__", "_args", "_func", "_kwargs", "_main")

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        main: bool = False,
    ) -> None:
        self.__name__ = name_of(func)  # executors show it
        self._func = func
        self._args = args
        self._kwargs = dict(kwargs or {})
        self._main = main

    def __call__(self, item: Any) -> Any:
        result = self._func(item, *self._args, **self._kwargs)
        if isinstance(result, Generator | AsyncGenerator | Coroutine):
            kind = type(result).__name__
            if not isinstance(result, AsyncGenerator):
                result.close()  # a coroutine would warn that it was never awaited
            raise TypeError(
                f"{self.__name__!r} returned a {kind}, which cannot leave its executor: "
                "return a list or a plain value, or leave out executor="
            )
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcel, (recipe(self._func, main=self._main), self._args, self._kwargs)

    def __dask_tokenize__(self) -> str:
        """Make every call one of its own: Dask takes equal ones for one, a further try included."""
        return os.urandom(16).hex()

    def pack(self) -> bytes:
        """Return it as a pickle.

        Raises:
            TypeError: If a part of it cannot be pickled; the message says which, and why.
        """
        func = self._func
        while isinstance(func, partial | MethodType):
            func = func.func if isinstance(func, partial) else func.__func__
        if isinstance(func, FunctionType) and not _is_found(func, main=self._main):
            raise TypeError(self._where(func))
        try:
            return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise TypeError(self._what(error)) from error

    def _where(self, func: FunctionType) -> str:
        where = f"is not what {func.__module__}.{func.__qualname__} is now"
        if func.__name__ == "<lambda>":
            where = "is a lambda"
        elif "<locals>" in func.__qualname__:
            where = "is defined inside another function"
        elif func.__module__ == "__main__" and not self._main:
            where = "is defined in the main module of the program, which is not loaded there"
        return (
            f"the function {self.__name__!r} {where}. Where it is to run it is looked up by "
            "its module and name: define it at the top level of a module"
        )

    def _what(self, error: Exception) -> str:
        for number, value in enumerate(self._args):
            if broken := _pickle_error(value):
                return f"side input {number} cannot be pickled: {broken}"
        for name, value in self._kwargs.items():
            if broken := _pickle_error(value):
                return f"side input {name!r} cannot be pickled: {broken}"
        return f"the function {self.__name__!r} cannot be pickled: {error}"


def _pickle_error(value: Any) -> Exception | None:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return error
    return None


def call(packed: bytes, item: Any) -> Any:
    """Call what a parcel holds. What a worker runs."""
    return pickle.loads(packed)(item)


def try_out(packed: bytes) -> None:
    """Raise what keeps a worker from calling a parcel, if anything does."""
    pickle.loads(packed)


def accept(parcel: Parcel) -> None:
    """As `try_out`, where it is the executor that pickles."""


def nothing() -> None:
    """Do nothing: this starts a worker."""


def with_path(path: list[str], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a subinterpreter, where modules are to be found as they are here."""
    sys.path += [place for place in path if place not in sys.path]
    return function(*args)


@final
class Recipe:
    """Is pickled in the place of what ``make(*args)`` returns where it is unpickled."""

    __slots__ = ("_args", "_make")

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self._make = make
        self._args = args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make, self._args


def recipe(func: Any, *, main: bool) -> Any:
    """Return what to pickle in the place of a function: itself, if there is nothing better."""
    if isinstance(func, FunctionType) and _is_found(func, main=main):
        return Recipe(find, func.__module__, func.__qualname__)
    if isinstance(func, MethodType):
        return Recipe(bind_method, recipe(func.__func__, main=main), func.__self__)
    if type(func) is partial:
        return Recipe(bind_partial, recipe(func.func, main=main), func.args, func.keywords)
    return func


def bind_method(func: Callable[..., Any], instance: object) -> Any:
    return MethodType(func, instance)


def bind_partial(func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return partial(func, *args, **keywords)


def _is_found(func: FunctionType, *, main: bool) -> bool:
    if func.__module__ not in sys.modules or (func.__module__ == "__main__" and not main):
        return False
    try:
        return find(func.__module__, func.__qualname__) is func
    except LookupError:
        return False


def find(module: str, name: str) -> Any:
    """Return the function of this name, also if a task stands in its place.

    Raises:
        LookupError: If there is none.
    """
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise LookupError(
            f"the function {name!r} of the module {module!r} is not found where it is to run: "
            f"{error}"
        ) from error
    spec = getattr(found, "spec", None)
    if isinstance(spec, Spec):
        found = spec.func
    return found.__func__ if isinstance(found, MethodType) else found  # a class method
