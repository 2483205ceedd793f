"""Whether one type may be given for another: by a table that type checkers judge, and by laws."""

from __future__ import annotations

import ast
import asyncio
import collections
import importlib.util
import sys
import typing
from collections import abc
from pathlib import Path
from types import ModuleType
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    Optional,
    ParamSpec,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conveyor._check import fits as _fits
from conveyor._check.fits import Answer, Unknown, fits, full_title, members, title

T = TypeVar("T")
Number = TypeVar("Number", int, str)
Small = TypeVar("Small", bound=int)
Params = ParamSpec("Params")

Bare = collections.namedtuple("Bare", "x y")


class Pair(tuple[int, int]):
    __slots__ = ()


class Some(tuple):  # type: ignore[type-arg]
    __slots__ = ()


class Unreadable(NamedTuple):
    x: Nowhere  # type: ignore[name-defined] # noqa: F821


class UnreadableDict(TypedDict):
    a: Nowhere  # type: ignore[name-defined] # noqa: F821


class Handler(Generic[Params]): ...


TABLE = Path(__file__).parents[1] / "typing" / "fitting.py"


def load_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fitting", TABLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fitting"] = module  # where annotations that are strings look for names
    spec.loader.exec_module(module)
    return module


FITTING = load_table()


def rows() -> list[Any]:
    """Return the table: both types, and what type checkers and our code say of them."""
    source = TABLE.read_text("utf-8")
    lines = source.splitlines()
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith(("row_", "open_")):
            hints = typing.get_type_hints(getattr(FITTING, node.name), include_extras=True)
            refused = any(
                "type: ignore" in line for line in lines[node.lineno - 1 : node.end_lineno]
            )
            name = f"{ast.unparse(node.args.args[0].annotation)} to {ast.unparse(node.returns)}"  # type: ignore[arg-type]
            known = node.name.startswith("row_")
            found.append(pytest.param(hints["given"], hints["return"], not refused, known, id=name))
    return found


def short(answer: Answer) -> bool | None:
    return answer if isinstance(answer, bool) else None


@pytest.mark.parametrize(("has", "wants", "accepted", "known"), rows())
def test_it_agrees_with_type_checkers(has: Any, wants: Any, accepted: bool, known: bool) -> None:
    assert short(fits(has, wants)) == (accepted if known else None)


def test_the_table_is_read() -> None:
    answers = [row.values[2:] for row in rows()]
    assert len(answers) > 150
    assert set(answers) == {(True, True), (False, True), (True, False), (False, False)}


# What type checkers in their strict modes do not let one write.
@pytest.mark.parametrize(
    ("has", "wants", "expected"),
    [
        (list[int], list, True),
        (tuple[int, str], tuple, True),
        (list, list[int], None),
        (list, abc.Sequence, True),
        (tuple, tuple[int, int], None),
        (typing.List[int], list[int], True),  # noqa: UP006
        (typing.List, list, True),  # noqa: UP006
        (typing.Tuple, tuple[int, ...], None),  # noqa: UP006
        (typing.Dict[str, int], abc.Mapping[str, float], True),  # noqa: UP006
        (int, Optional[int], True),  # noqa: UP045
        (Union[int, list[int]], int, False),  # noqa: UP007
        (Any, int, None),
        (Any, object, True),
        (int, T, True),
        (int, Small, True),
        (str, Small, False),
        (int, Number, True),
        (bytes, Number, None),
        (T, int, None),
        (Small, int, True),
        (list[T], list[T], True),
        (list[int], list[T], None),
        (tuple[int, int], tuple[T, T], True),
        (NoReturn, int, True),
        (int, NoReturn, None),
        (bytearray, bytes, None),
        ("Page", int, None),
        (int, "Page", None),
        (int, typing.Self, None),
        (abc.Callable[..., Any], abc.Callable, True),
        (int, abc.Callable, False),
        (typing.IO[str], typing.TextIO, None),
        (int, typing.SupportsInt, True),
        (str, typing.SupportsInt, None),
        (typing.LiteralString, str, True),
        (str, typing.LiteralString, None),
        (Literal["a"], typing.LiteralString, True),
        (int, typing.LiteralString, False),
        (type[int], abc.Iterable[int], None),
        (type[bool], type[float], None),
        (NewType("Ids", list[int]), abc.Sequence[float], True),
        (typing.Final[int], int, True),
        (list["Page"], list[int], None),  # type: ignore[name-defined] # noqa: F821
        (asyncio.Queue[int], asyncio.Queue[str], None),
        (asyncio.Queue[int], asyncio.Queue[int], True),
        (abc.Container[bool], abc.Container[int], None),
        (abc.ItemsView[str, int], abc.Iterable[tuple[str, float]], True),
        (abc.ItemsView[str, int], abc.Iterable[str], False),
        (type, type[int], None),
        (FITTING.PairBox, FITTING.Box[int], None),
        (FITTING.Row, FITTING.HasName, None),
        (abc.Callable[[int], str], int, None),
        (list, abc.Hashable, None),
        (Pair, tuple[int, int], True),
        (Pair, tuple[int, str], False),
        (Some, tuple[int, int], None),
        (Bare, tuple[int, int], None),
        (Unreadable, tuple[int, int], None),
        (Handler[[int]], Handler[[str]], None),
        (UnreadableDict, FITTING.Row, None),
        (FITTING.Row, UnreadableDict, None),
    ],
)
def test_what_is_written_otherwise(has: Any, wants: Any, expected: bool | None) -> None:
    assert short(fits(has, wants)) is expected


def test_what_is_unknown_has_a_reason() -> None:
    assert fits(Any, int) == Unknown("Any may be anything")
    assert fits(T, int) == Unknown("T is a type variable")
    assert fits(list, list[int]) == Unknown("it is not said what is inside list")


def test_a_class_of_the_same_name_may_be_the_same_class() -> None:
    again = load_table()
    assert again.Dog is not FITTING.Dog
    assert isinstance(fits(again.Dog, FITTING.Dog), Unknown)
    assert fits(again.Dog, FITTING.Box) is False


def test_a_class_that_inherits_from_any_may_be_anything() -> None:
    class Loose(Any):  # type: ignore[misc]
        pass

    assert isinstance(fits(Loose, int), Unknown)


def test_a_protocol_that_is_inherited_from() -> None:
    class Named(FITTING.HasName):  # type: ignore[name-defined, misc]
        name = ""

    assert fits(Named, FITTING.HasName) is True
    assert fits(int, FITTING.HasName) == Unknown("HasName is a protocol")


def test_classes_that_do_not_want_to_be_asked() -> None:
    class Odd(type):
        def __subclasscheck__(cls, other: type) -> bool:
            raise TypeError

    class Strange(metaclass=Odd):
        pass

    assert fits(Strange, Strange) is True
    assert fits(int, Strange) is False
    assert isinstance(fits(int, abc.Iterable[Strange]), bool)


def test_named_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    alias = getattr(typing, "TypeAliasType", None)
    if alias is None:
        alias = pytest.importorskip("typing_extensions").TypeAliasType
        monkeypatch.setattr(_fits, "_ALIAS", alias)
    number = alias("number", int | float)
    pair = alias("pair", tuple[T, T], type_params=(T,))
    assert fits(int, number) is True
    assert fits(number, int) is False
    assert fits(list[number], abc.Sequence[float]) is True
    assert fits(pair[int], tuple[int, int]) is True
    assert fits(pair[int], tuple[str, str]) is False
    assert title(number) == "number"
    assert fits(alias("constant", int, type_params=(T,))[str], float) is True
    assert isinstance(fits(alias("odd", tuple[T, Small], type_params=(T,))[str], int), Unknown)


def test_what_means_itself_is_no_endless_question(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alias:
        """Stands for ``type name = ...``, which Python 3.11 does not know."""

        __value__: Any

        def __or__(self, other: Any) -> Any:
            return Union[self, other]  # noqa: UP007

        def __call__(self) -> None:
            """`typing` takes for a type what can be called."""

    monkeypatch.setattr(_fits, "_ALIAS", Alias)
    json, again, wrong = Alias(), Alias(), Alias()
    json.__value__ = Union[float, typing.Sequence[json]]  # noqa: UP007
    again.__value__ = Union[float, typing.Sequence[again]]  # noqa: UP007
    wrong.__value__ = Union[int, typing.Sequence[wrong]]  # noqa: UP007
    assert fits(json, again) is True
    assert fits(wrong, json) is True
    assert fits(json, wrong) is False


def test_types_that_are_too_large_are_given_up() -> None:
    deep: Any = int
    for _ in range(12):
        deep = dict[str, deep] | list[deep]
    other: Any = float
    for _ in range(12):
        other = dict[str, other] | list[other]
    assert fits(deep, other) in (False, Unknown("the types are too large"))


# --- laws


CLASSES = [int, float, bool, str, bytes, None, object, FITTING.Animal, FITTING.Dog, FITTING.Color]
LEAVES = [*CLASSES, Literal[1], Literal["a"], FITTING.UserId, FITTING.Row, FITTING.Point]


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    one = st.sampled_from(
        [list, set, abc.Sequence, abc.Iterable, FITTING.Box, FITTING.Source, abc.Iterator]
    )
    return (
        st.builds(lambda of, part: of[part], one, inner)
        | st.builds(lambda key, value: dict[key, value], inner, inner)
        | st.builds(lambda key, value: abc.Mapping[key, value], inner, inner)
        | st.lists(inner, max_size=3).map(lambda parts: tuple[tuple(parts)])  # type: ignore[misc]
        | inner.map(lambda part: tuple[part, ...])
        | st.builds(lambda left, right: Union[left, right], inner, inner)  # noqa: UP007
    )


TYPES = st.recursive(st.sampled_from(LEAVES), larger, max_leaves=5)


@given(TYPES)
def test_every_type_fits_itself_and_object(kind: Any) -> None:
    assert fits(kind, kind) is True
    assert fits(kind, object) is True
    assert fits(kind, Any) is True
    assert fits(NoReturn, kind) is True


@given(TYPES, TYPES)
def test_a_union_takes_what_one_of_its_members_takes(left: Any, right: Any) -> None:
    assert fits(left, Union[left, right]) is True  # noqa: UP007
    both = (fits(left, right), fits(right, right))
    assert short(fits(Union[left, right], right)) == short(_fits.every(both))  # noqa: UP007


@example(None, int)
@given(TYPES, TYPES)
def test_what_cannot_be_changed_fits_as_its_elements_do(left: Any, right: Any) -> None:
    inside = short(fits(left, right))
    assert short(fits(abc.Sequence[left], abc.Iterable[right])) == inside
    assert short(fits(list[left], abc.Sequence[right])) == inside
    assert short(fits(dict[str, left], abc.Mapping[str, right])) == inside
    assert short(fits(tuple[left, ...], tuple[right, ...])) == inside
    assert short(fits(FITTING.Source[left], FITTING.Source[right])) == inside


@given(TYPES, TYPES)
def test_what_can_be_changed_fits_if_its_elements_are_the_same(left: Any, right: Any) -> None:
    both = short(_fits.every((fits(left, right), fits(right, left))))
    assert short(fits(list[left], list[right])) == both
    assert short(fits(FITTING.Box[left], FITTING.Box[right])) == both


@given(TYPES, TYPES, TYPES)
def test_what_fits_over_a_third_type_is_not_refused(first: Any, second: Any, third: Any) -> None:
    if fits(first, second) is True and fits(second, third) is True:
        assert fits(first, third) is not False


VALUES_OF = {
    int: [1, True],
    float: [1.5],
    str: ["a"],
    bytes: [b""],
    bool: [False],
    list: [[1]],
    dict: [{}],
    tuple: [()],
}


@pytest.mark.parametrize("has", VALUES_OF)
@pytest.mark.parametrize("wants", VALUES_OF)
def test_a_class_fits_where_all_its_values_are_instances(has: type, wants: type) -> None:
    instances = all(isinstance(value, wants) for value in VALUES_OF[has])
    promoted = wants is float and issubclass(has, int)
    assert fits(has, wants) is (instances or promoted)


# --- words


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (list[int], "list[int]"),
        (typing.List[int], "list[int]"),  # noqa: UP006
        (dict[str, list[int]], "dict[str, list[int]]"),
        (int | None, "int | None"),
        (Optional[int], "int | None"),  # noqa: UP045
        (tuple[int, ...], "tuple[int, ...]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Literal[FITTING.Color.RED], "Literal[Color.RED]"),
        (typing.Annotated[int, "seconds"], "int"),
        (abc.Callable[[int, str], bool], "Callable[[int, str], bool]"),
        (abc.Callable[..., Any], "Callable[..., Any]"),
        (type[int], "type[int]"),
        (T, "T"),
        (FITTING.UserId, "UserId"),
        (FITTING.Box[int], "Box[int]"),
        ("Page", "'Page'"),
        (typing.NoReturn, "NoReturn"),
    ],
)
def test_types_are_written_as_one_would_write_them(annotation: Any, words: str) -> None:
    assert title(annotation) == words


def test_a_class_with_its_module() -> None:
    assert full_title(FITTING.Dog) == "fitting.Dog"
    assert full_title(list[int]) == "list[int]"


def test_the_members_of_a_union_are_those_of_its_members() -> None:
    nested = Union[int, Literal[1, 2], typing.Annotated[str | None, ""]]  # noqa: UP007
    assert list(members(nested)) == [int, Literal[1], Literal[2], str, type(None)]
    assert list(members(type[int | str])) == [type[int], type[str]]
