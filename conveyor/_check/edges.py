"""What leaves each task of a pipeline and what enters the next, as their annotations say."""

from __future__ import annotations

import functools
import inspect
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from operator import or_
from types import FunctionType, MethodType, NoneType
from typing import (
    Any,
    Literal,
    Never,
    NewType,
    NoReturn,
    TypeAlias,
    get_args,
    get_overloads,
    get_type_hints,
)

from .._model.awaiting import makes_awaitables
from .._model.spec import BatchSpec, SingleSpec, Spec
from .fits import Answer, Unknown, every, fits, full_title, members, plain, title, view

Kind: TypeAlias = Literal["async", "sync", "async generator", "generator"]


@dataclass(frozen=True, slots=True)
class Side:
    """What goes in or comes out at one side of a task.

    Attributes:
        parts: The members of its type, one or more. Of a member there may be several readings:
            a function that returns a ``Sequence`` may return a list, which is taken apart. Empty
            if nothing is known.
        why: Why nothing is known, as the end of a sentence that begins with the task's name.
        nothing: Whether nothing ever comes out.
        doubt: Why the annotations may not be all of the truth; "" if they are.
    """

    parts: tuple[tuple[Any, ...], ...] = ()
    why: str = ""
    nothing: bool = False
    doubt: str = ""

    @property
    def type(self) -> Any:
        """The type in its first reading; `Any` if it is not known."""
        return _union(part[0] for part in self.parts) if self.parts else Any

    @property
    def words(self) -> str | None:
        """The type as one would write it; ``None`` if it is not known."""
        return " | ".join(dict.fromkeys(title(part[0]) for part in self.parts)) or None


@dataclass(frozen=True, slots=True)
class Edge:
    """What one task gives, and what the next one takes.

    Attributes:
        giver: The name of the one.
        taker: The name of the other.
        gives: The type that leaves the one, in words; ``None`` if it is not known.
        takes: The type that enters the other.
        answer: Whether the one may be given to the other.
    """

    giver: str
    taker: str
    gives: str | None
    takes: str | None
    answer: Answer


def edges(specs: Sequence[Spec]) -> tuple[Edge, ...]:
    """Return the edges of a pipeline of these tasks, from first to last."""
    return tuple(map(edge, specs, specs[1:]))


def edge(giver: Spec, taker: Spec) -> Edge:
    """Return the edge between two tasks."""
    gives, takes = leaving(giver, last=False), entering(taker)
    answer = _answer(giver.name, gives, taker.name, takes)
    words = gives.words, takes.words
    if answer is False and words[0] == words[1]:
        words = full_title(gives.type), full_title(takes.type)
    return Edge(giver.name, taker.name, *words, answer)


def _answer(giver: str, gives: Side, taker: str, takes: Side) -> Answer:
    if takes.parts and plain(takes.type) in (Any, object):
        return True
    for name, side in ((giver, gives), (taker, takes)):
        if not side.parts:
            return Unknown(f"{name} {side.why}")
    answer = every(map(functools.partial(_part, wanted=takes.type), gives.parts))
    if answer is False:
        for name, side in ((giver, gives), (taker, takes)):
            if side.doubt:
                return Unknown(f"{name} {side.doubt}")
    return answer


def _part(readings: tuple[Any, ...], wanted: Any) -> Answer:
    """Answer for one member of a type: only what holds in every reading is certain."""
    answers = [fits(reading, wanted) for reading in readings]
    if all(answer == answers[0] for answer in answers):
        return answers[0]
    return Unknown(f"{title(readings[0])} and {title(readings[1])} may both travel")


def entering(spec: Spec) -> Side:
    """Return what a task's function is called with: of a batch task, what is in its list."""
    function = _Function(spec.func)
    annotation, why = function.parameter()
    if why:
        return Side(why=why)
    if isinstance(spec, BatchSpec):
        return _in_batch(annotation, function.doubt)
    return Side(((annotation,),), doubt=function.doubt)


def leaving(spec: Spec, *, last: bool) -> Side:
    """Return what comes out of a task, at the end of its pipeline or before another."""
    function = _Function(spec.func)
    annotation, why = function.returned()
    if why:
        return Side(why=why)
    spread = True
    if isinstance(spec, SingleSpec):
        spread = not last if spec.spread is None else spec.spread
    kind = kind_of(spec.func)
    if kind in ("generator", "async generator"):
        values = _values(annotation)
        if values is None:
            return Side(why=f"is a generator, and its {title(annotation)} does not say of what")
        parts = [(member,) for member in members(values)]
    else:
        reader = _Returned(spread=spread, awaited=kind == "async")
        parts = list(reader.read(annotation))
        if reader.why:
            return Side(why=reader.why)
    parts = [part for part in parts if part[0] not in (NoneType, Never, NoReturn)]
    if not parts:
        return Side(why="gives nothing, as its annotation says", nothing=True)
    return Side(tuple(parts), doubt=function.doubt)


def kind_of(func: Callable[..., Any]) -> Kind:
    """Return which kind of function it is."""
    core: Any = _core(func)
    if not inspect.iscoroutinefunction(core):
        core = inspect.unwrap(core)  # a decorator's function mostly returns what it is given
    if inspect.isasyncgenfunction(core):
        return "async generator"
    if inspect.isgeneratorfunction(core):
        return "generator"
    return "async" if inspect.iscoroutinefunction(core) else "sync"


def wrong_batch(spec: Spec) -> str | None:
    """Return the type of a batch function's parameter if a list cannot be given to it."""
    if not isinstance(spec, BatchSpec):
        return None
    function = _Function(spec.func)
    annotation, why = function.parameter()
    if why or function.doubt or fits(list[Any], annotation) is not False:
        return None
    return title(annotation)


# --- what a function says


class _Function:
    """A task's function, and what its annotations say."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func
        self._core = _core(func)
        self._class: Any = func if isinstance(func, type) else None

    @property
    def doubt(self) -> str:
        wrapped = hasattr(self._core, "__wrapped__")
        if wrapped and type(self._core).__name__ != "_lru_cache_wrapper":
            return "is wrapped by a decorator, which may take and return something else"
        if isinstance(self._core, FunctionType) and get_overloads(self._core):
            return "is overloaded"
        return ""

    def parameter(self) -> tuple[Any, str]:
        """Return the annotation of the first parameter, or why there is none."""
        if self._class is not None and self._class.__new__ is not object.__new__:
            return None, "is a class that makes its instances in a way of its own"
        try:
            parameters = inspect.signature(self._func).parameters
        except (TypeError, ValueError):
            return None, "does not say what it takes"
        for name, parameter in parameters.items():
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
                break
            return self._annotation(name, "takes")
        return None, "takes no item"

    def returned(self) -> tuple[Any, str]:
        """Return the annotation of what is returned, or why there is none."""
        if self._class is not None:
            return self._class, ""
        return self._annotation("return", "returns")

    def _annotation(self, name: str, verb: str) -> tuple[Any, str]:
        source = self._class.__init__ if self._class is not None else self._core
        source = inspect.unwrap(source)
        annotations = _annotations(source) if isinstance(source, FunctionType) else {}
        if name not in annotations:
            return None, f"has no annotation for what it {verb}"
        try:
            return _resolved(source, annotations[name]), ""
        except NameError as error:
            return None, f"{verb} {title(annotations[name])}, and {error}"
        except Exception:
            return None, f"{verb} {title(annotations[name])}, which cannot be read"


def _core(func: Any) -> Any:
    """Return the function that is behind a partial, a method, or an object that can be called."""
    while True:
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, MethodType | classmethod | staticmethod):
            func = func.__func__
        else:
            break
    if isinstance(func, FunctionType | type) or hasattr(func, "__wrapped__"):
        return func
    call = inspect.getattr_static(type(func), "__call__", None)
    return call if isinstance(call, FunctionType) else func


def _annotations(source: FunctionType) -> dict[str, Any]:
    try:
        return dict(source.__annotations__)
    except NameError:  # pragma: no cover - from Python 3.14 on, where they are read only now
        library: Any = import_module("annotationlib")
        return dict(library.get_annotations(source, format=library.Format.FORWARDREF))


def _resolved(source: FunctionType, annotation: Any) -> Any:
    """Return what one annotation of a function means, whatever the others do."""

    def shim() -> None: ...

    shim.__annotations__ = {"it": annotation}
    for name in ("__type_params__", "__module__"):
        if hasattr(source, name):
            setattr(shim, name, getattr(source, name))
    known: dict[str, Any] = {}
    for name, cell in zip(source.__code__.co_freevars, source.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty
            known[name] = cell.cell_contents
    return get_type_hints(shim, source.__globals__, known, include_extras=True)["it"]


# --- what it means


class _Returned:
    """What becomes of what a function returns that is no generator function."""

    def __init__(self, *, spread: bool, awaited: bool) -> None:
        self.why = ""
        self._spread = spread
        self._awaited = awaited

    def read(self, annotation: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the members of what travels, each with its readings."""
        for member in members(annotation):
            yield from self._member(member)

    def _member(self, member: Any) -> Iterator[tuple[Any, ...]]:
        base: Any = member
        while isinstance(base, NewType):
            base = plain(base.__supertype__)
        origin = getattr(base, "__origin__", base)
        if not isinstance(origin, type):
            yield (member,)
        elif _is_awaitable(origin) and self._awaited:
            yield (member, Any)  # it is awaited too, and type checkers do not know
        elif _is_awaitable(origin):
            inner = view(base, abc.Awaitable)
            if inner is None:
                self.why = f"returns {title(member)}, which does not say what it gives"
            else:
                yield from self.read(inner[0])
        elif _is(origin, abc.Generator) or _is(origin, abc.AsyncGenerator):
            yield from self._taken_apart(member, base, certain=not self._awaited)
        elif origin in (abc.Iterator, abc.AsyncIterator):
            yield from self._maybe(member, base, first=not self._awaited)
        elif self._spread and _is(origin, list):
            yield from self._taken_apart(member, base, certain=True)
        elif origin is not object and (
            (self._spread and _is(list, origin)) or origin in (abc.Iterable, abc.AsyncIterable)
        ):
            yield from self._maybe(member, base, first=False)
        else:
            yield (member,)

    def _taken_apart(self, member: Any, base: Any, *, certain: bool) -> Iterator[tuple[Any, ...]]:
        inner = _values(base)
        if inner is None:
            self.why = f"returns {title(member)}, which does not say what is inside"
        elif certain:
            for each in members(inner):
                yield (each,)
        else:
            yield from self._maybe(member, base, first=True)

    def _maybe(self, member: Any, base: Any, *, first: bool) -> Iterator[tuple[Any, ...]]:
        """Yield what may be taken apart, or may travel whole."""
        inner = _values(base)
        parts = Any if inner is None else _without_none(inner)
        yield (parts, member) if first else (member, parts)


def _in_batch(annotation: Any, doubt: str) -> Side:
    """Return what a batch function takes, given what it says of the list."""
    found: list[Any] = []
    for member in members(annotation):
        origin = getattr(member, "__origin__", member)
        if member in (Any, object):
            return Side(((member,),), doubt=doubt)
        if not (isinstance(origin, type) and _is(list, origin)):
            if fits(list[Any], member) is False:
                continue  # what else it takes is no matter
            return Side(why=f"takes {title(annotation)}, which does not say what is in a batch")
        found.append(_values(member) or Any)
    if not found:
        return Side(why=f"takes {title(annotation)}, which is no list")
    return Side(((_union(found),),), doubt=doubt)


def _values(annotation: Any) -> Any:
    """Return the type of the values that something gives; ``None`` if it is not known."""
    annotation = plain(annotation)
    origin = getattr(annotation, "__origin__", annotation)
    if not isinstance(origin, type):
        return None
    base: Any
    for base in (abc.Iterable, abc.AsyncIterable):
        if _is(origin, base):
            found = view(annotation, base)
            return None if found is None else found[0]
    inside = get_args(annotation)
    return inside[0] if origin is abc.Container and inside else None


def _is(origin: type, base: Any) -> bool:
    try:
        return issubclass(origin, base)
    except TypeError:
        return False


def _is_awaitable(origin: type) -> bool:
    try:
        return makes_awaitables(origin)
    except TypeError:
        return False


def _without_none(annotation: Any) -> Any:
    rest = [member for member in members(annotation) if member is not NoneType]
    return _union(rest) if rest else NoneType


def _union(types: Iterable[Any]) -> Any:
    return reduce(or_, dict.fromkeys(types))
