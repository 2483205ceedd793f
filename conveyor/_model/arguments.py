"""Whether a function can be called with what its task gives it, as far as that is certain.

The answer comes from what Python itself goes by when it calls the function: the code of plain
functions, and of those behind methods, partials, classes and callable objects. What a decorator
says of itself, in `__wrapped__` or `__signature__`, does not count: it may fill in arguments. So
nothing that would work is refused.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection, Mapping
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

from .names import closest

_BUILT_IN = (
    BuiltinFunctionType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)


def misfit(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Return why ``func(item, *args, **kwargs)`` is sure to be a `TypeError` of the call itself.

    ``None`` if it is not, or if that cannot be known.
    """
    if isinstance(func, classmethod):
        name = func.__func__.__qualname__ if isinstance(func.__func__, FunctionType) else "it"
        return f"{name} is a class method; take the task from its class"
    if isinstance(func, type) and _maker(func) is object.__init__:
        return f"{func.__name__}() takes no item"
    if isinstance(func, _BUILT_IN):
        return _built_in(func, args, kwargs)
    call = _resolved(func, len(args), kwargs)
    return None if call is None else call.misfit()


def takes(func: Any, count: int) -> bool:
    """Return False if `func` is not callable, or is sure not to take `count` arguments."""
    if not callable(func):
        return False
    call = _resolved(func, count - 1, {})
    return call is None or call.misfit() is None


def _resolved(func: Any, after: int, kwargs: Mapping[str, Any]) -> _Call | None:
    """Return the call of a plain function that a call of `func` leads to.

    It gets an item, as many arguments `after` it, and those in `kwargs`.
    """
    hidden, before, names = 0, 0, tuple(kwargs)
    for _ in range(20):  # an object's `__call__` could lead back to itself
        if type(func) is FunctionType:
            return _Call(func, hidden, before, after, names)
        if isinstance(func, MethodType):
            func, hidden = func.__func__, hidden + 1
        elif type(func) is staticmethod:
            func = func.__func__
        elif type(func) is functools.partial:
            if any(value is _PLACEHOLDER for value in func.args):
                return None
            before += len(func.args)
            names = (*names, *(name for name in func.keywords if name not in kwargs))
            func = func.func
        elif isinstance(func, type):
            func, hidden = _maker(func), hidden + 1
        elif type(func).__name__ == "_lru_cache_wrapper":  # it changes nothing
            func = func.__wrapped__
        else:
            func, hidden = _found(type(func), "__call__"), hidden + 1
            if type(func) is not FunctionType:
                return None
    return None


_PLACEHOLDER: Any = getattr(functools, "Placeholder", object())  # from Python 3.14 on


def _maker(cls: type) -> Any:
    """Return the plain function that gets the arguments when a class is called, if there is one."""
    call = _found(type(cls), "__call__")
    if call is not type.__call__:
        return call
    new = _found(cls, "__new__")
    if isinstance(new, staticmethod):
        new = new.__func__
    if new is object.__new__:
        return _found(cls, "__init__")
    return new


def _found(cls: type, name: str) -> Any:
    """Look a method up as Python does when it calls it: in the classes, and nowhere else."""
    for each in cls.__mro__:
        if name in each.__dict__:
            return each.__dict__[name]
    return None


class _Call(NamedTuple):
    """A call of a plain function.

    Attributes:
        func: The function.
        hidden: How many arguments come first that nobody writes: the instance of a method.
        before: How many come from partials, before the item.
        after: How many come from ``with_inputs``, after it.
        names: The names of those that are passed by name.
    """

    func: Any  # type checkers would bind it, as a method
    hidden: int
    before: int
    after: int
    names: tuple[str, ...]

    def misfit(self) -> str | None:
        """Return why it is refused; ``None`` if it is not."""
        func, names = self.func, self.names
        code = func.__code__
        count, first = code.co_argcount, code.co_posonlyargcount
        positional = code.co_varnames[:count]
        given = self.hidden + self.before + 1 + self.after
        if given > count and not code.co_flags & CO_VARARGS:
            return self._too_many(count - self.hidden, given - self.hidden)
        by_name = code.co_varnames[count : count + code.co_kwonlyargcount]
        for name in names:
            if name in positional[first:given]:
                return self._twice(name)
            if name not in positional[first:] and name not in by_name:
                if code.co_flags & CO_VARKEYWORDS:
                    continue
                if name in positional:
                    return f"{self.written} takes {name!r} by its place, not by its name"
                return self._unexpected(name, (*positional[max(first, self.hidden) :], *by_name))
        required = count - len(func.__defaults__ or ())
        if given >= required and not by_name:
            return None
        defaults = func.__kwdefaults__ or {}
        missing = [
            name
            for place, name in enumerate(positional[:required])
            if place >= given and (name not in names or place < first)
        ]
        missing += [name for name in by_name if name not in names and name not in defaults]
        return self._missing(missing, positional[:first]) if missing else None

    @property
    def written(self) -> str:
        """The function as its ``def`` has it, without what only takes up space."""
        code = self.func.__code__
        count, first, named = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
        names = list(code.co_varnames)
        optional = count - len(self.func.__defaults__ or ())
        words = [name + "=..." * (place >= optional) for place, name in enumerate(names[:count])]
        if first > self.hidden:
            words.insert(first, "/")
        rest = count + named
        if code.co_flags & CO_VARARGS:
            words.append(f"*{names[rest]}")
            rest += 1
        elif named:
            words.append("*")
        defaults = self.func.__kwdefaults__ or {}
        words += [name + "=..." * (name in defaults) for name in names[count : count + named]]
        if code.co_flags & CO_VARKEYWORDS:
            words.append(f"**{names[rest]}")
        text = f"{self.name}({', '.join(words[self.hidden :])})"
        return text if len(text) <= 120 else f"{text[:116]}...)"

    @property
    def name(self) -> str:
        """What the function is called by; of what makes the instances of a class, the class."""
        name: str = self.func.__name__
        qualified: str = self.func.__qualname__
        if name in ("__init__", "__new__", "__call__"):
            owner = qualified.rpartition(".")[0].rpartition(".")[2]
            return owner or name
        return name

    def _too_many(self, takes: int, gets: int) -> str:
        if takes <= 0:
            return f"{self.written} takes no item"
        inputs = f" and {self.after} from with_inputs" if self.after else ""
        where = f": the item{inputs}" if not self.before else ""
        arguments = "argument" if takes == 1 else "arguments"
        return f"{self.written} takes {takes} {arguments} by place, and would get {gets}{where}"

    def _twice(self, name: str) -> str:
        return f"{self.written} would get {name!r} twice: by its place, and by its name"

    def _unexpected(self, name: str, known: Collection[str]) -> str:
        close = closest(name, known)
        hint = f"; did you mean {close!r}?" if close else ""
        return f"{self.written} takes no {name!r}{hint}"

    def _missing(self, missing: list[str], by_place: Collection[str]) -> str:
        owner = self.func.__qualname__.rpartition(".")[0].rpartition(".")[2]
        is_method = self.func.__code__.co_varnames[:1] == ("self",) and owner.isidentifier()
        if is_method and not self.hidden:
            where = f"{owner}(...).{self.name}"
            return f"{self.written} is a method; take the task from an instance, as in {where}"
        names = " and ".join(map(repr, missing))
        task = self.name if self.name.isidentifier() else "task"
        how = ", ".join("..." if each in by_place else f"{each}=..." for each in missing)
        return f"{self.written} needs {names} as well; give it with {task}.with_inputs({how})"


def _built_in(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Answer for a function that is not written in Python.

    What those of the standard library say of themselves is held true by its own tests. What others
    say is written by hand, and need not be.
    """
    owner = getattr(func, "__objclass__", None) or getattr(func, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType | type):
        owner = type(owner)
    module = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", "")
    if str(module).partition(".")[0] not in sys.stdlib_module_names:
        return None
    try:
        signature = inspect.signature(func, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(object(), *args, **kwargs)
    except TypeError as error:
        name = func.__name__
        how = f"; give it with {name}.with_inputs(...)" if "missing" in str(error) else ""
        return f"{name}{signature}: {error}{how}"
    return None
