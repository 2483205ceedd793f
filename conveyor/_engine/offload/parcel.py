"""A function with its side inputs, made so that it can be called elsewhere.

Light on imports: this is what a worker has to load beside the function itself.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any, final

from ..._model.by_name import is_found, recipe
from ..._model.spec import name_of
from .outcome import Carrier, outcome_of


@final
class Parcel:
    """A task's function with what it gets after the item: called with the item.

    Args:
        func: The function.
        args: Side inputs by position.
        kwargs: Side inputs by name.
        main: Whether a function of the program's main module is found where this is unpickled.
        carried: Whether an exception is to leave it in a `Carrier`.
    """

    __slots__ = ("__name__", "_args", "_carried", "_func", "_kwargs", "_main")

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        main: bool = False,
        carried: bool = False,
    ) -> None:
        self.__name__ = name_of(func)  # executors show it
        self._func = func
        self._args = args
        self._kwargs = dict(kwargs or {})
        self._main = main
        self._carried = carried

    def __call__(self, item: Any) -> Any:
        if not self._carried:
            return self._call(item)
        try:
            return self._call(item)
        except Exception as error:
            carrier = Carrier(error)
        # Raised here it has no context: some executors pickle that as well, in their own way.
        try:
            raise carrier
        finally:
            del carrier  # its traceback holds this frame: a reference cycle

    def _call(self, item: Any) -> Any:
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
        func = recipe(self._func, main=self._main)
        return _unpacked, (func, self._args, self._kwargs, self._carried)

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
        if isinstance(func, FunctionType) and not is_found(func, main=self._main):
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
        elif is_of_session(func):
            return f"the function {self.__name__!r} {OF_SESSION}"
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


def _unpacked(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], carried: bool
) -> Parcel:
    return Parcel(func, args, kwargs, carried=carried)


def _pickle_error(value: Any) -> Exception | None:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return error
    return None


OF_SESSION = (
    "is defined in a notebook or an interactive session, and a worker cannot import it from there: "
    "put it in a module, a .py file, and import it; or use executor='thread'"
)


def is_of_session(func: Any) -> bool:
    """Return whether a function is of a main module that no other process can import."""
    while isinstance(func, partial | MethodType):
        func = func.func if isinstance(func, partial) else func.__func__
    main = sys.modules["__main__"]
    if getattr(func, "__module__", None) != "__main__" or getattr(main, "__spec__", None):
        return False
    return not os.path.isfile(getattr(main, "__file__", None) or "")  # noqa: PTH113 - light


@final
class Sealed:
    """An item on its way: pickled when the executor does it, unpickled by `call` alone.

    Were it the executor that unpickles it, in a pool's worker, an error in that would end the
    worker, and with it the pool.
    """

    __slots__ = ("_item",)

    def __init__(self, item: Any) -> None:
        self._item = item

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (pickle.dumps(self._item, pickle.HIGHEST_PROTOCOL),)


def call(name: str, packed: bytes, item: bytes) -> bytes:
    """Call what a parcel holds, and return the outcome. A worker runs this."""
    return outcome_of(name, _called, packed, item)


def _called(packed: bytes, item: bytes) -> Any:
    return pickle.loads(packed)(pickle.loads(item))


def try_out(name: str, packed: bytes) -> bytes:
    """Return what keeps a worker from calling a parcel, if anything does, as its outcome."""
    return outcome_of(name, _loaded, packed)


def _loaded(packed: bytes) -> None:
    pickle.loads(packed)


def accept(parcel: Parcel) -> None:
    """As `try_out`, where it is the executor that pickles."""


def with_path(path: list[str], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a subinterpreter, where modules are to be found as they are here."""
    sys.path += [place for place in path if place not in sys.path]
    return function(*args)
