"""Whether what has one type may be given where another is wanted, as far as that is certain.

It is a type checker's question, put to annotations while the program runs. ``False`` is said only
where a type checker would object; whatever is not plain is `Unknown`.
"""

from __future__ import annotations

import collections
import typing
from collections import abc
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from types import GenericAlias, MappingProxyType, NoneType, UnionType
from typing import (
    IO,
    Annotated,
    Any,
    Literal,
    LiteralString,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Required,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither yes nor no.

    Attributes:
        why: What keeps it from being said, as the end of a sentence.
    """

    why: str


Answer: TypeAlias = bool | Unknown

STEPS = 2000  # more than any annotation needs that a person has written

_ALIAS: Any = getattr(typing, "TypeAliasType", None)  # from Python 3.12 on
_WRAPPERS = {Required, NotRequired, typing.Final, typing.ClassVar}
_PROMOTED = ((int, (float, complex)), (float, (complex,)))

# Classes of the standard library by what their parameters say of what is inside.
_OF_ONE = {
    *(list, set, frozenset, collections.deque),
    *(abc.Iterable, abc.Iterator, abc.Collection, abc.Container, abc.Reversible, abc.Sequence),
    *(abc.MutableSequence, abc.Set, abc.MutableSet, abc.KeysView, abc.ValuesView),
    *(abc.AsyncIterable, abc.AsyncIterator, abc.Generator, abc.AsyncGenerator),
}
_OF_PAIRS = {
    *(dict, collections.defaultdict, collections.OrderedDict, collections.ChainMap),
    *(abc.Mapping, abc.MutableMapping, MappingProxyType),
}
_ELEMENTS: dict[type, Any] = {
    str: str,
    **dict.fromkeys((bytes, bytearray, memoryview, range), int),
}
# How the answer for a parameter makes the answer for the whole: "+" as the parameter's, "-" the
# other way round, "=" both ways.
_VARIANCE: dict[Any, str] = {
    **dict.fromkeys(_OF_ONE, "+"),
    abc.Container: "?",  # it gives nothing out, so some type checkers do not care
    **dict.fromkeys(_OF_PAIRS, "=="),
    **dict.fromkeys((list, set, collections.deque, abc.MutableSequence, abc.MutableSet), "="),
    **dict.fromkeys((abc.Mapping, MappingProxyType), "=+"),
    collections.Counter: "=",
    abc.ItemsView: "++",
    abc.Awaitable: "+",
    abc.Coroutine: "+-+",
    abc.Generator: "+-+",
    abc.AsyncGenerator: "+-",
    AbstractContextManager: "+",
    AbstractAsyncContextManager: "+",
}


def fits(given: Any, wanted: Any) -> Answer:
    """Say whether all values of the type `given` may be passed to a parameter of type `wanted`.

    Both are annotations as `typing.get_type_hints` gives them. The rules are those of type
    checkers: an ``int`` is a ``float``, a ``list[int]`` is no ``list[float]`` but a
    ``Sequence[float]``. Of `Any` nothing is known, and everything may be given to it.
    """
    return _Question().ask(given, wanted)


def every(answers: Iterable[Answer]) -> Answer:
    """Say whether all of them are yes."""
    unknown: Unknown | None = None
    for answer in answers:
        if answer is False:
            return False
        if isinstance(answer, Unknown) and unknown is None:
            unknown = answer
    return unknown or True


def either(answers: Iterable[Answer]) -> Answer:
    """Say whether one of them is yes."""
    unknown: Unknown | None = None
    for answer in answers:
        if answer is True:
            return True
        if isinstance(answer, Unknown) and unknown is None:
            unknown = answer
    return unknown or False


class _Question:
    """One question, with all that it leads to."""

    def __init__(self) -> None:
        self._steps = STEPS
        self._asked: set[tuple[Any, Any]] = set()

    def ask(self, given: Any, wanted: Any) -> Answer:
        self._steps -= 1
        if self._steps < 0:
            return Unknown("the types are too large")
        if not (isinstance(given, _named_alias()) or isinstance(wanted, _named_alias())):
            return self._ask(plain(given), plain(wanted))
        # An alias may mean itself, in `type Json = str | list[Json]`: what is asked already may
        # be taken for true, since it is false only if something else is.
        if (given, wanted) in self._asked:
            return True
        self._asked.add((given, wanted))
        return self._ask(plain(given), plain(wanted))

    def _ask(self, given: Any, wanted: Any) -> Answer:
        if wanted is Any or wanted is object:
            return True
        if given is Any:
            return Unknown("Any may be anything")
        for side in (given, wanted):
            if not _is_understood(side):
                return Unknown(f"{title(side)} is more than is looked into")
        if given == wanted or given in (Never, NoReturn):
            return True
        if wanted in (Never, NoReturn):
            return Unknown("nothing is of type Never")
        parts = list(members(given))
        if len(parts) > 1:
            return every(self.ask(part, wanted) for part in parts)
        return self._one(parts[0], wanted)

    def _one(self, given: Any, wanted: Any) -> Answer:
        """Answer for a type that is no union."""
        if isinstance(given, TypeVar):
            bound = given.__bound__
            if bound is not None and self.ask(bound, wanted) is True:
                return True
            return Unknown(f"{given.__name__} is a type variable")
        parts = list(members(wanted))
        if len(parts) > 1:
            return self._one_of(given, parts)
        wanted = parts[0]
        if isinstance(wanted, TypeVar):
            return self._variable(given, wanted)
        if isinstance(given, NewType):
            return self.ask(given.__supertype__, wanted)
        if isinstance(wanted, NewType):
            return False
        if get_origin(given) is Literal:
            (value,) = get_args(given)
            if get_origin(wanted) is Literal:
                return False  # they would be equal
            if wanted is LiteralString:
                return isinstance(value, str)
            return self.ask(type(value), wanted)
        if get_origin(wanted) is Literal:
            return _covered(given, parts)
        if given is LiteralString:
            return self.ask(str, wanted)
        if wanted is LiteralString:
            text = isinstance(given, type) and issubclass(given, str)
            return Unknown("it may be no literal") if text else False
        return self._class(given, wanted)

    def _one_of(self, given: Any, parts: list[Any]) -> Answer:
        answer = either(self.ask(given, part) for part in parts)
        if answer is not False:
            return answer
        if _covered(given, parts):
            return True
        if _origin(given) is tuple and any(len(list(members(a))) > 1 for a in get_args(given)):
            # tuple[int | str] is tuple[int] | tuple[str], for some type checkers.
            return Unknown("there are unions inside and outside of the tuple")
        return False

    def _variable(self, given: Any, wanted: TypeVar) -> Answer:
        if wanted.__constraints__:
            if any(self.ask(given, kind) is True for kind in wanted.__constraints__):
                return True
            return Unknown(f"{wanted.__name__} is a type variable")
        return wanted.__bound__ is None or self.ask(given, wanted.__bound__)

    def _class(self, given: Any, wanted: Any) -> Answer:
        """Answer for two classes, with parameters or without."""
        have, want = _origin(given), _origin(wanted)
        if want is abc.Callable or have is abc.Callable:
            return _callable(have, wanted)
        if have is type:
            return self._of_classes(given, wanted)
        if is_typeddict(have) or is_typeddict(want):
            return _typed_dict(have, want)
        if Any in have.__mro__:
            return Unknown(f"{title(have)} inherits from Any")
        try:
            derived = issubclass(have, want)
        except TypeError:  # a protocol that is not to be asked
            derived = want in have.__mro__
        if getattr(want, "_is_protocol", False) and want not in have.__mro__:
            ours = want.__module__ in ("typing", "contextlib", "collections.abc")
            if derived and ours and not get_args(wanted):
                return True
            return Unknown(f"{title(want)} is a protocol")
        if not derived:
            return _unrelated(have, want)
        if want is tuple:
            return self._tuple(given, wanted)
        asked = get_args(wanted)
        if not asked:
            return True
        inside = view(given, want)
        if inside is None or len(inside) != len(asked):
            return Unknown(f"it is not said what is inside {title(given)}")
        return self._parameters(inside, asked, _variance(want, len(asked)))

    def _parameters(self, given: Iterable[Any], wanted: Iterable[Any], signs: str) -> Answer:
        return every(self._parameter(*each) for each in zip(given, wanted, signs, strict=True))

    def _parameter(self, given: Any, wanted: Any, sign: str) -> Answer:
        if not all(_is_understood(plain(side)) for side in (given, wanted)):
            return Unknown("the parameters are more than is looked into")
        if given == wanted or (plain(wanted) is Any and sign != "-"):
            return True
        if sign == "+":
            return self.ask(given, wanted)
        if sign == "-":
            return self.ask(wanted, given)
        if plain(given) is Any:
            return Unknown("Any may be anything")
        if any(isinstance(plain(side), TypeVar) for side in (given, wanted)):
            return Unknown("there is a type variable inside")
        same = every((self.ask(given, wanted), self.ask(wanted, given)))
        if sign == "=" or same is True:
            return same
        return Unknown("what is inside is of another type")

    def _tuple(self, given: Any, wanted: Any) -> Answer:
        has, needs = _shape(given), _shape(wanted)
        if has is None or needs is None:
            return Unknown(f"it is not said what is inside {title(given)}")
        if needs[1]:
            return every(self.ask(each, needs[0][0]) for each in has[0])
        if has[1]:
            if plain(has[0][0]) is Any:
                return Unknown("it is not said how long the tuple is")
            return False
        if len(has[0]) != len(needs[0]):
            return False
        return every(map(self.ask, has[0], needs[0]))

    def _of_classes(self, given: Any, wanted: Any) -> Answer:
        """Answer for ``type[A]``."""
        if _origin(wanted) is not type:
            return Unknown("a class may be much that its type does not say")
        if not get_args(wanted):
            return True
        if not get_args(given):
            return Unknown("it is not said which class it is")
        (has,), (needs,) = get_args(given), get_args(wanted)
        answer = self.ask(has, needs)
        promoted = answer is True and isinstance(has, type) and isinstance(needs, type)
        if promoted and not issubclass(has, needs):
            return Unknown(f"type checkers differ about type[{title(has)}]")
        return answer


# --- annotations, and what is inside


def plain(annotation: Any) -> Any:
    """Return what an annotation means, without what is written around it."""
    for _ in range(20):
        origin = get_origin(annotation)
        if annotation is None:
            return NoneType
        if isinstance(annotation, _named_alias()):
            annotation = annotation.__value__
        elif origin is Annotated or origin in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif isinstance(origin, _named_alias()):
            return _filled(annotation)
        else:
            break
    return annotation


def members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union one by one, those inside others included.

    Each value of a ``Literal`` is one; and anything else is the only one.
    """
    annotation = plain(annotation)
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        for part in get_args(annotation):
            yield from members(part)
    elif origin is Literal and len(get_args(annotation)) > 1:
        for value in get_args(annotation):
            yield Literal[value]
    elif origin is type and get_args(annotation):
        for part in members(get_args(annotation)[0]):
            yield type[part]
    else:
        yield annotation


def view(given: Any, base: type) -> tuple[Any, ...] | None:
    """Return the parameters of `base` as `given` has them: ``(str,)`` for a str as an Iterable.

    ``None`` if they are not known. `given` is a class or has one for its origin, which is derived
    from `base`.
    """
    given = plain(given)
    have, args = _origin(given), get_args(given)
    if have is base:
        return args or None
    variables = getattr(have, "__parameters__", ())
    for parent in vars(have).get("__orig_bases__", have.__bases__):
        origin = _origin(parent)
        if isinstance(origin, type) and origin is not object and _derives(origin, base):
            inner = getattr(parent, "__parameters__", ()) if get_origin(parent) else ()
            if inner:
                if len(args) != len(variables):
                    return None
                filled = dict(zip(variables, args, strict=True))
                parent = parent[tuple(filled.get(each, Any) for each in inner)]
            found = view(parent, base)
            if found is not None:
                return found
    return _known(have, args, base)


def title(annotation: Any) -> str:
    """Return an annotation as one would write it, without the modules."""
    if isinstance(annotation, str):
        return repr(annotation)
    if isinstance(annotation, list):
        return f"[{', '.join(map(title, annotation))}]"
    if annotation is None or annotation is NoneType:
        return "None"
    if annotation is Ellipsis:
        return "..."
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Union or origin is UnionType:
        return " | ".join(dict.fromkeys(map(title, args)))
    if origin is Literal:
        return f"Literal[{', '.join(map(_value, args))}]"
    if origin is Annotated:
        return title(args[0])
    if origin is not None:
        return f"{title(origin)}[{', '.join(map(title, args))}]" if args else title(origin)
    if isinstance(annotation, type):
        return annotation.__qualname__
    written: object = getattr(annotation, "__name__", None) or getattr(annotation, "_name", None)
    return written if isinstance(written, str) else repr(annotation)


def full_title(annotation: Any) -> str:
    """Return `title`, with the module in front of a class."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return f"{annotation.__module__}.{annotation.__qualname__}"
    return title(annotation)


def _value(value: object) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, Enum) else repr(value)


def _named_alias() -> Any:
    return () if _ALIAS is None else _ALIAS


def _filled(alias: Any) -> Any:
    """Return what an alias with parameters means, as far as that can be said."""
    meant = get_origin(alias).__value__
    variables = getattr(meant, "__parameters__", ())
    given = dict(zip(get_origin(alias).__type_params__, get_args(alias), strict=False))
    if not variables:
        return meant
    if not all(variable in given for variable in variables):
        return alias
    return plain(meant[tuple(given[variable] for variable in variables)])


def _origin(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


def _is_understood(annotation: Any) -> bool:
    if annotation in (Any, Never, NoReturn, LiteralString) or isinstance(
        annotation, TypeVar | NewType
    ):
        return True
    origin = _origin(annotation)
    return isinstance(origin, type) or origin in (Union, Literal, abc.Callable)


def _derives(have: type, base: type) -> bool:
    try:
        return issubclass(have, base)
    except TypeError:
        return False


def _covered(given: Any, literals: Iterable[Any]) -> bool:
    """Whether literals name all values that a type has."""
    values = [get_args(each)[0] for each in literals if get_origin(each) is Literal]
    if given is bool:
        return any(value is True for value in values) and any(value is False for value in values)
    return (
        isinstance(given, type)
        and issubclass(given, Enum)
        and bool(list(given))
        and all(any(member is value for value in values) for member in given)
    )


def _callable(have: Any, wanted: Any) -> Answer:
    if _origin(wanted) is not abc.Callable:
        return Unknown("what can be called may be much else")
    if have is abc.Callable or have is type or any("__call__" in vars(k) for k in have.__mro__):
        return Unknown("parameters are not compared") if get_args(wanted) else True
    return False


def _typed_dict(have: Any, want: Any) -> Answer:
    if not is_typeddict(want):
        if _derives(dict, want) or getattr(want, "_is_protocol", False):
            return Unknown("a TypedDict is compared with other TypedDicts only")
        return _unrelated(dict, want)
    if not is_typeddict(have):
        return Unknown("a dict may have the keys") if _derives(have, abc.Mapping) else False
    if missing := want.__required_keys__ - (have.__required_keys__ | have.__optional_keys__):
        return not missing
    try:
        has, needs = get_type_hints(have), get_type_hints(want)
    except Exception:
        return Unknown("its keys cannot be read")
    required = want.__required_keys__ & have.__required_keys__
    same = want.__required_keys__ == required and all(
        has.get(key) == kind and (key in required or key in have.__optional_keys__)
        for key, kind in needs.items()
    )
    return same or Unknown("values of a TypedDict are not compared")


def _unrelated(have: type, want: type) -> Answer:
    """Answer for two classes of which one does not derive from the other."""
    for number, larger in _PROMOTED:
        if issubclass(have, number) and want in larger:
            return True
    if want is bytes and have in (bytearray, memoryview):
        return Unknown("type checkers differ about it")
    if _derives(have, IO) or _derives(want, IO):
        return Unknown("files are not compared")
    if want is abc.Hashable or want.__name__ == "Buffer":
        return Unknown(f"{title(want)} is a protocol")
    if (have.__module__, have.__qualname__) == (want.__module__, want.__qualname__):
        return Unknown("there are two classes of that name, of a module that was imported twice")
    return False


def _variance(want: Any, count: int) -> str:
    """Return a sign for each parameter; "?" where the class does not say."""
    known = _VARIANCE.get(want)
    if known is not None:
        return known.ljust(count, "?")[:count]
    signs = ""
    for variable in getattr(want, "__parameters__", ()):
        if getattr(variable, "__infer_variance__", False) or not isinstance(variable, TypeVar):
            signs += "?"
        elif variable.__covariant__:
            signs += "+"
        else:
            signs += "-" if variable.__contravariant__ else "="
    return signs.ljust(count, "?")[:count]


def _known(have: Any, args: tuple[Any, ...], base: Any) -> tuple[Any, ...] | None:
    """Return what `view` does, for classes of the standard library."""
    key: Any
    if have is collections.Counter and args:
        args, have = (*args, int), dict
    if have in _OF_PAIRS and len(args) == 2:
        if base in _OF_PAIRS:
            return args
        key = plain(args[0])
    elif have in _OF_ONE and args:
        key = plain(args[0])
    elif have is tuple:
        shape = _shape(GenericAlias(tuple, args) if args else tuple)
        key = None if shape is None else reduce(or_, map(plain, shape[0])) if shape[0] else Never
    elif have is abc.ItemsView and len(args) == 2:
        key = GenericAlias(tuple, args)
    elif have in (abc.Coroutine, abc.Generator) and base is abc.Awaitable and len(args) == 3:
        return (args[2],)
    else:
        key = _ELEMENTS.get(have)
    return None if key is None or base not in _OF_ONE else (key,)


def _shape(given: Any) -> tuple[tuple[Any, ...], bool] | None:
    """Return what is inside a tuple, and whether it is one type for any number of elements."""
    given = plain(given)
    have, args = _origin(given), get_args(given)
    if have is not tuple:
        if hasattr(have, "_fields"):
            try:
                hints = get_type_hints(have)
            except Exception:
                return None
            if all(name in hints for name in have._fields):
                return tuple(hints[name] for name in have._fields), False
            return None
        found = view(given, tuple)
        if found is None:
            return None
        args = found
    elif not args and given in (tuple, typing.Tuple):  # noqa: UP006 - it may be written so
        return (Any,), True
    if len(args) == 2 and args[1] is Ellipsis:
        return (args[0],), True
    return (args, False) if all(map(_is_understood, map(plain, args))) else None
