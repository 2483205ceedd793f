"""Functions and tasks as pickle knows them: by the name under which they are found.

Under the name of a decorated function stands its task. So a recipe is pickled in place of the
function, and finds the function in the task.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any, final


@final
class Recipe:
    """Pickled in place of an object: unpickling calls ``make(*args)``."""

    __slots__ = ("_args", "_make")

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self._make = make
        self._args = args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make, self._args


def recipe(func: Any, *, main: bool) -> Any:
    """Return what to pickle in place of a function, which may be the function itself.

    With `main`, functions of the main module go by name as well: where they are unpickled, the
    main module is the same.
    """
    if isinstance(func, FunctionType) and is_found(func, main=main):
        return Recipe(find, func.__module__, func.__qualname__)
    if isinstance(func, MethodType):
        return Recipe(_bind_method, recipe(func.__func__, main=main), func.__self__)
    if isinstance(func, classmethod | staticmethod):
        return Recipe(type(func), recipe(func.__func__, main=main))
    if type(func) is partial:
        return Recipe(_bind_partial, recipe(func.func, main=main), func.args, func.keywords)
    return func


def _bind_method(func: Callable[..., Any], instance: object) -> Any:
    return MethodType(func, instance)


def _bind_partial(func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return partial(func, *args, **keywords)


def is_found(func: FunctionType, *, main: bool) -> bool:
    """Return whether the name of a function leads back to it, and to no other."""
    if func.__module__ not in sys.modules or (func.__module__ == "__main__" and not main):
        return False
    try:
        return find(func.__module__, func.__qualname__) is func
    except LookupError:
        return False


def leads_to(module: str, name: str, thing: object) -> bool:
    """Return whether a name leads to this very object."""
    if module not in sys.modules:
        return False
    try:
        return look_up(module, name) is thing
    except (ImportError, AttributeError):
        return False


def find(module: str, name: str) -> Any:
    """Return the function of this name, also if a task stands in its place.

    Raises:
        LookupError: If there is none.
    """
    try:
        found: Any = look_up(module, name)
    except (ImportError, AttributeError) as error:
        raise LookupError(
            f"the function {name!r} of the module {module!r} is not found where it is to run: "
            f"{error}"
        ) from error
    found = getattr(getattr(found, "spec", None), "func", found)  # of a task
    return found.__func__ if isinstance(found, MethodType) else found  # a class method


def look_up(module: str, name: str) -> Any:
    """Return what stands under a qualified name.

    Raises:
        ImportError: If the module cannot be imported.
        AttributeError: If there is no such name in it.
    """
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
